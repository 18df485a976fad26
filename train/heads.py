"""Classification heads on frozen features, with a leading run axis R: all runs of a group advance in one step.

A head is Linear, GELU, Dropout, Linear, log-softmax, or with no hidden units Linear, log-softmax; one that reads two
modalities may be a mixture of one such head for each (`Mixture`). Inputs are standardised and normalised
(`Scaling.apply`): the layer normalisation that stands first has no parameters (a scale and a shift before a linear
layer are absorbed by it), so it is computed once for all runs and steps. The last layer starts at zero, so every head
starts from the uniform distribution. Parameters of run r are drawn from that run's own generator and its gradients
come from its own loss, so a run learns the same alone and in company; R = 1 is the plain case.

Inputs have a leading axis of S streams instead: neighbouring runs that read the same utterances share one, and their
weights stand side by side in one matrix product. A weight is (outputs, inputs), as in `torch.nn.Linear`, and what a
layer gives is (R, outputs, B): then neither a product nor its gradient has to turn a matrix, which for a few outputs
takes longer than to multiply it. In a `State`, and so in files, a weight is (inputs, outputs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, log_softmax

from amber.config import HeadName
from amber.corpus import MODALITIES, Modality

from .attention import AttentivePooling, Padded
from .batches import Batch
from .head_names import HEADS, INPUTS
from .streams import POOLING, generator, start

State = dict[str, Tensor]  # the parameters of one run by name

GATE_PENALTY = 10.0  # of a mixture's gate: it has few utterances in doubt to learn from (docs/LOG.md)
GATE_SPEED = 10.0  # scale of its bias: Adam takes steps of one size, and a gate that shuts has a long way to go


class Head(nn.Module):
    """One head for R runs: (S, B, D) by modality -> log-probabilities (R, B, C).

    The first layer has a weight for each modality, as if their inputs were concatenated. With no hidden units it is
    the only one, and gives the C scores.
    """

    def __init__(
        self,
        dims: Mapping[Modality, int],
        hidden: int,
        classes: int,
        generators: Sequence[torch.Generator],
        reads: Sequence[Modality | None] = (),
    ) -> None:
        super().__init__()
        runs, inputs, width = len(generators), sum(dims.values()), hidden or classes
        self.inputs, self.hidden = tuple(dims), hidden
        self.weight1 = nn.ParameterDict({m: nn.Parameter(torch.zeros(runs, width, d)) for m, d in dims.items()})
        self.bias1 = nn.Parameter(torch.zeros(runs, width, 1))
        if hidden:
            self.weight2 = nn.Parameter(torch.zeros(runs, classes, hidden))
            self.bias2 = nn.Parameter(torch.zeros(runs, classes, 1))
            start([(p, inputs) for p in (*self.weight1.values(), self.bias1)], generators)
        self._limit(reads)

    def _limit(self, reads: Sequence[Modality | None]) -> None:
        """Let some runs read one of several modalities alone: their weights of the others are and stay zero."""
        self.limited = len(self.inputs) > 1 and any(reads)
        if self.limited:
            for modality, weight in self.weight1.items():
                seen = torch.tensor([float(only in (None, modality)) for only in reads])[:, None, None]  # (R, 1, 1)
                self.register_buffer(f"sees_{modality}", seen, persistent=False)
                weight.data *= seen

    @property
    def penalised(self) -> list[tuple[nn.Parameter, float]]:
        """Return what the L2 penalty is on, the weights (R, ...) without the biases, and its factor for each."""
        return [(weight, 1.0) for weight in (*self.weight1.values(), *([self.weight2] if self.hidden else []))]

    def forward(self, x: Mapping[Modality, Tensor], streams: Sequence[int], mask: Tensor | None = None) -> Tensor:
        """Return log-probabilities (R, B, C).

        Parameters
        ----------
        x
            Inputs (S, B, D) by modality.
        streams
            How many runs read each stream, S numbers whose sum is R.
        mask
            The dropout mask, (R, H, B), which multiplies the hidden units.

        """
        h: Tensor = self.bias1
        for modality in self.inputs:
            weight = self.weight1[modality]
            if self.limited:
                weight = weight * self.get_buffer(f"sees_{modality}")  # and so is the gradient
            h = h + product(x[modality], weight, streams)  # (R, H, B), or (R, C, B)
        if self.hidden:
            h = gelu(h)
            if mask is not None:
                h = h * mask
            h = torch.baddbmm(self.bias2, self.weight2, h)  # (R, C, B)
        return log_softmax(h, dim=1).transpose(1, 2)


class Mixture(nn.Module):
    """A mixture of one head for each modality, for R runs (mixture of experts; Jacobs et al., 1991).

        p(x) = sum over m of g_m(x) p_m(x_m),   g(x) = softmax(sum over m of V_m x_m + c)

    It is how a panel votes of whom some go by the voice and others by the words, as many of each as g says: a head that
    reads both at once multiplies evidence, and can't say "either". V starts at zero, and carries `GATE_PENALTY` times
    the L2 penalty of the other weights.
    """

    def __init__(
        self, dims: Mapping[Modality, int], hidden: int, classes: int, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        runs = len(generators)
        self.inputs = tuple(dims)
        self.experts = nn.ModuleDict({m: Head({m: d}, hidden, classes, generators) for m, d in dims.items()})
        self.gate = nn.ParameterDict({m: nn.Parameter(torch.zeros(runs, len(dims), d)) for m, d in dims.items()})
        self.gate_bias = nn.Parameter(torch.zeros(runs, len(dims), 1))

    @property
    def penalised(self) -> list[tuple[nn.Parameter, float]]:
        """Return what the L2 penalty is on, as for `Head`."""
        of_experts = [one for expert in self.experts.values() for one in expert.penalised]  # type: ignore[union-attr]
        return [*of_experts, *((weight, GATE_PENALTY) for weight in self.gate.values())]

    def forward(
        self,
        x: Mapping[Modality, Tensor],
        streams: Sequence[int],
        mask: Tensor | None = None,
        present: Mapping[Modality, Tensor] | None = None,
    ) -> Tensor:
        """Return log-probabilities (R, B, C), as for `Head`; every expert's hidden units are multiplied alike.

        The gate gives nothing to the expert on a modality that is absent where `present` (S, B) says so.
        """
        scores: Tensor = GATE_SPEED * self.gate_bias
        for modality in self.inputs:
            scores = scores + product(x[modality], self.gate[modality], streams)  # (R, M, B)
        if present:
            there = torch.stack([of_runs(present[modality], streams) for modality in self.inputs], dim=1)
            scores = scores.masked_fill(~there, float("-inf"))
        log_p = torch.stack([expert(x, streams, mask) for expert in self.experts.values()], dim=1)  # (R, M, B, C)
        return torch.logsumexp(log_p + log_softmax(scores, dim=1).unsqueeze(-1), dim=1)


class Heads(nn.Module):
    """The heads of R runs by name.

    Parameters
    ----------
    names
        Of `speech`, `text` and `fusion`.
    dims
        Input dimension by modality.
    hidden, classes
        Hidden units of a head, 0 for a linear one, and classes.
    seeds
        One per run: initialisation is a function of (seed, head), so a run's student starts from the same weights
        whichever experts it has.
    layers
        Number of layers by modality, where inputs are (S, B, L, D) and their mixture is learned: each run weighs the
        normalised layers by a softmax (the scalar mix of Peters et al., 2018, without its scale). Empty: inputs are
        (S, B, D).
    frames
        D by modality where inputs are frames (`Padded`), which each run pools by its own attention, the same for all of
        its heads; `dims` is 2 D there.
    mixture
        Whether heads that read two modalities are mixtures.
    reads
        One per run, where any run's heads that would read two modalities read one alone: which, or None.

    """

    def __init__(
        self,
        names: Sequence[HeadName],
        dims: Mapping[Modality, int],
        hidden: int,
        classes: int,
        seeds: Sequence[int],
        layers: Mapping[Modality, int] | None = None,
        frames: Mapping[Modality, int] | None = None,
        mixture: bool = False,
        reads: Sequence[Modality | None] = (),
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.mix = nn.ParameterDict({m: nn.Parameter(torch.zeros(len(seeds), n)) for m, n in (layers or {}).items()})
        self.pool = nn.ModuleDict()
        for modality, dim in (frames or {}).items():
            self.pool[modality] = AttentivePooling(
                dim, [generator(s, POOLING + MODALITIES.index(modality)) for s in seeds]
            )
        self.heads = nn.ModuleDict()
        for name in names:
            generators = [generator(seed, HEADS.index(name)) for seed in seeds]
            inputs = {modality: dims[modality] for modality in INPUTS[name]}
            if mixture and len(inputs) > 1:
                self.heads[name] = Mixture(inputs, hidden, classes, generators)
            else:
                self.heads[name] = Head(inputs, hidden, classes, generators, reads)

    @property
    def penalised(self) -> list[tuple[nn.Parameter, float]]:
        """Return what the L2 penalty is on in all heads, and its factor for each."""
        return [one for head in self.heads.values() for one in head.penalised]  # type: ignore[union-attr]

    def state_of(self, place: int) -> State:
        """Return the parameters of the run in a place, on the CPU; its weights are (inputs, outputs)."""
        return {
            name: value[place].detach().t().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in self.state_dict().items()
        }

    def load(self, states: Sequence[State]) -> None:
        """Take the parameters of R runs, as `state_of` returns them."""
        self.load_state_dict({name: torch.stack([state[name].t() for state in states]) for name in states[0]})

    def forward(
        self,
        inputs: Batch,
        streams: Sequence[int],
        masks: Mapping[str, Tensor] | None = None,
        present: Mapping[Modality, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return log-probabilities (R, B, C) by head.

        Parameters
        ----------
        inputs
            By modality, in S streams.
        streams
            How many runs read each stream.
        masks
            The dropout masks (R, H, B) by head.
        present
            Which utterances have each modality, (S, B), for heads that read more than one. They see zeros in the place
            of an absent one: about its mean over the training part, as inputs are standardised. None: all have both.

        """
        x = {modality: self._vectors(modality, value, streams) for modality, value in inputs.items()}
        seen = {m: _where(present[m], value, streams) for m, value in x.items()} if present else x
        found: dict[str, Tensor] = {}
        for name in self.names:
            head, mask = self.heads[name], masks[name] if masks else None
            if isinstance(head, Mixture):
                found[name] = head(seen, streams, mask, present)
            else:
                found[name] = head(seen if len(INPUTS[name]) > 1 else x, streams, mask)
        return found

    def _vectors(self, modality: Modality, x: Tensor | Padded, streams: Sequence[int]) -> Tensor:
        """Return one vector per utterance, (S, B, D), or (R, B, D) where each run makes its own."""
        if isinstance(x, Padded):
            statistics = self.pool[modality](x)  # (R, B, 2D)
            halves = statistics.unflatten(-1, (2, -1))
            # Means over many frames are small beside standard deviations: both are normalised as pooled inputs are.
            return layer_norm(halves, halves.shape[-1:]).flatten(-2)
        if modality not in self.mix:
            return x
        return torch.einsum("rl,rbld->rbd", self.mix[modality].softmax(dim=-1), of_runs(x, streams))


def _where(present: Tensor, x: Tensor, streams: Sequence[int]) -> Tensor:
    """Return inputs (S, B, D), or (R, B, D) of runs, with zeros where a modality is absent; `present` is (S, B)."""
    there = present if len(x) == len(present) else of_runs(present, streams)
    return x * there.unsqueeze(-1)


def of_runs(x: Tensor, streams: Sequence[int]) -> Tensor:
    """Return what each run reads, (R, ...), of streams (S, ...); `streams` says how many runs read each."""
    if len(streams) == sum(streams):
        return x
    if len(streams) == 1:
        return x.expand(streams[0], *x.shape[1:])  # no copy
    return x.repeat_interleave(torch.tensor(streams, device=x.device), dim=0, output_size=sum(streams))


def product(x: Tensor, weight: Tensor, streams: Sequence[int]) -> Tensor:
    """Multiply what each run reads by its weights: (S, B, D), (R, W, D) -> (R, W, B); or x (R, B, D), run by run."""
    if len(x) < len(weight) and len(set(streams)) > 1:
        of_streams = torch.split(weight, list(streams))
        return torch.cat([product(one[None], own, [len(own)]) for one, own in zip(x, of_streams, strict=True)])
    side_by_side = weight.reshape(len(x), -1, weight.shape[2])  # (S, R / S * W, D)
    return torch.bmm(side_by_side, x.transpose(1, 2)).view(*weight.shape[:2], -1)

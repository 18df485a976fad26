"""Classification heads on frozen features, with a leading run axis R: all runs of a group advance in one step.

A head is Linear, GELU, Dropout, Linear, log-softmax, or with no hidden units Linear, log-softmax, on inputs that are
standardised and normalised (`Scaling.apply`): the layer normalisation that stands first has no parameters (a scale and
a shift before a linear layer are absorbed by it), so it is computed once for all runs and steps. The last layer starts
at zero, so every head starts from the uniform distribution. Parameters of run r are drawn from that run's own
generator and its gradients come from its own loss, so a run learns the same alone and in company; R = 1 is the plain
case.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, log_softmax

from amber.corpus import MODALITIES, Modality

from .data import Batch
from .matrix import HEADS
from .pooling import AttentivePooling, Padded, start

INPUTS: dict[str, tuple[Modality, ...]] = {"speech": ("speech",), "text": ("text",), "fusion": ("speech", "text")}
POOLING = 10  # streams of a run's seed from which its pooling starts, one a modality


def inputs_of(heads: Collection[str]) -> list[Modality]:
    """Return the modalities that these heads read, speech first."""
    return [modality for modality in MODALITIES if any(modality in INPUTS[head] for head in heads)]


class Head(nn.Module):
    """One head for R runs: (R, B, D) by modality -> log-probabilities (R, B, C).

    The first layer has a weight for each modality, as if their inputs were concatenated. With no hidden units it is
    the only one, and gives the C scores.
    """

    def __init__(
        self, dims: Mapping[Modality, int], hidden: int, classes: int, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        runs, inputs, width = len(generators), sum(dims.values()), hidden or classes
        self.inputs, self.hidden = tuple(dims), hidden
        self.weight1 = nn.ParameterDict({m: nn.Parameter(torch.zeros(runs, d, width)) for m, d in dims.items()})
        self.bias1 = nn.Parameter(torch.zeros(runs, 1, width))
        if hidden:
            self.weight2 = nn.Parameter(torch.zeros(runs, hidden, classes))
            self.bias2 = nn.Parameter(torch.zeros(runs, 1, classes))
            start([(p, inputs) for p in (*self.weight1.values(), self.bias1)], generators)

    @property
    def weights(self) -> list[nn.Parameter]:
        """Return what the L2 penalty is on: the weights (R, ...) without the biases."""
        return [*self.weight1.values(), *([self.weight2] if self.hidden else [])]

    def forward(self, x: Mapping[Modality, Tensor], keep: Tensor | None = None) -> Tensor:
        """Return log-probabilities; `keep` (R, B, H) multiplies the hidden units."""
        h: Tensor = self.bias1
        for modality in self.inputs:
            h = torch.baddbmm(h, x[modality], self.weight1[modality])  # (R, B, H), or (R, B, C)
        if self.hidden:
            h = gelu(h)
            if keep is not None:
                h = h * keep
            h = torch.baddbmm(self.bias2, h, self.weight2)
        return log_softmax(h, dim=-1)  # (R, B, C)


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
        Number of layers by modality, where inputs are (R, B, L, D) and their mixture is learned: each run weighs the
        normalised layers by a softmax (the scalar mix of Peters et al., 2018, without its scale). Empty: inputs are
        (R, B, D).
    frames
        D by modality where inputs are frames (`Padded`), which each run pools by its own attention, the same for all of
        its heads; `dims` is 2 D there.

    """

    def __init__(
        self,
        names: Sequence[str],
        dims: Mapping[Modality, int],
        hidden: int,
        classes: int,
        seeds: Sequence[int],
        layers: Mapping[Modality, int] | None = None,
        frames: Mapping[Modality, int] | None = None,
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
            self.heads[name] = Head({m: dims[m] for m in INPUTS[name]}, hidden, classes, generators)

    @property
    def weights(self) -> list[nn.Parameter]:
        """Return what the L2 penalty is on, in all heads."""
        return [weight for head in self.heads.values() for weight in head.weights]  # type: ignore[union-attr]

    def forward(self, inputs: Batch, keep: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return log-probabilities (R, B, C) by head; `keep` (R, B, H), by head, multiplies hidden units."""
        x = {modality: self._vectors(modality, value) for modality, value in inputs.items()}
        return {name: self.heads[name](x, keep[name] if keep else None) for name in self.names}

    def _vectors(self, modality: Modality, x: Tensor | Padded) -> Tensor:
        """Return one vector an utterance, (R, B, D)."""
        if isinstance(x, Padded):
            statistics = self.pool[modality](x)  # (R, B, 2D)
            halves = statistics.unflatten(-1, (2, -1))
            # Means over many frames are small beside deviations: both are normalised as pooled inputs are.
            return layer_norm(halves, halves.shape[-1:]).flatten(-2)
        if modality not in self.mix:
            return x
        return torch.einsum("rl,rbld->rbd", self.mix[modality].softmax(dim=-1), x)


def dropout_mask(rate: float, rows: int, units: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Return what dropout multiplies hidden units by, (R, rows, units): 0, or 1 / (1 - rate).

    A unit is dropped with `rate` rounded to a multiple of 2^-16: four units are decided by one draw of 64 bits, which
    costs a tenth of a draw for each.
    """
    words = -(-rows * units // 4)
    bits = torch.empty(len(generators), words, dtype=torch.int64, device=generators[0].device)
    for run, generator in enumerate(generators):
        bits[run].random_(-(2**63), None, generator=generator)
    below = round(rate * 2**16) - 2**15
    kept = bits.view(torch.int16)[:, : rows * units] >= below
    return kept.view(len(generators), rows, units) / (1 - rate)


def generator(seed: int, stream: int, device: str = "cpu") -> torch.Generator:
    """Return a random generator for one of a run's streams: initialisations, data order, dropout."""
    # Seeds next to one another must not give streams next to one another.
    mixed = torch.Generator().manual_seed(seed * 1_000_003 + stream)
    value = int(torch.randint(2**62, (1,), generator=mixed))
    return torch.Generator(device=device).manual_seed(value)

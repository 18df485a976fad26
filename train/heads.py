"""Classification heads on frozen features, with a leading run axis R: all runs of a group advance in one step.

A head is LayerNorm, Linear, GELU, Dropout, Linear, log-softmax. Parameters of run r are drawn from that run's own
generator and its gradients come from its own loss, so a run learns the same alone and in company; R = 1 is the plain
case.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, log_softmax

from amber.corpus import MODALITIES, Modality

INPUTS: dict[str, tuple[Modality, ...]] = {"speech": ("speech",), "text": ("text",), "fusion": ("speech", "text")}


def inputs_of(heads: Collection[str]) -> list[Modality]:
    """Return the modalities that these heads read, speech first."""
    return [modality for modality in MODALITIES if any(modality in INPUTS[head] for head in heads)]


class Head(nn.Module):
    """One head for R runs: (R, B, D) -> log-probabilities (R, B, C)."""

    def __init__(
        self, inputs: int, hidden: int, classes: int, dropout: float, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        runs = len(generators)
        self.dropout = dropout
        self.scale = nn.Parameter(torch.ones(runs, 1, inputs))
        self.shift = nn.Parameter(torch.zeros(runs, 1, inputs))
        self.weight1 = nn.Parameter(torch.empty(runs, inputs, hidden))
        self.bias1 = nn.Parameter(torch.empty(runs, 1, hidden))
        self.weight2 = nn.Parameter(torch.empty(runs, hidden, classes))
        self.bias2 = nn.Parameter(torch.empty(runs, 1, classes))
        for run, generator in enumerate(generators):
            for parameter, fan_in in (
                (self.weight1, inputs),
                (self.bias1, inputs),
                (self.weight2, hidden),
                (self.bias2, hidden),
            ):
                nn.init.uniform_(parameter.data[run], -(fan_in**-0.5), fan_in**-0.5, generator=generator)

    def forward(self, x: Tensor, generators: Sequence[torch.Generator] | None = None) -> Tensor:
        """Return log-probabilities; with generators, hidden units are dropped at random, by run."""
        x = layer_norm(x, x.shape[-1:]) * self.scale + self.shift  # (R, B, D)
        h = gelu(torch.baddbmm(self.bias1, x, self.weight1))  # (R, B, H)
        if generators is not None and self.dropout:
            h = h * self._mask(h, generators)
        return log_softmax(torch.baddbmm(self.bias2, h, self.weight2), dim=-1)  # (R, B, C)

    def _mask(self, h: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        keep = 1 - self.dropout
        mask = torch.empty_like(h)
        for run, generator in enumerate(generators):
            mask[run].bernoulli_(keep, generator=generator)
        return mask / keep


class Heads(nn.Module):
    """The heads of R runs by name.

    Parameters
    ----------
    names
        Of `speech`, `text` and `fusion`.
    dims
        Input dimension by modality.
    hidden, classes, dropout
        Sizes, and the share of hidden units dropped in training.
    seeds
        One per run: initialisation is a function of (seed, head), so a run's student starts from the same weights
        whichever experts it has.

    """

    def __init__(
        self,
        names: Sequence[str],
        dims: Mapping[Modality, int],
        hidden: int,
        classes: int,
        dropout: float,
        seeds: Sequence[int],
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.heads = nn.ModuleDict()
        for name in names:
            number = tuple(INPUTS).index(name)
            generators = [generator(seed, number) for seed in seeds]
            inputs = sum(dims[modality] for modality in INPUTS[name])
            self.heads[name] = Head(inputs, hidden, classes, dropout, generators)

    def forward(
        self, inputs: Mapping[Modality, Tensor], generators: Mapping[str, Sequence[torch.Generator]] | None = None
    ) -> dict[str, Tensor]:
        """Return log-probabilities (R, B, C) by head, for inputs (R, B, D) by modality."""
        out = {}
        for name in self.names:
            parts = [inputs[modality] for modality in INPUTS[name]]
            x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
            out[name] = self.heads[name](x, generators[name] if generators else None)
        return out


def generator(seed: int, stream: int, device: str = "cpu") -> torch.Generator:
    """Return a random generator for one of a run's streams: head initialisations, data order, dropout masks."""
    # Seeds next to one another must not give streams next to one another.
    mixed = torch.Generator().manual_seed(seed * 1_000_003 + stream)
    value = int(torch.randint(2**62, (1,), generator=mixed))
    return torch.Generator(device=device).manual_seed(value)

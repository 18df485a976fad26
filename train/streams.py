"""Random streams of a run, and how its parameters start.

Every use of randomness has a stream of its own, numbered from a seed: what one draws changes nothing of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from amber.corpus import Modality

# Streams of a run's seed; its heads start from 0, 1 and 2, by their place in `HEADS`.
POOLING = 10  # the start of the pooling of frames, one stream per modality
ORDER = 100  # the order of utterances
DROPOUT = 200  # dropout masks, one stream a head
RATERS = 300  # dropped votes
MODALITIES = 350  # dropped modalities
# Streams of a fold's number.
FRAMES_ORDER = 400  # the order of frames, one stream an epoch


def run_seed(seed: int, fold: int) -> int:
    """Return the seed of a run's streams, which its candidates share."""
    return seed * 1009 + fold


def generator(seed: int, stream: int, device: str = "cpu") -> torch.Generator:
    """Return the random generator of one stream of a seed."""
    # Seeds next to one another must not give streams next to one another.
    mixed = torch.Generator().manual_seed(seed * 1_000_003 + stream)
    value = int(torch.randint(2**62, (1,), generator=mixed))
    return torch.Generator(device=device).manual_seed(value)


def start(parameters: Sequence[tuple[nn.Parameter, int]], generators: Sequence[torch.Generator]) -> None:
    """Draw every run's part of parameters (R, out, in), given with their fan-in, as `torch.nn.Linear` starts.

    Each run draws from its own generator: uniformly between -1 / sqrt(fan-in) and 1 / sqrt(fan-in).
    """
    for run, own in enumerate(generators):
        for parameter, fan_in in parameters:
            drawn = torch.empty(parameter.shape[:0:-1]).uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=own)
            parameter.data[run] = drawn.t()


def present_modalities(
    rate: float, rows: int, modalities: Sequence[Modality], generators: Sequence[torch.Generator]
) -> dict[Modality, Tensor]:
    """Return which of several modalities each utterance of S streams keeps, (S, rows) each: with `rate` one is lost."""
    draws = torch.stack([torch.rand(rows, generator=own, device=own.device) for own in generators])
    lost = (draws * len(modalities) / rate).long()  # the number of the modality; another number: none
    return {modality: lost != place for place, modality in enumerate(modalities)}


def dropout_mask(rate: float, rows: int, units: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Return what dropout multiplies hidden units by, (R, units, rows): 0, or 1 / (1 - rate).

    A unit is dropped with `rate` rounded to a multiple of 2^-16: four units are decided by one draw of 64 bits, which
    costs a tenth of a draw for each.
    """
    words = -(-rows * units // 4)
    bits = torch.empty(len(generators), words, dtype=torch.int64, device=generators[0].device)
    for run, own in enumerate(generators):
        bits[run].random_(-(2**63), None, generator=own)
    below = round(rate * 2**16) - 2**15
    kept = bits.view(torch.int16)[:, : rows * units] >= below
    return kept.view(len(generators), rows, units).transpose(1, 2) / (1 - rate)

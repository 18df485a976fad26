"""Attentive statistics pooling (Okabe, Koshinaka and Shinoda, 2018): frames of any number become one vector.

For the T frames x_t of an utterance, with learned W (D, A), b (A,) and v (A,):

    a_t = softmax over t of v . tanh(W x_t + b)
    mean = sum_t a_t x_t        std = sqrt(sum_t a_t x_t^2 - mean^2)

The paper's offset of the score is left out: a softmax does not see it. As everywhere, each run has its own parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .streams import start

ATTENTION = 64  # A: hidden units of the attention
SMALLEST_VARIANCE = 1e-4  # of scaled frames: the root's gradient is infinite at 0, where an utterance has one frame


@dataclass(frozen=True)
class Padded:
    """Frames of B utterances that all runs share: `frames` (B, T, D), where `mask` (B, T) says which are true ones."""

    frames: Tensor
    mask: Tensor


class AttentivePooling(nn.Module):
    """Pooling for R runs, of which each draws its start from its own generator."""

    def __init__(self, dim: int, generators: Sequence[torch.Generator], attention: int = ATTENTION) -> None:
        super().__init__()
        runs = len(generators)
        self.weight = nn.Parameter(torch.empty(runs, attention, dim))
        self.bias = nn.Parameter(torch.empty(runs, attention, 1))
        self.score = nn.Parameter(torch.empty(runs, 1, attention))
        start([(self.weight, dim), (self.bias, dim), (self.score, attention)], generators)

    def forward(self, x: Padded) -> Tensor:
        """Return mean and standard deviation side by side, (R, B, 2D); padding changes nothing."""
        (utterances, length, dim), runs = x.frames.shape, len(self.weight)
        flat = x.frames.reshape(1, -1, dim).expand(runs, -1, -1)  # (R, B * T, D), no copy
        hidden = torch.baddbmm(self.bias, self.weight, flat.transpose(1, 2)).tanh()  # (R, A, B * T)
        energy = torch.bmm(self.score, hidden).view(runs, utterances, length)
        weights = energy.masked_fill(~x.mask, float("-inf")).softmax(dim=-1)  # (R, B, T)
        mean, square = (torch.einsum("rbt,btd->rbd", weights, power) for power in (x.frames, x.frames.square()))
        return torch.cat([mean, (square - mean.square()).clamp_min(SMALLEST_VARIANCE).sqrt()], dim=-1)

"""When a run is evaluated on dev, how fast it learns, what is averaged, and when it ends: all counted in steps.

There is no total that a schedule would have to know: after a linear warm-up the learning rate is constant, and in the
place of its decay the weights are averaged over the steps so far, late ones more (polynomial-decay averaging; Shamir
and Zhang, 2013). The average is what is scored and kept. So one recipe serves 300 utterances and 300,000.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from amber.config import Training

SMALLEST_BATCH, LARGEST_BATCH, BATCHES = 32, 256, 50


@dataclass(frozen=True)
class Schedule:
    """The steps of a training on a part of a given size.

    `batch` utterances a step, `every` steps between two evaluations on dev, `steps` at most.
    """

    batch: int
    every: int
    steps: int
    warmup: int
    averaging: float

    @classmethod
    def of(cls, training: Training, utterances: int, dev: int) -> Schedule:
        """Return the schedule for a training part of `utterances` and a dev part of `dev`.

        Between two evaluations on dev the run learns from at least as many utterances as dev has, so that evaluating
        never costs more than learning.
        """
        batch = training.batch_size or min(max(utterances // BATCHES, SMALLEST_BATCH), LARGEST_BATCH)
        batch = min(batch, utterances)
        steps = training.steps
        if training.epochs is not None:
            steps = min(steps, math.ceil(training.epochs * utterances / batch))
        every = max(training.every, math.ceil(dev / batch))
        return cls(batch, every, steps, training.warmup, training.averaging)

    def rate(self, step: int) -> float:
        """Return the share of the learning rate at a step, from 1."""
        return min(1.0, step / self.warmup) if self.warmup else 1.0

    def evaluates(self, step: int) -> bool:
        """Return whether members are evaluated on dev after a step."""
        return step % self.every == 0 or step == self.steps

    @torch.no_grad()
    def average(self, means: Iterable[Tensor], weights: Iterable[Tensor], number: int) -> None:
        """Take weights into their means, as the `number`th: the t-th weighs about t ** averaging."""
        share = (self.averaging + 1) / (self.averaging + number)
        torch._foreach_lerp_(list(means), [weight.detach() for weight in weights], min(share, 1.0))

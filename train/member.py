"""A member of a group that trains side by side: what it is, its state in training, and what it becomes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from amber.errors import RunFailure

from .candidates import Candidate
from .head_names import HEADS
from .heads import State
from .matrix import Run
from .streams import DROPOUT, ORDER, RATERS, generator

DIVERGED = 100.0  # nats per vote: no model that has learned anything is so wrong, e^-100 for what raters say

Record = dict[str, float]  # one evaluation on dev, by name


@dataclass(frozen=True)
class Member:
    """One place on the run axis: a run with one of its candidates.

    `subset` (m,) says which utterances of the training part it learns from; None: all of them. `steps` is how many
    steps it trains where no dev part decides that.
    """

    run: Run
    candidate: Candidate
    subset: Tensor | None = None
    steps: int | None = None

    @property
    def seed(self) -> int:
        """Return the seed of the run's random streams, which its candidates share."""
        return self.run.stream_seed


@dataclass(frozen=True)
class TrainedMember:
    """A member after training: its best weights by parameter, its evaluations on dev, and the best of those.

    `best` counts from 1.
    """

    run: Run
    state: State
    records: list[Record]
    best: int


def score_of(record: Record, rule: str) -> tuple[float, float]:
    """Return the score of an evaluation by a stopping rule, and by its loss where that is the same; more is better."""
    value = record[f"dev_{rule}"]
    return (value if rule in ("bc", "accuracy") else -value, -record["dev_loss"])


class MemberState:
    """The state of a member in training: its random streams, its evaluations on dev, and its best weights so far."""

    def __init__(self, place: int, member: Member, device: str) -> None:
        self.place, self.member = place, member
        self.order = generator(member.seed, ORDER)
        self.raters = generator(member.seed, RATERS, device)
        self.dropout: dict[str, torch.Generator] = {
            name: generator(member.seed, DROPOUT + i, device) for i, name in enumerate(HEADS)
        }
        self.records: list[Record] = []
        self.weights: State = {}
        self.best = 0
        self._score = (float("-inf"), float("-inf"))
        self._waited_for, self._since = float("-inf"), 0  # the score that patience counts from, and evaluations since

    def improves(self, record: Record) -> bool:
        """Record an evaluation on dev; return whether it is the best so far by the run's stopping rule.

        Without a dev part the best is the last, after as many steps as the member has.
        """
        self.records.append(record)
        if self.member.steps is not None:
            self.best = len(self.records)
            return record["step"] == self.member.steps
        score = score_of(record, self.member.run.variant.training.stop)
        self._since += 1
        if not all(map(math.isfinite, (*score, record["dev_nll"]))):
            return False
        if score[0] > self._waited_for + self.member.run.variant.training.gain:
            self._waited_for, self._since = score[0], 0
        if score <= self._score:
            return False
        self._score, self.best = score, len(self.records)
        return True

    @property
    def finished(self) -> bool:
        """Return whether the member has gained too little for as many evaluations as its patience, or has its steps."""
        if self.member.steps is not None:
            return bool(self.records) and self.records[-1]["step"] >= self.member.steps
        return self._since >= self.member.run.variant.training.patience

    def trained(self) -> TrainedMember:
        """Return the trained member.

        Raises
        ------
        RunFailure
            If no evaluation found a finite score, or the best of them is absurd.

        """
        watched = "dev_nll" if self.member.steps is None else "train_loss"
        best = self.records[self.best - 1][watched] if self.best else float("inf")
        if not best <= DIVERGED:
            lr = self.member.run.variant.training.lr
            last = f"step {self.records[-1]['step']:.0f}"
            raise RunFailure(
                f"{self.member.run.path}: diverged: up to {last} no score on dev is finite and sane\n"
                f"lower train.lr, which is {lr:g}"
            )
        return TrainedMember(self.member.run, self.weights, self.records, self.best)

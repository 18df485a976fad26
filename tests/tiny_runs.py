"""Small corpora and runs on which training is tested, and what is asked of what was trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from amber.config import Training
from amber.config_file import load
from amber.corpus import Modality
from amber.train.batches import PooledSplit
from amber.train.candidates import Candidate
from amber.train.fit import fit
from amber.train.group_heads import predict
from amber.train.least_squares import Designs
from amber.train.matrix import Run, Variant, variants
from amber.train.member import Member, TrainedMember
from amber.train.streams import ORDER, generator
from amber.train.targets import MemberVotes

CLASSES = 3
LAYERS = (("speech", "last"), ("text", "last"))
PERCEPTRON = Candidate(LAYERS, hidden=16, dropout=0.5, weight_decay=0.01)
QUIET = replace(PERCEPTRON, dropout=0.0)
LINEAR = Candidate(LAYERS, hidden=0, dropout=0.0, weight_decay=0.05)
MIXTURE = replace(LINEAR, mixture=True)
OF_PERCEPTRONS = replace(PERCEPTRON, mixture=True)
ALONE = replace(LINEAR, reads="speech")
KINDS = {
    "perceptron": PERCEPTRON,
    "linear": LINEAR,
    "mixture": MIXTURE,
    "mixture of perceptrons": OF_PERCEPTRONS,
    "one modality": ALONE,
}
every_kind = pytest.mark.parametrize("candidate", KINDS.values(), ids=KINDS)
DIMS: dict[Modality, int] = {"speech": 6, "text": 5}


def data(n: int = 150, seed: int = 0) -> PooledSplit:
    rng = np.random.default_rng(seed)
    y = rng.dirichlet(np.ones(CLASSES) * 0.4, size=n)
    maps = np.random.default_rng(99)
    inputs = {m: y @ maps.normal(size=(CLASSES, d)) + rng.normal(size=(n, d)) for m, d in (("speech", 6), ("text", 5))}
    tensors = {m: torch.from_numpy(x).float() for m, x in inputs.items()}
    return PooledSplit(tensors, torch.arange(n), torch.from_numpy(4 * y).float())  # type: ignore[arg-type]


TRAIN, DEV = data(), data(60, 1)
LOOKS = 12


def run(seed: int, variant: str = "amber2", **training: object) -> Run:
    """Return a run that looks at dev every five steps, twelve times at most, and is patient for three looks."""
    quick = {"steps": 60, "every": 5, "patience": 3, "batch_size": 32, "lr": 0.03, "warmup": 5, "averaging": 2.0}
    base = next(v for v in variants(load(None, [f"train.variants=[{variant}]"])))
    made = Training(**{**quick, **training})  # type: ignore[arg-type]
    return Run(Variant(base.name, base.objective, made, base.model), fold=1, seed=seed)


def members(*runs: Run, candidate: Candidate = PERCEPTRON) -> list[Member]:
    return [Member(one, candidate) for one in runs]


def fitted(
    *group: Run | Member,
    train: PooledSplit = TRAIN,
    dev: PooledSplit = DEV,
    prior: MemberVotes | None = None,
    votes: tuple[MemberVotes, MemberVotes] | None = None,
    designs: Designs | None = None,
) -> list[TrainedMember]:
    made = [one if isinstance(one, Member) else Member(one, PERCEPTRON) for one in group]
    return fit(made, train, dev, lambda: None, prior=prior, votes=votes, designs=designs)


def predicted(one: Run | Member, of: TrainedMember, part: PooledSplit = DEV, head: str = "fusion") -> Tensor:
    member = one if isinstance(one, Member) else Member(one, PERCEPTRON)
    return predict([member], [of], part)[head][0].exp()


def scores(of: TrainedMember, name: str) -> list[float]:
    return [record[name] for record in of.records]


def assert_same(one: TrainedMember, other: TrainedMember) -> None:
    """Two runs that differ by the order of additions alone."""
    assert one.best == other.best
    assert scores(one, "dev_nll") == pytest.approx(scores(other, "dev_nll"), abs=1e-5)
    for name, value in one.state.items():
        torch.testing.assert_close(value, other.state[name], atol=1e-4, rtol=1e-4)


def batches(part: PooledSplit, size: int, seed: int) -> Iterator[Tensor]:
    """Every utterance once in a random order, then again: what is left of an order begins the next batch."""
    order, left = generator(seed, ORDER), torch.empty(0, dtype=torch.int64)
    while True:
        while len(left) >= size:
            yield left[:size]
            left = left[size:]
        left = torch.cat([left, torch.randperm(len(part), generator=order)])


def changed(of: Run, **objective: object) -> Run:
    variant = of.variant
    return Run(Variant("changed", variant.objective.model_copy(update=objective), variant.training), of.fold, of.seed)

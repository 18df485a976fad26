"""The figures of every variant on one set of utterances: mean and deviation over seeds, interval over speakers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .aggregate import sums
from .calibration import RANKED
from .gather import Experiment
from .significance import interval

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Figure = dict[str, Any]  # mean, std, ci


@dataclass(frozen=True)
class Scope:
    """Some of the test utterances: their rows, their speakers renumbered, and the bootstrap's weights (B, G) for them.

    Resamples in which none of these speakers is drawn say nothing about the scope and are left out.
    """

    name: str
    level: str
    rows: Rows
    group: Rows
    weights: Floats

    @classmethod
    def of(cls, name: str, level: str, rows: Rows, clusters: Rows, weights: Floats) -> Scope:
        """Choose rows; `clusters` (N,) and `weights` (B, all speakers) are those of the whole test set."""
        there, group = np.unique(clusters[rows], return_inverse=True)
        drawn = weights[:, there]
        return cls(name, level, rows, group.astype(np.int64), drawn[drawn.sum(axis=1) > 0])

    @property
    def speakers(self) -> int:
        """Return the number of speakers."""
        return int(self.weights.shape[1])


@dataclass(frozen=True)
class Judged:
    """A variant's figures on a scope: by metric the value of each seed, (S,), and of each draw, (B,), over seeds."""

    seeds: dict[str, Floats]
    draws: dict[str, Floats]
    speakers: int

    def figure(self, metric: str) -> Figure:
        """Return the metric's mean and deviation over seeds and its interval over speakers."""
        figure = over_seeds(self.seeds[metric])
        if metric in self.draws:
            figure["ci"] = interval(self.draws[metric], self.speakers)
        return figure

    def figures(self) -> dict[str, Figure]:
        """Return every metric's figure."""
        return {metric: self.figure(metric) for metric in self.seeds}


def judge(predictions: Floats, y: Floats, votes: Floats, scope: Scope) -> Judged:
    """Judge a variant on a scope.

    Parameters
    ----------
    predictions
        (S, N, C), a layer a seed.
    y, votes
        Rater distributions (N, C) and numbers of votes (N,).
    scope
        Which utterances.

    """
    y, votes = y[scope.rows], votes[scope.rows]
    by_seed: list[dict[str, float]] = []
    draws: dict[str, Floats] = {}
    for p in predictions[:, scope.rows]:
        of = sums(y, p, votes, scope.group, scope.speakers)
        # Ranks are not sums: these figures have a deviation over seeds and no interval.
        ranked = {name: metric(y, p) for name, metric in RANKED.items()}
        by_seed.append(of.plain() | {name: value for name, value in ranked.items() if value is not None})
        for name, drawn in of.figures(scope.weights).items():
            draws[name] = draws.get(name, 0.0) + drawn / len(predictions)
    names = [name for name in by_seed[0] if all(name in values for values in by_seed)]
    return Judged({name: np.array([v[name] for v in by_seed]) for name in names}, draws, scope.speakers)


def against_truth(experiment: Experiment, variant: str) -> dict[str, Figure]:
    """Return a variant's figures with the generating distribution in the place of the raters'."""
    assert experiment.truth is not None  # noqa: S101 (the caller checked)
    one = np.zeros(len(experiment.ids), dtype=np.int64)
    plain = [sums(experiment.truth, p, experiment.votes, one, 1).plain() for p in experiment.students(variant)]
    return {name: over_seeds(np.array([figures[name] for figures in plain])) for name in plain[0]}


def over_seeds(values: Floats) -> Figure:
    """Return mean and sample deviation over seeds (0 for one seed)."""
    return {"mean": float(values.mean()), "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0}

"""The figures of one set of predictions on one set of utterances: mean, standard deviation over seeds, interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import aggregate
from .calibration import RANKED
from .gather import Experiment
from .uncertainty import Error, of_seeds, of_speakers

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Figure = dict[str, Any]  # mean, std, ci

# The metrics whose differences have an effect size, and what they sum over utterances.
EFFECTS = {"bc": "bc", "r2": "r2", "nll_per_vote": "cross_entropy", "accuracy": "hits"}


@dataclass(frozen=True)
class Scope:
    """Some of the test utterances: their rows (n,), and their speakers numbered from 0, (n,)."""

    name: str
    level: str
    rows: Rows
    group: Rows

    @classmethod
    def of(cls, name: str, level: str, rows: Rows, clusters: Rows) -> Scope:
        """Choose rows; `clusters` (N,) are the speakers of the whole test set."""
        return cls(name, level, rows, np.unique(clusters[rows], return_inverse=True)[1].astype(np.int64))

    def only(self, chosen: NDArray[np.bool_]) -> Scope:
        """Return the scope of those of its utterances, (n,), that are chosen."""
        group = np.unique(self.group[chosen], return_inverse=True)[1].astype(np.int64)
        return Scope(self.name, self.level, self.rows[chosen], group)

    @property
    def speakers(self) -> int:
        """Return the number of speakers."""
        return int(self.group.max(initial=-1)) + 1


@dataclass(frozen=True)
class Judged:
    """Figures on a scope: by metric the value of each seed, (S,), and without each speaker, over seeds, (G,).

    `seeds` also holds rank metrics, which `left_out` does not: they are no function of sums over utterances.
    `utterances` are the terms of `EFFECTS`, (n,), averaged over seeds.
    """

    seeds: dict[str, Floats]
    left_out: dict[str, Floats]
    utterances: dict[str, Floats]

    def figure(self, metric: str) -> Figure:
        """Return the metric's mean, standard deviation over seeds (None for one) and 95 % interval."""
        values = self.seeds[metric]
        figure = over_seeds(values)
        if metric in self.left_out:
            variances = [of_speakers(self.left_out[metric])]
            variances += [of_seeds(values)] if len(values) > 1 else []
            figure["ci"] = Error(tuple(variances)).interval(figure["mean"])
        return figure

    def figures(self) -> dict[str, Figure]:
        """Return every metric's figure."""
        return {metric: self.figure(metric) for metric in self.seeds}


def judge(predictions: Floats, y: Floats, votes: Floats, scope: Scope) -> Judged:
    """Judge a variant on a scope.

    Parameters
    ----------
    predictions
        (S, N, C), one row per seed.
    y, votes
        Rater distributions (N, C) and numbers of votes (N,).
    scope
        Which utterances.

    """
    y, votes = y[scope.rows], votes[scope.rows]
    by_seed: list[dict[str, float]] = []
    left_out: dict[str, Floats] = {}
    utterances: dict[str, Floats] = {}
    for p in predictions[:, scope.rows]:
        terms = aggregate.terms(y, p, votes)
        by_group = aggregate.sums(terms, y, p, scope.group, scope.speakers)
        ranked = {name: metric(y, p) for name, metric in RANKED.items()}
        by_seed.append(_plain(by_group) | {name: value for name, value in ranked.items() if value is not None})
        _add(left_out, aggregate.figures(aggregate.left_out(by_group)), len(predictions))
        hits = (p.argmax(axis=1) == y.argmax(axis=1)).astype(np.float64)
        found = terms | {"hits": hits}
        _add(utterances, {m: found[term] for m, term in EFFECTS.items() if term in found}, len(predictions))
    names = [name for name in by_seed[0] if all(name in values for values in by_seed)]
    return Judged({name: np.array([values[name] for values in by_seed]) for name in names}, left_out, utterances)


def against_truth(experiment: Experiment, predictions: Floats) -> dict[str, Figure]:
    """Return the figures of predictions (S, N, C) with the generating distribution in the place of the raters'."""
    assert experiment.truth is not None  # noqa: S101 (the caller checked)
    one = np.zeros(len(experiment.ids), dtype=np.int64)
    y, votes = experiment.truth, experiment.votes
    plain = [_plain(aggregate.sums(aggregate.terms(y, p, votes), y, p, one, 1)) for p in predictions]
    return {name: over_seeds(np.array([figures[name] for figures in plain])) for name in plain[0]}


def over_seeds(values: Floats) -> Figure:
    """Return the mean and the sample standard deviation over seeds, None for one seed."""
    return {"mean": float(values.mean()), "std": float(values.std(ddof=1)) if len(values) > 1 else None}


def _plain(by_group: aggregate.Sums) -> dict[str, float]:
    """Return every metric that is defined, over all groups."""
    found = aggregate.figures(aggregate.whole(by_group))
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def _add(to: dict[str, Floats], values: dict[str, Floats], count: int) -> None:
    """Add one of `count` equal shares of a mean."""
    for name, value in values.items():
        to[name] = to.get(name, 0.0) + value / count

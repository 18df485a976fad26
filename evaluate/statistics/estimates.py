"""Estimates of every metric from a set of predictions, on subsets of the utterances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amber.arrays import Floats, Integers, Mask
from amber.labels import distribution

from .. import metrics
from ..metrics import Ranked, Terms
from ..results import Estimate
from . import sums
from .standard_error import StandardError, of_seeds, of_speakers


@dataclass(frozen=True)
class Subset:
    """Some of the test utterances: their rows (n,), and their speakers numbered from 0, (n,)."""

    stratum: str
    level: str
    rows: Integers
    group: Integers

    @classmethod
    def of(cls, stratum: str, level: str, rows: Integers, clusters: Integers) -> Subset:
        """Choose rows; `clusters` (N,) are the speakers of the whole test set."""
        return cls(stratum, level, rows, _numbered(clusters[rows]))

    @classmethod
    def everything(cls, clusters: Integers) -> Subset:
        """Return all utterances, whose speakers are `clusters` (N,)."""
        return cls.of("all", "all", np.arange(len(clusters)), clusters)

    def only(self, chosen: Mask) -> Subset:
        """Return the subset of those of its utterances, (n,), that are chosen."""
        return Subset(self.stratum, self.level, self.rows[chosen], _numbered(self.group[chosen]))

    @property
    def speakers(self) -> int:
        """Return the number of speakers."""
        return int(self.group.max(initial=-1)) + 1


@dataclass(frozen=True)
class Estimates:
    """Every metric on a subset: the value of each seed, (S,), and without each speaker, averaged over seeds, (G,).

    `seeds` also holds rank metrics, which `left_out` does not: they are no functions of sums over utterances.
    `utterances` holds, for metrics whose differences have an effect size, the utterances' terms (n,) averaged over
    seeds.
    """

    seeds: dict[str, Floats]
    left_out: dict[str, Floats]
    utterances: dict[str, Floats]

    def of(self, key: str) -> Estimate:
        """Return a metric's mean, standard deviation over seeds and 95 % interval."""
        values = self.seeds[key]
        found = over_seeds(values)
        if key not in self.left_out:
            return found
        variances = [of_speakers(self.left_out[key])]
        variances += [of_seeds(values)] if len(values) > 1 else []
        ci = StandardError(tuple(variances)).interval(found.mean)
        return Estimate(mean=found.mean, std=found.std, ci=ci)

    def all(self) -> dict[str, Estimate]:
        """Return every metric's estimate."""
        return {key: self.of(key) for key in self.seeds}


def estimate(predictions: Floats, counts: Floats, subsets: Sequence[Subset]) -> list[Estimates]:
    """Estimate every metric on each subset.

    Parameters
    ----------
    predictions
        (S, N, C), one array per seed.
    counts
        The raters' counts, (N, C).
    subsets
        Which utterances; none is empty.

    """
    by_seed: list[list[Estimates]] = []
    y = distribution(counts)
    for p in predictions:
        terms = sums.terms(p, counts)
        by_seed.append([_of_one_seed(terms, y, p, subset) for subset in subsets])
    return [_joined(of_subset) for of_subset in zip(*by_seed, strict=True)]


def over_seeds(values: Floats) -> Estimate:
    """Return the mean and the sample standard deviation over seeds, None for one seed."""
    return Estimate(mean=float(values.mean()), std=float(values.std(ddof=1)) if len(values) > 1 else None)


def _of_one_seed(terms: Terms, y: Floats, p: Floats, subset: Subset) -> Estimates:
    """Return the estimates of predictions p (N, C) on a subset, as of one seed."""
    by_speaker = sums.by_group(terms, subset.rows, subset.group, subset.speakers)
    values = {
        key: float(value)
        for key, value in sums.values(sums.total(by_speaker), y.shape[1]).items()
        if np.isfinite(value)
    }
    for metric in metrics.defined(y.shape[1]):
        if isinstance(metric, Ranked):
            value = metric.function(y[subset.rows], p[subset.rows])
            values |= {metric.key: value} if value is not None else {}
    names = {m.key: m.effect or m.key for m in sums.summable(y.shape[1]) if m.compared}
    utterances = {key: terms[name] for key, name in names.items() if name in terms}
    return Estimates(
        {key: np.array([value]) for key, value in values.items()},
        sums.values(sums.leave_one_out(by_speaker), y.shape[1]),
        {key: value[subset.rows] for key, value in utterances.items() if isinstance(value, np.ndarray)},
    )


def _joined(parts: Sequence[Estimates]) -> Estimates:
    """Join the estimates of single seeds; metrics that are not defined for all of them are left out."""
    first = parts[0]
    names = [key for key in first.seeds if all(key in part.seeds for part in parts)]
    return Estimates(
        {key: np.concatenate([part.seeds[key] for part in parts]) for key in names},
        {key: np.mean([part.left_out[key] for part in parts], axis=0) for key in first.left_out},
        {key: np.mean([part.utterances[key] for part in parts], axis=0) for key in first.utterances},
    )


def _numbered(values: Integers) -> Integers:
    """Number values anew, from 0 without gaps, in their order."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)

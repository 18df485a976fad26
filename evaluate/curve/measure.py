"""The points of a curve, measured on the whole votes of the test part, and the differences between them.

A point is trained on D draws of votes with S seeds each. Three things vary, and their variances add up: speakers
(jackknife), draws (of their means over seeds) and seeds (of their means over draws), each with its own degrees of
freedom (`statistics/standard_error.py`). Two points have the same draws and seeds, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from amber.arrays import Floats
from amber.console import Advance
from amber.curve_point import Point, parse

from ..experiment import Experiment
from ..statistics.estimates import Subset, estimate
from ..statistics.standard_error import LEVEL, StandardError, holm, of_seeds, of_speakers

METRIC = "nll_per_vote"  # a proper score of votes: what is compared
SHOWN = (METRIC, "bc", "accuracy")


@dataclass(frozen=True)
class Measured:
    """A point of a variant: how many utterances and votes it learned from, and every shown metric.

    `values` (D, S) by draw and seed, `left_out` (G,) without each speaker, averaged over both, by metric.
    """

    variant: str
    point: Point
    utterances: float  # of training and dev, averaged over folds
    votes: float  # on one of them
    values: Mapping[str, Floats]
    left_out: Mapping[str, Floats]

    def mean(self, metric: str) -> float:
        """Return a metric's mean over draws and seeds."""
        return float(self.values[metric].mean())

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Return the 95 % interval of a metric, over speakers, draws and seeds."""
        return _error(self.values[metric], self.left_out[metric]).interval(self.mean(metric))


@dataclass(frozen=True)
class Difference:
    """How much a point's NLL is below (negative) or above that of another of the same variant.

    `kind` is `raters`: more votes on the same utterances; or `cost`: more votes on fewer utterances, as many in all.
    """

    variant: str
    kind: str
    point: Point
    reference: Point
    difference: float
    ci: tuple[float, float] | None
    p: float
    p_holm: float = 1.0
    repeated: bool = True  # more than one draw, or seed

    @property
    def supported(self) -> bool:
        """Return whether it is no chance: p < 0.05 after Holm's correction over all differences of the curve."""
        return self.repeated and self.p_holm < LEVEL


def measure(experiment: Experiment, advance: Advance) -> list[Measured]:
    """Measure every point of an experiment whose variants are points; those of one variant in their order."""
    everything = Subset.everything(experiment.clusters)
    found: dict[tuple[str, Point], dict[int, str]] = {}
    for name in experiment.variants:
        parsed = parse(name)
        if parsed:
            variant, point, draw = parsed
            found.setdefault((variant, point), {})[draw] = name
    measured = []
    for (variant, point), names in sorted(found.items()):
        values: dict[str, list[Floats]] = {metric: [] for metric in SHOWN}
        left_out: dict[str, list[Floats]] = {metric: [] for metric in SHOWN}
        for _, name in sorted(names.items()):
            (estimates,) = estimate(experiment.students(name), experiment.counts, [everything])
            for metric in SHOWN:
                values[metric].append(estimates.seeds[metric])
                left_out[metric].append(estimates.left_out[metric])
            advance(1, variant)
        utterances, votes = _seen(experiment, set(names.values()))
        means = {metric: np.mean(of_draws, axis=0) for metric, of_draws in left_out.items()}
        stacked = {metric: np.stack(of_draws) for metric, of_draws in values.items()}
        measured.append(Measured(variant, point, utterances, votes, stacked, means))
    return measured


def differences(measured: Sequence[Measured]) -> list[Difference]:
    """Compare points of the same utterances with each other, and those of equal cost with all utterances once each."""
    found = []
    for variant in dict.fromkeys(one.variant for one in measured):
        own = {one.point: one for one in measured if one.variant == variant}
        full = [point for point in sorted(own) if point.share == 1]
        found += [
            _difference("raters", own[more], own[fewer])
            for place, fewer in enumerate(full)
            for more in full[place + 1 :]
        ]
        found += [
            _difference("cost", own[point], own[Point(point.cost, point.cost)])
            for point in sorted(own, key=lambda point: (point.cost, point.votes))
            if point.share < 1 and Point(point.cost, point.cost) in own
        ]
    corrected = holm(np.array([one.p for one in found]))
    return [replace(one, p_holm=float(p)) for one, p in zip(found, corrected, strict=True)]


def _difference(kind: str, one: Measured, reference: Measured) -> Difference:
    values = one.values[METRIC] - reference.values[METRIC]
    error = _error(values, one.left_out[METRIC] - reference.left_out[METRIC])
    mean = float(values.mean())
    repeated = values.size > 1
    return Difference(
        one.variant, kind, one.point, reference.point, mean, error.interval(mean), error.p(mean), repeated=repeated
    )


def _error(values: Floats, left_out: Floats) -> StandardError:
    """Return the standard error of a mean of values (D, S), given its values without each speaker, (G,)."""
    over = [of_seeds(values.mean(axis=axis)) for axis in (1, 0) if values.shape[1 - axis] > 1]
    return StandardError((of_speakers(left_out), *over))


def _seen(experiment: Experiment, names: set[str]) -> tuple[float, float]:
    """Return how many utterances runs learned from, averaged over them, and how many votes each had."""
    seen = [run.config["seen"] for run in experiment.runs if run.variant in names]
    utterances, votes = (sum(part[what] for run in seen for part in run.values()) for what in ("utterances", "votes"))
    return utterances / len(seen), votes / utterances

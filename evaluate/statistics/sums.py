"""From utterances to metrics: sums by group (a speaker) that add up, and are divided once.

Every `Summable` metric is a function of sums over utterances. So a speaker is left out by subtraction.
"""

from __future__ import annotations

import numpy as np

from amber.arrays import Floats, Integers
from amber.labels import distribution

from .. import metrics
from ..metrics import Cells, Summable, Sums, Terms


def summable(classes: int) -> list[Summable]:
    """Return the metrics that are functions of sums, of those that are defined for that many classes."""
    return [metric for metric in metrics.defined(classes) if isinstance(metric, Summable)]


def terms(p: Floats, counts: Floats) -> dict[str, Floats | Cells]:
    """Return what metrics are sums of, by utterance, for predictions and counts (N, C)."""
    y = distribution(counts)
    found: dict[str, Floats | Cells] = {"utterances": np.ones(len(y))}
    for function in dict.fromkeys(metric.terms for metric in summable(y.shape[1])):
        found |= function(y, p, counts)
    return found


def by_group(of: Terms, rows: Integers, group: Integers, size: int) -> Sums:
    """Add up the terms of some utterances by group.

    Parameters
    ----------
    of
        Terms of all N utterances.
    rows, group
        Which utterances, (n,), and the group of each, (n,), from 0 to `size` - 1.
    size
        The number of groups G.

    Returns
    -------
    Sums
        By name, (G, ...).

    """
    return {
        name: _cells(value, rows, group, size) if isinstance(value, Cells) else _columns(value[rows], group, size)
        for name, value in of.items()
    }


def total(sums: Sums) -> Sums:
    """Add up all groups: (G, ...) -> (...)."""
    return {name: value.sum(axis=0) for name, value in sums.items()}


def leave_one_out(sums: Sums) -> Sums:
    """Add up all groups but one, for each of them: (G, ...) -> (G, ...), (0, ...) where there is one group only."""
    return {name: value.sum(axis=0) - value[: len(value) if len(value) > 1 else 0] for name, value in sums.items()}


def values(sums: Sums, classes: int) -> dict[str, Floats]:
    """Return every metric of sums (...) for that many classes, NaN where it has no value."""
    return {metric.key: np.asarray(metric.value(sums)) for metric in summable(classes)}


def _columns(value: Floats, group: Integers, size: int) -> Floats:
    """Add up rows (n,) or (n, C) by group, (G,) or (G, C)."""
    if value.ndim == 1:
        return np.bincount(group, value, minlength=size).astype(np.float64)
    return np.stack([np.bincount(group, column, minlength=size) for column in value.T], axis=1)


def _cells(value: Cells, rows: Integers, group: Integers, size: int) -> Floats:
    """Add up cells of a table by group, (G, *shape)."""
    cells = int(np.prod(value.shape))
    places = group[:, None] * cells + value.places[rows]
    found = np.bincount(places.ravel(), value.weights[rows].ravel(), minlength=size * cells)
    return found.astype(np.float64).reshape(size, *value.shape)

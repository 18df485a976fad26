"""Class metrics from confusion matrices, which add up over speakers and folds: (..., C, C) in, (...) out.

Rows are the raters' plurality class, columns the predicted one; a tie goes to the class that comes first in the label
space. A class that no rater plurality names does not count in the averages.
"""

from __future__ import annotations

import numpy as np

from amber.arrays import Floats, Integers, Mask


def confusion(y: Floats, p: Floats) -> Floats:
    """Count (plurality class, predicted class) over utterances: (N, C), (N, C) -> (C, C)."""
    classes = y.shape[1]
    return np.bincount(confusion_cell(y, p), minlength=classes**2).astype(np.float64).reshape(classes, classes)


def confusion_cell(y: Floats, p: Floats) -> Integers:
    """Return the number of each utterance's cell in the confusion matrix, (N,): row by row, from 0 to C² - 1."""
    return np.asarray(y.argmax(axis=1) * y.shape[1] + p.argmax(axis=1))


def tied(y: Floats) -> Mask:
    """Return which utterances have more than one class with the most votes, (N,)."""
    top = np.sort(y, axis=1)
    return np.asarray(top[:, -1] - top[:, -2] < 1e-9)


def accuracy(table: Floats) -> Floats:
    """Share of utterances on the diagonal."""
    return _ratio(np.trace(table, axis1=-2, axis2=-1), table.sum(axis=(-2, -1)))


def uar(table: Floats) -> Floats:
    """Unweighted average recall: mean over the classes that occur."""
    return _mean_of_occurring(_recall(table), table)


def f1_macro(table: Floats) -> Floats:
    """Mean F1 over the classes that occur."""
    return _mean_of_occurring(_f1(table), table)


def f1_weighted(table: Floats) -> Floats:
    """Mean F1 weighted by how often a class occurs."""
    support = table.sum(axis=-1)
    return _ratio((_f1(table) * support).sum(axis=-1), support.sum(axis=-1))


def _recall(table: Floats) -> Floats:
    return _ratio(np.diagonal(table, axis1=-2, axis2=-1), table.sum(axis=-1))


def _f1(table: Floats) -> Floats:
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    return _ratio(2 * hits, table.sum(axis=-1) + table.sum(axis=-2))


def _mean_of_occurring(values: Floats, table: Floats) -> Floats:
    occurs = table.sum(axis=-1) > 0
    return _ratio((values * occurs).sum(axis=-1), occurs.sum(axis=-1))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.asarray(np.divide(above, below, out=np.zeros_like(np.asarray(above, dtype=np.float64)), where=below > 0))

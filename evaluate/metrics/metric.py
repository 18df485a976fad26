"""What a metric is: its function, and everything that the rest of the evaluation needs to know about it.

The intervals leave one speaker out at a time, so metrics are computed from sums over utterances that can be added up
by speaker. The kind of a metric says how: `Mean`, `Confusion` and `OfSums` are functions of such sums. `Ranked` is a
function of all utterances at once; it has no interval.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from amber.arrays import Floats, Integers

from .classification import confusion_cell


@dataclass(frozen=True)
class Cells:
    """Terms that go into single cells of a table: utterance i adds `weights[i, k]` to the cell `places[i, k]`.

    Both are (N, K). `shape` is that of the table, whose cells are numbered row by row.
    """

    places: Integers
    weights: Floats
    shape: tuple[int, ...]


Terms = Mapping[str, Floats | Cells]  # by name, what each utterance adds to a sum: (N,) or (N, C), or cells of a table
Sums = Mapping[str, Floats]  # by name, over all utterances (...), or by group (G, ...)
TermFunction = Callable[[Floats, Floats, Floats], Terms]  # of y, p and counts, (N, C) each


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of predictions p against rater distributions y.

    Parameters
    ----------
    key, title, unit
        Its name in `metrics.json`, its name in tables, and its unit, if it has one.
    words, meaning
        Its name in words, and what it says in a line: the report shows both wherever the title stands.
    higher_is_better
        The direction.
    proper
        Whether it is a proper score when the target is a few votes: the true distribution scores best on average.
    headline, compared
        Whether tables show it; whether variants are compared in it.
    truth_is_best
        Whether the true distribution scores best although the metric is no proper score of single utterances.
    fewest_classes
        With fewer classes it is not defined.

    """

    key: str
    title: str
    unit: str = ""
    words: str = ""
    meaning: str = ""
    higher_is_better: bool
    proper: bool = False
    headline: bool = False
    compared: bool = False
    truth_is_best: bool = False
    fewest_classes: int = 2


@dataclass(frozen=True, kw_only=True)
class Summable(Metric, ABC):
    """A metric that is a function of sums over utterances. `effect` names the term whose differences have an effect."""

    effect: str | None = None

    @property
    @abstractmethod
    def terms(self) -> TermFunction:
        """The function that returns what is summed."""

    @abstractmethod
    def value(self, sums: Sums) -> Floats:
        """Return the metric of sums (...), NaN where it is not defined."""


@dataclass(frozen=True, kw_only=True)
class Mean(Summable):
    """A mean over utterances: `function` takes y and p, (N, C) each, and returns (N,).

    `of_halves` says whether it is given for raters against raters.
    """

    function: Callable[[Floats, Floats], Floats]
    of_halves: bool = True

    @property
    def terms(self) -> TermFunction:
        """The function that returns what is summed."""
        return lambda y, p, counts: {self.key: self.function(y, p)}

    def value(self, sums: Sums) -> Floats:
        """Return the mean."""
        return np.asarray(sums[self.key] / sums["utterances"])


@dataclass(frozen=True, kw_only=True)
class Confusion(Summable):
    """A function of the confusion matrix, (..., C, C) -> (...): rows are the raters' classes, columns the predicted."""

    function: Callable[[Floats], Floats]

    @property
    def terms(self) -> TermFunction:
        """The function that returns what is summed."""
        return _confusion

    def value(self, sums: Sums) -> Floats:
        """Return the metric of the confusion matrix."""
        return self.function(sums["confusion"])


@dataclass(frozen=True, kw_only=True)
class OfSums(Summable):
    """Any other function of sums, such as a ratio: `summed` returns the terms, `function` takes their sums."""

    summed: TermFunction
    function: Callable[[Sums], Floats]

    @property
    def terms(self) -> TermFunction:
        """The function that returns what is summed."""
        return self.summed

    def value(self, sums: Sums) -> Floats:
        """Return the metric of the sums."""
        return self.function(sums)


@dataclass(frozen=True, kw_only=True)
class Ranked(Metric):
    """A function of all utterances at once, y and p (N, C) -> a number; None where it is not defined."""

    function: Callable[[Floats, Floats], float | None]


def _confusion(y: Floats, p: Floats, counts: Floats) -> Terms:
    cell, classes = confusion_cell(y, p)[:, None], y.shape[1]
    hits = np.asarray(y.argmax(axis=1) == p.argmax(axis=1), dtype=np.float64)
    return {"confusion": Cells(cell, np.ones(cell.shape), (classes, classes)), "hits": hits}

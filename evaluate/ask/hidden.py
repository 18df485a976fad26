"""Hidden votes: a corpus with many raters, of whose votes a few are shown, others can be asked for, the rest score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amber.arrays import Floats, Integers, Mask
from amber.labels import distribution


@dataclass(frozen=True)
class Hidden:
    """One division of the votes on N utterances.

    `shown` (N, C) are the counts of shown votes; `answers` (N, K + 1, C) the counts of the first 0, 1, … K votes that
    can be asked for, of which utterance i has `available[i]`; `target` (N, C) is what predictions are scored against:
    the distribution of the votes that are neither shown nor can be asked for, or the true distribution.
    """

    shown: Floats
    answers: Floats
    available: Integers
    target: Floats

    def after(self, asked: Integers) -> Floats:
        """Return the counts (N, C) once as many votes were asked for, (N,)."""
        return np.asarray(self.shown + self.answers[np.arange(len(self.shown)), asked])


def eligible(counts: Floats, shown: int, truth: bool) -> Mask:
    """Return which utterances (N,) have whole votes to show, to ask for and, unless the truth does, to score."""
    whole = np.isclose(counts, np.rint(counts)).all(axis=1)
    return np.asarray(whole & (counts.sum(axis=1) >= shown + (1 if truth else 2)))


def hide(counts: Floats, shown: tuple[int, int], truth: Floats | None, rng: np.random.Generator) -> Hidden:
    """Hide votes at random.

    Parameters
    ----------
    counts
        Whole counts (N, C), enough of them (`eligible`).
    shown
        The least and the greatest number of votes that are shown, drawn for each utterance.
    truth
        The true distributions (N, C): all hidden votes can then be asked for. None: the greater half of them scores.
    rng
        The random generator.

    """
    n, classes = counts.shape
    total = np.rint(counts.sum(axis=1)).astype(np.int64)
    votes = np.full((n, total.max()), classes)  # the class of each vote; past the last vote, no class
    inside = np.arange(votes.shape[1]) < total[:, None]
    votes[inside] = np.repeat(np.tile(np.arange(classes), n), np.rint(counts).astype(np.int64).ravel())
    order = np.argsort(np.where(inside, rng.random(votes.shape), 2.0), axis=1)
    votes = np.take_along_axis(votes, order, axis=1)
    given = np.eye(classes + 1)[votes][:, :, :classes]  # (N, most votes, C)
    spare = total - (1 if truth is not None else 2)
    number = np.minimum(rng.integers(shown[0], shown[1] + 1, n), spare)
    available = (total - number) // (1 if truth is not None else 2)
    sums = np.concatenate([np.zeros((n, 1, classes)), np.cumsum(given, axis=1)], axis=1)
    rows = np.arange(n)
    steps = np.minimum(number[:, None] + np.arange(available.max() + 1), (number + available)[:, None])
    seen = sums[rows, number]
    answers = sums[rows[:, None], steps] - seen[:, None]
    target = truth if truth is not None else distribution(counts - seen - answers[rows, available])
    return Hidden(seen, answers, available, target)

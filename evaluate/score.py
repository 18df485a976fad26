"""Every metric of given predictions, for notebooks and for other people's models."""

from __future__ import annotations

from typing import Any

import numpy as np

from amber.errors import UserError

from .statistics.estimates import Subset, estimate


def score(y: Any, p: Any) -> dict[str, float]:
    """Return the metrics of predictions.

    Parameters
    ----------
    y
        Counts of votes (N, C), or vote fractions, which count as one vote per utterance.
    p
        Predicted distributions (N, C).

    Returns
    -------
    dict
        The metrics that are defined for these utterances, by the keys of docs/metrics.md.

    Raises
    ------
    UserError
        If the shapes differ, a row of y has no votes, or a row of p is no distribution.

    Examples
    --------
    >>> import amber
    >>> found = amber.score([[2, 1, 0], [0, 3, 0]], [[0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    >>> round(found["bc"], 3), found["accuracy"]
    (0.922, 1.0)

    """
    counts, predicted = (np.asarray(values, dtype=np.float64) for values in (y, p))
    if counts.ndim != 2 or counts.shape != predicted.shape or not counts.size:
        raise UserError(f"score: y and p must both be (N, C), found {counts.shape} and {predicted.shape}")
    if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts.sum(axis=1) > 0).all()):
        raise UserError("score: y must hold counts or fractions of votes, at least one vote in each row")
    if not ((predicted >= 0).all() and np.allclose(predicted.sum(axis=1), 1, atol=1e-3)):
        raise UserError("score: each row of p must be a distribution: no entry below 0, sum 1")
    everything = Subset.everything(np.arange(len(counts)))
    (found,) = estimate(predicted[None], counts, [everything])
    return {key: float(values[0]) for key, values in found.seeds.items()}

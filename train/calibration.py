"""Temperature scaling (Guo et al., 2017): one number, fitted on dev, that makes predictions sharper or flatter.

Fitted to the likelihood of the dev votes, a proper score; it can't change which class is most likely.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from amber.arrays import Floats

RANGE = (0.05, 20.0)  # of temperatures
_TINY = 1e-30  # floor of a probability whose logarithm is taken


def fit_temperature(counts: Floats, p: Floats, doubt: float = 0.0) -> float:
    """Return the temperature T under which votes `counts` (n, C) are most likely, given predictions p (n, C).

    With `doubt` it is held to 1 by a penalty of doubt / 2 (log T)² times the mean number of votes of an utterance, in
    nats. Without, the negative log-likelihood is convex in 1 / T, so it has one minimum within `RANGE`.
    """
    logits = np.log(np.maximum(p, _TINY))

    def loss(inverse: float) -> float:
        likelihood = float((counts * log_softmax(logits * inverse, axis=1)).sum())
        return doubt / 2 * float(np.log(inverse)) ** 2 / len(counts) - likelihood / float(counts.sum())

    found = minimize_scalar(loss, bounds=(1 / RANGE[1], 1 / RANGE[0]), method="bounded", options={"xatol": 1e-6})
    return float(1 / found.x)


def fit_factor(counts: NDArray[np.floating], scores: NDArray[np.floating]) -> float:
    """Return what to multiply scores (n, C) by, so that their softmax makes the votes `counts` (n, C) most likely."""
    scale = max(float(np.std(scores)), 1e-12)  # the range of `fit_temperature` is that of scores of size 1
    p = softmax(scores.astype(np.float64) / scale, axis=1)
    return 1 / (scale * fit_temperature(counts.astype(np.float64), p))


def scaled(p: Floats, temperature: float) -> Floats:
    """Return predictions (n, C) at another temperature: p ** (1 / temperature), normalised."""
    return np.asarray(softmax(np.log(np.maximum(p, _TINY)) / temperature, axis=1))

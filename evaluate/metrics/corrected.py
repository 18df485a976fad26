"""Scores about the true distribution, with the noise of few votes taken out.

Votes y = n / N of an utterance scatter around its true distribution t. For N >= 2 exchangeable raters the sum over
classes of y (1 - y) / (N - 1) is an unbiased estimate of that scatter, E|y - t|²: the sample variance over N.
Taken from |p - y|² it leaves an unbiased estimate of |p - t|². Both figures are ratios of sums over utterances; those
with fewer than two votes, or with votes that were split among classes, don't enter the sums.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amber.arrays import Floats, Mask


def whole(counts: Floats) -> Mask:
    """Return which utterances' counts (N, C) are whole numbers, (N,): no vote was split or weighted."""
    return np.asarray((np.abs(counts - counts.round()) < 1e-6).all(axis=1) & (counts.sum(axis=1) > 0.5))


def repeated(counts: Floats) -> Mask:
    """Return which utterances have two or more votes, all whole, (N,)."""
    return np.asarray(whole(counts) & (counts.sum(axis=1) > 1.5))


def terms(y: Floats, p: Floats, counts: Floats) -> dict[str, Floats]:
    """Return what the metrics are sums of, by utterance: (N,), and (N, C) for `answers`; 0 where not `repeated`."""
    counted = repeated(counts)
    noise = (y * (1 - y)).sum(axis=1) / np.maximum(counts.sum(axis=1) - 1, 1)
    return {
        "repeated": counted.astype(np.float64),
        "distance": counted * (((p - y) ** 2).sum(axis=1) - noise),
        "noise": counted * noise,
        "square": counted * (y**2).sum(axis=1),
        "answers": counted[:, None] * y,
    }


def brier_corrected(sums: Mapping[str, Floats]) -> Floats:
    """Return the mean squared distance to the truth, estimated without bias, (...); NaN without repeated votes."""
    return _ratio(sums["distance"], sums["repeated"])


def r2_pooled(sums: Mapping[str, Floats]) -> Floats:
    """Return 1 - sum |p - t|² / sum |t - mean t|², (...), both estimated without bias.

    The share of what the true distributions vary between utterances that the predictions explain. NaN where that
    variation can't be told from noise.
    """
    n = np.maximum(sums["repeated"], 1)
    around_mean = sums["square"] - (sums["answers"] ** 2).sum(axis=-1) / n
    spread = around_mean - (1 - 1 / n) * sums["noise"]
    return 1 - _ratio(sums["distance"], np.where(spread > 1e-9 * n, spread, 0.0))


def _ratio(above: Floats, below: Floats) -> Floats:
    above = np.asarray(above, dtype=np.float64)
    return np.asarray(np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0))

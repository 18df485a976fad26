"""Figures as AER-LLM (Hong et al., 2024, arXiv 2409.18339) codes them, where ours are defined otherwise.

Its Bhattacharyya coefficient is ours, `bc`: there is no smoothing in it. Arrays y and p (N, C). Its code rounds the
figures of each utterance to four decimals, which we don't.
"""

from __future__ import annotations

import numpy as np

from amber.arrays import Floats

from .distribution import jsd
from .metric import Cells, Sums, Terms

EPSILON = 1e-10  # added to the product of variances
BINS = 5  # of equal width; a confidence on an edge belongs to the bin below it


def r2(y: Floats, p: Floats) -> Floats:
    """Squared Pearson correlation over the classes, cov² / (var y · var p + 1e-10), with population moments, (N,)."""
    a, b = y - y.mean(axis=1, keepdims=True), p - p.mean(axis=1, keepdims=True)
    covariance, variances = (a * b).mean(axis=1), (a**2).mean(axis=1) * (b**2).mean(axis=1)
    return np.asarray(covariance**2 / (variances + EPSILON))


def js_distance(y: Floats, p: Floats) -> Floats:
    """Root of the Jensen-Shannon divergence in nats, from 0 to sqrt(log 2), (N,) (Endres and Schindelin, 2003)."""
    return np.asarray(np.sqrt(np.maximum(0.0, jsd(y, p)) * np.log(2)))


def gap_terms(y: Floats, p: Floats, counts: Floats) -> Terms:
    """Return what the calibration error is a sum of: confidence less whether the raters' class is met, by bin."""
    confidence = p.max(axis=1)
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gap = confidence - (y.argmax(axis=1) == p.argmax(axis=1))
    return {"gaps_five": Cells(bins[:, None], gap[:, None], (BINS,))}


def ece(sums: Sums) -> Floats:
    """Expected calibration error in five bins against the raters' class (Naeini et al., 2015), from 0 to 1."""
    return np.asarray(np.abs(sums["gaps_five"]).sum(axis=-1) / sums["utterances"])

"""Whether a probability means what it says, and whether a prediction knows how ambiguous an utterance is.

Arrays y (N, C), vote fractions, and p (N, C), predictions. What is a sum over utterances is given as one, so that it
adds up over folds and can be resampled.
"""

from __future__ import annotations

import numpy as np

from amber.arrays import Floats, Integers, Mask

from .distribution import normalised_entropy
from .metric import Cells, Sums, Terms

BINS = 10  # of equal width, over confidences from 0 to 1; a confidence on an edge belongs to the bin above it


def bin_of(confidence: Floats) -> Integers:
    """Return the bin of each confidence, 0 to BINS - 1."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def soft_correctness(y: Floats, p: Floats) -> Floats:
    """Return the share of raters who chose the predicted class (the first of equals), (N,)."""
    return np.take_along_axis(y, p.argmax(axis=1)[:, None], axis=1)[:, 0]


def gaps(y: Floats, p: Floats) -> tuple[Integers, Floats]:
    """Return each utterance's bin and its confidence less its soft correctness, (N, 1 + C) both.

    The first column is about the predicted class, column 1 + c about class c, whose confidence is p_c and whose
    correctness is y_c.
    """
    confidence = np.column_stack([p.max(axis=1), p])
    return bin_of(confidence), confidence - np.column_stack([soft_correctness(y, p), y])


def gap_terms(y: Floats, p: Floats, counts: Floats) -> Terms:
    """Return what calibration errors are sums of: `gaps` by bin, in a table (1 + C, BINS)."""
    bins, gap = gaps(y, p)
    columns = gap.shape[1]
    return {"gaps": Cells(np.arange(columns) * BINS + bins, gap, (columns, BINS))}


def ece_of_sums(sums: Sums) -> Floats:
    """Expected calibration error with soft correctness, from 0 to 1.

    Sum over bins of |mean confidence - mean correctness|, weighted by the bin's share of utterances (Naeini et al.,
    2015; Guo et al., 2017), where the correctness of an utterance is the share of raters who chose the predicted class.
    """
    return np.asarray(_errors(sums)[..., 0])


def ece_classwise_of_sums(sums: Sums) -> Floats:
    """Mean over classes of the calibration error of p_c against the share of raters who chose c (Kull et al., 2019)."""
    return np.asarray(_errors(sums)[..., 1:].mean(axis=-1))


def reliability(y: Floats, p: Floats) -> list[dict[str, float | int]]:
    """Return, for each bin that holds utterances: n, mean confidence, mean soft correctness."""
    confidence, correct = p.max(axis=1), soft_correctness(y, p)
    bins = bin_of(confidence)
    return [
        {
            "n": int((bins == b).sum()),
            "confidence": float(confidence[bins == b].mean()),
            "correctness": float(correct[bins == b].mean()),
        }
        for b in np.unique(bins)
    ]


def entropy_error(y: Floats, p: Floats) -> Floats:
    """Absolute difference of the normalised entropies of y and p, (N,); its mean is `entropy_mae`."""
    return np.abs(normalised_entropy(y) - normalised_entropy(p))


def entropy_spearman(y: Floats, p: Floats) -> float | None:
    """Spearman's rank correlation (1904) of the entropies of y and p; None where either does not vary."""
    a, b = normalised_entropy(y).round(12), normalised_entropy(p).round(12)
    if len(a) < 2 or not np.ptp(a) or not np.ptp(b):
        return None
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])  # without the p-value, whose cost adds up


def no_majority(y: Floats) -> Mask:
    """Return which utterances have no class with more than half of the votes, (N,)."""
    return np.asarray(y.max(axis=1) <= 0.5 + 1e-9)


def auroc_no_majority(y: Floats, p: Floats) -> float | None:
    """Area under the ROC curve of the entropy of p as a detector of utterances without a majority.

    The probability that an utterance without a majority gets a higher predicted entropy than one with, ties counting
    half (Hanley and McNeil, 1982); None where all utterances are of one kind.
    """
    positive = no_majority(y)
    if positive.all() or not positive.any():
        return None
    n, ranks = int(positive.sum()), _ranks(normalised_entropy(p).round(12))
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(y) - n)))


def _ranks(values: Floats) -> Floats:
    """Return the ranks of values (N,), from 1; equal ones share their mean rank.

    As `scipy.stats.rankdata`, whose import alone takes a fifth of an evaluation of the demo.
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[group])


def _errors(sums: Sums) -> Floats:
    """Return the calibration errors of the predicted class and of every class, (..., 1 + C)."""
    return np.asarray(np.abs(sums["gaps"]).sum(axis=-1) / sums["utterances"][..., None])

"""Whether a probability means what it says, and whether a prediction knows how ambiguous an utterance is.

Arrays y (N, C), vote fractions, and p (N, C), predictions. What is a sum over utterances is given as one, so that it
adds up over folds and can be resampled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .distributions import normalised_entropy

Floats = NDArray[np.float64]

BINS = 10  # of equal width, over confidences from 0 to 1; a confidence on an edge belongs to the bin above it


def bin_of(confidence: Floats) -> NDArray[np.int64]:
    """Return the bin of each confidence, 0 to BINS - 1."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def soft_correctness(y: Floats, p: Floats) -> Floats:
    """Return the share of raters who chose the predicted class (the first of equals), (N,)."""
    return np.take_along_axis(y, p.argmax(axis=1)[:, None], axis=1)[:, 0]


def gaps(y: Floats, p: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return each utterance's bin and its confidence less its soft correctness, (N, 1 + C) both.

    The first column is about the predicted class, column 1 + c about class c, whose confidence is p_c and whose
    correctness is y_c.
    """
    confidence = np.column_stack([p.max(axis=1), p])
    return bin_of(confidence), confidence - np.column_stack([soft_correctness(y, p), y])


def ece(y: Floats, p: Floats) -> float:
    """Expected calibration error with soft correctness, from 0 to 1.

    Sum over bins of |mean confidence - mean correctness|, weighted by the bin's share of utterances (Naeini et al.,
    2015; Guo et al., 2017), where the correctness of an utterance is the share of raters who chose the predicted class.
    """
    bins, gap = gaps(y, p)
    return _absolute(bins[:, 0], gap[:, 0])


def ece_classwise(y: Floats, p: Floats) -> float:
    """Mean over classes of the calibration error of p_c against the share of raters who chose c (Kull et al., 2019)."""
    bins, gap = gaps(y, p)
    return float(np.mean([_absolute(bins[:, c], gap[:, c]) for c in range(1, gap.shape[1])]))


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
    a, b = stats.rankdata(normalised_entropy(y).round(12)), stats.rankdata(normalised_entropy(p).round(12))
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and np.ptp(a) and np.ptp(b) else None


def no_majority(y: Floats) -> NDArray[np.bool_]:
    """Return which utterances have no class with more than half of the votes, (N,)."""
    return np.asarray(y.max(axis=1) <= 0.5 + 1e-9)


def auroc_no_majority(y: Floats, p: Floats) -> float | None:
    """Area under the ROC curve of the entropy of p as a detector of utterances without a majority.

    The probability that an utterance without a majority gets a higher predicted entropy than one with, ties counting
    half (Hanley and McNeil, 1982); None where all utterances are of one kind.
    """
    positive = no_majority(y)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return None
    ranks = stats.rankdata(normalised_entropy(p).round(12))
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


RANKED = {"entropy_spearman": entropy_spearman, "auroc_no_majority": auroc_no_majority}


def _absolute(bins: NDArray[np.int64], gap: Floats) -> float:
    return float(np.abs(np.bincount(bins, gap, minlength=BINS)).sum() / len(gap))

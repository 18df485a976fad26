"""How close a predicted distribution is to the raters', per utterance: arrays (N, C) in, (N,) out.

y is the target (vote fractions), p the prediction; rows sum to one. `counts` are the votes, y times
their number. `vote_nll` and `soft_brier` are proper scores of a
distribution when the target is a few votes: their best answer is the distribution that the votes came from, the
truth. So is the mean of `kl`, which differs from them by the entropy of y alone. The others are not: the best answer
to a noisy target is sharper than the truth.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, rel_entr, xlogy

from amber.arrays import Floats

EPSILON = 1e-12  # floor of a predicted probability inside a logarithm
FLAT = 1e-12  # a distribution whose entries vary less than this is uniform


def bc(y: Floats, p: Floats) -> Floats:
    """Bhattacharyya coefficient, sum of sqrt(y p) (Bhattacharyya, 1943). 1 where equal, 0 where disjoint."""
    return np.asarray(np.sqrt(y * p).sum(axis=1))


def r2(y: Floats, p: Floats) -> Floats:
    """Squared Pearson correlation over the C entries of an utterance; 0 where y or p is uniform.

    As the nearest public work codes it (AER-LLM, 2024); blind to the sign of the correlation.
    """
    a, b = y - y.mean(axis=1, keepdims=True), p - p.mean(axis=1, keepdims=True)
    variance = (a**2).sum(axis=1) * (b**2).sum(axis=1)
    flat = ((a**2).mean(axis=1) < FLAT) | ((b**2).mean(axis=1) < FLAT)
    return np.where(flat, 0.0, (a * b).sum(axis=1) ** 2 / np.where(flat, 1.0, variance))


def r2_determination(y: Floats, p: Floats) -> Floats:
    """Coefficient of determination over the C entries of an utterance, 1 - SS_res / SS_tot; 0 where y is uniform."""
    residual = ((y - p) ** 2).sum(axis=1)
    total = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    flat = total < FLAT
    return np.where(flat, 0.0, 1 - residual / np.where(flat, 1.0, total))


def kl(y: Floats, p: Floats) -> Floats:
    """Kullback-Leibler divergence KL(y || p) in bits; p is floored at 1e-12."""
    return np.asarray(rel_entr(y, np.maximum(p, EPSILON)).sum(axis=1) / np.log(2))


def jsd(y: Floats, p: Floats) -> Floats:
    """Jensen-Shannon divergence in bits, from 0 to 1 (Lin, 1991); a divergence, not its root."""
    m = (y + p) / 2
    return np.asarray((rel_entr(y, m) + rel_entr(p, m)).sum(axis=1) / (2 * np.log(2)))


def tvd(y: Floats, p: Floats) -> Floats:
    """Total variation distance, half the sum of |y - p|."""
    return np.asarray(np.abs(y - p).sum(axis=1) / 2)


def hellinger(y: Floats, p: Floats) -> Floats:
    """Hellinger distance, sqrt(1 - BC) (Hellinger, 1909)."""
    return np.asarray(np.sqrt(np.maximum(0.0, 1 - bc(y, p))))


def soft_brier(y: Floats, p: Floats) -> Floats:
    """Expected Brier score of p for one rater drawn from y: sum of p^2 - 2 y p, plus 1 (Brier, 1950). Proper."""
    return np.asarray((p**2 - 2 * y * p).sum(axis=1) + 1)


def cross_entropy(p: Floats, counts: Floats) -> Floats:
    """Sum over an utterance's votes of -log p of the class voted for, in nats; p floored at 1e-12.

    Proper. Over all utterances, divided by the number of all votes, it is `nll_per_vote`. A fractional vote weighs as
    much as it counts.
    """
    return np.asarray(-xlogy(counts, np.maximum(p, EPSILON)).sum(axis=1))


def vote_nll(p: Floats, counts: Floats) -> Floats:
    """Negative log-likelihood in nats of the counts under a multinomial with p; p floored at 1e-12.

    The cross-entropy less the log of the number of orders in which such votes can come. Proper. Fractional counts
    (votes that were split) are admitted by the gamma function.
    """
    orders = gammaln(counts.sum(axis=1) + 1) - gammaln(counts + 1).sum(axis=1)
    return np.asarray(cross_entropy(p, counts) - orders)


def cross_entropy_terms(y: Floats, p: Floats, counts: Floats) -> dict[str, Floats]:
    """Return what `nll_per_vote` is a ratio of: the cross-entropy and the number of votes, (N,) each."""
    return {"cross_entropy": cross_entropy(p, counts), "votes": np.asarray(counts.sum(axis=1))}


def vote_nll_terms(y: Floats, p: Floats, counts: Floats) -> dict[str, Floats]:
    """Return the negative log-likelihood of each utterance's counts, (N,)."""
    return {"vote_nll": vote_nll(p, counts)}


def normalised_entropy(y: Floats) -> Floats:
    """Entropy of y over log C: 0 where all agree, 1 where uniform."""
    return np.asarray(-xlogy(y, y).sum(axis=1) / np.log(y.shape[1]))

"""The geometric opinion pool: one distribution of several (Genest and Zidek, 1986).

    p ∝ prod over k of p_k ^ w_k,   w_k >= 0

Weights that sum to one make a mean of opinions on the same evidence. Models that read different evidence add to one
another, and their weights, of up to one each, may sum to more. The logarithm of a pool is a weighted mean of logits, so
a pool of linear heads is a linear head. The weights are those under which given votes are most likely; the negative
log-likelihood is convex in them. Where they sum to one, they are held to equal ones by a penalty of K/2 |w - 1/K|²
nats, times the mean number of votes of an utterance: a few hundred utterances can't tell a dozen similar models apart,
and without it the luckiest would take all weight.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from amber.arrays import Floats

SMALLEST = 1e-3  # a weight below this is nothing, and its model need not be kept


def pool(log_p: Floats, weights: Floats) -> Floats:
    """Return the log of the pool, (..., C), of K distributions given by their logs (K, ..., C), with weights (K,)."""
    return np.asarray(log_softmax(np.tensordot(weights, log_p, axes=1), axis=-1))


def fit_weights(log_p: Floats, counts: Floats, sum_to_one: bool = True) -> Floats:
    """Return the weights of K models, (K,), under which the votes on n utterances are most likely.

    Parameters
    ----------
    log_p
        The models' log-probabilities (K, n, C), finite.
    counts
        Votes (n, C).
    sum_to_one
        Whether the weights have to.

    """
    size, total = len(log_p), counts.sum()
    if size == 1 and sum_to_one:
        return np.ones(1)
    votes = counts.sum(axis=1)  # (n,)
    given = np.einsum("nc,knc->k", counts, log_p)

    def nll(weights: Floats) -> tuple[float, Floats]:
        log_q = pool(log_p, weights)  # (n, C)
        expected = np.einsum("n,nc,knc->k", votes, np.exp(log_q), log_p, optimize=True)
        off = (weights - 1 / size) if sum_to_one else np.zeros(size)
        loss = size / 2 * float(off @ off) / len(counts) - float((counts * log_q).sum()) / total
        return loss, size * off / len(counts) + (expected - given) / total

    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(size)}
    start = np.full(size, 1 / size)
    limits = {"bounds": [(0, 1)] * size, "constraints": [simplex] if sum_to_one else []}
    found = minimize(nll, start, jac=True, method="SLSQP", **limits, options={"maxiter": 200, "ftol": 1e-9})
    weights = np.where(found.x < SMALLEST, 0.0, found.x)
    return np.asarray(weights / weights.sum() if sum_to_one else weights, dtype=np.float64)


def best(log_p: Floats, counts: Floats) -> Floats:
    """Return weights (K,) that are 1 for the model under which the votes are most likely, as for `fit_weights`."""
    return np.asarray(np.eye(len(log_p))[np.argmax(np.einsum("nc,knc->k", counts, log_p))])

"""Raters against raters: what half of an utterance's votes score against the other half, over all splits.

Half of the votes predict the other half, for every way to split them. With counts n the first half is multivariate
hypergeometric, so the expectation is a finite sum and needs no drawing; only where it has more than `MOST` terms is it
estimated from as many random splits. An odd vote goes to the second half, and each half predicts the other in turn.

The halves are few votes, one against two at three raters, so this is how well a rater or two predict others, and no
bound for a model; that is the `oracle`. `kl` and the likelihoods are not given: a half without a vote for a class rules
it out, and their expectation is infinite.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from . import classification
from .distributions import METRICS, defined

Floats = NDArray[np.float64]

MOST = 4096  # splits of one utterance that are enumerated


def names(classes: int) -> tuple[str, ...]:
    """Return the metrics that are given of split votes."""
    return tuple(name for name in defined(classes) if name != "kl")


def halves(counts: NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the first half of the votes in every split, (K, C), and the probability of each, (K,)."""
    half = int(counts.sum()) // 2
    if np.prod(counts + 1.0) > MOST:
        return rng.multivariate_hypergeometric(counts, half, size=MOST).astype(np.float64), np.full(MOST, 1 / MOST)
    first = np.array([c for c in product(*(range(n + 1) for n in counts)) if sum(c) == half], dtype=np.float64)
    ways = (gammaln(counts + 1) - gammaln(first + 1) - gammaln(counts - first + 1)).sum(axis=1)
    chance = np.exp(ways - ways.max())
    return first, chance / chance.sum()


def expected(counts: NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the K expected metrics `names`, (K,), and the expected confusion (C, C), of one utterance's votes."""
    first, chance = halves(counts, rng)
    second = counts - first
    a, b = first / first.sum(axis=1, keepdims=True), second / second.sum(axis=1, keepdims=True)
    both = [(a, b), (b, a)]
    scores = [np.mean([chance @ METRICS[name](y, p) for y, p in both]) for name in names(len(counts))]
    table = np.zeros((len(counts), len(counts)))
    for y, p in both:
        np.add.at(table, (y.argmax(axis=1), p.argmax(axis=1)), chance / 2)
    return np.array(scores), table


def split_half(y: Floats, votes: Floats, seed: int = 0) -> tuple[Floats, Floats]:
    """Return each utterance's expected metrics (N, K) and expected confusion (N, C, C).

    Utterances have two or more whole votes (`corrected.repeated`). Those with the same counts are computed once.
    """
    classes = y.shape[1]
    counts = (y * votes[:, None]).round().astype(np.int64)
    if not len(counts):
        return np.zeros((0, len(names(classes)))), np.zeros((0, classes, classes))
    distinct, place = np.unique(counts, axis=0, return_inverse=True)
    rng = np.random.default_rng(seed)
    found = [expected(row, rng) for row in distinct]
    place = place.reshape(-1)
    return np.stack([scores for scores, _ in found])[place], np.stack([table for _, table in found])[place]


def figures(scores: Floats, tables: Floats) -> dict[str, float]:
    """Average expected metrics over utterances; class metrics are those of the expected confusion matrix."""
    means = dict(zip(names(tables.shape[-1]), scores.mean(axis=0).tolist(), strict=True))
    return means | {name: float(metric(tables.sum(axis=0))) for name, metric in classification.METRICS.items()}

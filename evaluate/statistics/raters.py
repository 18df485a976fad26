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
from scipy.special import gammaln

from amber.arrays import Floats, Integers

from .. import metrics
from ..metrics import Confusion, Mean

MOST = 4096  # splits of one utterance that are enumerated


def halved_means(classes: int) -> list[Mean]:
    """Return the metrics that are means over utterances and given of split votes."""
    return [m for m in metrics.defined(classes) if isinstance(m, Mean) and m.of_halves]


def halves(counts: Integers, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the first half of the votes in every split, (K, C), and the probability of each, (K,)."""
    half = int(counts.sum()) // 2
    if np.prod(counts + 1.0) > MOST:
        return rng.multivariate_hypergeometric(counts, half, size=MOST).astype(np.float64), np.full(MOST, 1 / MOST)
    first = np.array([c for c in product(*(range(n + 1) for n in counts)) if sum(c) == half], dtype=np.float64)
    ways = (gammaln(counts + 1) - gammaln(first + 1) - gammaln(counts - first + 1)).sum(axis=1)
    chance = np.exp(ways - ways.max())
    return first, chance / chance.sum()


def expected(counts: Integers, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the K expected `halved_means`, (K,), and the expected confusion (C, C), of one utterance's votes."""
    first, chance = halves(counts, rng)
    second = counts - first
    a, b = first / first.sum(axis=1, keepdims=True), second / second.sum(axis=1, keepdims=True)
    both = [(a, b), (b, a)]
    scores = [np.mean([chance @ m.function(y, p) for y, p in both]) for m in halved_means(len(counts))]
    table = np.zeros((len(counts), len(counts)))
    for y, p in both:
        np.add.at(table, (y.argmax(axis=1), p.argmax(axis=1)), chance / 2)
    return np.array(scores), table


def split_half(counts: Floats, seed: int = 0) -> tuple[Floats, Floats]:
    """Return each utterance's expected metrics (N, K) and expected confusion (N, C, C), for counts (N, C).

    Utterances have two or more whole votes (`corrected.repeated`). Those with the same counts are computed once.
    """
    classes = counts.shape[1]
    if not len(counts):
        return np.zeros((0, len(halved_means(classes)))), np.zeros((0, classes, classes))
    distinct, place = np.unique(counts.round().astype(np.int64), axis=0, return_inverse=True)
    rng = np.random.default_rng(seed)
    found = [expected(row, rng) for row in distinct]
    place = place.reshape(-1)
    return np.stack([scores for scores, _ in found])[place], np.stack([table for _, table in found])[place]


def average(scores: Floats, tables: Floats) -> dict[str, float]:
    """Average the metrics (n, K) of utterances; class metrics are those of the expected confusion matrix (n, C, C)."""
    classes = tables.shape[-1]
    keys = [metric.key for metric in halved_means(classes)]
    table = tables.sum(axis=0)
    of_classes = {m.key: float(m.function(table)) for m in metrics.defined(classes) if isinstance(m, Confusion)}
    return dict(zip(keys, scores.mean(axis=0).tolist(), strict=True)) | of_classes

"""The oracle: what the true distributions would score against the votes, estimated from the votes alone.

A mixture of Dirichlet distributions is fitted to the counts. Given its votes, an utterance then has a posterior, and
truths are drawn from it. A truth and the votes are thereby drawn together as if the truth had been drawn from the
mixture and the votes from the truth, so drawn truths score against the votes what the truth itself scores, overall and
in any stratum of the votes.

The best answer to an improper score is not the truth. For those below it is known given the truth t and the number of
votes N, where y = n / N, ỹ = y - 1/C, and the expectation is over the votes of N raters:

- `bc` and `hellinger` (whose square is 1 - BC): q proportional to (E√y)²;
- `r2`: the direction of q - 1/C is the leading eigenvector of E[ỹỹᵀ / |ỹ|²];
- `r2_determination`: E[y / |ỹ|²] / E[1 / |ỹ|²];
- `accuracy`: the class that most probably has most votes, ties as always to the first.

The best answer to a proper score is the truth. For the others (`tvd`, `jsd`, `uar`, …) none is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from .corrected import repeated, whole
from .distributions import FLAT, METRICS, PROPER, defined
from .judge import Scope, judge
from .mixture import fit
from .strata import SMALL

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

DRAWS = 4  # truths by utterance, at least
PAIRS = 8192  # of an utterance and a truth for which the best answers are computed, at most
MOST = 4096  # outcomes of N votes that are enumerated; of more, as many are drawn for each truth as `SAMPLE` says
SAMPLE = 512
IMPROPER = ("bc", "hellinger", "r2", "r2_determination", "accuracy")
BEST_AT_TRUTH = (*PROPER, "kl", "r2_pooled")


@dataclass(frozen=True)
class Oracle:
    """Truths drawn for the utterances whose votes are whole.

    `usable` (N,) says which; `truths` (D, N, C). For P pairs of an utterance and a truth: `rows` (P,), the utterance,
    and `gains` (P,) by metric, what the best answer scores there more than the truth.
    """

    usable: NDArray[np.bool_]
    truths: Floats
    rows: Rows
    gains: dict[str, Floats]

    def figures(self, y: Floats, votes: Floats, scope: Scope) -> dict[str, Any]:
        """Return `n`, `left_out`, and by metric a mean and its simulation error: `figures`, and `best` answers."""
        there = self.usable[scope.rows]
        found: dict[str, Any] = {"n": int(there.sum()), "left_out": int((~there).sum()), "figures": {}, "best": {}}
        if not there.any():
            return found
        of = judge(self.truths, y, votes, scope.only(there))
        for name, values in of.seeds.items():
            found["figures"][name] = _figure(values)
        chosen = np.isin(self.rows, scope.rows)
        for name, gains in self.gains.items():
            if chosen.sum() > 1:
                truth, more = found["figures"][name], _figure(gains[chosen])
                error = float(np.hypot(truth["error"], more["error"]))
                found["best"][name] = {"mean": truth["mean"] + more["mean"], "error": error}
        found["best"] |= {name: found["figures"][name] for name in BEST_AT_TRUTH if name in found["figures"]}
        return found


def consult(y: Floats, votes: Floats, draws: int, seed: int) -> Oracle:
    """Fit the mixture and draw truths.

    Parameters
    ----------
    y, votes
        Rater distributions (N, C) and numbers of votes (N,). Utterances with split votes are left out; where fewer
        than 30 have two votes or more there is nothing to tell truth from noise by, and all are left out.
    draws
        The number of truths to draw, over all utterances; at least `DRAWS` for each.
    seed
        Of the draws.

    """
    usable = whole(y, votes) & (repeated(y, votes).sum() >= SMALL)
    n = int(usable.sum())
    if not n:
        return Oracle(usable, np.zeros((0, *y.shape)), np.zeros(0, dtype=np.int64), {})
    counts = (y[usable] * votes[usable, None]).round().astype(np.int64)
    rng = np.random.default_rng(seed)
    mixture = fit(counts)
    each = max(DRAWS, -(-draws // n))
    truths = np.full((each, *y.shape), 1 / y.shape[1])
    truths[:, usable] = [mixture.posterior(counts, rng) for _ in range(each)]
    pairs = rng.permutation(each * n)[:PAIRS]
    rows = np.flatnonzero(usable)[pairs % n]
    return Oracle(usable, truths, rows, _gains(truths[pairs // n, rows], y[rows], votes[rows].round().astype(int), rng))


def answers(truth: Floats, n: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Return the best answers to N votes, given truths (P, C): distributions (P, C) by metric."""
    classes = truth.shape[1]
    expected = _expectations(truth, n, rng)
    root, weight, weighted, outer, plurality = np.split(expected, np.cumsum([classes, 1, classes, classes**2]), axis=1)
    direction = np.linalg.eigh(outer.reshape(-1, classes, classes))[1][:, :, -1]
    spread = np.abs(direction).max(axis=1, keepdims=True)
    bc = root**2 / (root**2).sum(axis=1, keepdims=True)
    found = {
        "bc": bc,
        "hellinger": bc,
        "r2": (1 + direction / spread) / classes,
        "r2_determination": np.where(weight > FLAT, weighted / np.maximum(weight, FLAT), truth),
        "accuracy": np.eye(classes)[plurality.argmax(axis=1)],
    }
    return {name: found[name] for name in IMPROPER if name in (*defined(classes), "accuracy")}


def _gains(truth: Floats, y: Floats, votes: Rows, rng: np.random.Generator) -> dict[str, Floats]:
    """Return what the best answers score more than the truth, (P,) by metric, for pairs of truths and votes (P, C)."""
    found: dict[str, Floats] = {}
    for n in np.unique(votes).tolist():
        here = votes == n
        for name, q in answers(truth[here], n, rng).items():
            score = METRICS.get(name, _hits)
            found.setdefault(name, np.zeros(len(y)))[here] = score(y[here], q) - score(y[here], truth[here])
    return found


def _expectations(truth: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Return the expectations of `_features` over n votes, (P, F), for truths (P, C)."""
    classes = truth.shape[1]
    if comb(n + classes - 1, classes - 1) > MOST:
        return np.stack([_features(rng.multinomial(n, t, size=SAMPLE) / n).mean(axis=0) for t in truth])
    counts = outcomes(n, classes)
    features, log = _features(counts / n), gammaln(n + 1) - gammaln(counts + 1).sum(axis=1)
    pieces = np.array_split(np.log(truth), -(-len(truth) // 512))
    return np.concatenate([np.exp(piece @ counts.T + log) @ features for piece in pieces])


def _features(y: Floats) -> Floats:
    """Return by outcome √y, 1 / |ỹ|² (0 where y is uniform), y / |ỹ|², ỹỹᵀ / |ỹ|² and the plurality, (O, F)."""
    centred = y - 1 / y.shape[1]
    square = (centred**2).sum(axis=1, keepdims=True)
    weight = np.where(square / y.shape[1] < FLAT, 0.0, 1 / np.maximum(square, FLAT))
    outer = (weight * centred)[:, :, None] * centred[:, None, :]
    plurality = np.eye(y.shape[1])[y.argmax(axis=1)]
    return np.concatenate([np.sqrt(y), weight, weight * y, outer.reshape(len(y), -1), plurality], axis=1)


def outcomes(n: int, classes: int) -> Rows:
    """Return every way in which n votes can fall on C classes, (O, C): stars and bars."""
    bars = np.array(list(combinations(range(n + classes - 1), classes - 1)), dtype=np.int64).reshape(-1, classes - 1)
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, n + classes - 1)))
    return np.diff(edges, axis=1) - 1


def _hits(y: Floats, p: Floats) -> Floats:
    return np.asarray(y.argmax(axis=1) == p.argmax(axis=1), dtype=np.float64)


def _figure(values: Floats) -> dict[str, float]:
    """Return the mean of simulated values and its standard error."""
    return {"mean": float(values.mean()), "error": float(values.std(ddof=1) / np.sqrt(len(values)))}

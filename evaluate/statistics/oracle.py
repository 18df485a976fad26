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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from scipy.special import gammaln

from amber.arrays import Floats, Integers, Mask
from amber.labels import distribution

from .. import metrics
from ..metrics import Mean, Ranked
from ..metrics.corrected import repeated, whole
from ..metrics.distribution import FLAT
from ..results import OracleScores, Simulated
from ..strata import SMALL
from . import sums
from .estimates import Subset
from .mixture import fit

DRAWS = 4  # truths by utterance, at least
PAIRS = 8192  # of an utterance and a truth for which the best answers are computed, at most
MOST = 4096  # outcomes of N votes that are enumerated; of more, as many are drawn for each truth as `SAMPLE` says
SAMPLE = 256
RANKED = 32  # truths by utterance, at most, whose rank metrics are computed: there are no sums to share


@dataclass(frozen=True)
class Oracle:
    """Truths drawn for the utterances whose votes are whole.

    `usable` (N,) says which; `truths` (D, N, C). For P pairs of an utterance and a truth: `rows` (P,), the utterance,
    and `gains` (P,) by metric, what the best answer scores there more than the truth.
    """

    usable: Mask
    truths: Floats
    rows: Integers
    gains: dict[str, Floats]

    @classmethod
    def fit(cls, counts: Floats, draws: int, seed: int) -> Oracle:
        """Fit the mixture and draw truths.

        Parameters
        ----------
        counts
            The raters' counts, (N, C). Utterances with split votes are left out; where fewer than 30 have two votes or
            more there is nothing to tell truth from noise by, and all are left out.
        draws
            The number of truths to draw, over all utterances; at least `DRAWS` for each.
        seed
            Of the draws.

        """
        usable = whole(counts) & (repeated(counts).sum() >= SMALL)
        n, classes = int(usable.sum()), counts.shape[1]
        if not n:
            return cls(usable, np.zeros((0, *counts.shape)), np.zeros(0, dtype=np.int64), {})
        whole_counts = counts[usable].round().astype(np.int64)
        rng = np.random.default_rng(seed)
        mixture = fit(whole_counts)
        each = max(DRAWS, -(-draws // n))
        truths = np.full((each, *counts.shape), 1 / classes)
        truths[:, usable] = [mixture.posterior(whole_counts, rng) for _ in range(each)]
        pairs = rng.permutation(each * n)[:PAIRS]
        rows = np.flatnonzero(usable)[pairs % n]
        return cls(usable, truths, rows, _gains(truths[pairs // n, rows], counts[rows], rng))

    def scores(self, counts: Floats, subsets: Sequence[Subset]) -> list[OracleScores]:
        """Return what truths and best answers score against counts (N, C), on each subset."""
        draws, n, classes = self.truths.shape
        # The draws stand one below the other, each a group of its own: sums are then made for all of them at once.
        terms = sums.terms(self.truths.reshape(-1, classes), np.tile(counts, (draws, 1))) if draws else {}
        y = distribution(counts)
        found = []
        for subset in subsets:
            rows = subset.rows[self.usable[subset.rows]]
            of: dict[str, dict[str, Simulated]] = {}
            if len(rows):
                every = (np.arange(draws)[:, None] * n + rows).ravel()
                by_draw = sums.by_group(terms, every, np.repeat(np.arange(draws), len(rows)), draws)
                of = self._figures(sums.values(by_draw, classes) | self._ranked(y, rows), subset)
            found.append(OracleScores(n=len(rows), left_out=len(subset.rows) - len(rows), **of))
        return found

    def _ranked(self, y: Floats, rows: Integers) -> dict[str, Floats]:
        """Return the rank metrics of the first truths on some rows; those that are defined for each of them."""
        ranked = [metric for metric in metrics.defined(y.shape[1]) if isinstance(metric, Ranked)]
        found = {m.key: [m.function(y[rows], truth[rows]) for truth in self.truths[:RANKED]] for m in ranked}
        return {key: np.array(of, dtype=np.float64) for key, of in found.items()}

    def _figures(self, values: Mapping[str, Floats], subset: Subset) -> dict[str, dict[str, Simulated]]:
        """Return, by metric, `figures` of the truths, given their values (D,), and of the `best` answers."""
        figures = {key: _simulated(of) for key, of in values.items() if np.isfinite(of).all()}
        chosen = np.isin(self.rows, subset.rows)
        best = {}
        for key, gains in self.gains.items():
            if chosen.sum() > 1:
                truth, more = figures[key], _simulated(gains[chosen])
                best[key] = Simulated(mean=truth.mean + more.mean, error=float(np.hypot(truth.error, more.error)))
        at_truth = [m.key for m in metrics.METRICS if (m.proper or m.truth_is_best) and m.key in figures]
        return {"figures": figures, "best": best | {key: figures[key] for key in at_truth}}


def answers(truth: Floats, n: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Return the best answers to N votes, given truths (P, C): distributions (P, C) by metric."""
    classes = truth.shape[1]
    root, weight, weighted, plurality, outer = _expectations(truth, n, rng)
    direction = np.linalg.eigh(outer)[1][:, :, -1]
    spread = np.abs(direction).max(axis=1, keepdims=True)
    bc = root**2 / (root**2).sum(axis=1, keepdims=True)
    found = {
        "bc": bc,
        "hellinger": bc,
        "r2": (1 + direction / spread) / classes,
        "r2_determination": np.where(weight > FLAT, weighted / np.maximum(weight, FLAT), truth),
        "accuracy": np.eye(classes)[plurality.argmax(axis=1)],
    }
    defined = {metric.key for metric in metrics.defined(classes)}
    return {key: answer for key, answer in found.items() if key in defined}


def _gains(truth: Floats, counts: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    """Return what the best answers score more than the truth, (P,) by metric, for pairs of truths and counts (P, C)."""
    found: dict[str, Floats] = {}
    y, votes = distribution(counts), counts.sum(axis=1).round().astype(int)
    score = {metric.key: metric.function for metric in metrics.METRICS if isinstance(metric, Mean)}
    for n in np.unique(votes).tolist():
        here = votes == n
        for key, q in answers(truth[here], n, rng).items():
            function = score.get(key, _hits)
            found.setdefault(key, np.zeros(len(y)))[here] = function(y[here], q) - function(y[here], truth[here])
    return found


def _expectations(truth: Floats, n: int, rng: np.random.Generator) -> tuple[Floats, ...]:
    """Return the expectations over n votes, for truths (P, C), of what `answers` needs.

    With ỹ = y - 1/C these are √y (P, C), 1 / |ỹ|² (0 where y is uniform) (P, 1), y / |ỹ|² (P, C), the plurality (P, C)
    and ỹỹᵀ / |ỹ|² (P, C, C).
    """
    classes = truth.shape[1]
    if comb(n + classes - 1, classes - 1) > MOST:
        pieces = np.array_split(truth, -(-len(truth) // 64))  # as large as a cache of the processor
        found = [_sampled(rng.multinomial(n, piece[:, None], size=(len(piece), SAMPLE)) / n) for piece in pieces]
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
    y = outcomes(n, classes)
    log = gammaln(n + 1) - gammaln(y + 1).sum(axis=1)
    weight, centred = _weighted(y / n)
    outer = (weight * centred)[:, :, None] * centred[:, None, :]
    features = [np.sqrt(y / n), weight, weight * y / n, np.eye(classes)[y.argmax(axis=1)], outer.reshape(len(y), -1)]
    pieces = np.array_split(np.log(truth), -(-len(truth) // 512))
    means = np.concatenate([np.exp(piece @ y.T + log) @ np.concatenate(features, axis=1) for piece in pieces])
    *parts, outer = np.split(means, np.cumsum([classes, 1, classes, classes]), axis=1)
    return *parts, outer.reshape(-1, classes, classes)


def _sampled(y: Floats) -> tuple[Floats, ...]:
    """Return the means that `_expectations` describes over drawn outcomes y (P, S, C)."""
    weight, centred = _weighted(y)
    outer = np.swapaxes(weight * centred, 1, 2) @ centred / y.shape[1]
    plurality = (y.argmax(axis=2)[:, :, None] == np.arange(y.shape[2])).mean(axis=1)
    return np.sqrt(y).mean(axis=1), weight.mean(axis=1), (weight * y).mean(axis=1), plurality, outer


def _weighted(y: Floats) -> tuple[Floats, Floats]:
    """Return 1 / |ỹ|² (..., 1), 0 where y is uniform, and ỹ, for y (..., C)."""
    centred = y - 1 / y.shape[-1]
    square = (centred**2).sum(axis=-1, keepdims=True)
    return np.where(square / y.shape[-1] < FLAT, 0.0, 1 / np.maximum(square, FLAT)), centred


def outcomes(n: int, classes: int) -> Integers:
    """Return every way in which n votes can fall on C classes, (O, C): stars and bars."""
    bars = np.array(list(combinations(range(n + classes - 1), classes - 1)), dtype=np.int64).reshape(-1, classes - 1)
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, n + classes - 1)))
    return np.diff(edges, axis=1) - 1


def _hits(y: Floats, p: Floats) -> Floats:
    return np.asarray(y.argmax(axis=1) == p.argmax(axis=1), dtype=np.float64)


def _simulated(values: Floats) -> Simulated:
    """Return the mean of simulated values (D,) and its standard error."""
    return Simulated(mean=float(values.mean()), error=float(values.std(ddof=1) / np.sqrt(len(values))))

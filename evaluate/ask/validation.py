"""Does asking by rank pay? Hidden votes are asked for in several orders at equal budgets, and the answers scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import entr

from amber.arrays import Floats, Integers
from amber.console import Advance

from ..statistics.standard_error import StandardError, of_seeds, of_speakers
from .gain import Belief, gains, mean
from .hidden import Hidden, hide
from .plan import Plan, by_gain

STEPS = 8  # budgets, evenly spaced
MOST_BUDGET = 2.0  # votes per utterance on average, at most
MOST_SHARE = 0.6  # of the votes that can be asked for: of all of them, any order asks for the same
GAIN, ENTROPY, RANDOM = "gain", "entropy", "random"
ORDERS = (GAIN, ENTROPY, RANDOM)


@dataclass(frozen=True)
class Estimate:
    """A mean over utterances and draws, its 95 % interval over speakers and draws, and its p-value against zero."""

    mean: float
    ci: tuple[float, float] | None
    p: float


@dataclass(frozen=True)
class Validation:
    """What asking in each order brought.

    `saved[order]` is, for each budget (votes per utterance), by how many nats a vote surprises less than before asking;
    `over[rival]` the difference of asking by gain from each other order at each budget, and `overall[rival]` that of
    the means over all budgets, which is the one test.
    """

    utterances: int
    speakers: int
    draws: int
    shown: tuple[int, int]
    against_truth: bool
    raters: float
    budgets: list[float]
    saved: dict[str, list[Estimate]]
    over: dict[str, list[Estimate]]
    overall: dict[str, Estimate]


def validate(
    p: Floats,
    counts: Floats,
    clusters: Integers,
    shown: tuple[int, int],
    seeds: range,
    truth: Floats | None,
    advance: Advance,
) -> Validation:
    """Hide votes once for each seed, and ask for them in each order.

    Parameters
    ----------
    p, counts
        Predictions and whole counts of eligible utterances (`hidden.eligible`), (n, C).
    clusters
        The speaker of each, (n,), from 0.
    shown
        The least and the greatest number of votes that are shown.
    seeds
        A seed for each draw of votes; at least two.
    truth
        The true distributions (n, C), if they are known: they then score, instead of hidden votes.
    advance
        Reports a draw.

    """
    budgets: Integers = np.zeros(0, dtype=np.int64)
    saved: dict[str, list[Floats]] = {order: [] for order in ORDERS}  # by draw, (budgets, n)
    raters = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        hidden = hide(counts, shown, truth, rng)
        belief = Belief.fit(p, hidden.shown)
        raters.append(belief.raters)
        alpha = belief.alpha(p, hidden.shown)
        if not len(budgets):
            budgets = budgets_of(hidden)
        before = surprise(hidden, alpha)
        for name, plan in plans(alpha, hidden.available, rng).items():
            after = [hidden.after(plan.asked(len(p), budget)) for budget in budgets]
            cost = [surprise(hidden, belief.alpha(p, votes)) for votes in after]
            saved[name].append(before - np.array(cost))
        advance(1)
    by_order = {name: np.array(draws) for name, draws in saved.items()}  # (draws, budgets, n)
    rivals = {name: by_order[GAIN] - of for name, of in by_order.items() if name != GAIN}
    each = range(len(budgets))
    return Validation(
        utterances=len(p),
        speakers=int(clusters.max()) + 1,
        draws=len(seeds),
        shown=shown,
        against_truth=truth is not None,
        raters=float(np.mean(raters)),
        budgets=[float(budget / len(p)) for budget in budgets],
        saved={name: [_estimate(of[:, b], clusters) for b in each] for name, of in by_order.items()},
        over={name: [_estimate(of[:, b], clusters) for b in each] for name, of in rivals.items()},
        overall={name: _estimate(of.mean(axis=1), clusters) for name, of in rivals.items()},
    )


def plans(alpha: Floats, available: Integers, rng: np.random.Generator) -> dict[str, Plan]:
    """Return the orders: by expected gain, by entropy, at random.

    The rivals ask in rounds, every utterance once before any is asked twice. Without that they would be worse: the
    utterance of the highest entropy would be asked until its answers ran out.
    """
    most, n = int(available.max()), len(alpha)
    entropy = entr(mean(alpha)).sum(axis=1)
    ranked: dict[str, Callable[[], Integers]] = {
        ENTROPY: lambda: np.argsort(-entropy, kind="stable"),
        RANDOM: lambda: rng.permutation(n),
    }
    found = {GAIN: by_gain(gains(alpha, most), np.ones(n), available)}
    for name, order in ranked.items():
        rounds = [rows[available[rows] > turn] for turn in range(most) for rows in (order(),)]
        row = np.concatenate(rounds)
        vote = np.repeat(np.arange(most) + 1, [len(rows) for rows in rounds])
        found[name] = Plan(row, vote, np.zeros(len(row)))
    return found


def budgets_of(hidden: Hidden) -> Integers:
    """Return the budgets in votes, (STEPS,) or fewer where there are few utterances."""
    top = min(MOST_BUDGET * len(hidden.shown), MOST_SHARE * hidden.available.sum())
    return np.unique(np.rint(np.linspace(0, top, STEPS + 1)[1:]).astype(np.int64).clip(1))


def surprise(hidden: Hidden, alpha: Floats) -> Floats:
    """Return what a vote from the target costs in nats under the posterior mean, (N,)."""
    return np.asarray(-(hidden.target * np.log(mean(alpha))).sum(axis=1))


def _estimate(values: Floats, clusters: Integers) -> Estimate:
    """Return the estimate of a mean of values (draws, n)."""
    of_utterance = values.mean(axis=0)
    sums, sizes = np.bincount(clusters, of_utterance), np.bincount(clusters)
    left_out = (sums.sum() - sums) / np.maximum(sizes.sum() - sizes, 1)
    error = StandardError((of_speakers(left_out), of_seeds(values.mean(axis=1))))
    found = float(values.mean())
    return Estimate(found, error.interval(found), error.p(found))

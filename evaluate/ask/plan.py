"""Which votes to ask for: the order of votes by gain and cost, and how many a budget buys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amber.arrays import Floats, Integers


@dataclass(frozen=True)
class Plan:
    """Votes to ask for, in order, (k,): the row of the utterance, which new vote of it (from 1), the gain in nats."""

    row: Integers
    vote: Integers
    gain: Floats

    def __len__(self) -> int:
        return len(self.row)

    def asked(self, n: int, first: int | None = None) -> Integers:
        """Return how many votes each of n utterances gets from the `first` votes of the plan, or from all, (n,)."""
        return np.bincount(self.row[:first], minlength=n).astype(np.int64)


def by_gain(gains: Floats, cost: Floats, available: Integers | None = None) -> Plan:
    """Order votes by their expected gain per cost.

    Parameters
    ----------
    gains
        The gain of each further vote, (n, most).
    cost
        What one vote on each utterance costs, (n,).
    available
        How many votes each utterance can get, (n,); `most` where absent.

    """
    # A vote never comes before an earlier one on the same utterance, even where rounding says that it gains more.
    worth = np.minimum.accumulate(gains, axis=1) / cost[:, None]
    order = np.argsort(-worth, axis=None, kind="stable")
    row, place = order // gains.shape[1], order % gains.shape[1]
    if available is not None:
        there = place < available[row]
        row, place = row[there], place[there]
    return Plan(row, place + 1, gains[row, place])


def within(plan: Plan, cost: Floats, budget: float) -> Plan:
    """Return the votes of a plan that a budget buys: in order, a vote that costs more than is left being passed over.

    Later votes on an utterance whose vote was passed over cost as much, so they are not bought either.
    """
    costs = cost[plan.row]
    left, kept = budget * (1 + 1e-12), []
    bought = int(np.searchsorted(np.cumsum(costs), left, side="right"))
    left -= float(costs[:bought].sum())
    for place in range(bought, len(plan)):
        if costs[place] <= left:
            kept.append(place)
            left -= costs[place]
    chosen = np.concatenate([np.arange(bought), np.array(kept, dtype=np.int64)])
    return Plan(plan.row[chosen], plan.vote[chosen], plan.gain[chosen])

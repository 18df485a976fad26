"""The expected gain of one more vote: by how much less a vote of the panel will surprise us.

An utterance's distribution t is believed to follow Dirichlet(α), α = κ q + n: its votes n and a prediction q that is
worth κ raters (`amber/panel.py`). We say the posterior mean, α / A with A = Σ α. A further vote of the panel costs
-log of what we say of its class, in expectation the entropy of α / A. After m more votes the posterior mean is
(α + x) / (A + m), and the counts x_c of a class are beta-binomial with parameters α_c and A - α_c, so that

    E_m = Σ_c Σ_{x=0..m} BetaBinomial(x; m, α_c, A - α_c) φ((α_c + x) / (A + m)),   φ(u) = -u log u

is what a vote is expected to cost then, exactly. The gain of the m-th vote is E_{m-1} - E_m: the mutual information
between that vote and the one after it (Lindley, 1956). No class is independent of the others, but entropy is a sum
over classes and expectations add up, so no outcome of m votes has to be listed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from amber.arrays import Floats
from amber.console import Advance, ignore
from amber.panel import SMALLEST, sharpened, worth_sharpened

ROWS = 20_000  # utterances whose gains are computed at a time
ENOUGH = 20_000  # utterances from which a belief is estimated


@dataclass(frozen=True)
class Belief:
    """How far predictions are believed: they are worth `raters` votes each, once raised to `power`."""

    raters: float
    power: float

    @classmethod
    def fit(cls, p: Floats, counts: Floats) -> Belief:
        """Return the belief under which votes (n, C) are most likely, from predictions (n, C) of other votes.

        Of more than `ENOUGH` utterances an even sample is taken: there are two numbers to find.
        """
        step = -(-len(p) // ENOUGH)
        return cls(*worth_sharpened(p[::step], counts[::step]))

    def alpha(self, p: Floats, counts: Floats) -> Floats:
        """Return the parameters of each utterance's posterior, (n, C)."""
        return np.asarray(np.maximum(self.raters * sharpened(p, self.power), SMALLEST) + counts)


def mean(alpha: Floats) -> Floats:
    """Return what is said of each utterance, the posterior mean (n, C)."""
    return np.asarray(alpha / alpha.sum(axis=1, keepdims=True))


def expected_cost(alpha: Floats, more: int) -> Floats:
    """Return what a vote of the panel is expected to cost in nats after `more` votes, (n,), for parameters (n, C)."""
    whole = alpha.sum(axis=1)[:, None]
    others = whole - alpha
    chance = np.ones(alpha.shape)  # that none of the votes is for the class, then one, then two, …
    for votes in range(more):
        chance *= (others + votes) / (whole + votes)
    cost = np.zeros(len(alpha))
    for x in range(more + 1):
        said = (alpha + x) / (whole + more)
        cost -= (chance * xlogy(said, said)).sum(axis=1)
        if x < more:
            chance *= (more - x) / (x + 1) * (alpha + x) / (others + more - x - 1)
    return cost


def gains(alpha: Floats, most: int, advance: Advance = ignore) -> Floats:
    """Return the expected gain in nats of the first, second, … vote asked for, (n, most), for parameters (n, C)."""
    found = np.empty((len(alpha), most))
    for start in range(0, len(alpha), ROWS):
        part = alpha[start : start + ROWS]
        cost = np.stack([expected_cost(part, more) for more in range(most + 1)], axis=1)
        found[start : start + ROWS] = cost[:, :-1] - cost[:, 1:]
        advance(len(part))
    return found

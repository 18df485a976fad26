"""What votes and a prediction say of a panel: the Dirichlet-multinomial distribution (Mosimann, 1962; Minka, 2000).

The distribution t that an utterance's votes are drawn from is itself drawn from Dirichlet(α), where α = κ p: the
prediction p, worth κ raters. The votes n then follow the Dirichlet-multinomial distribution, and given them t follows
Dirichlet(α + n).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import gammaln, softmax

from amber.arrays import Floats

WORTH = (0.1, 1000.0)  # the range of κ, in raters
POWER = (0.1, 10.0)  # the range of the exponent of a prediction
SMALLEST = 1e-12  # floor of a probability


def log_likelihood(counts: Floats, alpha: Floats) -> float:
    """Return the log-likelihood in nats of votes (n, C), in the order given, under Dirichlet parameters (n, C)."""
    total, whole = counts.sum(axis=1), alpha.sum(axis=1)
    of_classes = (gammaln(counts + alpha) - gammaln(alpha)).sum(axis=1)
    return float((gammaln(whole) - gammaln(total + whole) + of_classes).sum())


def worth(p: Floats, counts: Floats) -> float:
    """Return the κ within `WORTH` under which votes (m, C) are most likely, drawn from Dirichlet(κ p), p (m, C).

    One vote on each utterance says nothing of κ: then it is 1, as much as that vote.
    """
    if (counts.sum(axis=1) <= 1).all():
        return 1.0
    floored = np.maximum(p, SMALLEST)
    found = minimize_scalar(
        lambda log_raters: -log_likelihood(counts, np.exp(log_raters) * floored),
        bounds=tuple(np.log(WORTH)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def sharpened(p: Floats, power: float) -> Floats:
    """Return distributions (n, C) in proportion to p ** power: sharper above 1, flatter below (Guo et al., 2017)."""
    return np.asarray(softmax(power * np.log(np.maximum(p, SMALLEST)), axis=1))


def worth_sharpened(p: Floats, counts: Floats) -> tuple[float, float]:
    """Return the κ and the power within their ranges under which votes (n, C) are most likely, from predictions (n, C).

    The votes are drawn from Dirichlet(κ q), where q is p sharpened by the power, which makes up for predictions that
    are too sure or not sure enough. κ is 1 where no utterance has two votes.
    """
    start = np.log(worth(p, counts))
    several = bool((counts.sum(axis=1) > 1).any())

    def loss(of: Floats) -> float:
        raters = np.exp(of[1]) if several else 1.0
        alpha = np.maximum(raters * sharpened(p, np.exp(of[0])), SMALLEST)
        return -log_likelihood(counts, alpha) / len(counts)

    limits = [tuple(np.log(POWER)), tuple(np.log(WORTH))]
    found = minimize(loss, [0.0, start], method="L-BFGS-B", bounds=limits)
    return (float(np.exp(found.x[1])) if several else 1.0), float(np.exp(found.x[0]))

"""A mixture of Dirichlet distributions, fitted to vote counts: what the raters' true distributions look like.

An utterance's true distribution is drawn from one of the components, its votes from a multinomial with that
distribution, so its counts follow a mixture of Dirichlet-multinomial distributions (Minka, Estimating a Dirichlet
distribution, 2000; Holmes, Harris and Quince, 2012). There is a component that starts at each class and one that starts
in the middle: more could not be told apart by a few votes, and a number chosen by BIC was too small (docs/LOG.md). The
fit is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import gammaln, log_softmax, logsumexp, psi, softmax
from threadpoolctl import threadpool_limits

from amber.arrays import Floats, Integers

# Standard deviation of log alpha around 0: keeps it from infinity where votes scatter as little as they can.
PRIOR = 3.0
_BOUND = 7.0  # of |log alpha|


@dataclass(frozen=True)
class Mixture:
    """K components: `weights` (K,) that sum to one, `alpha` (K, C)."""

    weights: Floats
    alpha: Floats

    def responsibilities(self, counts: Integers) -> Floats:
        """Return each component's posterior probability given counts (M, C), (M, K)."""
        n, a = counts[:, None, :], self.alpha
        each = (gammaln(a + n) - gammaln(a)).sum(axis=2)  # (M, K)
        whole = gammaln(a.sum(axis=1) + n.sum(axis=2)) - gammaln(a.sum(axis=1))
        return np.asarray(softmax(np.log(self.weights) + each - whole, axis=1))

    def posterior(self, counts: Integers, rng: np.random.Generator) -> Floats:
        """Draw a true distribution of each utterance, given its counts (N, C), (N, C)."""
        distinct, place = np.unique(counts, axis=0, return_inverse=True)
        steps = self.responsibilities(distinct).cumsum(axis=1)[place.reshape(-1)]
        component = (rng.random(len(counts))[:, None] > steps[:, :-1]).sum(axis=1)
        drawn = np.maximum(rng.standard_gamma(self.alpha[component] + counts), 1e-300)  # small shapes underflow
        return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))


def fit(counts: Integers) -> Mixture:
    """Return the mixture with the highest posterior density for counts of votes (N, C): whole, one vote at least.

    A term of the likelihood depends on one count and one class, so terms are computed once for each value of a count,
    and a sparse matrix of indicators adds them up by utterance.
    """
    distinct, times = np.unique(counts, axis=0, return_counts=True)
    m, classes = distinct.shape
    size = classes + 1  # K
    padded = np.column_stack([distinct, distinct.sum(axis=1)])  # (M, C + 1), the number of votes last
    values = int(padded.max()) + 1
    cells = padded + values * np.arange(classes + 1)
    places = (np.repeat(np.arange(m), classes + 1), cells.ravel())
    indicator = sparse.csr_matrix((np.ones(cells.size), places), (m, (classes + 1) * values))
    sign = np.append(np.ones(classes), -1.0)[:, None, None]  # the number of votes counts in the denominator
    count = np.arange(values)[:, None]

    def loss(parameters: Floats) -> tuple[float, Floats]:
        """Return the negative log posterior (without constants) and its gradient."""
        logits, log_alpha = parameters[:size], parameters[size:]
        alpha = np.exp(log_alpha.reshape(size, classes))
        shape = np.vstack([alpha.T, alpha.sum(axis=1)])[:, None, :]  # (C + 1, 1, K)
        terms = sign * (gammaln(shape + count) - gammaln(shape))  # (C + 1, V, K)
        joint = log_softmax(logits) + indicator @ terms.reshape(-1, size)  # (M, K)
        total = logsumexp(joint, axis=1)
        responsible = times[:, None] * np.exp(joint - total[:, None])
        often = (indicator.T @ responsible).reshape(classes + 1, values, size)
        slope = (often * sign * (psi(shape + count) - psi(shape))).sum(axis=1)  # (C + 1, K)
        by_logits = responsible.sum(axis=0) - times.sum() * softmax(logits)
        by_alpha = (alpha * (slope[:-1] + slope[-1]).T).ravel() - log_alpha / PRIOR**2
        value = float(times @ total) - float(log_alpha @ log_alpha) / (2 * PRIOR**2)
        return -value, -np.concatenate([by_logits, by_alpha])

    centres = np.vstack([0.8 * np.eye(classes) + 0.2 / classes, np.full(classes, 1 / classes)])
    start = np.concatenate([np.zeros(size), np.log(4 * centres).ravel()])
    bounds = [(-20.0, 20.0)] * size + [(-_BOUND, _BOUND)] * (size * classes)
    with threadpool_limits(1):  # threads wait for each other ten times as long as these small matrices take
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}).x
    return Mixture(np.asarray(softmax(found[:size])), np.exp(found[size:].reshape(size, classes)))

"""Guidance as a prior: what experts on speech, on text and on both say of an utterance is worth some raters more.

The paper's objective has the student learn from experts that were fitted to the very votes that the student learns,
and takes as much of them for nine raters as for three. Here the experts are fitted on speaker-disjoint folds of the
training part, so that what they say of an utterance was learned from other speakers (stacking; Wolpert, 1992). Their
out-of-fold predictions are pooled geometrically (`amber/opinion_pool.py`) to p̃, and the student learns

    (n + κ p̃) / (N + κ)

from n (C,) votes of N raters: the posterior mean under a Dirichlet prior with concentration κ p̃. κ is `TRUST` times
the number of raters that the experts are worth by the Dirichlet-multinomial likelihood of the training votes (Mosimann,
1962; Minka, 2000): raters err each in their own way, which averages out over utterances, experts in the same way on
all. A discounted prior is a power prior (Ibrahim and Chen, 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amber.arrays import Floats
from amber.opinion_pool import fit_weights, pool
from amber.panel import worth

TRUST = 0.25  # chosen by a study (docs/LOG.md)
FOLDS = 5  # of the training part, at most: there are no more than speakers


@dataclass(frozen=True)
class Prior:
    """What experts say of the training part: `p` (m, C), as `raters` votes, and the weights (K,) of their pool."""

    p: Floats
    raters: float
    weights: Floats

    @property
    def votes(self) -> Floats:
        """Return the votes that the prior adds to the raters', (m, C)."""
        return self.raters * self.p


def speaker_folds(speakers: Sequence[str | None], folds: int = FOLDS) -> NDArray[np.int64]:
    """Divide utterances into folds with speakers apart, from 0, (m,).

    The speaker with the most utterances comes first, each into the smallest fold so far; an utterance of an unknown
    speaker is a speaker of its own.
    """
    names = [f"speaker {s}" if s is not None else f"unknown {i}" for i, s in enumerate(speakers)]
    distinct, place, sizes = np.unique(names, return_inverse=True, return_counts=True)
    fold_of, load = np.zeros(len(distinct), dtype=np.int64), np.zeros(min(folds, len(distinct)))
    for speaker in np.argsort(-sizes, kind="stable"):
        fold_of[speaker] = load.argmin()
        load[fold_of[speaker]] += sizes[speaker]
    return fold_of[place]


def fit_prior(log_p: Floats, counts: Floats) -> Prior:
    """Pool experts' out-of-fold predictions and estimate how many raters the pool counts for.

    Parameters
    ----------
    log_p
        Log-probabilities (K, m, C) of K experts, each of utterances that it did not learn from.
    counts
        The votes (m, C) of the training part.

    """
    weights = fit_weights(log_p, counts, sum_to_one=False)  # voice and words are different evidence
    p = np.exp(pool(log_p, weights))
    return Prior(p, TRUST * worth(p, counts), weights)

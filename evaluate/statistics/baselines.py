"""What needs no model: the uniform distribution, the class prior and the majority class.

The prior of a test utterance is the mean rater distribution of the training part of the fold that tests it; the
majority class is the largest of the prior. Where a variant of one of these names was trained, tables show it instead.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amber.arrays import Floats, Integers


def baselines(y: Floats, folds: Integers, priors: Mapping[int, Floats]) -> dict[str, Floats]:
    """Return each baseline's predictions, (N, C).

    Parameters
    ----------
    y
        Rater distributions of the test utterances, (N, C).
    folds
        The fold that tests each utterance, (N,).
    priors
        Mean rater distribution of the training part by fold, (C,); a fold without one has a uniform prior.

    """
    flat = np.full(y.shape[1], 1 / y.shape[1])
    prior = np.stack([priors.get(fold, flat) for fold in folds.tolist()])
    majority = np.eye(y.shape[1])[prior.argmax(axis=1)]
    return {"uniform": np.full_like(y, 1 / y.shape[1]), "prior": prior, "majority": majority}

"""What needs no model: the uniform distribution, the class prior and the majority class.

The prior of a test utterance is the mean rater distribution of utterances that its fold does not test: the test
utterances of the other folds, or, where there is one fold only, the fold's dev part. Stored predictions hold dev and
test alone, so the training part itself is not asked; with folds that cover the corpus the others' test parts are the
fold's train and dev parts together. No speaker is in both, as folds divide speakers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def baselines(y: Floats, folds: NDArray[np.int64], dev: dict[int, Floats]) -> dict[str, Floats]:
    """Return each baseline's predictions, (N, C).

    Parameters
    ----------
    y
        Rater distributions of the test utterances, (N, C).
    folds
        The fold that tests each utterance, (N,).
    dev
        Mean rater distribution of the dev part by fold, (C,).

    """
    prior = np.empty_like(y)
    several = len(np.unique(folds)) > 1
    for fold in np.unique(folds).tolist():
        rest = y[folds != fold].mean(axis=0) if several else dev.get(fold)
        prior[folds == fold] = rest if rest is not None else 1 / y.shape[1]
    majority = np.eye(y.shape[1])[prior.argmax(axis=1)]
    return {"uniform": np.full_like(y, 1 / y.shape[1]), "prior": prior, "majority": majority}

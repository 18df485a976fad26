"""The ensemble of variants: one distribution of all of them, with weights from dev, from stored predictions.

Each variant is first averaged over its seeds. For each fold, the variants are then pooled geometrically with the
weights under which the fold's dev votes are most likely, held to equal ones as everywhere (`amber/opinion_pool.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amber.arrays import Floats, Integers
from amber.opinion_pool import fit_weights, pool
from amber.predictions import Predictions

from .experiment import FinishedRun, OfVariants

MOST = 50  # variants: the time that weights take grows with their number
_FLOOR = 1e-12  # of a probability inside a logarithm

Dev = Sequence[tuple[FinishedRun, Predictions]]  # the student's dev rows of every run


@dataclass(frozen=True)
class _Fold:
    """A fold's dev part: votes (m, C) and the predictions of K variants averaged over seeds, (K, m, C)."""

    counts: Floats
    p: Floats


def of_variants(dev: Dev, students: Mapping[str, Floats], folds: Integers) -> tuple[OfVariants | None, str]:
    """Return the ensemble, or None and why there is none (empty where there is nothing to pool).

    Parameters
    ----------
    dev
        The student's dev rows of every run.
    students
        Each variant's predictions for the N test utterances, averaged over seeds, (N, C).
    folds
        The fold that tests each of them, (N,).

    """
    variants = list(students)
    if len(variants) < 2:
        return None, ""
    if len(variants) > MOST:
        return None, f"ensemble of variants: of {len(variants)} variants there is none, {MOST} are the most"
    log_p = np.log(np.maximum(np.stack([students[variant] for variant in variants]), _FLOOR))  # (K, N, C)
    p = np.full(log_p.shape[1:], np.nan)
    weights = []
    for fold in np.unique(folds):
        found = _fold(dev, variants, int(fold))
        if found is None:
            return None, f"ensemble of variants: the dev parts of fold {fold} have no utterance in common"
        of_fold = fit_weights(np.log(np.maximum(found.p, _FLOOR)), found.counts)
        here = folds == fold
        p[here] = np.exp(pool(log_p[:, here], of_fold))
        weights.append(of_fold)
    means = np.mean(weights, axis=0)
    return OfVariants(p, {variant: float(w) for variant, w in zip(variants, means, strict=True)}), ""


def _fold(dev: Dev, variants: Sequence[str], fold: int) -> _Fold | None:
    """Return a fold's dev part, of the utterances that all runs have there; None where there are none."""
    runs = [(run.variant, rows) for run, rows in dev if run.fold == fold]
    ids = sorted(set.intersection(*(set(rows.keys["id"].tolist()) for _, rows in runs))) if runs else []
    if not ids:
        return None
    alike = [(variant, rows.where(_places(rows, ids))) for variant, rows in runs]
    by_variant = [np.mean([rows.p for name, rows in alike if name == variant], axis=0) for variant in variants]
    return _Fold(alike[0][1].counts, np.stack(by_variant))


def _places(rows: Predictions, ids: Sequence[str]) -> Integers:
    """Return where the rows of some ids are, (m,)."""
    place = {uid: row for row, uid in enumerate(rows.keys["id"].tolist())}
    return np.array([place[uid] for uid in ids], dtype=np.int64)

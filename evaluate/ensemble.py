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
    """What a fold's dev part says: votes (m, C) and, for each variant, predictions averaged over seeds, (m, C)."""

    counts: Floats
    p: list[Floats]


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
            return None, f"ensemble of variants: the dev part of fold {fold} is not the same in all runs"
        of_fold = fit_weights(np.log(np.maximum(found.p, _FLOOR)), found.counts)
        here = folds == fold
        p[here] = np.exp(pool(log_p[:, here], of_fold))
        weights.append(of_fold)
    means = np.mean(weights, axis=0)
    return OfVariants(p, {variant: float(w) for variant, w in zip(variants, means, strict=True)}), ""


def _fold(dev: Dev, variants: Sequence[str], fold: int) -> _Fold | None:
    """Return a fold's dev part; None where the runs' dev parts differ or are empty."""
    by_variant: dict[str, list[Floats]] = {variant: [] for variant in variants}
    first: Predictions | None = None
    for run, rows in dev:
        if run.fold != fold or run.variant not in by_variant:
            continue
        found = rows.where(np.argsort(rows.keys["id"]))
        first = first or found
        if not len(found) or not np.array_equal(found.keys["id"], first.keys["id"]):
            return None
        by_variant[run.variant].append(found.p)
    if first is None or not all(by_variant.values()):
        return None
    return _Fold(first.counts, [np.mean(of, axis=0) for of in by_variant.values()])

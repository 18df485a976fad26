"""Reference scores: answers that need no model, the oracle, and raters against raters, on every subset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amber.arrays import Floats, Integers, Mask
from amber.config import EvaluateOptions

from ..experiment import Experiment
from ..metrics.corrected import repeated
from ..results import Estimate, RaterScores, ReferenceScores
from . import raters
from .baselines import baselines
from .estimates import Subset, estimate
from .oracle import Oracle
from .standard_error import StandardError, of_speakers


def reference_scores(
    experiment: Experiment, subsets: Sequence[Subset], options: EvaluateOptions
) -> list[ReferenceScores]:
    """Return the reference scores on each subset."""
    counts = experiment.counts
    predictions = baselines(experiment.y, experiment.folds, experiment.priors)
    of_baselines = {name: estimate(p[None], counts, subsets) for name, p in predictions.items()}
    of_oracle = Oracle.fit(counts, options.resamples, options.seed).scores(counts, subsets)
    halved = repeated(counts)
    scores, tables = raters.split_half(counts[halved])
    return [
        ReferenceScores(
            baselines={name: estimates[place].all() for name, estimates in of_baselines.items()},
            oracle=of_oracle[place],
            raters=_rater_scores(halved, scores, tables, subset),
        )
        for place, subset in enumerate(subsets)
    ]


def _rater_scores(halved: Mask, scores: Floats, tables: Floats, subset: Subset) -> RaterScores:
    """Return what split votes score on a subset; with intervals over speakers for what is a mean over utterances.

    Parameters
    ----------
    halved
        Which of all utterances can be halved, (N,).
    scores, tables
        The expected metrics (n, K) and confusion (n, C, C) of those that can, in their order.
    subset
        Which utterances.

    """
    there = halved[subset.rows]
    n, left_out = int(there.sum()), int((~there).sum())
    if not n:
        return RaterScores(n=n, left_out=left_out)
    part = subset.only(there)
    place = (np.cumsum(halved) - 1)[part.rows]
    names = [metric.key for metric in raters.halved_means(tables.shape[-1])]
    figures = {}
    for key, mean in raters.average(scores[place], tables[place]).items():
        if key in names:
            ci = _interval(scores[place, names.index(key)], part.group)
            figures[key] = Estimate(mean=mean, ci=ci)
        else:
            figures[key] = Estimate(mean=mean)
    return RaterScores(n=n, left_out=left_out, figures=figures)


def _interval(values: Floats, group: Integers) -> tuple[float, float] | None:
    """Return the interval over speakers of the mean of values (n,) whose speakers are `group` (n,)."""
    by_speaker, count = np.bincount(group, values), np.bincount(group)
    if len(count) < 2:
        return None
    left_out = (by_speaker.sum() - by_speaker) / (count.sum() - count)
    return StandardError((of_speakers(left_out),)).interval(float(values.mean()))

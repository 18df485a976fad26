"""Every comparison that `pairs` names, overall and by ambiguity, and which differences are supported.

All comparisons are one family. One of them is supported where its p is below 0.05 after Holm's correction over the
family, its subset has at least 30 utterances, and both variants have at least two seeds: how much one run differs from
the next can't be told from a single one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from amber.arrays import Floats

from .. import metrics
from ..experiment import Experiment
from ..results import Comparison, Difference, Effect, Seeds
from ..strata import SMALL
from .estimates import Estimates, Subset
from .pairs import pairs
from .standard_error import LEVEL, StandardError, Variance, holm, of_seeds, of_speakers


def compare(experiment: Experiment, subset: Subset, estimates: Mapping[str, Estimates]) -> Iterator[Comparison]:
    """Compare all pairs of variants on one subset, in every metric that asks for it, still without correction."""
    for variant, reference in pairs(experiment.variants):
        a, b = estimates[variant], estimates[reference]
        paired = experiment.seeds[variant] == experiment.seeds[reference]
        for metric in metrics.METRICS:
            if metric.compared and metric.key in a.left_out and metric.key in a.seeds and metric.key in b.seeds:
                found = difference(a, b, metric.key, paired)
                yield Comparison(
                    variant=variant,
                    reference=reference,
                    scope=subset.stratum,
                    level=subset.level,
                    metric=metric.key,
                    n=len(subset.rows),
                    **{name: getattr(found, name) for name in found.model_fields_set},
                )


def difference(a: Estimates, b: Estimates, key: str, paired: bool) -> Difference:
    """Return the difference of a from b in one metric and how certain it is.

    `paired` says that both have the same seeds: the variance over seeds is then that of the seeds' differences, else
    the sum of both variants'.
    """
    of_a, of_b = a.seeds[key], b.seeds[key]
    reference = float(of_b.mean())
    found = float(of_a.mean()) - reference
    over_seeds = _variances(of_a, of_b, paired)
    error = StandardError((of_speakers(a.left_out[key] - b.left_out[key]), *over_seeds))
    effect = {"effect": _effect(a.utterances[key] - b.utterances[key])} if key in a.utterances else {}
    return Difference(
        difference=found,
        ci=error.interval(found),
        p=error.p(found),
        se=error.se,
        detectable=error.detectable(),
        relative=found / reference if abs(reference) > 1e-12 else None,
        seeds=Seeds(
            n=(len(of_a), len(of_b)),
            paired=paired,
            se=float(np.sqrt(sum(v.value for v in over_seeds))) if over_seeds else None,
        ),
        **effect,
    )


def conclude(comparisons: list[Comparison]) -> list[Comparison]:
    """Correct the p-values for all comparisons, and decide which differences are supported."""
    corrected = holm(np.array([c.p for c in comparisons]))
    return [
        c.model_copy(
            update={
                "p_holm": float(p),
                "supported": bool(p < LEVEL and c.n >= SMALL and min(c.seeds.n) > 1),
            }
        )
        for c, p in zip(comparisons, corrected, strict=True)
    ]


def _effect(gain: Floats) -> Effect:
    """Return the effect size of the utterances' differences, (n,)."""
    std = float(gain.std())
    return Effect(d_z=float(gain.mean()) / std if std > 1e-12 else 0.0)


def _variances(a: Floats, b: Floats, paired: bool) -> list[Variance]:
    """Return the variances over seeds of a difference between values (S,) of each; none where one has a single seed."""
    if min(len(a), len(b)) < 2:
        return []
    return [of_seeds(a - b)] if paired else [of_seeds(a), of_seeds(b)]

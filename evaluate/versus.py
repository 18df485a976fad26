"""Every comparison that `pairs` names, overall and by ambiguity; and in words, what that supports.

All comparisons are one family. One of them is supported where its p is below 0.05 after Holm's correction over the
family, its scope has at least 30 utterances, and both variants have at least two seeds: how much one run differs from
the next can't be told from a single one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .distributions import PROPER
from .gather import Experiment
from .judge import Judged, Scope
from .pairs import pairs
from .strata import SMALL
from .uncertainty import LEVEL, Error, Variance, holm, of_seeds, of_speakers

Floats = NDArray[np.float64]
Comparison = dict[str, Any]

COMPARED = {"bc": "BC", "r2": "R²", "nll_per_vote": "NLL", "accuracy": "ACC", "f1_weighted": "F1"}
LOWER_IS_BETTER = (
    *("jsd", "kl", "tvd", "hellinger", "nll_per_vote", "vote_nll", "soft_brier", "brier_corrected"),
    *("ece", "ece_classwise", "entropy_mae"),
)


def compare(experiment: Experiment, scope: Scope, judged: dict[str, Judged]) -> Iterator[Comparison]:
    """Compare all pairs of variants on one scope, in every metric of `COMPARED`; `p_holm` comes later."""
    for variant, reference in pairs(experiment.variants):
        paired = experiment.seeds[variant] == experiment.seeds[reference]
        for metric in COMPARED:
            if metric in judged[variant].seeds and metric in judged[reference].seeds:
                found = difference(judged[variant], judged[reference], metric, paired)
                about = {"variant": variant, "reference": reference, "scope": scope.name, "level": scope.level}
                yield {**about, "metric": metric, "n": len(scope.rows), **found}


def difference(a: Judged, b: Judged, metric: str, paired: bool) -> Comparison:
    """Return the difference of a from b in one metric and how sure it is.

    `paired` says that both have the same seeds: the variance over seeds is then that of the seeds' differences, else
    the sum of both variants'.
    """
    of_a, of_b = a.seeds[metric], b.seeds[metric]
    reference = float(b.seeds[metric].mean())
    found = float(of_a.mean()) - reference
    seeds = _variances(of_a, of_b, paired)
    error = Error((of_speakers(a.left_out[metric] - b.left_out[metric]), *seeds))
    comparison: Comparison = {
        "difference": found,
        "ci": error.interval(found),
        "p": error.p(found),
        "se": error.se,
        "detectable": error.detectable(),
        "relative": found / reference if abs(reference) > 1e-12 else None,
        "seeds": {
            "n": [len(of_a), len(of_b)],
            "paired": paired,
            "se": float(np.sqrt(sum(v.value for v in seeds))) if seeds else None,
        },
    }
    if metric in a.utterances:
        gain = a.utterances[metric] - b.utterances[metric]
        deviation = float(gain.std())
        # Cohen's d of paired differences: their mean over their standard deviation.
        comparison["effect"] = {"d_z": float(gain.mean()) / deviation if deviation > 1e-12 else 0.0}
    return comparison


def conclude(comparisons: list[Comparison], speakers: int) -> dict[str, Any]:
    """Correct the p-values, decide what is supported, and say it in words."""
    for comparison, p in zip(comparisons, holm(np.array([c["p"] for c in comparisons])), strict=True):
        comparison["p_holm"] = float(p)
        comparison["supported"] = bool(p < LEVEL and comparison["n"] >= SMALL and min(comparison["seeds"]["n"]) > 1)
    return {
        "rule": f"p < {LEVEL:g} after Holm over all {len(comparisons)} comparisons (metrics, pairs of variants, "
        f"overall and by ambiguity), which are one family; at least {SMALL} utterances and two seeds",
        "comparisons": comparisons,
        "supported": [sentence(c) for c in comparisons if c["supported"]],
        "not_supported": list(_not_supported(comparisons)),
        "power": list(_power(comparisons, speakers)),
    }


def sentence(c: Comparison) -> str:
    """Say one: "amber2 over soft on high ambiguity: +0.012 BC (better), 95 % CI 0.004 to 0.019, p = 0.003"."""
    better = (c["difference"] > 0) != (c["metric"] in LOWER_IS_BETTER)
    ci = f", 95 % CI {signed(c['ci'][0], False)} to {signed(c['ci'][1], False)}" if c["ci"] else ""
    p = "p < 0.001" if c["p_holm"] < 0.001 else f"p = {c['p_holm']:.3f}"
    # Within a stratum that the same votes made, no score is proper.
    proper = ", a proper score" if c["metric"] in PROPER and c["scope"] == "all" else ""
    return (
        f"{c['variant']} over {c['reference']} {where(c)}: {signed(c['difference'])} {COMPARED[c['metric']]} "
        f"({'better' if better else 'worse'}{proper}){ci}, {p}"
    )


def where(c: Comparison) -> str:
    """Return a comparison's scope in words."""
    return "overall" if c["scope"] == "all" else f"on {c['level']} {c['scope']}"


def signed(value: float, plus: bool = True) -> str:
    """Write a number with three decimals and a true minus sign."""
    return f"{value:{'+' if plus else ''}.3f}".replace("-", "−")


def _not_supported(comparisons: list[Comparison]) -> Iterator[str]:
    named: dict[tuple[str, str, str], list[str]] = {}
    for c in comparisons:
        if not c["supported"]:
            few = f" (n = {c['n']}, too few)" if c["n"] < SMALL else ""
            few += " (one seed)" if min(c["seeds"]["n"]) < 2 else ""
            named.setdefault((c["variant"], c["reference"], c["metric"]), []).append(where(c) + few)
    for (variant, reference, metric), places in named.items():
        yield f"{variant} over {reference} in {COMPARED[metric]}: {', '.join(places)}"


def _power(comparisons: list[Comparison], speakers: int) -> Iterator[str]:
    """Say for each pair how small a difference overall may be to be found."""
    found: dict[tuple[str, str], list[Comparison]] = {}
    for c in comparisons:
        if c["scope"] == "all" and c["detectable"] is not None:
            found.setdefault((c["variant"], c["reference"]), []).append(c)
    for (variant, reference), of in found.items():
        least = ", ".join(f"{COMPARED[c['metric']]} under {c['detectable']:.3f}" for c in of)
        one, other = of[0]["seeds"]["n"]
        seeds = "one seed" if min(one, other) < 2 else f"{one} seeds" if one == other else f"{one} and {other} seeds"
        unknown = ", whose variance is not known" if min(one, other) < 2 else ""
        yield f"{variant} over {reference}: differences in {least} ({speakers} speakers, {seeds}{unknown})"


def _variances(a: Floats, b: Floats, paired: bool) -> list[Variance]:
    """Return the variances over seeds of a difference between values (S,) of each; none where one has a single seed."""
    if min(len(a), len(b)) < 2:
        return []
    return [of_seeds(a - b)] if paired else [of_seeds(a), of_seeds(b)]

"""Every variant against `ce` and against `soft`, overall and by ambiguity; and in words, what that supports.

A difference is supported where its p is below 0.05 after Holm's correction over all pairs and scopes of that metric,
its interval excludes zero, every seed has its sign, and the scope has at least 30 utterances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .aggregate import values
from .distributions import PROPER
from .gather import Experiment, base
from .judge import Judged, Scope
from .significance import LEVEL, holm, interval, p_value, standardised
from .strata import SMALL

Comparison = dict[str, Any]

REFERENCES = ("ce", "soft")
COMPARED = {"bc": "BC", "r2": "R²", "vote_nll": "NLL", "accuracy": "ACC", "f1_weighted": "F1"}
LOWER_IS_BETTER = ("jsd", "kl", "tvd", "hellinger", "vote_nll", "soft_brier", "ece", "ece_classwise", "entropy_mae")


def pairs(variants: Sequence[str]) -> list[tuple[str, str]]:
    """Return which variant is measured against which.

    Against `ce` and `soft`; where experiments stand side by side, against its namesake in the first of them.
    """
    if any("/" in variant for variant in variants):
        first: dict[str, str] = {}
        for variant in sorted(variants, key=variants.index):
            first.setdefault(base(variant), variant)
        return [(v, first[base(v)]) for v in variants if first[base(v)] != v]
    there = [reference for reference in REFERENCES if reference in variants]
    return [(v, r) for r in there for v in variants if v != r and (v not in there or there.index(r) < there.index(v))]


def compare(experiment: Experiment, scope: Scope, judged: dict[str, Judged]) -> Iterator[Comparison]:
    """Compare all pairs of variants on one scope, in every metric of `COMPARED`; `p_holm` comes later."""
    y, votes = experiment.y[scope.rows], experiment.votes[scope.rows]
    for variant, reference in pairs(experiment.variants):
        a, b = judged[variant], judged[reference]
        gains = _gains(experiment, variant, reference, scope, y, votes)
        for metric in COMPARED:
            draws = a.draws[metric] - b.draws[metric]
            of_reference = float(b.seeds[metric].mean())
            difference = float(a.seeds[metric].mean()) - of_reference
            comparison = {
                "variant": variant,
                "reference": reference,
                "scope": scope.name,
                "level": scope.level,
                "metric": metric,
                "n": len(scope.rows),
                "difference": difference,
                "ci": interval(draws, scope.speakers),
                "p": p_value(difference, draws, scope.speakers),
                "relative": difference / of_reference if abs(of_reference) > 1e-12 else None,
                "seeds": _by_seed(experiment, variant, reference, a, b, metric),
            }
            if metric in gains:
                d, drawn = standardised(gains[metric], scope.group, scope.weights)
                comparison["effect"] = {"d_z": d, "ci": interval(drawn, scope.speakers)}
            yield comparison


def conclude(comparisons: list[Comparison]) -> dict[str, Any]:
    """Correct the p-values, decide what is supported, and say it in words."""
    for metric in COMPARED:
        family = [c for c in comparisons if c["metric"] == metric]
        for comparison, p in zip(family, holm(np.array([c["p"] for c in family])), strict=True):
            comparison["p_holm"] = float(p)
            comparison["supported"] = _supported(comparison)
    return {
        "rule": f"p < {LEVEL:g} after Holm over {_family(comparisons)} comparisons of a metric (pairs of variants, "
        "overall and by ambiguity), 95 % CI without zero, every seed with the same sign, "
        f"at least {SMALL} utterances",
        "comparisons": comparisons,
        "supported": [sentence(c) for c in comparisons if c["supported"]],
        "not_supported": list(_not_supported(comparisons)),
    }


def sentence(c: Comparison) -> str:
    """Say one: "amber2 over soft on high ambiguity: +0.012 BC (better), 95 % CI 0.004 to 0.019, p = 0.003"."""
    better = (c["difference"] > 0) != (c["metric"] in LOWER_IS_BETTER)
    ci = f", 95 % CI {signed(c['ci'][0], False)} to {signed(c['ci'][1], False)}" if c["ci"] else ""
    p = "p < 0.001" if c["p_holm"] < 0.001 else f"p = {c['p_holm']:.3f}"
    proper = ", a proper score" if c["metric"] in PROPER else ""
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


def _supported(c: Comparison) -> bool:
    excludes = c["ci"] is not None and (c["ci"][0] > 0 or c["ci"][1] < 0)
    return bool(c["p_holm"] < LEVEL and excludes and c["seeds"]["agree"] and c["n"] >= SMALL)


def _not_supported(comparisons: list[Comparison]) -> Iterator[str]:
    named: dict[tuple[str, str, str], list[str]] = {}
    for c in comparisons:
        if not c["supported"]:
            few = f" (n = {c['n']}, too few)" if c["n"] < SMALL else ""
            named.setdefault((c["variant"], c["reference"], c["metric"]), []).append(where(c) + few)
    for (variant, reference, metric), places in named.items():
        yield f"{variant} over {reference} in {COMPARED[metric]}: {', '.join(places)}"


def _family(comparisons: list[Comparison]) -> int:
    return sum(c["metric"] == next(iter(COMPARED)) for c in comparisons)


def _by_seed(experiment: Experiment, variant: str, reference: str, a: Judged, b: Judged, metric: str) -> dict[str, Any]:
    """Return the deviation of the differences over seeds, and whether all have one sign; paired where seeds match."""
    if experiment.seeds[variant] == experiment.seeds[reference]:
        differences = a.seeds[metric] - b.seeds[metric]
    else:
        differences = a.seeds[metric] - b.seeds[metric].mean()
    std = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    agree = bool((differences > 0).all() or (differences < 0).all())
    return {"n": len(differences), "std": std, "agree": agree}


def _gains(
    experiment: Experiment,
    variant: str,
    reference: str,
    scope: Scope,
    y: NDArray[np.float64],
    votes: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Return the gain of each utterance, averaged over seeds, in the metrics that are means over utterances."""

    def of(name: str) -> dict[str, NDArray[np.float64]]:
        per_seed = [
            values(y, p, votes) | {"accuracy": (p.argmax(axis=1) == y.argmax(axis=1)).astype(np.float64)}
            for p in experiment.students(name)[:, scope.rows]
        ]
        return {m: np.mean([v[m] for v in per_seed], axis=0) for m in COMPARED if m in per_seed[0]}

    a, b = of(variant), of(reference)
    return {metric: a[metric] - b[metric] for metric in a}

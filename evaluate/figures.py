"""Everything that `metrics.json` holds, computed from an experiment's predictions: the student on test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber.config import EvaluateOptions
from amber.console import Advance, Console
from amber.predictions import STUDENT

from . import strata
from .calibration import reliability
from .classification import tied
from .corrected import repeated
from .derived import CALIBRATED, ensembles
from .gather import Experiment
from .judge import Figure, Judged, Scope, against_truth, judge
from .material import Material
from .scale import Scale
from .versus import Comparison, compare, conclude

Floats = NDArray[np.float64]
ONE_HOT = 1 - 1e-9


def figures(experiment: Experiment, material: Material, options: EvaluateOptions, console: Console) -> dict[str, Any]:
    """Compute every figure."""
    clusters = experiment.clusters
    speakers = int(clusters.max()) + 1
    levels = divide(experiment, material)

    def scope(name: str, level: str) -> Scope:
        chosen = levels[name] == level if name in levels else np.ones(len(clusters), dtype=bool)
        return Scope.of(name, level, np.flatnonzero(chosen), clusters)

    asked = [("all", "all"), *((name, level) for name in levels for level in strata.ORDER[name])]
    with console.progress("evaluate", len(asked) * len(experiment.variants)) as advance:
        scopes = [scope(name, level) for name, level in asked]
        divided, comparisons = _strata(experiment, Scale.of(experiment, options), scopes, advance)
    whole = divided.pop("all")["all"]
    counted = repeated(experiment.y, experiment.votes)
    return {
        "experiment": experiment.name,
        **experiment.config,
        "classes": list(experiment.classes),
        "utterances": len(clusters),
        "speakers": speakers,
        "one_hot": float(np.mean(experiment.y.max(axis=1) >= ONE_HOT)),
        "ties": int(tied(experiment.y).sum()),
        "folds": sorted({run.fold for run in experiment.runs}),
        "seeds": sorted({run.seed for run in experiment.runs}),
        "uncertainty": {
            "speakers": "jackknife",
            "seeds": "added",
            "one_seed": [variant for variant, seeds in experiment.seeds.items() if len(seeds) < 2],
        },
        "corrected": {"n": int(counted.sum()), "left_out": int((~counted).sum())},
        "summary": whole["variants"],
        "ensembles": _ensembles(experiment, scopes[0]),
        "oracle": whole["oracle"],
        "raters": whole["raters"],
        "baselines": whole["baselines"],
        "truth": _truth(experiment),
        "strata": divided,
        "conflict_from": found[0] if (found := experiment.experts()) else None,
        "versus": conclude(comparisons, speakers),
        "calibration": _calibration(experiment, scopes[0]),
        "runs": [
            {"variant": r.variant, "fold": r.fold, "seed": r.seed, "key": r.key, "folder": r.folder.name}
            for r in experiment.runs
        ],
    }


def divide(experiment: Experiment, material: Material) -> dict[str, strata.Levels]:
    """Return the level of every utterance in each stratum that is known, (N,) by name."""
    found = {
        "ambiguity": strata.ambiguity(experiment.y),
        "agreement": strata.agreement(experiment.y),
        "votes": strata.votes(experiment.votes),
    }
    experts = experiment.experts()
    if experts:
        found["conflict"] = strata.conflict(experts[1], experts[2])
    if not np.isnan(material.seconds).any():
        found["duration"] = strata.duration(material.seconds)
    return {name: found[name] for name in strata.ORDER if name in found}


def _strata(
    experiment: Experiment, scale: Scale, scopes: Iterable[Scope], advance: Advance
) -> tuple[dict[str, Any], list[Comparison]]:
    """Judge every scope; return the figures by stratum and level (all utterances are `all`), and the comparisons."""
    divided: dict[str, Any] = {}
    comparisons: list[Comparison] = []
    for scope in scopes:
        n = len(scope.rows)
        level: dict[str, Any] = {"n": n, "speakers": scope.speakers, "small": n < strata.SMALL, "variants": {}}
        divided.setdefault(scope.name, {})[scope.level] = level
        if not n:
            advance(len(experiment.variants))
            continue
        judged: dict[str, Judged] = {}
        for variant in experiment.variants:
            judged[variant] = judge(experiment.students(variant), experiment.y, experiment.votes, scope)
            advance(1, f"{scope.name} {scope.level}")
        level["variants"] = {variant: of.figures() for variant, of in judged.items()}
        level |= scale.figures(experiment, scope)
        if scope.name in ("all", "ambiguity"):
            comparisons += compare(experiment, scope, judged)
    return divided, comparisons


def _ensembles(experiment: Experiment, everything: Scope) -> dict[str, dict[str, Figure]]:
    """Return the figures of the mean over seeds of every variant; their intervals know of speakers alone."""
    return {
        name: judge(p, experiment.y, experiment.votes, everything).figures()
        for name, p in ensembles(experiment).items()
    }


def _truth(experiment: Experiment) -> dict[str, dict[str, Figure]]:
    """Return the figures of variants and ensembles against the generating distribution, where it is known."""
    if experiment.truth is None:
        return {}
    every = {variant: experiment.students(variant) for variant in experiment.variants} | ensembles(experiment)
    return {name: against_truth(experiment, p) for name, p in every.items()}


def _calibration(experiment: Experiment, everything: Scope) -> dict[str, Any]:
    """Return the reliability of every student, of predictions averaged over seeds, and of its calibrated copy."""
    found: dict[str, Any] = {}
    for variant in experiment.variants:
        for head in (STUDENT, CALIBRATED):
            if head not in experiment.heads[variant]:
                continue
            judged = judge(experiment.heads[variant][head], experiment.y, experiment.votes, everything)
            found[variant if head == STUDENT else f"{variant} (calibrated)"] = {
                "ece": judged.figure("ece"),
                "ece_classwise": judged.figure("ece_classwise"),
                "bins": reliability(experiment.y, experiment.mean(variant, head)),
            }
    return found

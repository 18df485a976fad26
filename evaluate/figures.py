"""Everything that `metrics.json` holds, computed from an experiment's predictions: the student on test."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber.config import EvaluateOptions
from amber.console import Console
from amber.predictions import STUDENT

from . import ceiling, strata
from .baselines import baselines
from .calibration import reliability
from .classification import tied
from .gather import Experiment
from .judge import Figure, Judged, Scope, against_truth, judge
from .material import Material
from .significance import interval, speaker_weights
from .versus import Comparison, compare, conclude

Floats = NDArray[np.float64]
ONE_HOT = 1 - 1e-9
CALIBRATED = "student-calibrated"  # a temperature-scaled copy of the student, where training wrote one


def figures(experiment: Experiment, material: Material, options: EvaluateOptions, console: Console) -> dict[str, Any]:
    """Compute every figure."""
    clusters = experiment.clusters
    speakers = int(clusters.max()) + 1
    weights = speaker_weights(speakers, options.resamples, options.seed)
    levels = divide(experiment, material)

    def scope(name: str, level: str, chosen: NDArray[np.bool_]) -> Scope:
        return Scope.of(name, level, np.flatnonzero(chosen), clusters, weights)

    everything = scope("all", "all", np.ones(len(clusters), dtype=bool))
    scopes = [everything, *(scope(n, lv, of == lv) for n, of in levels.items() for lv in strata.ORDER[n])]
    summary, divided, comparisons = _judge_all(experiment, scopes, console)
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
        "bootstrap": {"resamples": options.resamples, "seed": options.seed, "unit": "speaker"},
        "summary": summary,
        "ceiling": _ceiling(experiment, everything, levels["ambiguity"]),
        "baselines": _baselines(experiment, everything),
        "truth": {v: against_truth(experiment, v) for v in experiment.variants if experiment.truth is not None},
        "strata": divided,
        "conflict_from": found[0] if (found := experiment.experts()) else None,
        "versus": conclude(comparisons),
        "calibration": _calibration(experiment, everything),
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


def _judge_all(
    experiment: Experiment, scopes: list[Scope], console: Console
) -> tuple[dict[str, Any], dict[str, Any], list[Comparison]]:
    summary: dict[str, Any] = {}
    divided: dict[str, Any] = {}
    comparisons: list[Comparison] = []
    with console.progress("evaluate", len(scopes) * len(experiment.variants)) as advance:
        for scope in scopes:
            judged: dict[str, Judged] = {}
            for variant in experiment.variants if len(scope.rows) else ():
                judged[variant] = judge(experiment.students(variant), experiment.y, experiment.votes, scope)
                advance(1, f"{scope.name} {scope.level}")
            shown = {variant: of.figures() for variant, of in judged.items()}
            if scope.name == "all":
                summary = shown
            else:
                n = len(scope.rows)
                level = {"n": n, "speakers": scope.speakers, "small": n < strata.SMALL, "variants": shown}
                divided.setdefault(scope.name, {})[scope.level] = level
            if scope.name in ("all", "ambiguity") and judged:
                comparisons += compare(experiment, scope, judged)
    return summary, divided, comparisons


def _ceiling(experiment: Experiment, everything: Scope, ambiguity: strata.Levels) -> dict[str, Any]:
    """Return the split-half ceiling, overall with intervals and by ambiguity."""
    usable = ceiling.usable(experiment.y, experiment.votes)
    rows = np.flatnonzero(usable)
    found: dict[str, Any] = {"n": len(rows), "left_out": int((~usable).sum()), "figures": {}, "ambiguity": {}}
    if not len(rows):
        return found
    scores, tables = ceiling.split_half(experiment.y[rows], experiment.votes[rows])
    size = everything.speakers
    by_speaker = np.stack([np.bincount(everything.group[rows], s, minlength=size) for s in scores.T], axis=1)
    drawn = everything.weights @ np.column_stack([by_speaker, np.bincount(everything.group[rows], minlength=size)])
    drawn = drawn[drawn[:, -1] > 0]
    for name, value in ceiling.figures(scores, tables).items():
        figure: Figure = {"mean": value}
        if name in ceiling.NAMES:
            figure["ci"] = interval(drawn[:, ceiling.NAMES.index(name)] / drawn[:, -1], size)
        found["figures"][name] = figure
    for level in strata.ORDER["ambiguity"]:
        inside = ambiguity[rows] == level
        of_level = ceiling.figures(scores[inside], tables[inside]) if inside.any() else {}
        found["ambiguity"][level] = {"n": int(inside.sum()), "figures": of_level}
    return found


def _baselines(experiment: Experiment, everything: Scope) -> dict[str, Any]:
    predicted = baselines(experiment.y, experiment.folds, experiment.dev)
    return {name: judge(p[None], experiment.y, experiment.votes, everything).figures() for name, p in predicted.items()}


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

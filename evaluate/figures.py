"""Everything that `metrics.json` holds, computed from an experiment's predictions: the student on test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber.config import EvaluateOptions
from amber.console import Advance, Console
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

    def scope(name: str, level: str) -> Scope:
        chosen = levels[name] == level if name in levels else np.ones(len(clusters), dtype=bool)
        return Scope.of(name, level, np.flatnonzero(chosen), clusters, weights)

    asked = [("all", "all"), *((name, level) for name in levels for level in strata.ORDER[name])]
    with console.progress("evaluate", len(asked) * len(experiment.variants)) as advance:
        # One at a time: with thousands of speakers, the weights of each take memory.
        scopes = (scope(name, level) for name, level in asked)
        divided, comparisons = _strata(experiment, Scale.of(experiment), scopes, advance)
    whole = divided.pop("all")["all"]
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
        "summary": whole["variants"],
        "ceiling": whole["ceiling"],
        "baselines": whole["baselines"],
        "truth": {v: against_truth(experiment, v) for v in experiment.variants if experiment.truth is not None},
        "strata": divided,
        "conflict_from": found[0] if (found := experiment.experts()) else None,
        "versus": conclude(comparisons),
        "calibration": _calibration(experiment, scope("all", "all")),
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


@dataclass(frozen=True)
class Scale:
    """What gives figures a scale: baselines' predictions (N, C), and every utterance's split-half scores.

    `scores` (n, K) and `tables` (n, C, C) are those of the `usable` utterances (N,), in their order.
    """

    baselines: dict[str, Floats]
    usable: NDArray[np.bool_]
    scores: Floats
    tables: Floats

    @classmethod
    def of(cls, experiment: Experiment) -> Scale:
        """Compute the baselines and split the votes."""
        usable = ceiling.usable(experiment.y, experiment.votes)
        scores, tables = ceiling.split_half(experiment.y[usable], experiment.votes[usable])
        return cls(baselines(experiment.y, experiment.folds, experiment.dev), usable, scores, tables)

    def judged(self, experiment: Experiment, scope: Scope) -> dict[str, dict[str, Figure]]:
        """Return the baselines' figures on a scope."""
        return {
            name: judge(p[None], experiment.y, experiment.votes, scope).figures() for name, p in self.baselines.items()
        }

    def ceiling(self, scope: Scope) -> dict[str, Any]:
        """Return the split-half ceiling on a scope; intervals for what is a mean over utterances."""
        there = self.usable[scope.rows]
        place = (np.cumsum(self.usable) - 1)[scope.rows[there]]
        scores, group = self.scores[place], scope.group[there]
        found: dict[str, Any] = {"n": len(place), "left_out": int((~there).sum()), "figures": {}}
        if not len(place):
            return found
        columns = [*scores.T, np.ones(len(place))]
        sums = np.stack([np.bincount(group, column, minlength=scope.speakers) for column in columns], axis=1)
        drawn = scope.weights @ sums
        drawn = drawn[drawn[:, -1] > 0]
        for name, value in ceiling.figures(scores, self.tables[place]).items():
            found["figures"][name] = {"mean": value}
            if name in ceiling.NAMES:
                draws = drawn[:, ceiling.NAMES.index(name)] / drawn[:, -1]
                found["figures"][name]["ci"] = interval(draws, scope.speakers)
        return found


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
        level["baselines"] = scale.judged(experiment, scope)
        level["ceiling"] = scale.ceiling(scope)
        if scope.name in ("all", "ambiguity"):
            comparisons += compare(experiment, scope, judged)
    return divided, comparisons


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

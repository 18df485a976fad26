"""What the report's charts draw beside estimates: error by conflict, entropies, learning curves, weights, confusion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from .. import strata
from ..experiment import Experiment, base
from ..metrics.classification import confusion
from ..metrics.distribution import bc, normalised_entropy
from ..results import ConflictSeries, EntropyLevel, EntropySeries, LearningCurve, Series
from ..strata import Levels

CELLS = 12  # per side of the table of entropies
GROUPS = 10  # of about equal size, in the order of conflict, at most: each has enough utterances for a mean


def series(experiment: Experiment, levels: Mapping[str, Levels]) -> Series:
    """Return everything that charts draw; `levels` are those of `strata.divide`."""
    shown = _shown(experiment)
    return Series(
        shown=shown,
        conflict=_conflict(experiment),
        entropy=_entropy(experiment, levels["ambiguity"], shown),
        learning=_learning(experiment),
        expert_weights=_expert_weights(experiment, levels["ambiguity"]),
        layer_weights=_layer_weights(experiment),
        confusion=confusion(experiment.y, experiment.mean(shown)).astype(int).tolist(),
    )


def _shown(experiment: Experiment) -> str:
    """Return the variant that the report looks into: amber2, else one with experts, else the last."""
    own = [v for v in experiment.variants if v not in {one.name for one in experiment.imports}]
    with_experts = [v for v in own if {"speech", "text", "fusion"} & set(experiment.heads[v])]
    named = [v for v in with_experts if base(v) == "amber2"]
    return (named[:1] or with_experts[-1:] or own[-1:])[0]


def _conflict(experiment: Experiment) -> ConflictSeries | None:
    """Return each variant's mean error, 1 - BC, by groups in the order of conflict; None if there is but one."""
    experts, divergence = experiment.experts(), experiment.conflict
    if experts is None or divergence is None:
        return None
    number = min(GROUPS, len(divergence) // strata.SMALL)
    if number < 2:
        return None
    groups = np.array_split(np.argsort(divergence, kind="stable"), number)
    error = {v: np.mean([1 - bc(experiment.y, p) for p in experiment.students(v)], axis=0) for v in experiment.variants}
    return ConflictSeries(
        size=len(groups[0]),
        conflict=[float(divergence[g].mean()) for g in groups],
        error={v: [float(e[g].mean()) for g in groups] for v, e in error.items()},
    )


def _entropy(experiment: Experiment, ambiguity: Levels, shown: str) -> EntropySeries:
    """Return how often a rater entropy goes with a predicted one, of predictions averaged over seeds."""
    of_raters, predicted = experiment.entropy, normalised_entropy(experiment.mean(shown))
    table = np.histogram2d(of_raters, predicted, bins=CELLS, range=((0, 1 + 1e-9), (0, 1 + 1e-9)))[0]
    return EntropySeries(
        table=table.astype(int).tolist(),
        levels={
            level: EntropyLevel(
                n=int(here.sum()), raters=float(of_raters[here].mean()), predicted=float(predicted[here].mean())
            )
            for level in strata.TERCILES
            if (here := ambiguity == level).any()
        },
    )


def _learning(experiment: Experiment) -> dict[str, LearningCurve]:
    """Return each variant's NLL of a dev vote by step, of each run's candidate with the largest weight, over runs."""
    curves: dict[str, list[list[tuple[float, float]]]] = defaultdict(list)
    for run in experiment.runs:
        leading = run.leading_candidate().get("number")
        checks = run.checks() if leading is not None else []
        curve = [(of["step"], of["dev_nll"]) for of in checks if "step" in of and of["candidate"] == leading]
        if curve:
            curves[run.variant].append(curve)
    found = {}
    for variant, of_runs in curves.items():
        steps = max(([step for step, _ in curve] for curve in of_runs), key=len)
        # A mean over the runs that still train would jump wherever a good or a bad one stops.
        held = [[nll for _, nll in curve] + [curve[-1][1]] * (len(steps) - len(curve)) for curve in of_runs]
        found[variant] = LearningCurve(runs=len(of_runs), steps=steps, nll=np.mean(held, axis=0).tolist())
    return found


def _expert_weights(experiment: Experiment, ambiguity: Levels) -> dict[str, dict[str, dict[str, float]]]:
    """Return the mean weight of each expert by ambiguity: variant -> expert -> level -> weight."""
    there = [level for level in strata.TERCILES if (ambiguity == level).any()]
    return {
        variant: {
            name: {level: float(of.mean(axis=0)[ambiguity == level].mean()) for level in there}
            for name, of in weights.items()
        }
        for variant, weights in experiment.weights.items()
        if weights
    }


def _layer_weights(experiment: Experiment) -> dict[str, dict[str, dict[str, float]]]:
    """Return learned layer weights averaged over runs, where there are: variant -> modality -> layer -> weight.

    Of a run, those of the candidate that weighs most in its student.
    """
    runs: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run in experiment.runs:
        for modality, weights in (run.leading_candidate().get("layer_weights") or {}).items():
            for layer, weight in weights.items():
                runs[run.variant][modality][str(layer)].append(float(weight))
    return {
        variant: {
            modality: {layer: float(np.mean(values)) for layer, values in layers.items()}
            for modality, layers in modalities.items()
        }
        for variant, modalities in runs.items()
    }

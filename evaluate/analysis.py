"""The analysis of an experiment: predictions and strata in, results out. The student on test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from amber.arrays import Floats
from amber.config import EvaluateOptions
from amber.console import Console
from amber.predictions import STUDENT

from . import metrics, results, strata
from .experiment import CALIBRATED, Experiment
from .metrics.calibration import reliability
from .metrics.classification import tied
from .metrics.corrected import repeated
from .results import Comparison, Results, Stratum
from .statistics import sums
from .statistics.comparisons import compare, conclude
from .statistics.estimates import Estimates, Subset, estimate, over_seeds
from .statistics.references import reference_scores
from .statistics.series import series
from .strata import Levels

ONE_HOT = 1 - 1e-9


def analyse(
    experiment: Experiment, levels: Mapping[str, Levels], options: EvaluateOptions, console: Console
) -> Results:
    """Compute every result; `levels` are those of `strata.divide`."""
    everything = Subset.everything(experiment.clusters)
    subsets = [everything, *_subsets(experiment, levels)]
    estimates: dict[str, list[Estimates]] = {}
    with console.progress("evaluate", len(experiment.variants) + 1) as advance:
        for variant in experiment.variants:
            estimates[variant] = estimate(experiment.students(variant), experiment.counts, subsets)
            advance(1, variant)
        references = reference_scores(experiment, subsets, options)
        advance(1, "reference scores")
    by_subset = [{variant: of[place] for variant, of in estimates.items()} for place in range(len(subsets))]
    comparisons: list[Comparison] = []
    divided: dict[str, dict[str, Stratum]] = {name: _empty(name, of) for name, of in levels.items()}
    for subset, of, reference in zip(subsets, by_subset, references, strict=True):
        if subset.stratum in ("all", "ambiguity"):
            comparisons += compare(experiment, subset, of)
        if subset is not everything:
            divided[subset.stratum][subset.level] = Stratum(
                n=len(subset.rows),
                speakers=subset.speakers,
                small=len(subset.rows) < strata.SMALL,
                variants={variant: found.all() for variant, found in of.items()},
                **dict(reference),
            )
    return Results(
        **_protocol(experiment),
        metrics={metric.key: _facts(metric) for metric in metrics.METRICS},
        summary={variant: of.all() for variant, of in by_subset[0].items()},
        ensembles=_ensembles(experiment, everything),
        **dict(references[0]),
        truth=_truth(experiment),
        strata=divided,
        versus=results.Versus(comparisons=conclude(comparisons)),
        calibration=_calibration(experiment, by_subset[0], everything),
        series=series(experiment, levels),
    )


def _subsets(experiment: Experiment, levels: Mapping[str, Levels]) -> list[Subset]:
    """Return the utterances on every level that occurs of every stratum."""
    return [
        Subset.of(name, level, rows, experiment.clusters)
        for name, of in levels.items()
        for level in strata.levels_of(name, of)
        if len(rows := np.flatnonzero(of == level))
    ]


def _empty(stratum: str, levels: Levels) -> dict[str, Stratum]:
    """Return a stratum without utterances for each of its levels."""
    return {level: Stratum(n=0, speakers=0, small=True, variants={}) for level in strata.levels_of(stratum, levels)}


def _protocol(experiment: Experiment) -> dict[str, Any]:
    """Return what was evaluated: corpus, labels, splits, utterances, runs."""
    config = experiment.config
    counted = repeated(experiment.counts)
    experts = experiment.experts()
    unknown = sum(speaker is None for speaker in experiment.speakers)
    return {
        "experiment": experiment.name,
        "dataset": results.Dataset(**{name: config["dataset"][name] for name in results.Dataset.model_fields}),
        "labels": config["labels"],
        "splits": config["splits"],
        "classes": list(experiment.classes),
        "utterances": len(experiment.ids),
        "speakers": int(experiment.clusters.max()) + 1,
        **({"unknown_speakers": unknown} if unknown else {}),
        "one_hot": float(np.mean(experiment.y.max(axis=1) >= ONE_HOT)),
        "ties": int(tied(experiment.y).sum()),
        "folds": sorted({run.fold for run in experiment.runs}),
        "seeds": sorted({run.seed for run in experiment.runs}),
        "uncertainty": results.Uncertainty(
            speakers="jackknife",
            seeds="added",
            one_seed=[variant for variant, seeds in experiment.seeds.items() if len(seeds) < 2],
        ),
        "corrected": results.Counted(n=int(counted.sum()), left_out=int((~counted).sum())),
        **({"ensemble_weights": experiment.of_variants.weights} if experiment.of_variants else {}),
        **({"imports": experiment.imports} if experiment.imports else {}),
        "conflict_from": experts[0] if experts else None,
        "used": _used(experiment),
        "runs": [
            results.Run(variant=r.variant, fold=r.fold, seed=r.seed, key=r.key, folder=r.folder.name)
            for r in experiment.runs
        ],
    }


def _used(experiment: Experiment) -> list[results.Used]:
    """Return which utterances variants use; figures of their own where they are not the same ones."""
    recorded = {run.variant: run.utterances for run in experiment.runs if run.utterances}
    found: dict[str, results.Used] = {}
    for variant, about in recorded.items():
        kind = json.dumps(about, sort_keys=True)
        used = found.setdefault(kind, results.Used(variants=[], **about))
        used.variants.append(variant)
    if not experiment.own:
        return list(found.values())
    return [_with_figures(experiment, used) for used in found.values()]


def _with_figures(experiment: Experiment, used: results.Used) -> results.Used:
    """Add how many utterances variants test, and the figures of each on all of them."""
    own = experiment.own[used.variants[0]]
    everything = Subset.everything(own.clusters)
    shown = [v for v in experiment.variants if v in own.heads]
    figures = {v: estimate(own.students(v), own.counts, [everything])[0].all() for v in shown}
    return used.model_copy(update={"tested": len(own.ids), "figures": figures})


def _facts(metric: metrics.Metric) -> results.MetricFacts:
    return results.MetricFacts(**{name: getattr(metric, name) for name in results.MetricFacts.model_fields})


def _ensembles(experiment: Experiment, everything: Subset) -> dict[str, results.Estimates]:
    """Return the estimates of the mean over seeds of every variant; their intervals are over speakers alone."""
    return {name: estimate(p, experiment.counts, [everything])[0].all() for name, p in experiment.ensembles().items()}


def _truth(experiment: Experiment) -> dict[str, results.Estimates]:
    """Return the estimates of variants and ensembles against the generating distribution, where it is known."""
    if experiment.truth is None:
        return {}
    # As many votes, spread as the truth is.
    counts = experiment.truth * experiment.counts.sum(axis=1, keepdims=True)
    every = {variant: experiment.students(variant) for variant in experiment.variants} | experiment.ensembles()
    return {name: _without_interval(p, counts) for name, p in every.items()}


def _without_interval(predictions: Floats, counts: Floats) -> results.Estimates:
    """Return the estimates of predictions (S, N, C) from counts (N, C), without rank metrics and intervals."""
    rows, one = np.arange(len(counts)), np.zeros(len(counts), dtype=np.int64)
    by_seed = [
        sums.values(sums.total(sums.by_group(sums.terms(p, counts), rows, one, 1)), counts.shape[1])
        for p in predictions
    ]
    values = {key: np.array([of[key] for of in by_seed]) for key in by_seed[0]}
    return {key: over_seeds(of) for key, of in values.items() if np.isfinite(of).all()}


def _calibration(
    experiment: Experiment, students: Mapping[str, Estimates], everything: Subset
) -> dict[str, results.Calibration]:
    """Return the reliability of every student, of predictions averaged over seeds, and of its calibrated copy."""
    found: dict[str, results.Calibration] = {}
    for variant, of in students.items():
        found[variant] = _reliability(experiment, variant, STUDENT, of)
        if CALIBRATED in experiment.heads[variant]:
            (copy,) = estimate(experiment.heads[variant][CALIBRATED], experiment.counts, [everything])
            found[f"{variant} (calibrated)"] = _reliability(experiment, variant, CALIBRATED, copy)
    return found


def _reliability(experiment: Experiment, variant: str, head: str, of: Estimates) -> results.Calibration:
    bins = reliability(experiment.y, experiment.mean(variant, head))
    return results.Calibration(
        ece=of.of("ece"), ece_classwise=of.of("ece_classwise"), bins=[results.Bin.model_validate(b) for b in bins]
    )

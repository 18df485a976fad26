"""The charts of the report, each with its figures in a table beneath it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

from .. import strata
from ..experiment import Experiment
from ..metrics.distribution import bc, normalised_entropy
from ..results import Comparison, Results
from ..strata import SMALL, Levels
from . import svg
from .tables import interval

CELLS = 12  # a side of the entropy chart
GROUPS = 10  # of about equal size, along the conflict


@dataclass(frozen=True)
class Chart:
    """A picture, what it shows, its legend (series number by name) and its figures as a table."""

    key: str
    title: str
    note: str
    svg: Markup
    legend: Mapping[str, int] = field(default_factory=dict)
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def charts(experiment: Experiment, levels: Mapping[str, Levels], results: Results, shown: str) -> list[Chart]:
    """Draw every chart for which there is something to show.

    `levels` are those of `strata.divide`; `shown` is the variant that the report looks into.
    """
    colour = {name: i for i, name in enumerate(experiment.variants)}
    drawn = [
        *_gain(results, colour),
        *_conflict(experiment, colour),
        _reliability(results, colour),
        _entropy(experiment, levels["ambiguity"], shown),
        *_learning(experiment, colour),
        *_weights(experiment, levels["ambiguity"]),
        *_layers(experiment),
    ]
    return [chart for chart in drawn if chart]


def _gain(results: Results, colour: dict[str, int]) -> Iterator[Chart]:
    comparisons = [c for c in results.versus.comparisons if c.metric == "bc" and c.ci]
    for reference in dict.fromkeys(c.reference for c in comparisons if "," not in c.reference):
        here = {(c.variant, c.level): c for c in comparisons if c.reference == reference}
        levels = list(dict.fromkeys(level for _, level in here))
        variants = list(dict.fromkeys(variant for variant, _ in here))
        series = {
            v: [(c.difference, *c.ci) if (c := here.get((v, level))) and c.ci else None for level in levels]
            for v in variants
        }
        names = [f"{'overall' if lv == 'all' else lv} (n = {_n(here, lv)})" for lv in levels]
        yield Chart(
            f"gain-{re.sub(r'[^a-z0-9/]+', '-', reference)}",
            f"Gain over {reference} by ambiguity",
            "Difference in BC with its 95 % interval over speakers and seeds; above zero is better.",
            svg.whiskers(names, series, f"BC less that of {reference}", f"Gain over {reference}", colour),
            {v: colour[v] for v in variants},
            ("variant", *names),
            tuple(
                (v, *(f"{value[0]:+.3f} ({interval(value[1:])})" if value else "–" for value in row))
                for v, row in series.items()
            ),
        )


def _n(here: dict[tuple[str, str], Comparison], level: str) -> int:
    return next(c.n for (_, lv), c in here.items() if lv == level)


def _conflict(experiment: Experiment, colour: dict[str, int]) -> Iterator[Chart]:
    experts, divergence = experiment.experts(), experiment.conflict
    if experts is None or divergence is None:
        return
    groups = [g for g in np.array_split(np.argsort(divergence, kind="stable"), GROUPS) if len(g)]
    middle = [float(divergence[g].mean()) for g in groups]
    error = {v: np.mean([1 - bc(experiment.y, p) for p in experiment.students(v)], axis=0) for v in experiment.variants}
    series = {v: list(zip(middle, [float(e[g].mean()) for g in groups], strict=True)) for v, e in error.items()}
    yield Chart(
        "conflict",
        "Conflict of voice and words against error",
        f"Mean error (1 − BC) over {len(groups)} groups of about {len(groups[0])} utterances, ordered by the "
        f"divergence between the speech and the text expert (of {experts[0]}).",
        svg.lines(series, "JSD of speech and text expert", "1 − BC", "Conflict against error", colour),
        colour,
        ("conflict", *(f"{m:.3f}" for m in middle)),
        tuple((v, *(f"{y:.3f}" for _, y in line)) for v, line in series.items()),
    )


def _reliability(results: Results, colour: dict[str, int]) -> Chart:
    found = results.calibration
    numbers = {name: colour.get(name, len(colour) + i) for i, name in enumerate(found)}
    large = {name: [b for b in of.bins if b.n >= SMALL] or of.bins for name, of in found.items()}
    series = {name: [(b.confidence, b.correctness) for b in bins] for name, bins in large.items()}
    return Chart(
        "reliability",
        "Reliability",
        "Share of raters who chose the predicted class, against the confidence in it; on the diagonal, a probability "
        f"means what it says. Predictions averaged over seeds; bins under {SMALL} utterances are not drawn.",
        svg.lines(series, "confidence", "share of raters", "Reliability diagram", numbers, square=True),
        numbers,
        ("variant", "ECE", "ECE by class", "bins: confidence, share, n"),
        tuple(
            (
                name,
                f"{of.ece.mean:.3f}",
                f"{of.ece_classwise.mean:.3f}",
                "; ".join(f"{b.confidence:.2f}, {b.correctness:.2f}, {b.n}" for b in of.bins),
            )
            for name, of in found.items()
        ),
    )


def _entropy(experiment: Experiment, ambiguity: Levels, shown: str) -> Chart:
    of_raters, predicted = experiment.entropy, normalised_entropy(experiment.mean(shown))
    table = np.histogram2d(of_raters, predicted, bins=CELLS, range=((0, 1 + 1e-9), (0, 1 + 1e-9)))[0]
    axes = svg.Axes((0.0, 1.0), (0.0, 1.0), "entropy of the raters", "predicted entropy")
    for i, j in np.argwhere(table > 0):
        strength = 0.12 + 0.88 * float(np.sqrt(table[i, j] / table.max()))
        cell = ((i / CELLS, (i + 1) / CELLS), (j / CELLS, (j + 1) / CELLS))
        axes.cell(*cell, strength, f"{int(table[i, j])} utterances")
    axes.rule((0, 0), (1, 1))
    return Chart(
        "entropy",
        f"Predicted against rater entropy, {shown}",
        "Normalised entropies; stronger cells hold more utterances. A few votes make the raters' entropy too low on "
        "average, so a calibrated prediction lies above the diagonal.",
        axes.svg("Predicted against rater entropy"),
        {},
        ("ambiguity", "n", "mean entropy of the raters", "mean predicted entropy"),
        tuple(
            (level, str(int(here.sum())), f"{of_raters[here].mean():.3f}", f"{predicted[here].mean():.3f}")
            for level in _occurring(ambiguity)
            if (here := ambiguity == level).any()
        ),
    )


def _learning(experiment: Experiment, colour: dict[str, int]) -> Iterator[Chart]:
    curves: dict[str, list[list[tuple[float, float]]]] = defaultdict(list)
    for run in experiment.runs:
        leading = run.leading_candidate().get("number")
        curve = [(of["step"], of["dev_nll"]) for of in run.checks() if "step" in of and of["candidate"] == leading]
        if curve:
            curves[run.variant].append(curve)
    if not curves:
        return
    series = {}
    for variant, of_runs in curves.items():
        steps = max(([step for step, _ in curve] for curve in of_runs), key=len)
        # A mean over the runs that still train would jump wherever a good or a bad one stops.
        held = [[nll for _, nll in curve] + [curve[-1][1]] * (len(steps) - len(curve)) for curve in of_runs]
        series[variant] = list(zip(steps, np.mean(held, axis=0).tolist(), strict=True))
    lowest = {variant: min(line, key=lambda point: point[1]) for variant, line in series.items()}
    yield Chart(
        "learning",
        "Learning curves",
        "Negative log-likelihood of a dev vote at each check on dev, of each run's candidate with the largest weight, "
        "averaged over runs; a run that has stopped keeps its last value.",
        svg.lines(series, "step", "NLL of a dev vote", "Learning curves", colour, dots=False),
        {v: colour[v] for v in series},
        ("variant", "runs", "steps", "lowest mean NLL on dev", "at step"),
        tuple(
            (v, str(len(curves[v])), f"{line[-1][0]:.0f}", f"{lowest[v][1]:.3f}", f"{lowest[v][0]:.0f}")
            for v, line in series.items()
        ),
    )


def _weights(experiment: Experiment, ambiguity: Levels) -> Iterator[Chart]:
    there = _occurring(ambiguity)
    for variant, weights in experiment.weights.items():
        if not weights:
            continue
        names = {name: i for i, name in enumerate(weights)}
        over_seeds = {name: w.mean(axis=0) for name, w in weights.items()}
        means = {name: [float(w[ambiguity == level].mean()) for level in there] for name, w in over_seeds.items()}
        axes = svg.Axes((-0.5, len(there) - 0.5), (0.0, 1.0), "ambiguity", "mean weight", there)
        for name, row in means.items():
            axes.line(list(enumerate(row)), names[name], name)
        yield Chart(
            f"trust-{variant}",
            f"Expert weights, {variant}",
            "How far the objective follows each expert on test utterances: softmax of −D(y, p) / temperature, "
            "averaged over seeds.",
            axes.svg(f"Expert weights of {variant}"),
            names,
            ("expert", *there),
            tuple((name, *(f"{w:.3f}" for w in row)) for name, row in means.items()),
        )


def _layers(experiment: Experiment) -> Iterator[Chart]:
    for variant, modalities in _layer_weights(experiment).items():
        names = {modality: i for i, modality in enumerate(modalities)}
        series = {
            modality: sorted((float(layer), weight) for layer, weight in layers.items())
            for modality, layers in modalities.items()
        }
        yield Chart(
            f"layers-{variant}",
            f"Learned layer weights, {variant}",
            "Averaged over runs.",
            svg.lines(series, "layer", "weight", f"Layer weights of {variant}", names),
            names,
            ("modality", "layer: weight"),
            tuple((m, ", ".join(f"{layer:g}: {w:.3f}" for layer, w in line)) for m, line in series.items()),
        )


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


def _occurring(ambiguity: Levels) -> list[str]:
    """Return the levels of ambiguity that occur, in order."""
    return [level for level in strata.TERCILES if (ambiguity == level).any()]

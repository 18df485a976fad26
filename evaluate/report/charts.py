"""The charts of the report, each with its figures in a table beneath it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from markupsafe import Markup

from ..results import Comparison, Results
from ..strata import SMALL
from . import svg
from .tables import interval


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


def charts(results: Results) -> list[Chart]:
    """Draw every chart for which there is something to show."""
    colour = {name: i for i, name in enumerate(results.summary)}
    return [
        *_gain(results, colour),
        *_conflict(results, colour),
        _reliability(results, colour),
        _entropy(results),
        *_learning(results, colour),
        *_weights(results),
        *_layers(results),
    ]


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


def _conflict(results: Results, colour: dict[str, int]) -> Iterator[Chart]:
    found = results.series.conflict
    if found is None:
        return
    series = {v: list(zip(found.conflict, error, strict=True)) for v, error in found.error.items()}
    yield Chart(
        "conflict",
        "Conflict of voice and words against error",
        f"Mean error (1 − BC) over {len(found.conflict)} groups of about {found.size} utterances, ordered by the "
        f"divergence between the speech and the text expert (of {results.conflict_from}).",
        svg.lines(series, "JSD of speech and text expert", "1 − BC", "Conflict against error", colour),
        colour,
        ("conflict", *(f"{m:.3f}" for m in found.conflict)),
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


def _entropy(results: Results) -> Chart:
    shown, found = results.series.shown, results.series.entropy
    cells, most = len(found.table), max(map(max, found.table))
    axes = svg.Axes((0.0, 1.0), (0.0, 1.0), "entropy of the raters", "predicted entropy")
    for i, row in enumerate(found.table):
        for j, n in enumerate(row):
            if n:
                cell = ((i / cells, (i + 1) / cells), (j / cells, (j + 1) / cells))
                axes.cell(*cell, 0.12 + 0.88 * math.sqrt(n / most), f"{n} utterances")
    axes.rule((0, 0), (1, 1))
    return Chart(
        "entropy",
        f"Predicted against rater entropy, {shown}",
        "Normalised entropies; stronger cells hold more utterances. A few votes make the raters' entropy too low on "
        "average, so a calibrated prediction lies above the diagonal.",
        axes.svg("Predicted against rater entropy"),
        {},
        ("ambiguity", "n", "mean entropy of the raters", "mean predicted entropy"),
        tuple((level, str(of.n), f"{of.raters:.3f}", f"{of.predicted:.3f}") for level, of in found.levels.items()),
    )


def _learning(results: Results, colour: dict[str, int]) -> Iterator[Chart]:
    curves = results.series.learning
    if not curves:
        return
    series = {variant: list(zip(of.steps, of.nll, strict=True)) for variant, of in curves.items()}
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
            (v, str(curves[v].runs), f"{line[-1][0]:.0f}", f"{lowest[v][1]:.3f}", f"{lowest[v][0]:.0f}")
            for v, line in series.items()
        ),
    )


def _weights(results: Results) -> Iterator[Chart]:
    for variant, weights in results.series.expert_weights.items():
        names = {name: i for i, name in enumerate(weights)}
        there = list(next(iter(weights.values())))
        axes = svg.Axes((-0.5, len(there) - 0.5), (0.0, 1.0), "ambiguity", "mean weight", there)
        for name, by_level in weights.items():
            axes.line(list(enumerate(by_level.values())), names[name], name)
        yield Chart(
            f"trust-{variant}",
            f"Expert weights, {variant}",
            "How far the objective follows each expert on test utterances: softmax of −D(y, p) / temperature, "
            "averaged over seeds.",
            axes.svg(f"Expert weights of {variant}"),
            names,
            ("expert", *there),
            tuple((name, *(f"{w:.3f}" for w in by_level.values())) for name, by_level in weights.items()),
        )


def _layers(results: Results) -> Iterator[Chart]:
    for variant, modalities in results.series.layer_weights.items():
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

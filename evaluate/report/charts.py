"""The charts of the report, each with its figures in a table beneath it.

Nothing is drawn of fewer than 30 utterances, and no chart where all utterances are alike in what it divides by.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..results import Results
from ..strata import SMALL
from . import svg
from .chart import Chart, Palette, plain_legend
from .gains import forests, gains

SCALE = (1.0, 0.75, 0.5, 0.25, 0.0)  # steps of a colour scale, of the root of the largest count


def charts(results: Results) -> list[Chart]:
    """Draw every chart for which there is something to show; the one that leads comes first."""
    palette = Palette.of(results)
    return [
        *gains(results, palette),
        *_conflict(results, palette),
        *_reliability(results, palette),
        *_entropy(results),
        *_learning(results, palette),
        *_weights(results),
        *_layers(results),
    ]


def all_comparisons(results: Results) -> list[Chart]:
    """Draw the forest plots, one for each metric."""
    return list(forests(results))


def _conflict(results: Results, palette: Palette) -> Iterator[Chart]:
    found = results.series.conflict
    if found is None or len(found.conflict) < 2:
        return
    series = {v: list(zip(found.conflict, error, strict=True)) for v, error in found.error.items()}
    label, shown = "JSD of speech and text expert", palette.shown(series)
    picture = svg.lines(series, label, "1 − BC", "Conflict against error", palette.number, shown)
    yield Chart(
        "conflict",
        "Conflict of voice and words against error",
        f"Mean error (1 − BC) over {len(found.conflict)} groups of about {found.size} utterances, ordered by the "
        f"divergence between the speech and the text expert (of {results.conflict_from}).",
        (picture,),
        palette.legend(series),
        ("conflict", *(f"{m:.3f}" for m in found.conflict)),
        tuple((v, *(f"{y:.3f}" for _, y in line)) for v, line in series.items()),
    )


def _reliability(results: Results, palette: Palette) -> Iterator[Chart]:
    found = results.calibration
    large = {name: [(b.confidence, b.correctness) for b in of.bins if b.n >= SMALL] for name, of in found.items()}
    series = {name: bins for name, bins in large.items() if bins}
    if not series:
        return
    numbers, shown = palette.numbers(found), palette.shown(series)
    yield Chart(
        "reliability",
        "Reliability",
        "Share of raters who chose the predicted class, against the confidence in it; on the diagonal, a probability "
        f"means what it says. Predictions averaged over seeds; bins under {SMALL} utterances are not drawn.",
        (svg.lines(series, "confidence", "share of raters", "Reliability diagram", numbers, shown, square=True),),
        tuple(key for key in palette.legend(found) if key.name in series),
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


def _entropy(results: Results) -> Iterator[Chart]:
    shown, found = results.series.shown, results.series.entropy
    if len(found.levels) < 2:
        return
    cells, most = len(found.table), max(map(max, found.table))
    axes = svg.Axes((0.0, 1.16), (0.0, 1.0), "entropy of the raters", "predicted entropy", ticked=(0.0, 1.0))
    for i, row in enumerate(found.table):
        for j, n in enumerate(row):
            if n:
                cell = ((i / cells, (i + 1) / cells), (j / cells, (j + 1) / cells))
                axes.cell(*cell, _strength(n, most), f"{n} utterances")
    axes.rule((0, 0), (1, 1))
    for place, step in enumerate(SCALE):
        n = max(round(most * step * step), 1)
        low, high = 1 - (place + 1) / len(SCALE), 1 - place / len(SCALE)
        axes.cell((1.04, 1.07), (low, high), _strength(n, most), f"{n} utterances")
        axes.note(axes.x(1.08), axes.y((low + high) / 2) + 4, str(n))
    yield Chart(
        "entropy",
        f"Predicted against rater entropy, {shown}",
        "Normalised entropies; the scale at the right says how many utterances a cell holds. A few votes make the "
        "raters' entropy too low on average, so a calibrated prediction lies above the diagonal.",
        (axes.svg("Predicted against rater entropy"),),
        (),
        ("ambiguity", "n", "mean entropy of the raters", "mean predicted entropy"),
        tuple((level, str(of.n), f"{of.raters:.3f}", f"{of.predicted:.3f}") for level, of in found.levels.items()),
    )


def _strength(n: int, most: int) -> float:
    return 0.12 + 0.88 * math.sqrt(n / most)


def _learning(results: Results, palette: Palette) -> Iterator[Chart]:
    curves = results.series.learning
    if not curves:
        return
    series = {variant: list(zip(of.steps, of.nll, strict=True)) for variant, of in curves.items()}
    lowest = {variant: min(line, key=lambda point: point[1]) for variant, line in series.items()}
    shown = palette.shown(series)
    yield Chart(
        "learning",
        "Learning curves",
        "Negative log-likelihood of a dev vote at each check on dev, of each run's candidate with the largest weight, "
        "averaged over runs; a run that has stopped keeps its last value.",
        (svg.lines(series, "step", "NLL of a dev vote", "Learning curves", palette.number, shown, dots=False),),
        palette.legend(series),
        ("variant", "runs", "steps", "lowest mean NLL on dev", "at step"),
        tuple(
            (v, str(curves[v].runs), f"{line[-1][0]:.0f}", f"{lowest[v][1]:.3f}", f"{lowest[v][0]:.0f}")
            for v, line in series.items()
        ),
    )


def _weights(results: Results) -> Iterator[Chart]:
    large = {level for level, of in results.strata["ambiguity"].items() if of.n >= SMALL}
    for variant, weights in results.series.expert_weights.items():
        there = [level for level in next(iter(weights.values())) if level in large]
        if len(there) < 2:
            continue
        legend = plain_legend(weights)
        numbers = {key.name: key.number for key in legend}
        series = {name: [(float(i), of[level]) for i, level in enumerate(there)] for name, of in weights.items()}
        picture = svg.lines(
            series, "ambiguity", "mean weight", f"Weights of {variant}", numbers, list(series), names=there
        )
        yield Chart(
            f"trust-{variant}",
            f"Expert weights, {variant}",
            "How far the objective follows each expert on test utterances: softmax of −D(y, p) / temperature, "
            "averaged over seeds.",
            (picture,),
            legend,
            ("expert", *there),
            tuple((name, *(f"{weights[name][level]:.3f}" for level in there)) for name in weights),
        )


def _layers(results: Results) -> Iterator[Chart]:
    for variant, modalities in results.series.layer_weights.items():
        legend = plain_legend(modalities)
        numbers = {key.name: key.number for key in legend}
        series = {
            modality: sorted((float(layer), weight) for layer, weight in layers.items())
            for modality, layers in modalities.items()
        }
        yield Chart(
            f"layers-{variant}",
            f"Learned layer weights, {variant}",
            "Averaged over runs.",
            (svg.lines(series, "layer", "weight", f"Layer weights of {variant}", numbers, list(series)),),
            legend,
            ("modality", "layer: weight"),
            tuple((m, ", ".join(f"{layer:g}: {w:.3f}" for layer, w in line)) for m, line in series.items()),
        )

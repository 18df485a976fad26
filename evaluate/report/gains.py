"""Charts of differences: the gain over a reference by ambiguity, and a forest plot of all comparisons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..results import Comparison, Results
from ..strata import SMALL
from . import svg, text
from .chart import Chart, Palette
from .ranking import PAPERS, PROPER, is_constant
from .tables import interval

PANELS = (PROPER, PAPERS)  # metrics whose gain is drawn


def gains(results: Results, palette: Palette) -> Iterator[Chart]:
    """Draw the gain over each reference by ambiguity; nothing where fewer than two levels have enough utterances."""
    comparisons = [c for c in results.versus.comparisons if c.metric in PANELS and c.ci and c.n >= SMALL]
    for reference in dict.fromkeys(c.reference for c in comparisons if "," not in c.reference):
        here = [c for c in comparisons if c.reference == reference]
        if len({c.level for c in here if c.scope != "all"}) > 1:
            yield _gain(results, palette, reference, here)


def forests(results: Results) -> Iterator[Chart]:
    """Draw all comparisons, a chart for each metric, the proper score first."""
    comparisons = [c for c in results.versus.comparisons if _drawn(results, c)]
    metrics = dict.fromkeys(c.metric for c in comparisons)
    for key in sorted(metrics, key=lambda key: not results.metrics[key].proper):
        yield forest(results, key, [c for c in comparisons if c.metric == key])


def forest(results: Results, key: str, of: Sequence[Comparison]) -> Chart:
    """Draw comparisons in one metric, a row for each."""
    metric = results.metrics[key]
    pairs = list(dict.fromkeys((c.variant, c.reference) for c in of))
    of = sorted(of, key=lambda c: pairs.index((c.variant, c.reference)))
    rows = [
        (f"{c.variant} over {c.reference}, {text.where(c)}", (c.difference, *c.ci), c.supported) for c in of if c.ci
    ]
    better = "right" if metric.higher_is_better else "left"
    unit = f", {metric.unit}" if metric.unit else ""
    return Chart(
        f"forest-{key}",
        f"Differences in {metric.title}",
        f"Each with its 95 % interval, before the correction for many tests; the {better} of zero is better. "
        f"Filled and dark: supported after correction. Not drawn: under {SMALL} utterances, and constant answers.",
        (svg.forest(rows, f"difference in {metric.title}{unit}", f"Differences in {metric.title}"),),
    )


def _drawn(results: Results, c: Comparison) -> bool:
    """Return whether a comparison is drawn: not of few utterances, of a constant answer, or twice of all utterances."""
    twice = c.scope != "all" and c.n == results.utterances
    constant = is_constant(c.variant) or is_constant(c.reference)
    return c.ci is not None and c.n >= SMALL and not twice and not constant


def _gain(results: Results, palette: Palette, reference: str, of: Sequence[Comparison]) -> Chart:
    here = {(c.metric, c.variant, c.level): c for c in of}
    levels = list(dict.fromkeys(c.level for c in of))
    variants = list(dict.fromkeys(c.variant for c in of))
    names = [f"{'overall' if level == 'all' else level} (n = {_n(of, level)})" for level in levels]
    shown, panels, rows = palette.shown(variants), [], []
    for key in PANELS:
        metric = results.metrics[key]
        series = {v: [_gained(results, here.get((key, v, level))) for level in levels] for v in variants}
        label = f"gain in {metric.title}{f' ({metric.unit})' if metric.unit else ''}"
        title = f"Gain over {reference} in {metric.title}"
        panels.append(svg.whiskers(names, series, label, title, palette.number, shown))
        rows += [
            (f"{v}, {metric.title}", *(f"{text.signed(x[0])} ({interval(x[1:])})" if x else "–" for x in row))
            for v, row in series.items()
        ]
    return Chart(
        f"gain-{re.sub(r'[^a-z0-9/]+', '-', reference)}",
        f"Gain over {reference} by ambiguity",
        "Above zero is better in both: NLL, which is proper overall (levels are made by the same votes), and BC, the "
        "paper's score. Bars: 95 % intervals.",
        tuple(panels),
        palette.legend(variants),
        ("variant", *names),
        tuple(rows),
        wide=True,
    )


def _gained(results: Results, c: Comparison | None) -> svg.Interval | None:
    """Return how much better a variant is, with its interval; less of a metric whose lower side is better is a gain."""
    if c is None or c.ci is None:
        return None
    if results.metrics[c.metric].higher_is_better:
        return (c.difference, *c.ci)
    return (-c.difference, -c.ci[1], -c.ci[0])


def _n(of: Sequence[Comparison], level: str) -> int:
    return next(c.n for c in of if c.level == level)

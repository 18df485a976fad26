"""A curve as one HTML page that loads nothing: charts, findings and every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..report import svg, template
from ..report.chart import Chart, Key
from ..report.tables import interval
from .findings import written
from .measure import METRIC, Difference, Measured

TEMPLATE = Path(__file__).with_name("curve.html")

Line = Sequence[tuple[float, float, tuple[float, float] | None]]  # place along x, mean, interval


def render(data: Mapping[str, Any], measured: Sequence[Measured], differences: Sequence[Difference]) -> str:
    """Return the page of a curve."""
    return template.render(
        TEMPLATE,
        data=data,
        charts=_charts(measured),
        header=("between", "difference in NLL", "p (Holm)", "supported"),
        rows=[
            (f"{one.variant}: {_named(one)}", written(one), f"{one.p_holm:.3f}", "yes" if one.supported else "no")
            for one in differences
        ],
    )


def _named(one: Difference) -> str:
    return " over ".join(f"{point.votes} on {point.share:.0%}" for point in (one.point, one.reference))


def _charts(measured: Sequence[Measured]) -> list[Chart]:
    counts = sorted({one.point.votes for one in measured})
    variants = list(dict.fromkeys(one.variant for one in measured))
    colour = {variant: place for place, variant in enumerate(variants)}
    full = {v: [one for one in measured if one.variant == v and one.point.share == 1] for v in variants}
    charts = [
        _chart(
            "raters", "More raters, the same utterances", "All utterances of training and dev.", full, counts, colour
        )
    ]
    for variant in variants:
        lines: dict[str, list[Measured]] = {}
        for one in measured:
            if one.variant == variant:
                lines.setdefault(f"cost of {one.point.cost} on all", []).append(one)
        if any(len(line) > 1 for line in lines.values()):
            note = "Each line costs the same: the more votes on an utterance, the fewer utterances."
            colours = {name: place for place, name in enumerate(lines)}
            title = f"More raters, fewer utterances: {variant}"
            charts.append(_chart(f"cost-{variant}", title, note, lines, counts, colours))
    return charts


def _chart(
    key: str,
    title: str,
    note: str,
    lines: Mapping[str, Sequence[Measured]],
    counts: Sequence[int],
    colour: Mapping[str, int],
) -> Chart:
    """Draw NLL by votes an utterance, a line with intervals by name."""
    edges = [edge for line in lines.values() for one in line for edge in (one.interval(METRIC) or (one.mean(METRIC),))]
    names = [str(count) for count in counts]
    axes = svg.Axes((-0.5, len(counts) - 0.5), svg.span(edges), "votes an utterance", "NLL, nats per vote", names)
    for place, (name, line) in enumerate(lines.items()):
        aside = (place - (len(lines) - 1) / 2) * 0.5 / max(len(lines), 1)
        at = [(counts.index(one.point.votes) + aside, one) for one in line]
        with axes.series(colour[name]):
            axes.line([(x, one.mean(METRIC)) for x, one in at], colour[name], name, dots=False)
            for x, one in at:
                low, high = one.interval(METRIC) or (one.mean(METRIC), one.mean(METRIC))
                axes.whisker(x, (one.mean(METRIC), low, high), colour[name], f"{name}, {one.point.votes}")
    rows = [
        (f"{name}, {one.point.votes} on {one.point.share:.0%}", f"{one.utterances:.0f}", f"{one.votes:.2f}",
         f"{one.mean(METRIC):.4f} ({interval(one.interval(METRIC))})")
        for name, line in lines.items()
        for one in line
    ]  # fmt: skip
    legend = tuple(Key(name, number, shown=True) for name, number in colour.items())
    header = ("line, votes", "utterances", "votes each", "NLL (95 %)")
    whole = f"{note} Mean NLL with its 95 % interval over speakers, draws and seeds; lower is better."
    return Chart(key, title, whole, (axes.svg(title),), legend, header, tuple(rows))

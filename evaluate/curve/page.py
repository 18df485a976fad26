"""A curve as one HTML page that loads nothing (charts, findings and every figure), and as a question of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amber.errors import count

from ..report import svg, template
from ..report.chart import Chart, Key
from ..report.question import Question
from ..report.tables import interval
from .findings import written
from .measure import METRIC

PAGE = "curve.html"
TEMPLATE = Path(__file__).with_name(PAGE)

Point = Mapping[str, Any]  # as `curve.json` holds it


def render(data: Mapping[str, Any]) -> str:
    """Return the page of a curve, given what `curve.json` holds."""
    return template.render(
        TEMPLATE,
        data=data,
        charts=charts(data["points"]),
        header=("between", "difference in NLL", "p (Holm)", "supported"),
        rows=[
            (f"{one['variant']}: {_named(one)} over {_named(one['reference'])}",
             written(one[METRIC], one["ci"]), f"{one['p_holm']:.3f}", "yes" if one["supported"] else "no")
            for one in data["differences"]
        ],
    )  # fmt: skip


def question(data: Mapping[str, Any], where: str) -> Question:
    """Return the question of the report; `where` is the address of the page's folder, with a slash at its end."""
    said = (
        f"{count(data['draws'], 'draw')} of votes with {count(data['seeds'], 'seed')} each, scored on "
        f"{data['test']['utterances']} test utterances with all their votes (experiment {data['experiment']})."
    )
    title = f"How many raters, how many utterances? {data['dataset']['name']}"
    raters = charts(data["points"])[0]
    return Question(
        title, (*data["findings"]["raters"], said), (raters,), {"all points and differences": f"{where}{PAGE}"}
    )


def charts(points: Sequence[Point]) -> list[Chart]:
    """Draw the points: more raters on the same utterances, and of each variant more raters on fewer utterances."""
    counts = sorted({one["votes"] for one in points})
    variants = list(dict.fromkeys(one["variant"] for one in points))
    colour = {variant: place for place, variant in enumerate(variants)}
    full = {v: [one for one in points if one["variant"] == v and one["share"] == 1] for v in variants}
    found = [
        _chart(
            "raters", "More raters, the same utterances", "All utterances of training and dev.", full, counts, colour
        )
    ]
    for variant in variants:
        lines: dict[str, list[Point]] = {}
        for one in points:
            if one["variant"] == variant:
                lines.setdefault(f"cost of {one['cost']} on all", []).append(one)
        if any(len(line) > 1 for line in lines.values()):
            note = "Each line costs the same: the more votes on an utterance, the fewer utterances."
            colours = {name: place for place, name in enumerate(lines)}
            title = f"More raters, fewer utterances: {variant}"
            found.append(_chart(f"cost-{variant}", title, note, lines, counts, colours))
    return found


def _named(one: Mapping[str, Any]) -> str:
    return f"{one['votes']} on {one['share']:.0%}"


def _figure(one: Point) -> tuple[float, tuple[float, float] | None]:
    """Return a point's NLL and its interval."""
    figure = one["metrics"][METRIC]
    return figure["mean"], tuple(figure["ci"]) if figure["ci"] else None


def _chart(
    key: str,
    title: str,
    note: str,
    lines: Mapping[str, Sequence[Point]],
    counts: Sequence[int],
    colour: Mapping[str, int],
) -> Chart:
    """Draw NLL by votes per utterance, a line with intervals by name."""
    edges = [edge for line in lines.values() for mean, ci in map(_figure, line) for edge in ci or (mean,)]
    names = [str(votes) for votes in counts]
    axes = svg.Axes((-0.5, len(counts) - 0.5), svg.span(edges), "votes per utterance", "NLL, nats per vote", names)
    for place, (name, line) in enumerate(lines.items()):
        aside = (place - (len(lines) - 1) / 2) * 0.5 / max(len(lines), 1)
        at = [(counts.index(one["votes"]) + aside, one) for one in line]
        with axes.series(colour[name]):
            axes.line([(x, _figure(one)[0]) for x, one in at], colour[name], name, dots=False)
            for x, one in at:
                mean, ci = _figure(one)
                axes.whisker(x, (mean, *(ci or (mean, mean))), colour[name], f"{name}, {one['votes']}")
    rows = [
        (f"{name}, {_named(one)}", f"{one['seen_utterances']:.0f}", f"{one['seen_votes']:.2f}",
         f"{_figure(one)[0]:.4f} ({interval(_figure(one)[1])})")
        for name, line in lines.items()
        for one in line
    ]  # fmt: skip
    legend = tuple(Key(name, number, shown=True) for name, number in colour.items())
    header = ("line, votes", "utterances", "votes each", "NLL (95 %)")
    whole = f"{note} Mean NLL with its 95 % interval over speakers, draws and seeds; lower is better."
    return Chart(key, title, whole, (axes.svg(title),), legend, header, tuple(rows))

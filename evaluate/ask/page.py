"""The page of a validation: what asking in each order brought, with intervals; also as text for a terminal."""

from __future__ import annotations

from pathlib import Path

from amber import __version__

from ..report import svg, template
from ..report.chart import Chart, Key
from .validation import ORDERS, Estimate, Validation

MILLI = 1000.0  # figures are shown in thousandths of a nat
TEMPLATE = Path(__file__).with_name("ask.html")
TITLES = {"gain": "by expected gain", "entropy": "by entropy", "random": "at random"}


def render(name: str, found: Validation) -> str:
    """Return the page."""
    return template.render(
        TEMPLATE,
        name=name,
        version=__version__,
        about=about(found),
        said=conclusions(found),
        chart=chart(found),
    )


def about(found: Validation) -> str:
    """Say what was done."""
    low, high = found.shown
    shown = f"{low}" if low == high else f"{low} to {high}"
    scored = "the true distribution" if found.against_truth else "votes that were neither shown nor asked for"
    return (
        f"{found.utterances} utterances of {found.speakers} speakers, {shown} votes of each shown, {found.draws} draws "
        f"of the hidden votes; scored against {scored}. Predictions were worth {found.raters:.2f} raters."
    )


def conclusions(found: Validation) -> list[str]:
    """Say, for each rival, how asking by expected gain compares over all budgets."""
    lines = []
    for rival, of in found.overall.items():
        how = "better" if of.mean > 0 else "worse"
        sure = f"{how}, p = {of.p:.2g}" if of.p < 0.05 else f"no difference is supported, p = {of.p:.2g}"
        lines.append(
            f"Asking by expected gain less asking {TITLES[rival]}, mean over all budgets: {_figure(of)} thousandths of "
            f"a nat per vote ({sure})."
        )
    return lines


def plain(found: Validation) -> str:
    """Return the figures for a terminal."""
    cells = [["votes per utterance", *(TITLES[order] for order in ORDERS)]]
    cells += [row[: 1 + len(ORDERS)] for row in _rows(found)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    unit = "By how many thousandths of a nat a vote surprises less than before asking (95 % interval):"
    return "\n".join([about(found), unit, *table, "", *conclusions(found)])


def _rows(found: Validation) -> list[list[str]]:
    return [
        [
            f"{budget:.2f}",
            *(_figure(found.saved[order][place]) for order in ORDERS),
            *(f"{_figure(of[place])}, p = {of[place].p:.2g}" for of in found.over.values()),
        ]
        for place, budget in enumerate(found.budgets)
    ]


def _figure(of: Estimate) -> str:
    interval = f" ({MILLI * of.ci[0]:.2f} to {MILLI * of.ci[1]:.2f})" if of.ci else ""
    return f"{MILLI * of.mean:.2f}{interval}".replace("-", "−")


def chart(found: Validation) -> Chart:
    """Draw a curve with intervals for each order."""
    every = [MILLI * edge for of in found.saved.values() for one in of for edge in (one.mean, *(one.ci or ()))]
    axes = svg.Axes(
        svg.span([0.0, *found.budgets]), svg.span(every, 0.0), "votes asked for, per utterance", "thousandths of a nat"
    )
    step = found.budgets[0] / 12
    for number, order in enumerate(ORDERS):
        values = found.saved[order]
        points = [(0.0, 0.0), *((x, MILLI * of.mean) for x, of in zip(found.budgets, values, strict=True))]
        with axes.series(number):
            axes.line(points, number, TITLES[order], dots=False)
            for x, of in zip(found.budgets, values, strict=True):
                low, high = of.ci or (of.mean, of.mean)
                interval = (MILLI * of.mean, MILLI * low, MILLI * high)
                axes.whisker(x + (number - 1) * step, interval, number, TITLES[order])
    return Chart(
        "brought",
        "What the votes asked for brought",
        "By how many thousandths of a nat a vote surprises less than before asking, at equal budgets, with 95 % "
        "intervals over speakers and draws. Above is better. The rivals ask in rounds: every utterance once before any "
        "is asked twice.",
        (axes.svg("What asking brought, by budget and order"),),
        tuple(Key(TITLES[order], number, shown=True) for number, order in enumerate(ORDERS)),
        (
            "votes per utterance",
            *(TITLES[order] for order in ORDERS),
            *(f"less {TITLES[rival]}" for rival in found.over),
        ),
        tuple(map(tuple, _rows(found))),
        wide=True,
    )

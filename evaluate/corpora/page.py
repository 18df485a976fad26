"""The matrix of corpora as one HTML page that loads nothing, and as a question of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..report import svg, template
from ..report.chart import Chart, Key
from ..report.question import Question
from .measure import SHOWN
from .tables import Cell, by_variant, size, tables, written

PAGE = "matrix.html"
TEMPLATE = Path(__file__).with_name(PAGE)
METRIC = SHOWN[0]  # what is drawn, and said in words
PREFERRED = "amber2"  # the variant that the report speaks of, where it is there


def render(cells: Sequence[Cell]) -> str:
    """Return the page of a matrix."""
    return template.render(
        TEMPLATE,
        variants={variant: (_chart(variant, own), tables(own)) for variant, own in by_variant(cells).items()},
    )


def question(data: Mapping[str, Any], where: str) -> Question:
    """Return the question of the report; `where` is the address of the page's folder, with a slash at its end."""
    every = by_variant(data["cells"])
    variant = PREFERRED if PREFERRED in every else next(iter(every))
    said = tuple(_said(variant, every[variant]))
    return Question(
        "Trained on one corpus, tested on another",
        said,
        (_chart(variant, every[variant]),),
        {"all variants and metrics": f"{where}{PAGE}"},
    )


def _said(variant: str, own: Sequence[Cell]) -> Iterator[str]:
    """Say, for each corpus that is tested on, what the models of each corpus score."""
    for tested in dict.fromkeys(cell["tested"] for cell in own):
        here = [cell for cell in own if cell["tested"] == tested]
        n = size(own, tested)
        scores = [
            f"{written(cell, METRIC)} trained on {'itself' if cell['trained'] == tested else cell['trained']}"
            + ("" if n else f" (of {cell['n']} utterances)")
            for cell in here
        ]
        yield f"On {tested}{f' ({n} utterances)' if n else ''}, {variant} has an NLL of {', '.join(scores)}."


def _chart(variant: str, own: Sequence[Cell]) -> Chart:
    """Draw NLL with intervals: a group for each corpus tested on, a series for each corpus trained on."""
    trained = list(dict.fromkeys(cell["trained"] for cell in own))
    tested = list(dict.fromkeys(cell["tested"] for cell in own))
    figures = {(cell["trained"], cell["tested"]): cell["figures"][METRIC] for cell in own}
    edges = [edge for of in figures.values() for edge in (of["mean"], *(of["ci"] or ()))]
    axes = svg.Axes((-0.5, len(tested) - 0.5), svg.span(edges), "tested on", "NLL, nats per vote", tested)
    for number, name in enumerate(trained):
        aside = svg.SPREAD * (number - (len(trained) - 1) / 2) / len(trained)
        with axes.series(number):
            for place, other in enumerate(tested):
                if of := figures.get((name, other)):
                    low, high = of["ci"] or (of["mean"], of["mean"])
                    axes.whisker(place + aside, (of["mean"], low, high), number, f"trained on {name}")
    title = f"Trained on one corpus, tested on another: {variant}"
    return Chart(
        f"matrix-{variant}",
        title,
        "Mean NLL of a test vote with its 95 % interval over speakers and seeds; lower is better.",
        (axes.svg(title),),
        tuple(Key(f"trained on {name}", number, shown=True) for number, name in enumerate(trained)),
    )

"""The matrix of corpora in tables, one for each variant and metric, given the cells as `matrix.json` holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import metrics
from .measure import SHOWN

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A variant's figures in one metric: a row for each corpus trained on, a column for each corpus tested on."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def plain(self, variant: str) -> str:
        """Return the table in aligned columns."""
        every = [self.header, *self.rows]
        widths = [max(len(row[i]) for row in every) for i in range(len(self.header))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in every]
        return "\n".join([f"{variant}: {self.title}", *lines])


def by_variant(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Return the cells of each variant."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell["variant"], []).append(cell)
    return found


def tables(own: Sequence[Cell]) -> list[Table]:
    """Return the tables of one variant's cells, one for each metric."""
    trained = list(dict.fromkeys(cell["trained"] for cell in own))
    tested = list(dict.fromkeys([*trained, *(cell["tested"] for cell in own)]))
    at = {(cell["trained"], cell["tested"]): cell for cell in own}
    titles = {metric.key: f"{metric.title}{f', {metric.unit}' if metric.unit else ''}" for metric in metrics.METRICS}
    header = ["trained on", *(f"on {name}" for name in tested)]
    unequal = [name for name in tested if size(own, name) is None]
    return [
        Table(
            titles[key],
            header,
            [[name, *(_cell(at.get((name, other)), key, other in unequal) for other in tested)] for name in trained],
        )
        for key in SHOWN
    ]


def size(own: Sequence[Cell], tested: str) -> int | None:
    """Return on how many utterances of a corpus all cells of a variant were tested; None if they differ."""
    sizes = {cell["n"] for cell in own if cell["tested"] == tested}
    return sizes.pop() if len(sizes) == 1 else None


def text(cells: Sequence[Cell]) -> str:
    """Return all tables for a terminal."""
    return "\n\n".join(table.plain(variant) for variant, own in by_variant(cells).items() for table in tables(own))


def _cell(cell: Cell | None, key: str, sized: bool) -> str:
    """Write a figure, and if asked for its number of utterances; a dash where there is no such cell."""
    if cell is None:
        return "–"
    return written(cell, key) + (f", n = {cell['n']}" if sized else "")


def written(cell: Cell, key: str) -> str:
    """Write a figure with its interval."""
    figure = cell["figures"][key]
    return f"{figure['mean']:.3f}" + (f" ({figure['ci'][0]:.3f} to {figure['ci'][1]:.3f})" if figure["ci"] else "")

"""The table that the page shows: the headline metrics and NLL in bits, each cell with its spread and its rank."""

from __future__ import annotations

from dataclasses import dataclass

from ..results import Estimate, Results
from . import tables
from .ranking import PROPER, ranks

BITS = "nll_bits"  # beside NLL: an untrained guess is then log2 C


@dataclass(frozen=True)
class Cell:
    """A figure, its standard deviation over seeds (empty for none), and its rank: 1 best, 2 second best, 0 none."""

    value: str
    spread: str
    rank: int


@dataclass(frozen=True)
class Headline:
    """The header, a row of cells for each variant and ensemble, and rows of reference scores."""

    header: list[str]
    rows: list[tuple[str, list[Cell]]]
    references: list[list[str]]


def headline(results: Results) -> Headline:
    """Return the page's table."""
    keys = [key for column in tables.columns(results) for key in ((column, BITS) if column == PROPER else (column,))]
    rank = {key: ranks(results, key) for key in keys}
    every = {**results.summary, **results.ensembles}
    return Headline(
        ["variant", *(tables.titled(results.metrics[key]) for key in keys)],
        [(name, [_cell(of.get(key), rank[key].get(name, 0)) for key in keys]) for name, of in every.items()],
        tables.references(results, keys),
    )


def _cell(figure: Estimate | None, rank: int) -> Cell:
    if figure is None:
        return Cell("", "", 0)
    return Cell(tables.number(figure.mean), f"{figure.std:.3f}" if figure.std is not None else "", rank)

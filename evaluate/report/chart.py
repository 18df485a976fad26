"""A chart of the report, and which series it shows first: at most four, the others on demand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..results import Results
from .ranking import PAPERS, PROPER, is_constant, winners
from .svg import dash

MOST = 4  # series that are visible at a time


@dataclass(frozen=True)
class Key:
    """A series in a legend: its name, its number (colour and dashes), and whether it is shown from the start."""

    name: str
    number: int
    shown: bool

    @property
    def dash(self) -> str:
        """Return the dashes of its line."""
        return dash(self.number)


@dataclass(frozen=True)
class Chart:
    """One picture or panels of one, what it shows, its legend, and its figures as a table."""

    key: str
    title: str
    note: str
    panels: tuple[Markup, ...]
    legend: tuple[Key, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    wide: bool = False


@dataclass(frozen=True)
class Palette:
    """The number of each variant, which gives its colour, and the variants in the order in which they are shown."""

    number: Mapping[str, int]
    order: Sequence[str]

    @classmethod
    def of(cls, results: Results) -> Palette:
        """Number the variants; first come the best ones, the one the report looks into and what it is held against."""
        names = list(results.summary)
        references = [c.reference for c in results.versus.comparisons]
        higher = sorted(names, key=lambda name: (is_constant(name), results.summary[name][PROPER].mean))
        leading = [*winners(results, PROPER)[:1], *winners(results, PAPERS)[:1], results.series.shown, *references]
        return cls({name: i for i, name in enumerate(names)}, list(dict.fromkeys([*leading, *higher])))

    def shown(self, names: Iterable[str]) -> list[str]:
        """Return the series that are shown from the start, in their own order."""
        every = list(names)
        ranked = [name for name in self.order if name in every] or every
        first = {*ranked[:MOST]}
        return [name for name in every if name in first]

    def legend(self, names: Iterable[str]) -> tuple[Key, ...]:
        """Return the legend of a chart of variants; what is shown stands first."""
        every = list(names)
        shown, numbers = self.shown(every), self.numbers(every)
        keys = [Key(name, numbers[name], name in shown) for name in every]
        return tuple(sorted(keys, key=lambda key: not key.shown))

    def numbers(self, names: Iterable[str]) -> dict[str, int]:
        """Return the number of each series; what is no variant, such as a calibrated copy, comes after them."""
        return {name: self.number.get(name, len(self.number) + i) for i, name in enumerate(names)}


def plain_legend(names: Iterable[str]) -> tuple[Key, ...]:
    """Return the legend of a chart whose few series are no variants."""
    return tuple(Key(name, i, i < MOST) for i, name in enumerate(names))

"""Small SVG charts: lines, points with intervals, shaded cells. Colours come from the page's style sheet.

Every series is a group with its number, so that the page's script can show and hide it; the vertical axis says its
range, so that the script can fit it to what is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 12, 12, 46
ROW = 20  # height of a row of a forest plot
COLOURS = 10  # in the style sheet, --c0 to --c9
DASHES = ("", "7 3", "2 3", "9 3 2 3")  # so that lines differ without colour too
SPREAD = 0.7  # of a category's width, over which the points of several series stand side by side

Point = tuple[float, float]
Interval = tuple[float, float, float]  # middle, low, high


class Axes:
    """A frame with ticks; x and y are data coordinates.

    Parameters
    ----------
    x, y
        Lowest and highest value shown.
    xlabel, ylabel
        Titles of the axes.
    names
        Where x counts categories: their names, at 0, 1, 2, ….
    rows
        Where y counts categories, from the top: their names, at 0, 1, 2, …, and whether each is emphasised.
    ticked
        The range of x that has ticks, if not all of it.
    scales
        Whether the vertical axis may be fitted to the series that are shown.

    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        xlabel: str,
        ylabel: str,
        names: Sequence[str] = (),
        rows: Sequence[tuple[str, bool]] = (),
        ticked: tuple[float, float] | None = None,
        scales: bool = False,
    ) -> None:
        self.low, self.high, self.scales = (x[0], y[0]), (x[1], y[1]), scales
        self.left = LEFT if not rows else min(30 + 7 * max(len(name) for name, _ in rows), 400)
        self.width = WIDTH if not rows else self.left + 420
        self.height = HEIGHT if not rows else TOP + BOTTOM + ROW * len(rows)
        self.parts: list[str] = []
        self._vertical(rows)
        marks = list(enumerate(names)) if names else [(tick, number(tick)) for tick in ticks(*(ticked or x))]
        for place, name in marks:
            self._text(self.x(place), self.height - BOTTOM + 17, name, "middle")
        self._text((self.left + self.width - RIGHT) / 2, self.height - 8, xlabel, "middle", "title")
        middle = (TOP + self.height - BOTTOM) / 2
        turn = f' transform="rotate(-90 13 {middle:.1f})"'
        if ylabel:
            self.parts.append(
                f'<text class="title" x="13" y="{middle:.1f}" text-anchor="middle"{turn}>{escape(ylabel)}</text>'
            )

    def x(self, value: float) -> float:
        """Return where on the page a value lies."""
        return self.left + (self.width - self.left - RIGHT) * (value - self.low[0]) / (self.high[0] - self.low[0])

    def y(self, value: float) -> float:
        """Return where on the page a value lies."""
        bottom = self.height - BOTTOM
        return bottom - (bottom - TOP) * (value - self.low[1]) / (self.high[1] - self.low[1])

    @contextmanager
    def series(self, number: int, shown: bool = True, shift: float = 0.0) -> Iterator[None]:
        """Draw what follows as one series, `shift` to the right."""
        move = f' transform="translate({shift:.1f} 0)"' if shift else ""
        self.parts.append(f'<g class="series s{number % COLOURS}{"" if shown else " off"}" data-n="{number}"{move}>')
        yield
        self.parts.append("</g>")

    def line(self, points: Sequence[Point], series: int, name: str, dots: bool = True) -> None:
        """Draw a line through points."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline class="line"{dashed(series)} points="{path}"></polyline>')
        for x, y in points if dots else ():
            self._dot(self.x(x), self.y(y), f"{name}: {number(x)}, {y:.3f}")

    def whisker(self, x: float, value: Interval, series: int, name: str) -> None:
        """Draw a point with its interval, upright."""
        middle, low, high = value
        at = f"{self.x(x):.1f}"
        self._line("line", at, f"{self.y(low):.1f}", at, f"{self.y(high):.1f}", dashed(series))
        self._dot(self.x(x), self.y(middle), f"{name}: {middle:.3f}, {low:.3f} to {high:.3f}")

    def bar(self, y: float, value: Interval, name: str, filled: bool) -> None:
        """Draw a point with its interval, lying; a point that is not filled is a ring."""
        middle, low, high = value
        at = f"{self.y(y):.1f}"
        self._line("line", f"{self.x(low):.1f}", at, f"{self.x(high):.1f}", at)
        self._dot(
            self.x(middle), self.y(y), f"{name}: {middle:.3f}, {low:.3f} to {high:.3f}", "dot" if filled else "ring"
        )

    def rule(self, start: Point, end: Point) -> None:
        """Draw a reference line."""
        (x1, y1), (x2, y2) = start, end
        self._line("rule", f"{self.x(x1):.1f}", f"{self.y(y1):.1f}", f"{self.x(x2):.1f}", f"{self.y(y2):.1f}")

    def cell(self, x: tuple[float, float], y: tuple[float, float], strength: float, title: str) -> None:
        """Shade a rectangle, strength from 0 to 1."""
        left, top = self.x(x[0]), self.y(y[1])
        self.patch((left, top), (self.x(x[1]) - left, self.y(y[0]) - top), strength, title)

    def patch(self, corner: Point, size: Point, strength: float, title: str) -> None:
        """Shade a rectangle given in coordinates of the page."""
        self.parts.append(
            f'<rect class="cell" x="{corner[0]:.1f}" y="{corner[1]:.1f}" width="{size[0]:.1f}" '
            f'height="{size[1]:.1f}" fill-opacity="{strength:.3f}"><title>{escape(title)}</title></rect>'
        )

    def note(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        """Write a text at coordinates of the page."""
        self._text(x, y, text, anchor)

    def svg(self, label: str, unit: float | None = None) -> Markup:
        """Return the picture; `label` is what a screen reader says of it, `unit` the width that series share."""
        scale = f' data-low="{self.low[1]:.6g}" data-high="{self.high[1]:.6g}"' if self.scales else ""
        scale += f' data-unit="{unit:.1f}"' if unit else ""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(label)}"{scale}>'
        )
        return Markup(head + "".join(self.parts) + "</svg>")  # noqa: S704 (labels were escaped above)

    def _vertical(self, rows: Sequence[tuple[str, bool]]) -> None:
        """Draw the vertical axis: names of rows, or ticks with their lines."""
        for row, (name, emphasised) in enumerate(rows):
            self._text(self.left - 10, self.y(-row) + 4, name, "end", "title" if emphasised else "")
        self.parts.append('<g class="ticks">')
        for tick in () if rows else ticks(self.low[1], self.high[1]):
            at = f"{self.y(tick):.1f}"
            self._line("grid", str(self.left), at, str(self.width - RIGHT), at)
            self._text(self.left - 7, self.y(tick) + 4, number(tick), "end")
        self.parts.append("</g>")

    def _line(self, kind: str, x1: str, y1: str, x2: str, y2: str, more: str = "") -> None:
        self.parts.append(f'<line class="{kind}"{more} x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"></line>')

    def _dot(self, x: float, y: float, title: str, kind: str = "dot") -> None:
        self.parts.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{escape(title)}</title></circle>'
        )

    def _text(self, x: float, y: float, text: str, anchor: str, style: str = "") -> None:
        kind = f' class="{style}"' if style else ""
        self.parts.append(f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')


def dash(series: int) -> str:
    """Return a series' dashes; forty series differ in colour or dashes."""
    return DASHES[(series + series // (2 * COLOURS)) % len(DASHES)]


def dashed(series: int) -> str:
    """Return the attribute of a series' dashes, with a space before it; empty for a whole line."""
    return f' stroke-dasharray="{dash(series)}"' if dash(series) else ""


def ticks(low: float, high: float) -> list[float]:
    """Return three to seven round values between low and high."""
    rough = (high - low) / 6
    size = 10.0 ** np.floor(np.log10(rough))
    step = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= rough * 0.999)
    first = np.ceil(low / step - 1e-9)
    return [float(k * step) for k in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def span(values: Sequence[float], *also: float) -> tuple[float, float]:
    """Return a range that holds all values with a margin."""
    low, high = min([*values, *also]), max([*values, *also])
    margin = 0.06 * (high - low) or 0.05
    return low - margin, high + margin


def number(value: float) -> str:
    """Write a tick or a coordinate shortly, with a true minus sign."""
    return f"{value:.4g}".replace("-", "−") if abs(value) > 1e-12 else "0"


def lines(
    series: Mapping[str, Sequence[Point]],
    xlabel: str,
    ylabel: str,
    label: str,
    colour: Mapping[str, int],
    shown: Sequence[str],
    square: bool = False,
    dots: bool = True,
    names: Sequence[str] = (),
) -> Markup:
    """Draw one line for each name, only `shown` ones visible; `square` fixes both axes to 0 to 1 with the diagonal."""
    x, y = (0.0, 1.0), (0.0, 1.0)
    if not square:
        x = span([p[0] for line in series.values() for p in line]) if not names else (-0.5, len(names) - 0.5)
        y = span([p[1] for name in shown for p in series[name]])
    axes = Axes(x, y, xlabel, ylabel, names, scales=not square)
    if square:
        axes.rule((0, 0), (1, 1))
    for name, line in series.items():
        with axes.series(colour[name], name in shown):
            axes.line(line, colour[name], name, dots)
    return axes.svg(label)


def whiskers(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Interval | None]],
    ylabel: str,
    label: str,
    colour: Mapping[str, int],
    shown: Sequence[str],
) -> Markup:
    """Draw points with intervals for each group (along x) and name (side by side), and a line at zero."""
    known = [edge for name in shown for value in series[name] if value for edge in value]
    axes = Axes((-0.5, len(groups) - 0.5), span(known, 0.0), "", ylabel, groups, scales=True)
    axes.rule((-0.5, 0), (len(groups) - 0.5, 0))
    unit = SPREAD * (axes.x(1) - axes.x(0))
    for name, row in series.items():
        place = shown.index(name) - (len(shown) - 1) / 2 if name in shown else 0.0
        with axes.series(colour[name], name in shown, place * unit / max(len(shown), 1)):
            for group, value in enumerate(row):
                if value:
                    axes.whisker(group, value, colour[name], name)
    return axes.svg(label, unit)


def forest(rows: Sequence[tuple[str, Interval, bool]], xlabel: str, label: str) -> Markup:
    """Draw a row for each difference: its name, the difference with its interval, whether it is supported."""
    values = [edge for _, value, _ in rows for edge in value]
    y = (0.5 - len(rows), 0.5)
    axes = Axes(span(values, 0.0), y, xlabel, "", rows=[(name, supported) for name, _, supported in rows])
    axes.rule((0, y[0]), (0, y[1]))
    with axes.series(0):
        for row, (name, value, supported) in enumerate(rows):
            axes.bar(-row, value, name, supported)
    return axes.svg(label)

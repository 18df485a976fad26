"""Small SVG charts: lines, points with intervals, shaded cells. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 12, 12, 46
COLOURS = 10  # in the style sheet, --c0 to --c9
DASHES = ("", "7 3", "2 3", "9 3 2 3")  # so that lines differ without colour too

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

    """

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], xlabel: str, ylabel: str, names: Sequence[str] = ()
    ) -> None:
        self.low, self.high = (x[0], y[0]), (x[1], y[1])
        self.parts: list[str] = []
        for tick in ticks(*y):
            at = self.y(tick)
            self.parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"></line>'
            )
            self._text(LEFT - 7, at + 4, number(tick), "end")
        marks = list(enumerate(names)) if names else [(tick, number(tick)) for tick in ticks(*x)]
        for place, name in marks:
            self._text(self.x(place), HEIGHT - BOTTOM + 17, name, "middle")
        self._text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, xlabel, "middle", "title")
        middle = (TOP + HEIGHT - BOTTOM) / 2
        turn = f' transform="rotate(-90 13 {middle:.1f})"'
        self.parts.append(
            f'<text class="title" x="13" y="{middle:.1f}" text-anchor="middle"{turn}>{escape(ylabel)}</text>'
        )

    def x(self, value: float) -> float:
        """Return where on the page a value lies."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.low[0]) / (self.high[0] - self.low[0])

    def y(self, value: float) -> float:
        """Return where on the page a value lies."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low[1]) / (self.high[1] - self.low[1])

    def line(self, points: Sequence[Point], series: int, name: str, dots: bool = True) -> None:
        """Draw a line through points."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        dash = f' stroke-dasharray="{DASHES[series % len(DASHES)]}"' if DASHES[series % len(DASHES)] else ""
        self.parts.append(f'<polyline class="line s{series % COLOURS}"{dash} points="{path}"></polyline>')
        for x, y in points if dots else ():
            self._dot(x, y, series, f"{name}: {number(x)}, {y:.3f}")

    def whisker(self, x: float, value: Interval, series: int, name: str) -> None:
        """Draw a point with its interval."""
        middle, low, high = value
        at = self.x(x)
        self.parts.append(
            f'<line class="line s{series % COLOURS}" x1="{at:.1f}" x2="{at:.1f}" '
            f'y1="{self.y(low):.1f}" y2="{self.y(high):.1f}"></line>'
        )
        self._dot(x, middle, series, f"{name}: {middle:.3f}, {low:.3f} to {high:.3f}")

    def rule(self, start: Point, end: Point) -> None:
        """Draw a reference line."""
        (x1, y1), (x2, y2) = start, end
        self.parts.append(
            f'<line class="rule" x1="{self.x(x1):.1f}" y1="{self.y(y1):.1f}" '
            f'x2="{self.x(x2):.1f}" y2="{self.y(y2):.1f}"></line>'
        )

    def cell(self, x: tuple[float, float], y: tuple[float, float], strength: float, title: str) -> None:
        """Shade a rectangle, strength from 0 to 1."""
        left, top = self.x(x[0]), self.y(y[1])
        self.parts.append(
            f'<rect class="cell" x="{left:.1f}" y="{top:.1f}" width="{self.x(x[1]) - left:.1f}" '
            f'height="{self.y(y[0]) - top:.1f}" fill-opacity="{strength:.3f}"><title>{escape(title)}</title></rect>'
        )

    def svg(self, label: str) -> Markup:
        """Return the picture; `label` is what a screen reader says of it."""
        head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        return Markup(head + "".join(self.parts) + "</svg>")  # noqa: S704 (labels were escaped above)

    def _dot(self, x: float, y: float, series: int, title: str) -> None:
        self.parts.append(
            f'<circle class="dot s{series % COLOURS}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3.5">'
            f"<title>{escape(title)}</title></circle>"
        )

    def _text(self, x: float, y: float, text: str, anchor: str, style: str = "") -> None:
        kind = f' class="{style}"' if style else ""
        self.parts.append(f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')


def ticks(low: float, high: float) -> list[float]:
    """Return four to seven round values between low and high."""
    rough = (high - low) / 5
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
    square: bool = False,
    dots: bool = True,
) -> Markup:
    """Draw one line for each name; `square` fixes both axes to 0 to 1 and adds the diagonal."""
    points = [point for line in series.values() for point in line]
    x, y = ((0.0, 1.0), (0.0, 1.0)) if square else (span([p[0] for p in points]), span([p[1] for p in points]))
    axes = Axes(x, y, xlabel, ylabel)
    if square:
        axes.rule((0, 0), (1, 1))
    for name, line in series.items():
        axes.line(line, colour[name], name, dots)
    return axes.svg(label)


def whiskers(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Interval | None]],
    ylabel: str,
    label: str,
    colour: Mapping[str, int],
) -> Markup:
    """Draw points with intervals for each group (along x) and name (side by side), and a line at zero."""
    known = [edge for row in series.values() for value in row if value for edge in value]
    axes = Axes((-0.5, len(groups) - 0.5), span(known, 0.0), "", ylabel, groups)
    axes.rule((-0.5, 0), (len(groups) - 0.5, 0))
    step = 0.7 / max(len(series), 1)
    for place, (name, row) in enumerate(series.items()):
        for group, value in enumerate(row):
            if value:
                axes.whisker(group + (place - (len(series) - 1) / 2) * step, value, colour[name], name)
    return axes.svg(label)

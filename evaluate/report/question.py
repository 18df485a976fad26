"""A question that a command of its own answered, as the report shows it."""

from __future__ import annotations

from dataclasses import dataclass

from .chart import Chart


@dataclass(frozen=True)
class Question:
    """What was asked, the answer in a few sentences, its chart, and the pages that say more, by what a link says."""

    title: str
    sentences: tuple[str, ...]
    charts: tuple[Chart, ...]
    links: dict[str, str]

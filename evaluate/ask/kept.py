"""`ask.json`: what a list and a validation of an experiment's runs came to, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from amber.errors import UserError

from .. import finding
from ..experiment import FinishedRun
from ..finding import ASK
from ..report.chart import Chart
from ..report.question import Question
from . import page
from .validation import Validation

LIST, PAGE = "ask.csv", "ask.html"


@dataclass(frozen=True)
class Summary:
    """What a list comes to: how many votes on how many of the utterances, what they cost, and what is expected of them.

    `unvoted` of the utterances have no vote. `gain` is by how many nats a vote of the panel is expected to surprise
    less, over all utterances; `raters` and `power` are those of the belief.
    """

    variant: str
    votes: int
    asked: int
    utterances: int
    unvoted: int
    cost: float
    gain: float
    raters: float
    power: float

    def sentences(self) -> tuple[str, str]:
        """Return the summary in words."""
        alone = f" ({self.unvoted} of them without any vote, ranked by the model alone)" if self.unvoted else ""
        return (
            f"{self.votes} votes on {self.asked} of {self.utterances} utterances{alone}, cost {self.cost:g}; a vote of "
            f"the panel is expected to surprise by {self.gain:.4f} nats less.",
            f"{self.variant} is worth {self.raters:.2f} raters (predictions to the power {self.power:.2f}), by the "
            "likelihood of the votes.",
        )


def keep(
    folder: Path, variant: str, runs: Sequence[FinishedRun], found: Mapping[str, Any], pages: Mapping[str, bytes]
) -> None:
    """Write a list (`list`) or a validation (`validation`), and keep the other where it is of the same runs."""
    of = {finding.named(folder, folder): runs}
    former: dict[str, Any] = {}
    path = folder / ASK.file
    if path.is_file():
        try:
            former = finding.read(path, ASK)
            finding.check(path, ASK, former)
        except UserError:
            former = {}  # it is replaced
    if former.get("variant") != variant:
        former = {}
    there: dict[str, Any] = {key: former[key] for key in ("list", "validation", "files") if key in former}
    finding.write(folder, ASK, of, {"variant": variant, **there, **found}, pages)


def question(data: Mapping[str, Any], where: str) -> Question:
    """Return the question of the report; `where` is the address of the page's folder, with a slash at its end."""
    sentences: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    links = {}
    if "list" in data:
        sentences = Summary(**data["list"]).sentences()[:1]
        links["the list"] = f"{where}{LIST}"
    if "validation" in data:
        validation = TypeAdapter(Validation).validate_python(data["validation"])
        sentences = (*sentences, page.about(validation), *page.conclusions(validation))
        charts = (page.chart(validation),)
        links["the validation"] = f"{where}{PAGE}"
    return Question(f"Which utterance deserves another rater? {data['variant']}", sentences, charts, links)

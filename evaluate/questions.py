"""The questions that other commands answered, found beside the runs of a report: curves, asking, corpora.

A finding stands in the folder of an experiment, or in that of another one beside it, and is used where it is about
these runs' experiment or corpus. One that is damaged or of other runs is said and not used.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amber import seal
from amber.console import Console
from amber.errors import UserError
from amber.location import absolute

from . import finding
from .ask import kept
from .corpora import page as of_corpora
from .curve import page as of_curve
from .experiment import FinishedRun
from .finding import ASK, CURVE, MATRIX, Kind
from .report.question import Question

QUESTIONS = {ASK: kept.question, CURVE: of_curve.question, MATRIX: of_corpora.question}
Found = list[tuple[Question, str]]  # with the digest of the file


def questions(folder: Path, runs: Sequence[FinishedRun], console: Console) -> Found:
    """Return the questions about an experiment's runs whose answers are there; `folder` is where the page will lie."""
    found: Found = []
    for number, (kind, path) in enumerate(_files(runs)):
        try:
            data = finding.read(path, kind)
            if not _is_about(kind, data, path, runs):
                continue
            finding.check(path, kind, data)
        except UserError as error:
            console.warn(f"{error}; it is not in the report")
            continue
        home = absolute(path.parent).name
        where = "" if absolute(path.parent) == absolute(folder) else f"../{urllib.parse.quote(home)}/"
        question = QUESTIONS[kind](data, where)
        charts = tuple(replace(chart, key=f"question-{number}-{chart.key}") for chart in question.charts)
        found.append((replace(question, charts=charts), seal.of_file(path)))
    return found


def _files(runs: Sequence[FinishedRun]) -> Iterator[tuple[Kind, Path]]:
    """Yield what may be about these runs: lists of their own, curves and matrices of any experiment beside them."""
    homes = list(dict.fromkeys(absolute(run.folder.parents[1]) for run in runs))
    for home in homes:
        if (home / ASK.file).is_file():
            yield ASK, home / ASK.file
    for parent in dict.fromkeys(home.parent for home in homes):
        for kind in (CURVE, MATRIX):
            for path in sorted(parent.glob(f"*/{kind.file}")):
                yield kind, path


def _is_about(kind: Kind, data: Mapping[str, Any], path: Path, runs: Sequence[FinishedRun]) -> bool:
    """Return whether a finding is about the corpus (a curve) or an experiment (a matrix) of these runs."""
    if kind is CURVE:
        return bool(data["dataset"] == runs[0].config["dataset"])
    if kind is MATRIX:
        there = {str(absolute(path.parents[1] / name)) for name in data["runs"]}
        return any(str(absolute(run.folder.parents[1])) in there for run in runs)
    return True

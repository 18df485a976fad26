"""The evaluation stage: stored predictions -> `metrics.json`, `table.md`, `table.tex`, `report.html`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amber import __version__
from amber.config import EvaluateOptions
from amber.console import Console
from amber.errors import UserError

from . import material, tables, words
from .figures import figures
from .gather import FoundRun, differences, find_runs, read, side_by_side
from .report import page

SCHEMA_VERSION = 2
FILES = ("metrics.json", "table.md", "table.tex", "report.html")


@dataclass(frozen=True)
class Result:
    """Figures, where they were written, and what a terminal shows of them."""

    folder: Path
    metrics: dict[str, Any]

    def text(self) -> str:
        """Return the headline table, what it supports and the report's place."""
        said = [*words.caption(self.metrics), "", *words.findings(self.metrics)]
        return "\n".join([tables.plain(self.metrics), "", *said, "", f"report: {self.folder / 'report.html'}"])


def run(folders: Sequence[Path], options: EvaluateOptions, console: Console) -> Result:
    """Evaluate an experiment, or several side by side; nothing is computed where the results on disk are current.

    Several are written to a folder beside the first, named after all of them (`runs/a+b`).

    Raises
    ------
    UserError
        If there are no finished runs, or they can't be put into one table.

    """
    found = [(folder.resolve().name, find_runs(folder)) for folder in folders]
    if len(found) == 1:
        return _evaluate(folders[0], found[0][0], found[0][1], options, console)
    _check_comparable(found)
    name = "+".join(name for name, _ in found)
    return _evaluate(folders[0].resolve().parent / name, name, side_by_side(found), options, console)


def _evaluate(folder: Path, name: str, runs: list[FoundRun], options: EvaluateOptions, console: Console) -> Result:
    key = _key(runs, options)
    former = _former(folder, key)
    if former:
        console.say(f"{folder}: evaluated before, nothing changed")
        return Result(folder, former)
    console.say(f"{folder}: evaluating {len(runs)} runs")
    with console.progress("read predictions", len(runs)) as advance:
        experiment = read(name, runs, advance)
    extra = material.find(experiment)
    metrics = {"key": key, "amber": __version__, **figures(experiment, extra, options, console)}
    said = words.caption(metrics)
    written = {
        "table.md": tables.markdown(metrics, said),
        "table.tex": tables.latex(metrics, said),
        "report.html": page.render(experiment, extra, metrics, folder),
        # Last: its key vouches for the other files.
        "metrics.json": json.dumps(metrics, indent=1, allow_nan=False) + "\n",
    }
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").unlink(missing_ok=True)  # should this be interrupted, the old one vouches for nothing
    for file, text in written.items():
        (folder / file).write_text(text, encoding="utf-8")
    return Result(folder, metrics)


def _check_comparable(found: Sequence[tuple[str, list[FoundRun]]]) -> None:
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        raise UserError(f"--runs: two experiments are called {max(names, key=names.count)}; rename one folder")
    (first, runs), *others = found
    for name, theirs in others:
        for what in differences(runs[0], theirs[0]):
            raise UserError(
                f"--runs: {first} and {name} differ in {what}: their figures are not about the same thing\n"
                "evaluate each on its own, with one --runs each"
            )


def _key(runs: Sequence[FoundRun], options: EvaluateOptions) -> str:
    parts = [SCHEMA_VERSION, __version__, options.model_dump(), [(str(r.folder), r.variant, r.key) for r in runs]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _former(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the figures on disk if they are of the same runs and options, and everything is there."""
    if not all((folder / name).is_file() for name in FILES):
        return None
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except ValueError:
        return None
    return metrics if isinstance(metrics, dict) and metrics.get("key") == key else None

"""The evaluation stage: stored predictions -> `metrics.json`, `table.md`, `table.tex`, `report.html`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amber import __version__, seal
from amber.config import EvaluateOptions
from amber.console import Console
from amber.corpus import Corpus
from amber.errors import UserError
from amber.location import write_whole

from . import material, tables, words
from .derived import with_temperature
from .figures import figures
from .gather import FoundRun, differences, find_runs, read, side_by_side
from .report import page

SCHEMA_VERSION = 4
METRICS = "metrics.json"


@dataclass(frozen=True)
class Result:
    """Figures, where they were written, and what a terminal shows of them.

    `parts` are the results of experiments that can't be put into one table; `metrics` then holds theirs by name.
    """

    folder: Path
    metrics: dict[str, Any]
    parts: tuple[Result, ...] = ()

    def text(self) -> str:
        """Return the headline table, what it supports and the report's place."""
        if self.parts:
            return "\n\n".join(f"{part.metrics['experiment']}\n{part.text()}" for part in self.parts)
        said = [*words.caption(self.metrics), "", *words.findings(self.metrics)]
        return "\n".join([tables.plain(self.metrics), "", *said, "", f"report: {self.folder / 'report.html'}"])


def run(folders: Sequence[Path], options: EvaluateOptions, console: Console) -> Result:
    """Evaluate an experiment, or several side by side; nothing is computed where the results on disk are current.

    Several are written to a folder beside the first, named after all of them (`runs/a+b`). Where they differ in what
    a table must share (dataset, labels, splits), each is evaluated on its own, and that is said.

    Raises
    ------
    UserError
        If there are no finished runs, or two experiments have the same name.

    """
    found = [(folder.resolve().name, find_runs(folder)) for folder in folders]
    if len(found) == 1:
        return _evaluate(folders[0], found[0][0], found[0][1], options, console)
    apart = _apart(found)
    if apart:
        console.warn(f"{apart}: their figures are shown one below the other and not tested against each other")
        parts = [_evaluate(at, name, runs, options, console) for at, (name, runs) in zip(folders, found, strict=True)]
        return Result(folders[0].parent, {part.metrics["experiment"]: part.metrics for part in parts}, tuple(parts))
    name = "+".join(name for name, _ in found)
    return _evaluate(folders[0].resolve().parent / name, name, side_by_side(found), options, console)


def _evaluate(folder: Path, name: str, runs: list[FoundRun], options: EvaluateOptions, console: Console) -> Result:
    unvouched = [run for run in runs if not run.vouched]
    if unvouched:
        console.warn(
            f"{folder}: {len(unvouched)} runs were trained by an earlier version, which kept no digests: whether they "
            "are as they were finished is not known"
        )
    corpus = material.find_corpus(runs)
    key = _key(runs, options, corpus)
    former = _former(folder, key, console)
    if former:
        console.say(f"{folder}: evaluated before, nothing changed")
        return Result(folder, former)
    console.say(f"{folder}: evaluating {len(runs)} runs")
    with console.progress("read predictions", len(runs)) as advance:
        experiment = with_temperature(read(name, runs, advance))
    for line in experiment.left_out:
        console.warn(f"{line}; it is left out")
    extra = material.find(experiment, corpus)
    metrics = {"key": key, "amber": __version__, **figures(experiment, extra, options, console)}
    said = words.caption(metrics)
    written = {
        "table.md": tables.markdown(metrics, said),
        "table.tex": tables.latex(metrics, said),
        "report.html": page.render(experiment, extra, metrics, folder),
    }
    contents = {name: text.encode() for name, text in written.items()}
    # Last, and sealed: it vouches for the other files.
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[METRICS] = seal.dump({**metrics, "files": files})
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        write_whole(folder / name, content)
    return Result(folder, json.loads(contents[METRICS]))


def _apart(found: Sequence[tuple[str, list[FoundRun]]]) -> str:
    """Say what keeps experiments out of one table; empty where nothing does."""
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        raise UserError(f"--runs: two experiments are called {max(names, key=names.count)}; rename one folder")
    (first, runs), *others = found
    differing = [(name, differences(runs[0], theirs[0])) for name, theirs in others]
    return "; ".join(f"{name} differs from {first} in {', '.join(what)}" for name, what in differing if what)


def _key(runs: Sequence[FoundRun], options: EvaluateOptions, corpus: Corpus | None) -> str:
    of_runs = [(str(r.folder), r.variant, r.key, r.digest) for r in runs]
    parts = [SCHEMA_VERSION, __version__, options.model_dump(), of_runs, material.digest(corpus)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _former(folder: Path, key: str, console: Console) -> dict[str, Any] | None:
    """Return the figures on disk if they are of the same runs and options, and everything is as it was written."""
    path = folder / METRICS
    if not path.is_file():
        return None
    content = path.read_bytes()
    metrics = seal.load(content)
    if metrics is None and seal.is_whole(content) is False:
        console.warn(f"{path} is not what was written; evaluating again")
    if metrics is None or metrics.get("key") != key:
        return None
    changed = [name for name, digest in metrics["files"].items() if not _is(folder / name, digest)]
    if changed:
        console.warn(f"{folder}: {', '.join(changed)}: missing, or not what was written; evaluating again")
        return None
    return metrics


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and seal.of_file(path) == digest

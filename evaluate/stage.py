"""The evaluation stage: stored predictions -> `metrics.json`, `table.md`, `table.tex`, `report.html`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amber import __version__, seal
from amber.config import EvaluateOptions
from amber.console import Console
from amber.corpus import Corpus
from amber.digest import short_hash
from amber.errors import UserError, abbreviate, count
from amber.location import absolute, reaching, write_whole
from amber.run_config import OF_EXPERIMENT, differences

from . import imported, strata
from .analysis import analyse
from .experiment import FinishedRun
from .loading import load
from .metrics import METRICS
from .questions import questions
from .report import latex, page, tables, text
from .results import SCHEMA_VERSION, MetricsFile, Results
from .runs import find_runs, side_by_side
from .utterance_info import digest, find_corpus

FILE = "metrics.json"


@dataclass(frozen=True)
class Evaluation:
    """Results, the folder they were written to, and what a terminal shows of them.

    `parts` are the evaluations of experiments that can't be put into one table; there are then no results in common.
    """

    folder: Path
    results: MetricsFile | None
    parts: tuple[Evaluation, ...] = ()

    @property
    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` holds; of several parts, by the name of the experiment."""
        if self.results is None:
            return {part.results.experiment: part.metrics for part in self.parts if part.results}
        return _as_json(self.results)

    def text(self) -> str:
        """Return the headline table, what it supports and the report's place."""
        if self.results is None:
            return "\n\n".join(f"{part.results.experiment}\n{part.text()}" for part in self.parts if part.results)
        said = [*text.caption(self.results), "", *text.findings(self.results)]
        return "\n".join([tables.plain(self.results), "", *said, "", f"report: {self.folder / 'report.html'}"])


def run(
    folders: Sequence[Path], options: EvaluateOptions, console: Console, imports: Sequence[imported.Source] = ()
) -> Evaluation:
    """Evaluate an experiment, or several side by side; nothing is computed where the results on disk are current.

    Several are written to a folder beside the first, named after all of them (`runs/a+b`), and so are imported
    predictions (`runs/a+gemini`). Where experiments differ in what a table must share (dataset, labels, splits), each
    is evaluated on its own, and that is said.

    Raises
    ------
    UserError
        If there are no finished runs, two experiments have the same name, or imported predictions can't be used.

    """
    with reaching(folders[0]):
        return _run(folders, options, console, imports)


def _run(
    folders: Sequence[Path], options: EvaluateOptions, console: Console, imports: Sequence[imported.Source]
) -> Evaluation:
    found = [(absolute(folder).name, find_runs(folder)) for folder in folders]
    if len(found) == 1:
        return _evaluate(folders[0], found[0][0], found[0][1], options, console, imports)
    apart = _apart(found)
    if apart:
        console.warn(f"{apart}: their results are shown one below the other and not tested against each other")
        parts = [
            _evaluate(at, name, runs, options, console, imports)
            for at, (name, runs) in zip(folders, found, strict=True)
        ]
        return Evaluation(folders[0].parent, None, tuple(parts))
    name = "+".join(name for name, _ in found)
    return _evaluate(absolute(folders[0]).parent / name, name, side_by_side(found), options, console, imports)


def _evaluate(
    folder: Path,
    name: str,
    runs: list[FinishedRun],
    options: EvaluateOptions,
    console: Console,
    imports: Sequence[imported.Source],
) -> Evaluation:
    if imports:
        name = "+".join([name, *(source.name for source in imports)])
        folder = folder.resolve().parent / name
    unvouched = [run for run in runs if not run.vouched]
    if unvouched:
        console.warn(
            f"{folder}: {count(len(unvouched), 'run')} trained by an earlier version, which kept no digests: whether "
            "all is as it was finished is not known"
        )
    corpus = find_corpus(runs)
    asked = questions(folder, runs, console)
    key = _key(runs, options, corpus, imports, [digest for _, digest in asked])
    former = _former(folder, key, console)
    if former:
        console.say(f"{folder}: evaluated before, nothing changed")
        return Evaluation(folder, former)
    console.say(f"{folder}: evaluating {count(len(runs), 'run')}")
    with console.progress("read predictions", len(runs)) as advance:
        experiment = imported.join(load(name, runs, corpus, advance), imports, console)
    for line in experiment.left_out:
        console.warn(f"{line}; it is left out")
    levels = strata.divide(experiment)
    results = analyse(experiment, levels, options, console)
    caption = text.caption(results)
    written = {
        "table.md": tables.markdown(results, caption),
        "table.tex": latex.latex(results, caption),
        "report.html": page.render(experiment, levels, results, folder, [question for question, _ in asked]),
    }
    return Evaluation(folder, _write(folder, key, results, {name: of.encode() for name, of in written.items()}))


def _write(folder: Path, key: str, results: Results, contents: dict[str, bytes]) -> MetricsFile:
    """Write results and the files beside them; return what `metrics.json` holds."""
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    head = {"schema": SCHEMA_VERSION, "key": key, "amber": __version__}
    # Last, and sealed: it vouches for the other files.
    contents[FILE] = seal.dump({**head, **_as_json(results), "files": files})
    for name, content in contents.items():
        write_whole(folder / name, content)
    return MetricsFile.model_validate_json(contents[FILE])


def _as_json(results: Results) -> dict[str, Any]:
    return results.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _apart(found: Sequence[tuple[str, list[FinishedRun]]]) -> str:
    """Say what keeps experiments out of one table; empty where nothing does."""
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        raise UserError(f"--runs: two experiments are called {max(names, key=names.count)}; rename one folder")
    (first, runs), *others = found
    differing = [(name, differences(runs[0].config, theirs[0].config, OF_EXPERIMENT)) for name, theirs in others]
    return "; ".join(f"{name} differs from {first} in {abbreviate(what)}" for name, what in differing if what)


def _key(
    runs: Sequence[FinishedRun],
    options: EvaluateOptions,
    corpus: Corpus | None,
    imports: Sequence[imported.Source],
    asked: Sequence[str],
) -> str:
    of_runs = [(str(r.folder), r.variant, r.key, r.digest) for r in runs]
    measured = [metric.key for metric in METRICS]
    parts = [SCHEMA_VERSION, __version__, measured, options.model_dump(), of_runs, digest(corpus)]
    parts += [[(source.name, source.path.name, source.digest()) for source in imports]] if imports else []
    parts += [{"questions": asked}] if asked else []
    return short_hash(parts)


def _former(folder: Path, key: str, console: Console) -> MetricsFile | None:
    """Return the results on disk if they are of the same runs and options, and everything is as it was written."""
    path = folder / FILE
    if not path.is_file():
        return None
    content = path.read_bytes()
    found = seal.load(content)
    if found is None and seal.is_whole(content) is False:
        console.warn(f"{path} is not what was written; evaluating again")
    if found is None or found.get("key") != key:
        return None
    changed = [name for name, digest in found["files"].items() if not _is(folder / name, digest)]
    if changed:
        console.warn(f"{folder}: {', '.join(changed)}: missing, or not what was written; evaluating again")
        return None
    return MetricsFile.model_validate(found)


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and seal.of_file(path) == digest

"""The evaluation stage: stored predictions -> `metrics.json`, `table.md`, `table.tex`, `report.html`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber import __version__
from amber.config import EvaluateOptions
from amber.console import Console
from amber.errors import UserError
from amber.predictions import STUDENT, Predictions

from . import tables
from .aggregate import Sums, clusters, summary, sums
from .classification import tied
from .gather import Experiment, FoundRun, find_runs, read
from .report import page
from .strata import STRATA

SCHEMA_VERSION = 1
SMALL = 30  # a stratum with fewer utterances is flagged
FILES = ("metrics.json", "table.md", "table.tex", "report.html")


@dataclass(frozen=True)
class Result:
    """An experiment's figures and where they were written."""

    folder: Path
    metrics: dict[str, Any]

    def text(self) -> str:
        """Return the headline table, its caption and the report's place, for a terminal."""
        table = tables.plain(self.metrics)
        return "\n".join([table, "", *caption(self.metrics), f"report: {self.folder / 'report.html'}"])


def run(folders: Sequence[Path], options: EvaluateOptions, console: Console) -> Result:
    """Evaluate an experiment; nothing is computed where the results on disk are of the same runs and options.

    Raises
    ------
    UserError
        If there are no finished runs, or they can't be put into one table.

    """
    folder = folders[0]
    if not folder.is_dir():
        raise UserError(f"--runs {folder}: no such folder")
    runs = find_runs(folder)
    key = _key(runs, options)
    former = _former(folder, key)
    if former:
        console.say(f"{folder}: evaluated before, nothing changed")
        return Result(folder, former)
    console.say(f"{folder}: evaluating {len(runs)} runs")
    experiment = read(folder, runs)
    metrics = {"key": key, "amber": __version__, **figures(experiment, options)}
    said = caption(metrics)
    (folder / "table.md").write_text(tables.markdown(metrics, said), encoding="utf-8")
    (folder / "table.tex").write_text(tables.latex(metrics, said), encoding="utf-8")
    (folder / "report.html").write_text(page.render(experiment, metrics, said), encoding="utf-8")
    # Last: its key vouches for the other files.
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return Result(folder, metrics)


def figures(experiment: Experiment, options: EvaluateOptions) -> dict[str, Any]:
    """Compute everything that `metrics.json` holds: the student on test."""
    students = {
        variant: {seed: p.of(part="test", head=STUDENT) for seed, p in by_seed.items()}
        for variant, by_seed in experiment.predictions.items()
    }
    some = next(iter(next(iter(students.values())).values()))
    speakers = tuple(sorted(set(clusters(some))))
    has_truth = all(p.truth is not None for by_seed in students.values() for p in by_seed.values())
    return {
        "experiment": experiment.folder.name,
        **experiment.config,
        "classes": list(some.classes),
        "utterances": len(some),
        "speakers": len(speakers),
        "one_hot": float(np.mean(some.y.max(axis=1) >= 1 - 1e-9)),
        "ties": int(tied(some.y).sum()),
        "folds": sorted({run.fold for run in experiment.runs}),
        "seeds": sorted({run.seed for run in experiment.runs}),
        "bootstrap": {"resamples": options.resamples, "seed": options.seed, "unit": "speaker"},
        "summary": {
            v: summary(_sums(by_seed, speakers), options.resamples, options.seed) for v, by_seed in students.items()
        },
        "truth": {
            v: _means(_sums({s: _against_truth(p) for s, p in by_seed.items()}, speakers))
            for v, by_seed in students.items()
            if has_truth
        },
        "strata": {name: _strata(name, students, speakers) for name in STRATA},
        "runs": [
            {"variant": r.variant, "fold": r.fold, "seed": r.seed, "key": r.key, "folder": r.folder.name}
            for r in experiment.runs
        ],
    }


def caption(metrics: dict[str, Any]) -> list[str]:
    """Say what the table's figures are about, in lines."""
    dataset = metrics["dataset"]
    lines = [
        f"{dataset['name']}: {metrics['utterances']} test utterances of {metrics['speakers']} speakers, "
        f"{_count(metrics['folds'], 'fold')}, {_count(metrics['seeds'], 'seed')}; mean ± deviation over seeds. "
        f"{metrics['one_hot']:.0%} have all votes on one class, {metrics['ties']} are ties.",
        "NLL and Brier are proper scores when the target is a few votes; BC, R², JSD and ACC are not: "
        "their best answer is sharper than the truth.",
    ]
    if dataset["synthetic"]:
        lines.append("Synthetic data, made by amber: the figures say nothing about real speech.")
    if tables.paper(metrics):
        lines.append("The paper's class set, folds and vote conventions are not known in full: see docs/paper.md.")
    return lines


def _count(things: Sequence[int], name: str) -> str:
    return f"{len(things)} {name}{'s' if len(things) != 1 else ''}"


def _sums(by_seed: dict[int, Predictions], speakers: tuple[str, ...]) -> list[Sums]:
    return [sums(predictions, speakers) for predictions in by_seed.values()]


def _means(by_seed: list[Sums]) -> dict[str, dict[str, float]]:
    """Return mean and deviation over seeds of every metric."""
    plain = [s.figures(np.ones(len(s.speakers))) for s in by_seed]
    values = {name: np.array([float(f[name]) for f in plain]) for name in plain[0]}
    return {
        name: {"mean": float(v.mean()), "std": float(v.std(ddof=1)) if len(v) > 1 else 0.0}
        for name, v in values.items()
    }


def _against_truth(predictions: Predictions) -> Predictions:
    """Put the generating distribution in the place of the raters'."""
    assert predictions.truth is not None  # noqa: S101 (the caller checked)
    return Predictions(predictions.classes, predictions.keys, predictions.truth, predictions.p)


def _strata(name: str, students: dict[str, dict[int, Predictions]], speakers: tuple[str, ...]) -> dict[str, Any]:
    levels, divide = STRATA[name]
    found: dict[str, Any] = {}
    for level in levels:
        inside: dict[str, list[Sums]] = {}
        n = 0
        for variant, by_seed in students.items():
            chosen = {seed: p.where(_level(p, divide, level)) for seed, p in by_seed.items()}
            n = len(next(iter(chosen.values())))
            inside[variant] = _sums(chosen, speakers) if n else []
        found[level] = {"n": n, "small": n < SMALL, "variants": {v: _means(s) for v, s in inside.items() if s}}
    return found


def _level(predictions: Predictions, divide: Any, level: str) -> NDArray[np.bool_]:
    return np.asarray(divide(predictions.y) == level)


def _key(runs: Sequence[FoundRun], options: EvaluateOptions) -> str:
    parts = [SCHEMA_VERSION, __version__, options.model_dump(), [(str(r.folder), r.key) for r in runs]]
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

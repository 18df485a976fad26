"""Exporting a bundle: the runs of one variant, with what a reader of the model has to know."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amber import done, run_config, seal
from amber.console import Console
from amber.errors import UserError, count

from . import bundle, model, onnx

FINAL = "final"  # the member that is trained on all utterances


@dataclass(frozen=True)
class Options:
    """What goes into a bundle.

    `onnx`: the heads as ONNX too. `final`: in the place of the runs' models, one that is trained on all utterances, on
    the features in `cache`, or in the cache that the runs read.
    """

    onnx: bool = False
    final: bool = False
    cache: str | None = None


def run(experiment: Path, variant: str | None, to: Path, options: Options, console: Console) -> str:
    """Write a bundle of an experiment's variant; return what was written, in one line.

    Raises
    ------
    UserError
        If the experiment has no such runs, a file of them is not as it was written, the bundle exists, or
        the model has no ONNX form.

    """
    if not experiment.is_dir():
        raise UserError(f"--runs {experiment}: no such folder")
    bundle.refuse_existing(to)
    runs = model.runs_of(experiment, variant)
    loaded = model.load(experiment, variant)
    if not options.final:
        return _write(experiment, runs, {run.name: run / model.MODEL for run in runs}, loaded, to, options, console)
    from amber.train.final import train_final

    with tempfile.TemporaryDirectory(prefix="amber-") as folder:
        place = Path(folder, FINAL)
        about = train_final(runs, options.cache, place, console)
        member = model.of_folders(FINAL, [place])
        return _write(experiment, runs, {FINAL: place}, member, to, options, console, about)


def _write(
    experiment: Path,
    runs: Sequence[Path],
    models: Mapping[str, Path],
    loaded: model.Model,
    to: Path,
    options: Options,
    console: Console,
    final: Mapping[str, Any] | None = None,
) -> str:
    name = runs[0].parent.name
    config = run_config.read(runs[0])
    shared = {key: config[key] for key in run_config.OF_EXPERIMENT}
    about = {
        "variant": name,
        "classes": list(loaded.classes),
        "heads": list(loaded.members[0].heads),
        "student": loaded.members[0].student,
        "features": {modality: spec.model_dump(mode="json") for modality, spec in loaded.specs.items()},
        **shared,
        **({"final": final} if final else {}),
    }
    encoders = [f"{modality}: {spec.encoder} (revision {spec.revision})" for modality, spec in loaded.specs.items()]
    about_models = {**shared, "members": len(runs), "final": final}
    card = bundle.card_of(to.name, name, loaded.classes, encoders, about_models, _figures(experiment, runs, console))
    more = {onnx.FILE: lambda path: onnx.write(path, loaded.members)} if options.onnx else {}
    bundle.write(to, models, card, about, more)
    if final:
        return f"{to}: {name} of {experiment}, one model that learned from all {final['utterances']} utterances"
    return f"{to}: {name} of {experiment}, {count(len(runs), 'model')}, which answer together"


def _figures(experiment: Path, runs: Sequence[Path], console: Console) -> str:
    """Return the figures of a variant's runs with their intervals as Markdown; empty if there are none of just them."""
    path, variant = experiment / "metrics.json", runs[0].parent.name
    metrics = (seal.load(path.read_bytes()) if path.is_file() else None) or {}
    figures = metrics.get("summary", {}).get(variant)
    if not figures:
        return ""
    evaluated = {(run["folder"], run["key"]) for run in metrics.get("runs", []) if run["variant"] == variant}
    if evaluated != {(run.name, done.read(run).key) for run in runs}:
        console.warn(f"{path}: of other runs than these, so the model card has no figures; `amber evaluate` first")
        return ""
    rows = ["| metric | mean over seeds | 95 % interval |", "|---|---|---|"]
    for name, figure in figures.items():
        ci = figure.get("ci")
        rows.append(f"| {name} | {figure['mean']:.3f} | {f'{ci[0]:.3f} to {ci[1]:.3f}' if ci else '–'} |")
    return "\n".join(rows)

"""Finding an experiment's finished runs on disk."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from amber import done, run_config
from amber.errors import UserError, abbreviate, count
from amber.run_config import OF_EXPERIMENT, OF_VARIANT, refuse_different

from .experiment import FinishedRun, base

THREADS = 2  # that check files
_FIRST = ("ce", "soft")  # the variants that the others are measured against come first


def find_runs(folder: Path) -> list[FinishedRun]:
    """Return the finished runs of an experiment.

    Raises
    ------
    UserError
        If there are none, one is not as it was finished, they differ in dataset, labels or splits, or those of one
        variant differ in anything but fold and seed.

    """
    if not folder.is_dir():
        raise UserError(f"--runs {folder}: no such folder")
    paths = sorted(folder.glob(f"*/fold*-seed*/{done.FILE}"))
    # Reading the files takes longest, and hashing them lets other threads go on.
    with ThreadPoolExecutor(THREADS) as pool:
        checked = list(pool.map(lambda path: _check(folder, path.parent), paths))
    damaged = [what for _, faults in checked for what in faults]
    if damaged:
        raise UserError(
            f"{folder}: {count(len(damaged), 'file')} of finished runs not as written: {abbreviate(damaged, 3)}\n"
            "put them back, or train these runs again: the same `amber train` does them, and only them"
        )
    found = [_found(folder, path.parent, sealed) for path, (sealed, _) in zip(paths, checked, strict=True) if sealed]
    if not found:
        near = sorted(path.parents[2].name for path in folder.parent.glob(f"*/*/fold*-seed*/{done.FILE}"))
        hint = f"; there are {abbreviate(dict.fromkeys(near))}" if near else ""
        raise UserError(f"--runs {folder}: no finished runs there{hint}")
    refuse_different({run.folder: run.config for run in found}, OF_EXPERIMENT, "they can't stand in one table")
    for variant in {run.variant for run in found}:
        of_variant = {run.folder: run.config for run in found if run.variant == variant}
        refuse_different(of_variant, OF_VARIANT, "they are not runs of one variant")
    return sorted(found, key=_order)


def _check(folder: Path, of: Path) -> tuple[done.Done | None, list[str]]:
    """Return what vouches for a run, and what of it is not as it was finished."""
    name = of.relative_to(folder)
    try:
        sealed = done.read(of)
    except (OSError, UserError) as error:
        return None, [f"{name}: {str(error).splitlines()[0].removeprefix(f'{of}/')}"]
    return sealed, [f"{name}/{what}" for what in sealed.faults(of)]


def _found(folder: Path, of: Path, sealed: done.Done) -> FinishedRun:
    config = run_config.read(of)
    name = f"{config['variant']}/fold{config['fold']}-seed{config['seed']}"
    if of != folder / name:
        raise UserError(f"{of}: holds the run {name} (its config.yaml says so); move it back, or train it again")
    return FinishedRun(of, sealed.key, config, str(config["variant"]), sealed.digest, sealed.vouched)


def side_by_side(experiments: Sequence[tuple[str, list[FinishedRun]]]) -> list[FinishedRun]:
    """Put the runs of several experiments together: variant `soft` of experiment `a` is then called `a/soft`.

    Namesakes stand together, in the order in which the experiments are given.
    """
    named = [replace(run, variant=f"{name}/{run.variant}") for name, runs in experiments for run in runs]
    place = {name: i for i, (name, _) in enumerate(experiments)}
    return sorted(named, key=lambda run: (*_order(run)[:2], place[run.variant.partition("/")[0]], *_order(run)[2:]))


def _order(run: FinishedRun) -> tuple[Any, ...]:
    name = base(run.variant)
    rank = _FIRST.index(name) if name in _FIRST else len(_FIRST)
    return rank, name, run.variant, run.seed, run.fold

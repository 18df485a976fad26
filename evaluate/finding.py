"""What `amber curve`, `amber ask` and `amber matrix` found: sealed JSON beside the runs that it was computed from.

A finding says which runs it is of, by experiment, and has the digests of the pages beside it, so that a reader sees
whether it is still what was found of the runs that are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amber import __version__, done, seal
from amber.errors import UserError
from amber.location import absolute, locate, write_whole

from .experiment import FinishedRun

THREADS = 8  # that read the records of runs: on object storage each waits


@dataclass(frozen=True)
class Kind:
    """A kind of finding: its file, the version of what it holds, and the command that writes it."""

    file: str
    schema: int
    command: str


CURVE = Kind("curve.json", 2, "amber curve")
ASK = Kind("ask.json", 1, "amber ask")
MATRIX = Kind("matrix.json", 1, "amber matrix")


def write(
    folder: Path,
    kind: Kind,
    runs: Mapping[str, Sequence[FinishedRun]],
    data: Mapping[str, Any],
    pages: Mapping[str, bytes],
) -> dict[str, Any]:
    """Write a finding and the pages beside it into a folder; return what the file holds.

    Parameters
    ----------
    folder
        An experiment's folder.
    kind
        Which finding.
    runs
        Those it was computed from, by their experiment (`named`).
    data
        What was found.
    pages
        Files to write beside it, by name.

    """
    whole = {
        "schema": kind.schema,
        "amber": __version__,
        "runs": {name: {"variants": _variants(of), "digest": _of_found(of)} for name, of in runs.items()},
        **data,
        "files": {**data.get("files", {}), **{name: hashlib.sha256(of).hexdigest() for name, of in pages.items()}},
    }
    for name, content in {**pages, kind.file: seal.dump(whole)}.items():
        write_whole(folder / name, content)
    return whole


def named(experiment: Path, folder: Path) -> str:
    """Return how a finding in a folder names an experiment: by its folder's name where both stand side by side."""
    there, here = absolute(experiment), absolute(folder)
    return there.name if there.parent == here.parent else str(there)


def read(path: Path, kind: Kind) -> dict[str, Any]:
    """Return what a finding's file holds.

    Raises
    ------
    UserError
        If it is damaged, or another version of amber wrote it.

    """
    data = seal.load(path.read_bytes())
    if data is None:
        raise UserError(f"{path}: not what was written; run `{kind.command}` again")
    if data.get("schema") != kind.schema or data.get("amber") != __version__:
        raise UserError(f"{path}: written by another version of amber; run `{kind.command}` again")
    return data


def check(path: Path, kind: Kind, data: Mapping[str, Any]) -> None:
    """Check that a finding is of the runs that are there, and that the pages beside it are those it was written with.

    Raises
    ------
    UserError
        If it is not, or they are not.

    """
    for name, of in data["runs"].items():
        there = locate(name) if "://" in name else path.parents[1] / name
        if _on_disk(there, of["variants"]) != of["digest"]:
            raise UserError(f"{path}: the runs of {name} are not those it was found of; run `{kind.command}` again")
    for name, digest in data["files"].items():
        if not (path.parent / name).is_file() or seal.of_file(path.parent / name) != digest:
            raise UserError(f"{path.parent / name}: missing, or not what was written; run `{kind.command}` again")


def _variants(runs: Sequence[FinishedRun]) -> list[str]:
    return sorted({run.folder.parent.name for run in runs})


def _of_found(runs: Sequence[FinishedRun]) -> str:
    return _digest((f"{run.folder.parent.name}/{run.folder.name}", run.digest) for run in runs)


def _on_disk(folder: Path, variants: Collection[str]) -> str:
    """Return the digest of the finished runs of variants as they are on disk; empty where one can't be told."""
    paths = [path.parent for name in variants for path in (folder / name).glob(f"fold*-seed*/{done.FILE}")]
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            digests = list(pool.map(lambda path: done.read(path).digest, paths))
    except UserError:
        return ""
    return _digest((f"{path.parent.name}/{path.name}", of) for path, of in zip(paths, digests, strict=True))


def _digest(runs: Any) -> str:
    return hashlib.sha256(json.dumps(sorted(runs)).encode()).hexdigest()

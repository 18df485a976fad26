"""A run's folder on disk or object storage: what of it is whole, and writing it so that it appears whole."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from amber import done
from amber.errors import RunFailure, UserError
from amber.location import copy_folder, is_local, reaching, remove_folder

PARTIAL = ".partial"  # how the name ends of a run's folder while it is written


def fault(folder: Path, key: str) -> str | None:
    """Return None if a folder holds the finished run with this key, whole; else what is damaged, if that is known."""
    try:
        found = done.read(folder)
    except FileNotFoundError:
        return ""
    except (OSError, UserError) as error:
        return str(error).splitlines()[0]
    if found.key != key or not found.vouched:
        return ""
    faults = found.faults(folder)
    return f"{folder}: {', '.join(faults)}" if faults else None


def remove_partial(folder: Path) -> None:
    """Remove what killed processes were just writing into an experiment's folder; on object storage nothing is."""
    if not is_local(folder):
        return
    for path in folder.glob(f"*/.*{PARTIAL}"):
        shutil.rmtree(path, ignore_errors=True)


def write_whole(folder: Path, key: str, fill: Callable[[Path], None]) -> None:
    """Write a finished run: into a folder beside it, `DONE` included, then in place of whatever stood there.

    On object storage there is no renaming: the files are written to their place one by one, `DONE` last.

    Parameters
    ----------
    folder
        The run's.
    key
        The hash of what it depends on.
    fill
        Writes its files into an empty folder on this machine.

    Raises
    ------
    RunFailure
        If it can't be written; what stood there stays, unless it is on object storage.

    """
    if not is_local(folder):
        with tempfile.TemporaryDirectory(prefix="amber-") as beside, reaching(folder):
            write_whole(Path(beside, folder.name), key, fill)
            if folder.exists():
                remove_folder(folder)
            copy_folder(Path(beside, folder.name), folder, last=done.FILE)
        return
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        partial.mkdir(parents=True)
        fill(partial)
        done.write(partial, key)
        _put_in_place(partial, folder)
    except OSError as error:
        raise RunFailure(
            f"{folder}: can't be written: {error.strerror or error}\n"
            "what is done is kept; the same command goes on from there"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(new: Path, folder: Path) -> None:
    if folder.exists():
        former = new.with_name(f".{folder.name}.{uuid.uuid4().hex}{PARTIAL}")
        folder.rename(former)
        new.rename(folder)
        shutil.rmtree(former, ignore_errors=True)
    else:
        new.rename(folder)

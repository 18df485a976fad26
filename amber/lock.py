"""A lock on files that only one command at a time may write, with the name of its holder.

The system releases it when its process ends, however that ends, so there are no stale locks. It is for local disks; on
object storage, concurrent writers write the same bytes (see `amber/features/layout.py`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from amber.errors import UserError
from amber.location import is_local

PREFIX = ".lock"


@contextmanager
def held(folder: Path, name: str, wanted_for: str, instead: str) -> Iterator[None]:
    """Hold the lock `name` of a folder.

    For the error message, `wanted_for` says what the holder does and `instead` what to do meanwhile.

    Raises
    ------
    UserError
        If another process holds it; the message names that process.

    """
    if not is_local(folder):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, name)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{folder}: {_holder(path) or 'another process'} is at work there: {wanted_for}\n{instead}"
        ) from None
    holder = path.with_suffix(".holder")
    try:
        started = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {started}", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def is_held(folder: Path, name: str) -> bool:
    """Return whether a process holds the lock `name` of a folder."""
    path = _path(folder, name)
    if not is_local(folder) or not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def _path(folder: Path, name: str) -> Path:
    return folder / f"{PREFIX}-{name}"


def _holder(path: Path) -> str:
    try:
        return path.with_suffix(".holder").read_text(encoding="utf-8")[:200]
    except (OSError, ValueError):
        return ""

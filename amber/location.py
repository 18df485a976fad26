"""Locations of a cache or of runs: local folders, or on object storage (`s3://bucket/cache`), as a path either way."""

from __future__ import annotations

import importlib
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from amber.errors import RunFailure, UserError


def locate(where: str | Path) -> Path:
    """Return a folder or file as a path: a local one as it is, a URL as a path of `universal_pathlib`.

    Raises
    ------
    UserError
        If it can't be reached, or the packages for that kind of storage are not installed.

    """
    if "://" not in str(where):
        return Path(where)
    try:
        upath: Any = importlib.import_module("upath")
        path = upath.UPath(str(where))
        path.exists()  # so that a mistake is found before the work begins
    except ImportError as error:
        raise UserError(f"{where}: {error}; pip install '.[s3]'") from None
    except Exception as error:
        # Every kind of storage raises its own exceptions: no credentials, no such host, an unknown kind.
        raise UserError(f"{where}: can't be reached: {error}") from error
    return cast(Path, path)


def is_local(path: Path) -> bool:
    """Return whether a path is on this machine's file system."""
    return isinstance(path, Path) and "://" not in str(path)


@contextmanager
def reaching(path: Path) -> Iterator[None]:
    """Turn exceptions of remote storage, such as a lost connection, into a `RunFailure`."""
    try:
        yield
    except (UserError, RunFailure):
        raise
    except Exception as error:
        # Every kind of storage raises its own exceptions.
        if is_local(path):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise RunFailure(
            f"{path}: the storage failed: {reason}\nwhat is done is kept; the same command goes on from there"
        ) from error


def absolute(path: Path) -> Path:
    """Return a path that is independent of the current folder."""
    return path.resolve() if is_local(path) else path


def remove_folder(path: Path) -> None:
    """Remove a folder with its content."""
    if is_local(path):
        shutil.rmtree(path)
    else:
        cast(Any, path).rmdir(recursive=True)


def copy_folder(source: Path, to: Path, last: str = "") -> None:
    """Copy the files of a folder, of which either may be remote, into a new one; the file called `last` comes last."""
    files = [path for path in source.rglob("*") if path.is_file()]
    files.sort(key=lambda path: (path.name == last, str(path)))
    for path in files:
        copy = to / path.relative_to(source).as_posix()
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: readers see the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_local(path):  # an object appears whole
        path.write_bytes(content)
        return
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")  # another process may write the same file
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

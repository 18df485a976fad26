"""The file `DONE` of a finished run: the run's key and the digest of each of its files.

It is sealed (`amber/seal.py`) and written last. Versions before schema 2 wrote only the key.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from amber import seal
from amber.errors import UserError, abbreviate

FILE = "DONE"
SCHEMA_VERSION = 2
_OLD = re.compile(rb"[0-9a-f]{16}\n?")


@dataclass(frozen=True)
class Done:
    """A run's key, and the digests of its files by path within its folder.

    `vouched` is false for runs of earlier versions, whose digests were not recorded but computed just now.
    """

    key: str
    files: dict[str, str]
    vouched: bool = True

    @property
    def digest(self) -> str:
        """Return a digest of everything in the run."""
        return hashlib.sha256(json.dumps([self.key, self.files], sort_keys=True).encode()).hexdigest()

    def faults(self, folder: Path) -> list[str]:
        """Return which files of a run's folder are missing, were changed or can't be read, one message each."""
        return [fault for name, digest in self.files.items() if (fault := _fault(folder, name, digest))]


def write(folder: Path, key: str) -> None:
    """Record everything in a folder as the finished run with this key."""
    (folder / FILE).write_bytes(seal.dump({"schema": SCHEMA_VERSION, "key": key, "files": _digests(folder)}))


def read(folder: Path) -> Done:
    """Read the record of a finished run.

    Raises
    ------
    UserError
        If it is damaged, or another version wrote it.

    """
    content = (folder / FILE).read_bytes()
    if _OLD.fullmatch(content):
        return Done(content.decode().strip(), _digests(folder), vouched=False)
    data = seal.load(content)
    if data is None:
        raise UserError(f"{folder / FILE}: damaged; train the run again with `amber train`")
    if data.get("schema") != SCHEMA_VERSION:
        raise UserError(f"{folder / FILE}: written by another version of amber; train the run again with `amber train`")
    return Done(data["key"], data["files"])


def refuse_damaged(folder: Path) -> None:
    """Refuse a finished run if its record or one of its files is not as it was written.

    Raises
    ------
    UserError
        If so.

    """
    faults = read(folder).faults(folder)
    if faults:
        raise UserError(f"{folder}: {abbreviate(faults, 3)}; put it back, or train the run again with `amber train`")


def _digests(folder: Path) -> dict[str, str]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != FILE]
    return {path.relative_to(folder).as_posix(): seal.of_file(path) for path in paths}


def _fault(folder: Path, name: str, digest: str) -> str:
    try:
        found = seal.of_file(folder / name)
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} can't be read ({error.strerror})"
    return "" if found == digest else f"{name} was changed"

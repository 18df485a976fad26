"""Reading files as they come: text of unsure encoding, folders with leftovers of other systems, Git LFS stubs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from amber.corpus import Ledger

_LFS_HEAD = b"version https://git-lfs"


def read_text(path: Path, ledger: Ledger) -> str:
    """Read a text file as UTF-8 with or without a byte-order mark, any line ends; file it where bytes did not fit."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    if "\N{REPLACEMENT CHARACTER}" in text:
        ledger.add("files with bytes that are not UTF-8 (replaced)", path.name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def files(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the files of a folder that match, by name; not the `._` twins that macOS leaves beside them."""
    if folder.is_dir():
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and not path.name.startswith("._") and path.name != ".DS_Store":
                yield path


def is_lfs_stub(path: Path) -> bool:
    """Return whether a file is the short text that Git LFS leaves where the content was not fetched."""
    if path.stat().st_size >= 1024:
        return False
    with path.open("rb") as file:
        return file.read(len(_LFS_HEAD)) == _LFS_HEAD

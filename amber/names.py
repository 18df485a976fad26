"""Names as people write them: which ones are the same, and which can be a folder's."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path


def fold(name: str) -> str:
    """Return what names that differ only in case, outer blanks or the encoding of their letters have in common.

    `é` is one character in some files and `e` with an accent in others, such as those that a Mac wrote.
    """
    return unicodedata.normalize("NFC", name.strip().lower())


def spellings(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the different spellings of each name, in order, by the folded name."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(fold(name), []).append(name)
    return found


def is_folder_name(name: str) -> bool:
    """Return whether a name is a folder's, directly inside another: no path, not hidden, of printable characters."""
    return bool(name) and Path(name).name == name and not name.startswith(".") and name.isprintable()

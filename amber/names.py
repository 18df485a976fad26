"""Names as people write them: which ones are equal, and which can name a folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path


def fold(name: str) -> str:
    """Return the common form of names that differ only in case, outer blanks or the encoding of their letters.

    `é` is one character in some files and `e` with a combining accent in others, such as those written on a Mac.
    """
    return unicodedata.normalize("NFC", name.strip().lower())


def spellings(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the different spellings of each name, in order, by the folded name."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(fold(name), []).append(name)
    return found


def is_folder_name(name: str) -> bool:
    """Return whether a name can be that of a folder inside another: no path, not hidden, only printable characters."""
    return bool(name) and Path(name).name == name and not name.startswith(".") and name.isprintable()

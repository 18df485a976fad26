"""Digests of files, and of a file within itself, which shows to every reader that the file is unchanged.

Content that is to carry its own digest is made with `BLANK` in it, as the last mark of this form. `seal` replaces it by
the SHA-256 of the content. Both have the same length, so this works in any format.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amber.location import is_local

MARK = "sha256:"
BLANK = MARK + "0" * 64
KEY = "digest"  # of a JSON object
_SEALED = re.compile(MARK.encode() + b"[0-9a-f]{64}")


def seal(content: bytes) -> bytes:
    """Return the content with its digest in place of `BLANK`."""
    place = content.rindex(BLANK.encode())
    return _with(content, place, MARK + hashlib.sha256(content).hexdigest())


def is_whole(content: bytes) -> bool | None:
    """Return whether sealed content is unchanged; None if it carries no digest."""
    every = list(_SEALED.finditer(content))
    if not every:
        return None
    blank = _with(content, every[-1].start(), BLANK)
    return every[-1].group().decode() == MARK + hashlib.sha256(blank).hexdigest()


def dump(data: Mapping[str, Any]) -> bytes:
    """Return an object as JSON that carries its digest."""
    return seal((json.dumps({**data, KEY: BLANK}, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def load(content: bytes) -> dict[str, Any] | None:
    """Return the object of sealed JSON; None if it was changed or carries no digest."""
    if not is_whole(content):
        return None
    data = json.loads(content)
    return data if isinstance(data, dict) else None


def of_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    if not is_local(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with(content: bytes, place: int, mark: str) -> bytes:
    return content[:place] + mark.encode() + content[place + len(BLANK) :]

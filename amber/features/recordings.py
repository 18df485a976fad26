"""Stamps of recordings, which show whether a file was replaced since features were extracted from it.

A *stamp* is (size in bytes, time of modification in ns, digest) of an utterance's file; `NONE` if there was no
file, with a digest of 0 if none was asked for.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from amber.arrays import Integers, Mask
from amber.corpus import Corpus
from amber.errors import abbreviate, count

SIZE, TIME, DIGEST = range(3)
NONE = (0, 0, 0)
Stamps = Integers  # (N, 3)


def stamp(path: Path) -> tuple[int, int, int]:
    """Return the stamp of a file, without a digest."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return NONE
    return found.st_size, found.st_mtime_ns, 0


def look(corpus: Corpus) -> Stamps:
    """Return the current stamps of a corpus's recordings, (N, 3), without digests."""
    known: dict[str | None, tuple[int, int, int]] = {None: NONE}
    names = corpus.column("audio")
    for name in names:
        if name not in known:
            known[name] = stamp(Path(corpus.root, name))
    return np.array([known[name] for name in names], dtype=np.int64).reshape(-1, 3)


def with_digests(corpus: Corpus, stamps: Stamps, rows: Integers) -> Stamps:
    """Return stamps (N, 3) with the digests of the files of some rows (n,); each file is read once."""
    names, known, found = corpus.column("audio"), dict[str, int](), stamps.copy()
    for row in rows.tolist():
        if (name := names[row]) and stamps[row, TIME]:
            if name not in known:
                known[name] = _digest(Path(corpus.root, name))
            found[row, DIGEST] = known[name]
    return found


def changed(then: Stamps, now: Stamps) -> Mask:
    """Return which of the recordings that exist now differ from earlier ones, (N,), by their stamps (N, 3).

    Digests decide where both are known, else size and time of modification.
    """
    there = now[:, TIME] != 0
    known = (then[:, DIGEST] != 0) & (now[:, DIGEST] != 0)
    other = (then[:, :DIGEST] != now[:, :DIGEST]).any(axis=1)
    return np.asarray(there & np.where(known, then[:, DIGEST] != now[:, DIGEST], other))


def merged(then: Stamps, now: Stamps, rows: Mask) -> Stamps:
    """Return the earlier stamps (N, 3), updated by the current ones in `rows` (N,), whose recordings are the same.

    A known digest stays where none was asked for now.
    """
    found = np.where(rows[:, None], now, then)
    found[:, DIGEST] = np.where(rows & (now[:, DIGEST] == 0), then[:, DIGEST], found[:, DIGEST])
    return found


def replaced(then: Stamps | None, corpus: Corpus, digests: bool = False) -> str:
    """Return a message on the recordings that were replaced since extraction; empty if none is known.

    `then` are the stamps (N, 3) of that time. With `digests`, files with a known digest are read and compared by it.
    """
    if then is None:
        return ""
    now = look(corpus)
    if digests:
        now = with_digests(corpus, now, np.flatnonzero(then[:, DIGEST] > 0))
    rows = np.flatnonzero(changed(then, now) & (then[:, TIME] >= 0))
    return f"{describe(corpus, then, now, rows)}; `amber extract` does them again" if len(rows) else ""


def describe(corpus: Corpus, then: Stamps, now: Stamps, rows: Integers) -> str:
    """Return a message on which recordings, of the rows (n,), changed and how; stamps are (N, 3)."""
    names = corpus.column("audio")
    said = {names[row]: _how(then[row].tolist(), now[row].tolist()) for row in rows.tolist()}
    return f"{count(len(said), 'recording')} changed since they were extracted: " + abbreviate(
        (f"{name} ({how})" for name, how in said.items()), 3
    )


def _how(then: list[int], now: list[int]) -> str:
    if then[TIME] <= 0:
        return "was not there" if not then[TIME] else "what was recorded of it is damaged"
    if then[SIZE] != now[SIZE]:
        return f"{then[SIZE]:,} bytes, now {now[SIZE]:,}"
    if then[TIME] != now[TIME]:
        return f"modified {_date(then[TIME])}, now {_date(now[TIME])}"
    return "another content"


def _date(time: int) -> str:
    return datetime.fromtimestamp(time / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _digest(path: Path) -> int:
    """Return a digest of a file, never 0; 0, no digest, if it can't be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).digest()
    except OSError:
        return 0
    return int.from_bytes(digest, "little") >> 1 or 1

"""Reading files of real corpora: text in doubtful encodings, leftovers of other systems in folders, Git LFS stubs."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from amber.audio import LFS_MAX_BYTES, is_lfs_stub
from amber.corpus import Ledger, Utterance
from amber.errors import UserError, abbreviate

REPEATED = "answers that a rater gave again (first kept)"  # of one utterance: a rater counts once

_ESCAPED = re.compile("[\udc80-\udcff]")
_WESTERN_FILES = "files with bytes that are not UTF-8 (read as Windows-1252)"
# Every such byte becomes a different character, so that different names stay different.
_WESTERN = {
    0xDC00 + byte: char if (char := bytes([byte]).decode("cp1252", "ignore")) else chr(byte) for byte in range(128, 256)
}


def read_text(path: Path, ledger: Ledger) -> str:
    """Read a text file as UTF-8 with or without a byte-order mark, any line ends; file it if bytes do not fit."""
    return decode(path.read_bytes(), path.name, ledger)


def decode(raw: bytes, name: str, ledger: Ledger) -> str:
    """Decode the content of the text file `name`, as `read_text` does."""
    text, western = _western(raw.decode("utf-8-sig", errors="surrogateescape"))
    if western:
        ledger.add(_WESTERN_FILES, name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def lines(path: Path, ledger: Ledger) -> Iterator[str]:
    """Yield the lines of a text file one by one, decoded as `read_text` does: for files too large to hold."""
    any_western = False
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for line in file:
            if line.isascii():
                yield line
            else:
                text, western = _western(line)
                any_western = any_western or western
                yield text
    if any_western:
        ledger.add(_WESTERN_FILES, path.name)


def csv_records(path: Path, ledger: Ledger) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a CSV file, each with the line that it ends in, the header first.

    Raises
    ------
    UserError
        If its quotation marks do not match.

    """
    reader = csv.reader(lines(path, ledger), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from None


def whole(cell: str) -> int | None:
    """Return the whole number in a cell, also if written as `3.0`; None if there is none."""
    return int(cell.partition(".")[0]) if re.fullmatch(r"[0-9]{1,12}(?:\.0+)?", cell.strip()) else None


def _western(text: str) -> tuple[str, bool]:
    """Return a text with the bytes that are not UTF-8 read as Windows-1252, and whether there were any."""
    fixed = text.translate(_WESTERN) if _ESCAPED.search(text) else text
    return fixed, fixed is not text


def files(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the files of a folder that match, by name, without the `._` twins of macOS."""
    if folder.is_dir():
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and not path.name.startswith("._") and path.name != ".DS_Store":
                yield path


def home(root: Path, holds: Callable[[Path], bool], depth: int = 2) -> Path | None:
    """Return the folder of a corpus: `root`, or the nearest below it, at most `depth` levels down.

    Raises
    ------
    UserError
        If there are several at the same depth.

    """
    level = [root]
    for _ in range(depth + 1):
        found = [folder for folder in level if holds(folder)]
        if len(found) > 1:
            raise UserError(
                f"{root} holds {len(found)} copies: {abbreviate(p.name for p in found)}; give one of them as --root"
            )
        if found:
            return found[0]
        level = [below for folder in level for below in folders(folder)]
    return None


def folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name, without hidden ones and `__MACOSX`; none if it can't be read."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".") and e.name != "__MACOSX"]
    return [folder / name for name in sorted(names)]


def sounds(folder: Path, ledger: Ledger, suffixes: Sequence[str] = (".wav",)) -> dict[str, Path]:
    """Return the audio files of a folder by lower-cased stem; of two with one stem, the one with the earlier suffix.

    Git LFS stubs are filed as failed, by name, and left out. Nothing else is opened.
    """
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        sized = [(Path(e.path), e.stat().st_size) for e in entries if _is_sound(e, suffixes)]
    found: dict[str, Path] = {}
    for path, size in sorted(sized, key=lambda item: (suffixes.index(item[0].suffix.lower()), item[0].name)):
        if size < LFS_MAX_BYTES and is_lfs_stub(path):
            ledger.add("failed", path.name)
            ledger.note("some audio files are Git LFS stubs, not audio: run `git lfs pull` in the corpus")
        else:
            found.setdefault(path.stem.lower(), path)
    return found


def account(utterances: Iterable[Utterance], audio: Iterable[str], ledger: Ledger) -> None:
    """File how labels, audio (`audio` are the ids of its files) and transcripts match, as for every corpus."""
    rows = list(utterances)
    labelled = {u.id.lower() for u in rows}
    ledger.add("labelled with audio", *(u.id for u in rows if u.audio is not None))
    ledger.add("labelled without audio", *(u.id for u in rows if u.audio is None))
    ledger.add("audio without label", *(stem for stem in sorted(audio) if stem.lower() not in labelled))
    ledger.add("without transcript", *(u.id for u in rows if u.text is None))
    ledger.add("empty transcript", *(u.id for u in rows if u.text == ""))
    ledger.add("failed")


def _is_sound(entry: os.DirEntry[str], suffixes: Sequence[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (no Path per file of a large folder)
    return suffix in suffixes and not entry.name.startswith("._") and entry.is_file()

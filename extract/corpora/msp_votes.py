"""MSP-Podcast's raters' votes: the three dialects of `labels_detailed.csv`, `labels.txt` and `labels_detailed.json`.

Every reader yields the same rows, (file, worker, primary, secondary), as written; `collect` makes votes of them. Rows
can be ambiguous: typed text ("Other-…") may contain the characters that separate fields. Then the last `;` field of an
`EmoDetail` is the secondary labels, and a comma among secondary labels always separates them. A primary field is one
label, unless it lists several of the eight names, as release 1.6 may.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from amber.corpus import Ledger, Vote
from amber.errors import printable

from .reading import lines, read_text

Row = tuple[str, str, str, str]  # file, worker, primary, secondary
PREFIX = "MSP-PODCAST_"
WORKER = "WORKER"
NAMES = ("Angry", "Sad", "Happy", "Surprise", "Fear", "Disgust", "Contempt", "Neutral")
FAILED = "failed"
DUPLICATES = "duplicate workers (last row kept)"
UNLABELLED = "votes without a primary label"

_FILE = re.compile(r"MSP-PODCAST_(\w+?)(?:\.wav)?", re.IGNORECASE)
_WORKER = re.compile(rf"\s*{WORKER}(\w+)\s*", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"\s*[AVD]:\s*(?:[\d.]+|nan)?\s*", re.IGNORECASE)
_LOWER_NAMES = {name.lower() for name in NAMES}


def utterance_id(file: str) -> str | None:
    """Return the utterance id in a file name, with or without `.wav`; None if it is no MSP-Podcast name.

    An id is spelled one way, whatever the case of the prefix, so that the release's files join.
    """
    match = _FILE.fullmatch(file.strip())
    return PREFIX + match[1] if match else None


def records(path: Path, ledger: Ledger) -> Iterator[list[str]]:
    """Yield the records of a CSV file as cells, not yet stripped, the header first.

    A quoted cell may hold line breaks. A stray quote costs its own record only: whatever is open, a line that begins
    with a file's name begins a record, and so does one that names a file and closes all quotes that it opens.
    """
    begun: list[str] = []  # the lines of the record that is being read

    def closed() -> Iterator[str]:
        for line in lines(path, ledger):
            if begun and (line.startswith(PREFIX) or (PREFIX in line and line.count('"') % 2 == 0)):
                yield '"\n'  # ends the stray quote's cell, and the record
            begun.append(line)
            yield line

    reader = csv.reader(closed())
    while True:
        try:
            for cells in reader:
                begun.clear()
                if len(cells) > 1 or "".join(cells).strip():
                    yield cells
        except csv.Error:  # a huge cell
            begun.clear()
            ledger.add(FAILED, path.name)
        else:
            return


def blame(cells: list[str], file: int, name: str) -> str:
    """Return the ledger id of an unusable record of the file `name`: its utterance id, if it has one."""
    return (utterance_id(cells[file]) if file < len(cells) else None) or name


def header_columns(header: Iterable[str]) -> dict[str, int]:
    """Return the position of each column by its lower-cased name."""
    return {name.strip().lower(): position for position, name in enumerate(header)}


def dialect(columns: Iterable[str]) -> str | None:
    """Return the releases that write `labels_detailed.csv` with these (lower-cased) columns: None if none does."""
    present = set(columns)
    if {"filename", "emodetail"} <= present:
        return "1.7-1.12"
    if {"filename", "workers", "emoclass_major", "emoclass_second"} <= present:
        return "1.6"
    if {"filename", "workerid", "emoclass_major", "emoclass_second"} <= present:
        return "2.0"
    return None


def csv_rows(path: Path, ledger: Ledger) -> Iterator[Row]:
    """Yield the rows of `labels_detailed.csv`, whichever its dialect."""
    listed = records(path, ledger)
    header = next(listed, [])
    columns = header_columns(header)
    found = dialect(columns)
    if found is None:
        ledger.add(FAILED, path.name)
        ledger.note(f"{path.name} has none of the known headers: {','.join(header)[:80]}")
        return
    ledger.note(f"{path.name} is in the dialect of release {found}")
    if found == "1.7-1.12":
        yield from _detail_rows(listed, columns["filename"], columns["emodetail"], len(header), path.name, ledger)
        return
    worker = "workers" if found == "1.6" else "workerid"
    where = [columns[name] for name in ("filename", worker, "emoclass_major", "emoclass_second")]
    yield from _column_rows(listed, where, len(header), path.name, ledger)


def parse_detail(detail: str) -> tuple[str, str, str] | None:
    """Return (worker, primary, secondary) of `worker; primary; secondary; A:x; V:y; D:z;`, None if it is not that."""
    head, *fields = detail.split(";")
    worker = _WORKER.fullmatch(head)
    if worker is None or not fields:
        return None
    if not fields[-1].strip(' "\n'):  # what follows the closing semicolon
        fields.pop()
    for _ in "DVA":
        if fields and _ATTRIBUTE.fullmatch(fields[-1]):
            fields.pop()
    if len(fields) < 2:
        return WORKER + worker[1], "".join(fields).strip(), ""
    return WORKER + worker[1], ";".join(fields[:-1]).strip(), fields[-1].strip()


def txt_rows(path: Path, ledger: Ledger) -> Iterator[Row]:
    """Yield the rows of `labels.txt`: blocks of one file's line and its workers' lines.

    Any other line ends the block: the votes below it may be another utterance's.
    """
    file = ""
    for number, line in _txt_lines(path, ledger):
        if not _is_workers(line):
            file = line.split(";", 1)[0].strip(' "')
            if utterance_id(file) is None:
                file = ""
                ledger.add(FAILED, f"{path.name}:{number}")
        elif file and (row := parse_detail(line)):
            yield (file, *row)
        else:
            ledger.add(FAILED, utterance_id(file) or f"{path.name}:{number}")


def txt_codes(path: Path, ledger: Ledger) -> dict[str, str]:
    """Return the consensus code of each file of `labels.txt`."""
    codes: dict[str, str] = {}
    odd = []
    for number, line in _txt_lines(path, ledger):
        if not _is_workers(line):
            file, *cells = (cell.strip(' "') for cell in line.split(";"))
            if (uid := utterance_id(file)) is None:
                odd.append(f"{path.name}:{number}")
            elif cells:
                codes[uid] = cells[0]
    filed = set(ledger.entries.get(FAILED, ()))  # when the votes were read from this file, too
    ledger.add(FAILED, *(name for name in odd if name not in filed))
    return codes


def _txt_lines(path: Path, ledger: Ledger) -> Iterator[tuple[int, str]]:
    """Yield the lines of `labels.txt` that hold something, with their numbers; typed text may have line breaks."""
    begun, at = "", 0
    for number, line in enumerate(lines(path, ledger), 1):
        text = line.strip()
        if text.startswith('"'):
            text = text[1:].removesuffix('"').strip()
        if begun and text and _goes_on(begun, text):
            begun = f"{begun}\n{text}"
            continue
        if begun:
            yield at, begun
        begun, at = text, number
    if begun:
        yield at, begun


def _is_workers(line: str) -> bool:
    return line[: len(WORKER)].upper() == WORKER


def _goes_on(begun: str, line: str) -> bool:
    """Return whether a line is the rest of a worker's line: of one without attributes, unless it names a file."""
    if _is_workers(line) or not _is_workers(begun) or PREFIX in line.upper() or ".wav" in line.lower():
        return False
    return not any(map(_ATTRIBUTE.fullmatch, begun.split(";")))


def read_json(path: Path, ledger: Ledger) -> dict[str, Any]:
    """Read a JSON object; an empty one, and the file filed as failed, if it is none."""
    try:
        content = json.loads(read_text(path, ledger))
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        return content
    ledger.add(FAILED, path.name)
    return {}


def json_rows(path: Path, ledger: Ledger) -> Iterator[Row]:
    """Yield the rows of `labels_detailed.json`: answers by worker by file."""
    for file, answers in read_json(path, ledger).items():
        for worker, answer in answers.items() if isinstance(answers, dict) else [("", None)]:
            if not isinstance(answer, dict):
                ledger.add(FAILED, utterance_id(file) or path.name)
                continue
            given = {name.lower(): value for name, value in answer.items()}
            labels = [label_text(given.get(name)) for name in ("emoclass_major", "emoclass_second")]
            if None in labels or printable(worker) != worker:
                ledger.add(FAILED, utterance_id(file) or path.name)
                continue
            yield file, worker, str(labels[0]), str(labels[1])


def collect(rows: Iterable[Row], ledger: Ledger) -> dict[str, tuple[Vote, ...]]:
    """Make votes of rows, by utterance; of a worker's several rows on a file the last is kept, and the case filed."""
    by_file: dict[str, dict[str, Vote]] = {}
    by_id: dict[str, dict[str, Vote]] = {}
    # Values that occur in millions of rows are stripped, split and stored once.
    workers: dict[str, str] = {}
    primaries: dict[str, tuple[str, ...]] = {}
    secondaries: dict[str, tuple[str, ...]] = {}
    for file, worker, primary, secondary in rows:
        if (votes := by_file.get(file)) is None:
            uid = utterance_id(file)
            votes = by_file[file] = by_id.setdefault(uid, {}) if uid else {}
            if uid is None:
                ledger.add(FAILED, f"a row on {file.strip()!r}")
        if (rater := workers.get(worker)) is None:
            rater = workers[worker] = worker.strip()
        if not rater:
            ledger.add(FAILED, utterance_id(file) or file)
            continue
        if (labels := primaries.get(primary)) is None:
            labels = primaries[primary] = primary_labels(primary)
        if (others := secondaries.get(secondary)) is None:
            others = secondaries[secondary] = secondary_labels(secondary)
        if rater in votes:
            ledger.add(DUPLICATES, utterance_id(file) or file)
        if not labels:
            ledger.add(UNLABELLED, utterance_id(file) or file)
        votes[rater] = Vote(rater, labels, others)
    return {uid: tuple(votes.values()) for uid, votes in by_id.items() if votes}


def primary_labels(text: str) -> tuple[str, ...]:
    """Return the labels of a primary field: one, unless it lists several of the eight names (and typed text last)."""
    parts = [part.strip() for part in text.split(",")]
    known = next((i for i, part in enumerate(parts) if part.lower() not in _LOWER_NAMES), len(parts))
    typed = text.split(",", known)[known:]
    if known and (not typed or typed[0].strip().lower().startswith("other")):
        return (*parts[:known], *(part.strip() for part in typed))
    return (text.strip(),) if text.strip() else ()


def secondary_labels(text: str) -> tuple[str, ...]:
    """Return the labels of a secondary field, which commas separate."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _detail_rows(
    listed: Iterator[list[str]], file: int, detail: int, width: int, name: str, ledger: Ledger
) -> Iterator[Row]:
    for cells in listed:
        # Commas outside quotes, or a stray quote, split a detail into several cells: join them again.
        extra = max(0, len(cells) - width) if detail == width - 1 else 0
        row = parse_detail(",".join(cells[detail : detail + 1 + extra]))
        if row is None or file >= len(cells):
            ledger.add(FAILED, blame(cells, file, name))
        else:
            yield (cells[file], *row)


def _column_rows(listed: Iterator[list[str]], where: list[int], width: int, name: str, ledger: Ledger) -> Iterator[Row]:
    file, worker, primary, secondary = where
    last = max(where)
    for cells in listed:
        if last < len(cells) <= width:
            yield cells[file], cells[worker], cells[primary], cells[secondary]
        else:
            ledger.add(FAILED, blame(cells, file, name))


def label_text(value: Any) -> str | None:
    """Return a JSON value as the text that a CSV cell would have; None if it is no text and no list of texts."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return _encodable(",".join(value))
    return _encodable(value.strip()) if isinstance(value, str) else None


def _encodable(text: str) -> str | None:
    return text if printable(text) == text else None

"""An MSP-Podcast release apart from its votes: its folders, and the consensus, split and speaker of each turn.

Up to release 1.9 the consensus files are spelled `concensus`; the names of folders and files change case between
releases, so all are looked up in lower case.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amber.corpus import Ledger
from amber.errors import UserError

from .msp_votes import FAILED, blame, header_columns, label_text, read_json, records, txt_codes, utterance_id
from .reading import home, lines

CONSENSUS = {
    "A": "Angry",
    "S": "Sad",
    "H": "Happy",
    "U": "Surprise",
    "F": "Fear",
    "D": "Disgust",
    "C": "Contempt",
    "N": "Neutral",
    "O": "Other",
}
NO_AGREEMENT = "X"
VOTE_FILES = {"csv": ("labels_detailed.csv",), "txt": ("labels.txt",), "json": ("labels_detailed.json",)}
CONSENSUS_CSV = ("labels_consensus.csv", "labels_concensus.csv")
CONSENSUS_JSON = ("labels_consensus.json", "labels_concensus.json")
_ENTRY_FIELDS = ("emoclass", "split_set", "spkrid", "gender")
_UNKNOWN = {"", "unknown", "nan", "none"}


@dataclass(frozen=True)
class ReleaseFiles:
    """The files of a release: its root, and the paths in the root and the label folder by lower-cased name."""

    root: Path
    top: dict[str, Path]
    labels: dict[str, Path]

    @property
    def audio(self) -> Path | None:
        """The folder of the audio files."""
        return pick(self.top, "audios", "audio")

    @property
    def partitions(self) -> Path | None:
        """The file of the official split."""
        return pick(self.top, "partitions.txt", "partition.txt")


@dataclass(frozen=True, slots=True)
class TurnInfo:
    """What a release says of one turn besides its votes; `code` and `split` as written, empty if not given."""

    code: str = ""
    split: str = ""
    speaker: str | None = None
    gender: str | None = None


def find_release(root: Path) -> ReleaseFiles:
    """Find a release at `root` or below it.

    Raises
    ------
    UserError
        If there is none, or more than one.

    """
    found = home(root, lambda folder: bool(_label_files(_entries(folder)))) if root.is_dir() else None
    if found is None:
        raise UserError(
            f"--root {root}: no label folder (Labels, labels or label) with MSP-Podcast's label files\n"
            "give the unpacked release, which holds Labels/, Audios/ and Partitions.txt"
        )
    top = _entries(found)
    return ReleaseFiles(found, top, _label_files(top))


def pick(entries: dict[str, Path], *names: str) -> Path | None:
    """Return the first of `names` that is there."""
    return next((entries[name] for name in names if name in entries), None)


def read_turns(found: ReleaseFiles, ledger: Ledger) -> dict[str, TurnInfo]:
    """Return the content of the best consensus file, by utterance id."""
    for names, read in ((CONSENSUS_CSV, _csv_entries), (CONSENSUS_JSON, _json_entries)):
        path = pick(found.labels, *names)
        if path and (entries := _by_id(read(path, ledger), path.name, ledger)):
            return entries
    if raw := pick(found.labels, *VOTE_FILES["txt"]):
        ledger.note("no usable labels_consensus file: consensus from labels.txt, splits from Partitions.txt")
        speakers = _speakers(pick(found.top, "speaker_ids.txt"), ledger)
        return {uid: TurnInfo(code.upper(), "", *speakers.get(uid, ())) for uid, code in txt_codes(raw, ledger).items()}
    ledger.note("no consensus labels: neither a labels_consensus file nor labels.txt")
    return {}


def read_partitions(found: ReleaseFiles, ledger: Ledger) -> dict[str, str]:
    """Return the split of each turn, as written in `Partitions.txt`, by utterance id."""
    if not found.partitions:
        return {}
    pairs = (line.split(";") for line in lines(found.partitions, ledger))
    return {uid: pair[0].strip() for pair in pairs if len(pair) > 1 and (uid := utterance_id(pair[1]))}


def is_unknown(value: str) -> bool:
    """Return whether a cell stands for an unknown value."""
    return value.strip().lower() in _UNKNOWN


def _csv_entries(path: Path, ledger: Ledger) -> Iterator[tuple[str, TurnInfo]]:
    listed = records(path, ledger)
    header = next(listed, [])
    columns = header_columns(header)
    if not {"filename", "emoclass"} <= columns.keys():
        ledger.add(FAILED, path.name)
        ledger.note(f"{path.name} lacks the columns FileName and EmoClass: {','.join(header).strip()[:80]}")
        return
    file, where = columns["filename"], [columns.get(name, len(header)) for name in _ENTRY_FIELDS]
    for cells in listed:
        if len(cells) == len(header):
            cells.append("")  # the value of missing columns
            yield cells[file], _entry([cells[position] for position in where])
        else:
            ledger.add(FAILED, blame(cells, file, path.name))


def _json_entries(path: Path, ledger: Ledger) -> Iterator[tuple[str, TurnInfo]]:
    for file, about in read_json(path, ledger).items():
        given = {name.lower(): value for name, value in about.items()} if isinstance(about, dict) else {}
        cells = [_cell(given.get(name)) for name in _ENTRY_FIELDS]
        if not isinstance(about, dict) or None in cells:
            ledger.add(FAILED, utterance_id(file) or path.name)
        else:
            yield file, _entry([str(cell) for cell in cells])


def _cell(value: Any) -> str | None:
    """Return a JSON value as text, ids as numbers included; None if it is no single value."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else label_text(value)


def _entry(cells: list[str]) -> TurnInfo:
    code, split, speaker, gender = cells
    return TurnInfo(code.strip().upper(), split.strip(), _known(speaker), _known(gender))


def _by_id(rows: Iterable[tuple[str, TurnInfo]], name: str, ledger: Ledger) -> dict[str, TurnInfo]:
    entries: dict[str, TurnInfo] = {}
    for file, entry in rows:
        uid = utterance_id(file)
        if uid is None:
            ledger.add(FAILED, f"a row of {name} on {file.strip()!r}")
            continue
        if uid in entries:
            ledger.add("listed twice in the consensus file (last row kept)", uid)
        entries[uid] = entry
    if entries:
        ledger.note(f"consensus from {name}")
    return entries


def _speakers(path: Path | None, ledger: Ledger) -> dict[str, tuple[str | None, str | None]]:
    """Return (speaker, gender) by utterance id from `Speaker_ids.txt`."""
    pairs = [line.split(";") for line in lines(path, ledger)] if path else []
    named = [(pair[0].strip(), pair[1].strip()) for pair in pairs if len(pair) > 1]
    gender = {name.rpartition("_")[2]: value for name, value in named if name.lower().startswith("speaker")}
    of = {uid: _known(speaker) for name, speaker in named if (uid := utterance_id(name))}
    return {uid: (speaker, _known(gender.get(speaker or "", ""))) for uid, speaker in of.items()}


def _label_files(top: dict[str, Path]) -> dict[str, Path]:
    """Return the label files among a folder's entries, by lower-cased name: none if it is no release."""
    folder = pick(top, "labels", "label")
    found = _entries(folder) if folder and folder.is_dir() else {}
    known = {name for names in (*VOTE_FILES.values(), CONSENSUS_CSV, CONSENSUS_JSON) for name in names}
    return found if known & found.keys() else {}


def _entries(folder: Path) -> dict[str, Path]:
    """Return the entries of a folder by lower-cased name; of two that differ in case only, the first."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if not e.name.startswith("._") and (e.is_file() or e.is_dir())]
    return {name.lower(): folder / name for name in sorted(names, reverse=True)}


def _known(value: str) -> str | None:
    return None if is_unknown(value) else value.strip()

"""Anyone's own data: a CSV, TSV, Excel, Parquet or JSON Lines table with a row per utterance.

Columns: `id`; `audio` (a path relative to the table's folder) or `text`, or both; and any of `speaker, session,
split, start, end, consensus`. Votes stand in one count column per label (`vote_<label>`), or in one `votes` column:
`happy;happy;sad`, counts by label (`{"happy": 2, "sad": 1}`), or a list of labels or of `{"rater": …, "labels": […]}`.
`truth_<label>` columns give the generating distribution of synthetic data. Every other column is kept and can serve as
`splits.column`. `cells` says what each kind of cell may hold.

Columns with other names are named by the option `columns` (`columns.Mapping`).
With the option `inputs: optional` audio and texts may be missing, as for imported features; with `audio: FOLDER` audio
paths are relative to that folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from amber.corpus import Corpus, Ledger, Utterance
from amber.errors import UserError, abbreviate, printable
from amber.names import fold, spellings
from amber.tables import cells
from amber.tables.cells import CellError
from amber.tables.tabular import ENCODINGS, SUFFIXES, open_table

from . import Loaded, Source
from .columns import Columns, Mapping, check

OPTIONS = ("inputs", "votes", "columns", "encoding", "sheet", "audio")
_OTHER_SPELLING = "audio that is there under another spelling"


def load(source: Source) -> Loaded:
    """Read a table; audio paths are relative to the folder that it lies in, unless the option `audio` names another."""
    source.only_options(*OPTIONS)
    needed = source.option("inputs", "needed", ("needed", "optional")) == "needed"
    encoding = source.option("encoding", None, (None, *ENCODINGS))
    mapping = Mapping.of(source.option("columns", {}))
    path = find_table(source.existing_root())
    ledger = Ledger()
    table = open_table(path, mapping.ids(), encoding, source.option("sheet", None))
    columns = Columns.of(table, mapping, ledger)
    if table.remark:
        ledger.note(table.remark)
    if encoding:
        ledger.note(f"read as {encoding}, as corpus.options.encoding says, unless a byte-order mark says otherwise")
    voted = source.option("votes", "needed", ("needed", "optional")) == "needed"
    check(columns, table, mapping, needed, voted)
    folder = Path(str(source.option("audio", path.parent)))
    if not folder.is_dir():
        raise UserError(f"corpus.options.audio: {folder}: no such folder")
    found = _Found(folder)

    def utterances() -> Iterator[Utterance]:
        for where, row in table.rows():
            try:
                utterance = found.with_slashes(columns.utterance(row))
            except CellError as error:
                raise UserError(f"{path}, {where}: {error}") from None
            found.add(utterance)
            yield utterance

    classes = tuple(dict.fromkeys((columns.truths or columns.counts).values()))
    corpus = Corpus.of(utterances(), name=source.name, root=str(folder.resolve()), classes=classes)
    if not columns.counts:
        found.check_labels(path)
    found.file(ledger, needed)
    return Loaded(corpus, ledger)


def find_table(root: Path) -> Path:
    """Return the table that `root` is; in a folder, the one named `table`, else the only one.

    Hidden files are no tables there, nor are the `~$` files by which Excel locks a workbook that is open.
    """
    if not root.is_dir():
        if root.suffix.lower() not in SUFFIXES:
            raise UserError(f"{root}: not a table that amber reads; known: {abbreviate(SUFFIXES)}")
        if not root.is_file():
            raise UserError(f"{root}: not a file, but a pipe or a device")
        return root
    tables = [path for path in sorted(root.iterdir()) if path.suffix.lower() in SUFFIXES]
    tables = [path for path in tables if not path.name.startswith((".", "~$"))]
    tables = [path for path in tables if path.stem.lower() == "table"] or tables
    if len(tables) != 1:
        raise UserError(
            f"{root}: expected one table in the folder, found {abbreviate(t.name for t in tables) or 'none'}"
        )
    return tables[0]


class _Found:
    """Collects what a table's rows have and lack, by id."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ids: dict[str, list[str]] = {
            "labelled with audio": [],
            "labelled without audio": [],
            "without transcript": [],
            "without votes": [],
        }
        self._outside: list[str] = []
        self._other: list[str] = []
        self._slashed: list[str] = []
        self._first_missing = ""
        self._labels: dict[str, str] = {}  # and the first utterance of each
        self._speakers: dict[str, None] = {}
        self._is_file = lru_cache(maxsize=1 << 10)(lambda audio: os.path.isfile(os.path.join(root, audio)))  # noqa: PTH113, PTH118 (a Path for each of a million rows takes long)

    def with_slashes(self, utterance: Utterance) -> Utterance:
        """Return an utterance with slashes for the backslashes of Windows in its path, if that file is there."""
        audio = utterance.audio
        if not audio or "\\" not in audio or self._is_file(audio):
            return utterance
        slashed = audio.replace("\\", "/")
        if not self._is_file(slashed):
            return utterance
        self._slashed.append(utterance.id)
        return replace(utterance, audio=slashed)

    def add(self, utterance: Utterance) -> None:
        """Record what one utterance has and lacks."""
        uid, audio = utterance.id, utterance.audio
        there = audio is not None and self._is_file(audio)
        self._ids["labelled with audio" if there else "labelled without audio"].append(uid)
        if audio and not there:
            self._first_missing = self._first_missing or audio
            if similar := _similar(self._root / audio):
                self._other.append(f"{uid}: {audio}, not {similar}")
        if audio and _leads_out(audio):
            self._outside.append(uid)
        if not utterance.text:
            self._ids["without transcript"].append(uid)
        if not utterance.votes:
            self._ids["without votes"].append(uid)
        for vote in utterance.votes:
            for label in vote.labels:
                self._labels.setdefault(label, uid)
        if utterance.speaker:
            self._speakers[utterance.speaker] = None

    def check_labels(self, path: Path) -> None:
        """Refuse a label such as `happy, sad` where `happy` and `sad` are labels, too."""
        known = set(map(fold, self._labels))
        for label, uid in self._labels.items():
            if cells.several(label, known):
                raise UserError(f"{path}: {cells.several_votes(label, f'votes of {uid}')}")

    def file(self, ledger: Ledger, needed: bool) -> None:
        """File it in the ledger. Audio that is named but missing stays named: extraction counts it as failed."""
        if needed and self._first_missing and not self._ids["labelled with audio"]:
            named = len(self._ids["labelled without audio"])
            hint = f"\nthere is {self._other[0].partition(', not ')[2]}" if self._other else ""
            if re.match(r"[A-Za-z]:[\\/]", self._first_missing):
                hint = "\nthese are paths of another machine; write them relative to the table's folder"
            raise UserError(f"none of the {named} audio files is there: {self._root / self._first_missing}, …{hint}")
        for category, ids in self._ids.items():
            ledger.add(category, *ids)
        if self._other:
            ledger.add(_OTHER_SPELLING, *self._other)
        if self._slashed:
            ledger.note(f"audio paths with backslashes are read as with slashes: {len(self._slashed)}")
        if self._outside:
            ledger.add("audio outside the table's folder", *self._outside)
        for what, names, how in (
            ("labels", self._labels, "counted as one label"),
            ("speakers", self._speakers, "kept apart; if they are the same people, write them alike"),
        ):
            for spelled in spellings(names).values():
                if len(spelled) > 1:
                    ledger.note(f"{what} that differ in spelling only, {abbreviate(map(repr, spelled))}: {how}")


def _leads_out(audio: str) -> bool:
    """Return whether a path leads out of the folder that it is relative to."""
    return os.path.isabs(audio) or (".." in audio and os.path.normpath(audio).startswith(".."))  # noqa: PTH117


def _similar(path: Path) -> str | None:
    """Return the name of a file that is there and differs in case, letters' encoding or kind of slash only."""
    slashed = Path(str(path).replace("\\", "/"))
    if slashed != path and slashed.is_file():
        return str(slashed.name)
    return _folded(path.parent).get(fold(path.name))


@lru_cache(maxsize=64)
def _folded(folder: Path) -> dict[str, str]:
    """Return the names in a folder by their folded forms."""
    try:
        return {fold(name): printable(name) for name in os.listdir(folder)}  # noqa: PTH208
    except (OSError, ValueError):
        return {}

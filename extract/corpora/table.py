"""Anyone's own data: a CSV, TSV, Parquet or JSON Lines table with a row per utterance.

Columns: `id`; `audio` (a path relative to the table's folder) or `text`, or both; and any of `speaker, session,
split, start, end, consensus`. Votes stand in one count column per label (`vote_<label>`), or in one `votes` column:
`happy;happy;sad`, counts by label (`{"happy": 2, "sad": 1}`), or a list of labels or of `{"rater": …, "labels": […]}`.
`truth_<label>` columns give the generating distribution of synthetic data. Every other column is kept and can serve as
`splits.column`. `cells` says what each kind of cell may hold.

With the option `inputs: optional` audio and texts may be missing, as for imported features.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from amber.corpus import Corpus, Ledger, Utterance
from amber.corpus_table import COLUMNS
from amber.errors import UserError, abbreviate, printable
from amber.names import fold, spellings

from . import Loaded, Source, cells
from .cells import CellError
from .tabular import SUFFIXES, Row, open_table

_VOTE = "vote_"
_TRUTH = "truth_"
_KNOWN = ("votes", *(name for name in COLUMNS if name not in ("votes", "truth")))
_OTHER_SPELLING = "audio that is there under another spelling"


def load(source: Source) -> Loaded:
    """Read a table; audio paths are relative to the folder that it lies in."""
    source.only_options("inputs", "votes")
    needed = source.option("inputs", "needed", ("needed", "optional")) == "needed"
    path = find_table(source.existing_root())
    ledger = Ledger()
    table = open_table(path)
    columns = _Columns.of(table.header, path, ledger)
    if table.remark:
        ledger.note(table.remark)
    if "id" not in columns.named or (needed and not {"audio", "text"} & columns.named.keys()):
        wanted = "the columns `id` and `audio` or `text`" if needed else "the column `id`"
        raise UserError(f"{path}: needs {wanted}, found {abbreviate(table.header, 12)}")
    voted = source.option("votes", "needed", ("needed", "optional")) == "needed"
    if voted and not columns.counts and "votes" not in columns.named:
        raise UserError(f"{path}: has no votes; add a count column `vote_<label>` per label, or a `votes` column")
    if columns.truths and columns.counts and set(columns.truths.values()) != set(columns.counts.values()):
        raise UserError(f"{path}: the truth_ columns name other labels than the vote_ columns")
    found = _Found(path.parent)

    def utterances() -> Iterator[Utterance]:
        for where, row in table.rows():
            try:
                utterance = columns.utterance(row)
            except CellError as error:
                raise UserError(f"{path}, {where}: {error}") from None
            found.add(utterance)
            yield utterance

    classes = tuple((columns.truths or columns.counts).values())
    corpus = Corpus.of(utterances(), name=source.name, root=str(path.parent.resolve()), classes=classes)
    found.file(ledger, needed)
    return Loaded(corpus, ledger)


def find_table(root: Path) -> Path:
    """Return the table that `root` is; in a folder, the one named `table`, else the only one."""
    if not root.is_dir():
        if root.suffix.lower() not in SUFFIXES:
            raise UserError(f"{root}: not a table that amber reads; known: {abbreviate(SUFFIXES)}")
        if not root.is_file():
            raise UserError(f"{root}: not a file, but a pipe or a device")
        return root
    tables = [path for path in sorted(root.iterdir()) if path.suffix.lower() in SUFFIXES]
    tables = [path for path in tables if path.stem.lower() == "table"] or tables
    if len(tables) != 1:
        raise UserError(
            f"{root}: expected one table in the folder, found {abbreviate(t.name for t in tables) or 'none'}"
        )
    return tables[0]


@dataclass
class _Columns:
    """A table's columns: by their names in the contract, by label, and the user's own."""

    named: dict[str, str]
    counts: dict[str, str]  # label by column
    truths: dict[str, str]
    further: list[str]

    @classmethod
    def of(cls, header: list[str], path: Path, ledger: Ledger) -> _Columns:
        """Identify the columns; a known name in another spelling counts if the name itself is not there."""
        for name in header:
            if printable(name) != name or "\0" in name:
                raise UserError(f"{path}: a column name that is not text: {name!r}")
        named = {name: name for name in _KNOWN if name in header}
        for name in header:
            if name not in named and (meant := fold(name)) in _KNOWN and meant not in named:
                named[meant] = name
                ledger.note(f"column {name!r} is read as `{meant}`")
        counts, truths = (_labels(header, prefix, path) for prefix in (_VOTE, _TRUTH))
        further = [name for name in header if name not in {*named.values(), *counts, *truths, "truth"}]
        if "truth" in header:
            ledger.note("column `truth` is not read: a truth is given in truth_<label> columns")
        if counts and named.pop("votes", ""):
            ledger.note("column `votes` is not read: the vote_ columns are")
        return cls(named, counts, truths, further)

    def utterance(self, row: Row) -> Utterance:
        """Return a row as an utterance; CellError if a cell does not hold what its column says."""

        def text(name: str) -> str | None:
            return cells.text(row.get(self.named[name]), name) if name in self.named else None

        def number(name: str) -> float | None:
            return cells.number(row.get(self.named[name]), name) if name in self.named else None

        uid = text("id")
        if not uid:
            raise CellError("has no id")
        if self.counts:
            votes = cells.counted((label, cells.count(row.get(name), name)) for name, label in self.counts.items())
        else:
            votes = cells.votes(row.get(self.named["votes"])) if "votes" in self.named else ()
        return Utterance(
            id=uid,
            audio=text("audio"),
            text=text("text"),
            speaker=text("speaker"),
            votes=votes,
            start=number("start"),
            end=number("end"),
            session=text("session"),
            split=text("split"),
            release=text("release"),
            consensus=text("consensus"),
            truth=self._truth(row),
            extra=self._further(row),
        )

    def _further(self, row: Row) -> dict[str, str]:
        found = ((name, cells.further(row.get(name), name)) for name in self.further)
        return {name: value for name, value in found if value is not None}

    def _truth(self, row: Row) -> tuple[float, ...] | None:
        values = [cells.number(row.get(name), name) for name in self.truths]
        given = [value for value in values if value is not None]
        if not given:
            return None
        if len(given) < len(values) or min(given) < 0 or abs(sum(given) - 1) > 1e-3:
            raise CellError("the truth_ columns are no distribution")
        return tuple(value / sum(given) for value in given)


def _labels(header: list[str], prefix: str, path: Path) -> dict[str, str]:
    """Return the labels of the columns with a prefix, by column."""
    found = {name: name.strip()[len(prefix) :].strip() for name in header if fold(name).startswith(prefix)}
    if not all(found.values()):
        raise UserError(f"{path}: a column {prefix!r} names no label")
    return found


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
        self._first_missing = ""
        self._labels: dict[str, None] = {}
        self._speakers: dict[str, None] = {}
        self._is_file = lru_cache(maxsize=1 << 10)(lambda audio: os.path.isfile(os.path.join(root, audio)))  # noqa: PTH113, PTH118 (a Path for each of a million rows takes long)

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
        self._labels.update(dict.fromkeys(label for vote in utterance.votes for label in vote.labels))
        if utterance.speaker:
            self._speakers[utterance.speaker] = None

    def file(self, ledger: Ledger, needed: bool) -> None:
        """File it in the ledger. Audio that is named but missing stays named: extraction counts it as failed."""
        if needed and self._first_missing and not self._ids["labelled with audio"]:
            named = len(self._ids["labelled without audio"])
            hint = f"\nthere is {self._other[0].partition(', not ')[2]}" if self._other else ""
            raise UserError(f"none of the {named} audio files is there: {self._root / self._first_missing}, …{hint}")
        for category, ids in self._ids.items():
            ledger.add(category, *ids)
        if self._other:
            ledger.add(_OTHER_SPELLING, *self._other)
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

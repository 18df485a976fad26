"""Databases in audformat (https://audeering.github.io/audformat/): `db.yaml`, tables beside it; the extra `audformat`.

A table gives the utterances: files, or segments of files. Columns are found by their scheme, as audformat names what a
column holds: `emotion` is what raters said, one column a rater, `speaker` who speaks, `transcription` or `text` the
words. The options `table` and `columns` say it where a database has other names. What the table itself lacks is looked
for in the other tables, by segment, then by file. A table's split is that of its utterances.

audformat itself reads a value that is not among the labels of its scheme as missing. Cells hold what those of a user's
own table may hold (`cells.text`). A rater who has two columns counts once. Tables that are pickled are refused, since
reading them can run code.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from amber.corpus import Corpus, Ledger, Utterance, Vote
from amber.errors import UserError, abbreviate, nearest
from amber.tables import cells
from amber.tables.cells import CellError

from . import Loaded, Source
from .reading import REPEATED

HEADER = "db.yaml"
SCHEMES = {"votes": ("emotion",), "speaker": ("speaker",), "text": ("transcription", "text")}
Key = tuple[str, float | None, float | None]  # file, start and end in seconds; None, None: the whole file
Values = Mapping[Key, str]


def load(source: Source) -> Loaded:
    """Read a database; options `table` (one, or a list of them) and `columns` (`votes`, `speaker`, `text`)."""
    source.only_options("table", "columns")
    root, ledger = source.existing_root(), Ledger()
    database = _open(root)
    columns = _columns(source)
    tables = [database.tables[name] for name in _chosen(database, source, columns)]
    try:
        speaker, text = (_lookup(database, tables, columns, key) for key in ("speaker", "text"))
        utterances = [one for table in tables for one in _utterances(table, database, columns, speaker, text, ledger)]
    except CellError as error:
        raise UserError(f"{root}: {error}") from None
    twice = len(utterances) - len({one.id for one in utterances})
    if twice:
        raise UserError(f"{root}: {twice} utterances are in several of the tables; name one with corpus.options.table")
    unrated = [one.id for one in utterances if not one.votes]
    if unrated:
        ledger.add("without votes", *unrated)
    if database.license:
        ledger.note(f"licence: {database.license}")
    return Loaded(Corpus.of(utterances, name=source.name, root=str(root.resolve())), ledger)


def _open(root: Path) -> Any:
    """Open a database and read its tables."""
    if not (root / HEADER).is_file():
        raise UserError(f"--root {root}: holds no {HEADER}; give the folder of a database in audformat")
    pickled = sorted(path.name for path in root.glob("db.*.pkl"))
    if pickled:
        raise UserError(
            f"{root}: tables are pickled, which can run code when they are read: {abbreviate(pickled, 3)}\n"
            "remove them if the same tables are there as CSV or Parquet, or save these with audformat"
        )
    try:
        audformat = importlib.import_module("audformat")
    except ImportError:
        raise UserError("--dataset audformat needs the package audformat: pip install '.[audformat]'") from None
    try:
        with warnings.catch_warnings(action="ignore"):  # of the library, about what it calls itself
            return audformat.Database.load(str(root), load_data=True)
    except Exception as error:
        # Whatever a damaged file makes the library raise.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"{root}: audformat can't read it: {reason}") from error


def _columns(source: Source) -> dict[str, list[str]]:
    """Return the columns that the user names, by what they hold."""
    given = source.option("columns", {})
    if not isinstance(given, dict):
        raise UserError("corpus.options.columns: write {votes: …, speaker: …, text: …}")
    for name in given:
        if name not in SCHEMES:
            raise UserError(f"corpus.options.columns: unknown {name!r}{nearest(str(name), SCHEMES)}; known: "
                            f"{abbreviate(SCHEMES)}")  # fmt: skip
    return {name: _listed(value) for name, value in given.items()}


def _listed(value: Any) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value])]


def _chosen(database: Any, source: Source, columns: Mapping[str, list[str]]) -> list[str]:
    """Return the names of the tables of the utterances: the option's, or the only one that has votes."""
    given = source.option("table", None)
    named = _listed(given) if given is not None else []
    voted = [name for name, table in database.tables.items() if _of(table, columns, "votes")]
    for name in named:
        if name not in database.tables:
            raise UserError(f"corpus.options.table: no table {name!r}{nearest(name, database.tables)}; there are "
                            f"{abbreviate(database.tables, 9)}")  # fmt: skip
        if name not in voted:
            raise UserError(_no_votes(f"table {name}", database.tables[name]))
    if named:
        return named
    if not voted:
        raise UserError(_no_votes("no table", *database.tables.values()))
    if len(voted) > 1:
        raise UserError(
            f"{source.root}: several tables have votes: {abbreviate(voted, 9)}\n"
            f"say which with --set corpus.options.table={voted[0]}, or a list of tables of one split each"
        )
    return voted


def _no_votes(which: str, *tables: Any) -> str:
    found = abbreviate(dict.fromkeys(name for table in tables for name in table.columns), 9)
    verb = "has" if which == "no table" else "has no"
    return (
        f"{which} {verb} column of the scheme `emotion`; the columns are {found or 'none'}\n"
        "say which are the raters': --set 'corpus.options.columns={votes: [COLUMN, …]}'"
    )


def _of(table: Any, columns: Mapping[str, list[str]], what: str) -> list[str]:
    """Return the columns of a table that hold something: those named, or those of its schemes."""
    if what in columns:
        return [name for name in columns[what] if name in table.columns]
    return [name for name, column in table.columns.items() if column.scheme_id in SCHEMES[what]]


def _lookup(database: Any, tables: Sequence[Any], columns: Mapping[str, list[str]], what: str) -> Values:
    """Return what all tables say of a file or segment, those of the utterances first."""
    found: dict[Key, str] = {}
    for table in (*tables, *database.tables.values()):
        for name in _of(table, columns, what)[:1]:
            for key, value in zip(_keys(table), _texts(table, name), strict=True):
                if value:
                    found.setdefault(key, value)
    return found


def _keys(table: Any) -> Iterator[Key]:
    """Yield the file of each row, with start and end (None: the end of the file) where rows are segments."""
    for row in table.df.index:
        if table.is_segmented:
            file, start, end = row
            yield str(file), start.total_seconds(), end.total_seconds() if _is_there(end) else None
        else:
            yield str(row), None, None


def _is_there(value: Any) -> bool:
    """Return whether a cell holds something; pandas has several values for nothing."""
    missing = isinstance(value, float) and math.isnan(value)
    return value is not None and not missing and str(value) not in ("<NA>", "NaT")


def _texts(table: Any, column: str) -> list[str | None]:
    """Return a column's cells as text; None where there is nothing."""
    named = f"column {column!r}"
    return [cells.text(value, named) if _is_there(value) else None for value in table.df[column].tolist()]


def _utterances(
    table: Any, database: Any, columns: Mapping[str, list[str]], speaker: Values, text: Values, ledger: Ledger
) -> Iterator[Utterance]:
    split = database.splits[table.split_id].type if table.split_id else None
    raters = {name: table.columns[name].rater_id or name for name in _of(table, columns, "votes")}
    said = {name: _texts(table, name) for name in raters}
    for place, key in enumerate(_keys(table)):
        file, start, end = key
        of_file = (file, None, None)
        uid = file if start is None else f"{file}#{start:g}-{'end' if end is None else f'{end:g}'}"
        votes: dict[str, Vote] = {}
        for name, rater in raters.items():
            if label := said[name][place]:
                if rater in votes:
                    ledger.add(REPEATED, f"{uid}: {rater}")
                votes.setdefault(rater, Vote(rater, (label,)))
        yield Utterance(
            uid,
            audio=file,
            text=text.get(key, text.get(of_file)),
            speaker=speaker.get(key, speaker.get(of_file)),
            votes=tuple(votes.values()),
            start=start,
            end=end,
            split=str(split) if split else None,
        )

"""Anyone's own data: a CSV, TSV, Parquet or JSON Lines table with a row per utterance.

Columns: `id`; `audio` (a path relative to the table's folder) or `text`, or both; and any of `speaker, session,
split, start, end, consensus`. Votes stand in one count column per label (`vote_<label>`), or in one `votes` column
(`happy;happy;sad`, or a JSON list of `{"rater": …, "labels": […]}`). `truth_<label>` columns give the generating
distribution of made-up data. Every other column is kept and can serve as `splits.column`.

With the option `inputs: optional` neither audio nor texts need to be there: their features come from elsewhere.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from amber.corpus import COLUMNS, Corpus, Ledger, Utterance, Vote
from amber.errors import UserError, some

from . import Loaded, Source
from .reading import read_text

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
_VOTE = "vote_"
_TRUTH = "truth_"
Row = Mapping[str, Any]


def load(source: Source) -> Loaded:
    """Read a table; audio paths are relative to the folder that it lies in."""
    source.only_options("inputs")
    needed = source.option("inputs", "needed", ("needed", "optional")) == "needed"
    path = find_table(source.existing_root())
    ledger = Ledger()
    rows, header = read_rows(path, ledger)
    if "id" not in header or (needed and not {"audio", "text"} & set(header)):
        wanted = "the columns `id` and `audio` or `text`" if needed else "the column `id`"
        raise UserError(f"{path}: needs {wanted}, found {some(header, 12)}")
    labels = tuple(name.removeprefix(_VOTE) for name in header if name.startswith(_VOTE))
    if not labels and "votes" not in header:
        raise UserError(f"{path}: has no votes; add a count column `vote_<label>` per label, or a `votes` column")
    truths = tuple(name.removeprefix(_TRUTH) for name in header if name.startswith(_TRUTH))
    if truths and labels and set(truths) != set(labels):
        raise UserError(f"{path}: the truth_ columns name other labels than the vote_ columns")
    classes = truths or labels
    utterances = [_utterance(row, number, path, labels, truths) for number, row in enumerate(rows, start=2)]
    _file(utterances, path.parent, ledger, needed)
    about = {"name": source.name, "root": str(path.parent.resolve()), "classes": classes}
    return Loaded(Corpus.of(utterances, **about), ledger)


def find_table(root: Path) -> Path:
    """Return the table that `root` is; in a folder, the one named `table`, else the only one."""
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise UserError(f"{root}: not a table that amber reads; known: {some(SUFFIXES)}")
        return root
    tables = [path for path in sorted(root.iterdir()) if path.suffix.lower() in SUFFIXES]
    tables = [path for path in tables if path.stem.lower() == "table"] or tables
    if len(tables) != 1:
        raise UserError(f"{root}: expected one table in the folder, found {some(t.name for t in tables) or 'none'}")
    return tables[0]


def read_rows(path: Path, ledger: Ledger) -> tuple[list[Row], list[str]]:
    """Return a table's rows and its column names."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise UserError(f"{path}: can't be read as Parquet: {error}") from None
        return table.to_pylist(), list(table.column_names)
    text = read_text(path, ledger)
    if suffix in (".jsonl", ".ndjson"):
        rows = [_json_row(line, path, number) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        return rows, list(dict.fromkeys(name for row in rows for name in row))
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if suffix == ".tsv" else ",")
    header = [name.strip() for name in reader.fieldnames or ()]
    if len(set(header)) < len(header):
        raise UserError(f"{path}: a column name is there twice: {some(header, 12)}")
    reader.fieldnames = header
    listed = list(reader)
    for number, row in enumerate(listed, start=2):
        if None in row or None in row.values():
            raise UserError(f"{path}, row {number}: {'more' if None in row else 'fewer'} cells than the header has")
    return list[Row](listed), header


def _json_row(line: str, path: Path, number: int) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: not a JSON object")
    return row


def _utterance(row: Row, number: int, path: Path, labels: tuple[str, ...], truths: tuple[str, ...]) -> Utterance:
    where = f"{path}, row {number}"
    uid = _string(row.get("id"))
    if not uid:
        raise UserError(f"{where}: has no id")
    known = {*COLUMNS, "votes", *(_VOTE + label for label in labels), *(_TRUTH + label for label in truths)}
    extra = {name: text for name, value in row.items() if name not in known and (text := _string(value))}
    return Utterance(
        id=uid,
        audio=_string(row.get("audio")),
        text=_string(row.get("text")),
        speaker=_string(row.get("speaker")),
        votes=_counted(row, labels, where) if labels else _listed(row.get("votes"), where),
        start=_number(row.get("start"), where, "start"),
        end=_number(row.get("end"), where, "end"),
        session=_string(row.get("session")),
        split=_string(row.get("split")),
        release=_string(row.get("release")),
        consensus=_string(row.get("consensus")),
        truth=_truth(row, truths, where),
        extra=extra,
    )


def _counted(row: Row, labels: tuple[str, ...], where: str) -> tuple[Vote, ...]:
    """Turn counts into votes of unnamed raters."""
    votes: list[Vote] = []
    for label in labels:
        count = _number(row.get(_VOTE + label), where, _VOTE + label) or 0.0
        if count < 0 or count != int(count):
            raise UserError(f"{where}: {_VOTE}{label} must be a whole number of votes, found {count:g}")
        votes += [Vote(rater=str(len(votes) + i + 1), labels=(label,)) for i in range(int(count))]
    return tuple(votes)


def _listed(cell: Any, where: str) -> tuple[Vote, ...]:
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            cell = json.loads(cell)
        except ValueError:
            raise UserError(f"{where}: `votes` starts like JSON but is not") from None
    if cell is None or isinstance(cell, str):
        named = [label.strip() for label in (cell or "").split(";") if label.strip()]
        return tuple(Vote(rater=str(i), labels=(label,)) for i, label in enumerate(named, 1))
    return tuple(_vote(item, i, where) for i, item in enumerate(cell, 1))


def _vote(item: Any, number: int, where: str) -> Vote:
    if isinstance(item, str):
        return Vote(rater=str(number), labels=(item.strip(),))
    if not isinstance(item, dict) or not isinstance(item.get("labels"), list):
        raise UserError(f'{where}: a vote is {{"rater": …, "labels": […]}} or a label, found {item!r}')
    return Vote(
        rater=str(item.get("rater") or number),
        labels=tuple(str(label).strip() for label in item["labels"]),
        secondary=tuple(str(label).strip() for label in item.get("secondary") or ()),
        is_self=bool(item.get("is_self", False)),
    )


def _truth(row: Row, truths: tuple[str, ...], where: str) -> tuple[float, ...] | None:
    values = [_number(row.get(_TRUTH + label), where, _TRUTH + label) for label in truths]
    given = [value for value in values if value is not None]
    if not given:
        return None
    if len(given) < len(values) or min(given) < 0 or abs(sum(given) - 1) > 1e-3:
        raise UserError(f"{where}: the truth_ columns are no distribution")
    return tuple(value / sum(given) for value in given)


def _string(value: Any) -> str | None:
    return str(value).strip() or None if value is not None else None


def _number(value: Any, where: str, column: str) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except ValueError:
        raise UserError(f"{where}: {column} must be a number, found {value!r}") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise UserError(f"{where}: {column} must be a finite number, found {value!r}")
    return number


def _file(utterances: list[Utterance], root: Path, ledger: Ledger, needed: bool) -> None:
    """File what is missing. Audio that is named but not there stays named, so that extraction counts it as failed."""
    missing = {u.id for u in utterances if u.audio and not (root / u.audio).is_file()}
    named = [u.id for u in utterances if u.audio]
    if needed and named and len(missing) == len(named):
        raise UserError(f"none of the {len(named)} audio files is there: {root / (utterances[0].audio or '')}, …")
    ledger.add("labelled with audio", *(i for i in named if i not in missing))
    ledger.add("labelled without audio", *(u.id for u in utterances if not u.audio or u.id in missing))
    ledger.add("without transcript", *(u.id for u in utterances if not u.text))
    ledger.add("without votes", *(u.id for u in utterances if not u.votes))

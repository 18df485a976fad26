"""The table of a corpus: its Arrow columns, built from utterances, checked, taken apart and hashed."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from amber.arrays import Integers
from amber.utterance import Utterance

BATCH = 20_000  # utterances that are held at a time while a table is built

_VOTE = pa.struct(
    [
        ("rater", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("secondary", pa.list_(pa.string())),
        ("is_self", pa.bool_()),
    ]
)
_COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "audio": pa.string(),
    "start": pa.float64(),
    "end": pa.float64(),
    "text": pa.string(),
    "speaker": pa.string(),
    "session": pa.string(),
    "split": pa.string(),
    "release": pa.string(),
    "consensus": pa.string(),
    "votes": pa.list_(_VOTE),
    "truth": pa.list_(pa.float64()),
}
COLUMNS = tuple(_COLUMNS)


def of(utterances: Iterable[Utterance]) -> pa.Table:
    """Build the table of utterances, a batch at a time; `COLUMNS` come first, further columns follow by name."""
    rest = iter(utterances)
    with garbage_collection_paused():
        tables = [_to_table(first) for first in iter(lambda: list(islice(rest, BATCH)), [])] or [_to_table([])]
    return _joined(tables)


def fits(table: pa.Table, classes: Sequence[str]) -> bool:
    """Return whether a table has the contract's columns, with `classes` in every truth, and others only of strings."""
    types = dict(zip(table.column_names, table.schema.types, strict=True))
    if len(types) < table.num_columns or any(types.get(name) != kind for name, kind in _COLUMNS.items()):
        return False
    if any(kind != pa.string() for name, kind in types.items() if name not in _COLUMNS):
        return False
    if any(table[name].null_count for name in ("id", "votes")) or not _complete(table["votes"].combine_chunks()):
        return False
    return all(len(truth) == len(classes) for truth in table["truth"].to_pylist() if truth is not None and classes)


def parents(lists: pa.Array) -> Integers:
    """Return, for each flattened element of a list array, the row of the list that holds it, (n,)."""
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists), dtype=np.int64), lengths)


def digest(columns: Iterable[Any]) -> str:
    """Return a short hash of columns: of Arrow, of NumPy, or anything that JSON can hold."""
    hashed = hashlib.sha256()
    for column in columns:
        if isinstance(column, pa.ChunkedArray):
            for piece in _json_pieces(column):
                hashed.update(piece)
        elif isinstance(column, np.ndarray):
            hashed.update(column.tobytes())
        else:
            hashed.update(json.dumps(column, ensure_ascii=False).encode())
        hashed.update(b"\0")
    return hashed.hexdigest()[:16]


def _json_pieces(column: pa.ChunkedArray) -> Iterator[bytes]:
    """Yield the JSON list of a column's values piece by piece: as a whole it is larger than the column."""
    yield b"["
    for start in range(0, len(column), BATCH):
        listed = json.dumps(column.slice(start, BATCH).to_pylist(), ensure_ascii=False)[1:-1]
        yield (", " if start else "").encode() + listed.encode()
    yield b"]"


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Pause the garbage collector: on millions of records, which hold no cycles, it takes half the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _complete(votes: pa.Array) -> bool:
    """Return whether every vote has all its parts."""
    struct = votes.flatten()
    lists = [struct.field(name) for name in ("labels", "secondary")]
    parts = [struct, struct.field("rater"), struct.field("is_self"), *lists, *(part.flatten() for part in lists)]
    return not any(part.null_count for part in parts)


def _to_table(utterances: list[Utterance]) -> pa.Table:
    plain = {
        name: pa.array([getattr(u, name) for u in utterances], type=_COLUMNS[name])
        for name in COLUMNS
        if name != "votes"
    }
    extra_names = sorted({name for u in utterances for name in u.extra} - set(COLUMNS))
    extra = {name: pa.array([u.extra.get(name) for u in utterances], type=pa.string()) for name in extra_names}
    arrays = {**plain, "votes": _votes_array(utterances), **extra}
    return pa.table({name: arrays[name] for name in (*COLUMNS, *extra_names)})


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Join tables whose further columns may differ; these follow by name."""
    table = pa.concat_tables(tables, promote_options="default")
    further = sorted(set(table.column_names) - set(COLUMNS))
    tables.clear()
    columns = {}
    for name in (*COLUMNS, *further):  # one by one, so that no more than one column is there twice
        columns[name] = table[name].combine_chunks()
        table = table.drop_columns([name])
    return pa.table(columns)


def _votes_array(utterances: list[Utterance]) -> pa.Array:
    # Built column by column: a list of dicts would cost minutes at MSP-Podcast's size.
    votes = [vote for u in utterances for vote in u.votes]
    struct = pa.StructArray.from_arrays(
        [
            pa.array([v.rater for v in votes], pa.string()),
            _list_array([v.labels for v in votes]),
            _list_array([v.secondary for v in votes]),
            pa.array([v.is_self for v in votes], pa.bool_()),
        ],
        fields=list(_VOTE),
    )
    return pa.ListArray.from_arrays(_offsets([len(u.votes) for u in utterances]), struct)


def _list_array(lists: Sequence[Sequence[str]]) -> pa.Array:
    flat = pa.array([label for labels in lists for label in labels], pa.string())
    return pa.ListArray.from_arrays(_offsets([len(labels) for labels in lists]), flat)


def _offsets(lengths: list[int]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), pa.int32())

"""Contract 1: utterances, their raters' raw votes, and the file that carries both between stages.

A loader makes a `Corpus` from `Utterance` records; `amber.extract` writes it to
`cache/<dataset>/utterances.parquet`; training and evaluation read it back. Votes are kept as the raters gave
them: what counts as a label is decided later, by `amber.labels`.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from amber import parquet, seal
from amber.arrays import Integers, Mask
from amber.errors import UserError, printable, some
from amber.location import write_whole

FILE, LEDGER = "utterances.parquet", "ledger.json"
BATCH = 20_000  # records that are held at a time while a corpus is built
SCHEMA_VERSION = 2  # from 2 on the file carries its digest
Modality = Literal["speech", "text"]
MODALITIES: tuple[Modality, Modality] = ("speech", "text")

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


@dataclass(frozen=True, slots=True)
class Vote:
    """What one rater said of one utterance, in the corpus's own words."""

    rater: str
    labels: tuple[str, ...]
    secondary: tuple[str, ...] = ()
    is_self: bool = False


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance as its corpus describes it.

    `audio` is a path relative to the corpus root (None: no audio is there); `start` and `end` are seconds within
    that file (None: all of it); `text` is None where there is no transcript and empty where there is an empty one.
    `truth` is the distribution that the votes were drawn from, where that is known. `extra` holds further columns
    by name, kept so that a split can be made from them.
    """

    id: str
    audio: str | None
    text: str | None
    speaker: str | None
    votes: tuple[Vote, ...]
    start: float | None = None
    end: float | None = None
    session: str | None = None
    split: str | None = None
    release: str | None = None
    consensus: str | None = None
    truth: tuple[float, ...] | None = None
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Votes:
    """The votes of N utterances in columns: V votes and, below them, their labels.

    `utterance[v]` is the row that vote v belongs to. Labels are codes into `names`; `labels[k]` is given by the vote
    `label_vote[k]`, in the order in which the rater named them, and the same holds for secondary labels.
    """

    size: int
    names: tuple[str, ...]
    utterance: Integers  # (V,)
    rater: NDArray[np.object_]  # (V,)
    is_self: Mask  # (V,)
    labels: Integers  # (K,)
    label_vote: Integers  # (K,)
    secondary: Integers  # (S,)
    secondary_vote: Integers  # (S,)


@dataclass
class Ledger:
    """What a loader found and what it could not use: ids by category, and remarks on how doubts were decided."""

    entries: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, category: str, *ids: str) -> None:
        """File `ids` under `category` (which then exists, even when no id is given)."""
        self.entries.setdefault(category, []).extend(map(printable, ids))

    def note(self, text: str) -> None:
        """Keep one remark, once."""
        if (text := printable(text)) not in self.notes:
            self.notes.append(text)

    def lines(self) -> list[str]:
        """Return the ledger as lines for people: counts with the first ids, then the remarks."""
        counts = [f"{name}: {len(ids)}" + (f" ({some(ids, 3)})" if ids else "") for name, ids in self.entries.items()]
        return counts + [f"note: {note}" for note in self.notes]

    def as_json(self) -> dict[str, Any]:
        """Return the ledger as plain data: every id of every category, and the remarks."""
        return {"entries": self.entries, "notes": self.notes}

    def write(self, folder: Path) -> None:
        """Write the ledger into a dataset's folder in the cache."""
        write_whole(folder / LEDGER, seal.dump(self.as_json()))


class Corpus:
    """The utterances of one dataset, in corpus order.

    Parameters
    ----------
    table
        A row per utterance with the columns of the contract and any further string columns.
    name
        The dataset's name, which is also its folder in the cache.
    release
        The corpus release, where the corpus has such a thing.
    root
        The folder that `audio` paths are relative to.
    synthetic
        True for made-up data, which is then labelled so wherever it is shown.
    classes
        The class names that `truth` refers to, where there is a truth.
    consensus_names
        For corpora that write their consensus in codes: code to label name (`{"hap": "Happiness"}`).

    """

    def __init__(
        self,
        table: pa.Table,
        *,
        name: str,
        release: str = "",
        root: str = "",
        synthetic: bool = False,
        classes: Sequence[str] = (),
        consensus_names: dict[str, str] | None = None,
    ) -> None:
        self.table = table
        self.name = name
        self.release = release
        self.root = root
        self.synthetic = synthetic
        self.classes = tuple(classes)
        self.consensus_names = dict(consensus_names or {})
        self.ids = tuple(cast(list[str], table["id"].to_pylist()))
        if len(set(self.ids)) < len(self.ids):
            seen: set[str] = set()
            twice = sorted({i for i in self.ids if i in seen or seen.add(i)})  # type: ignore[func-returns-value]
            raise UserError(f"{name}: {len(twice)} utterance ids occur more than once: {some(twice)}")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, utterances: Iterable[Utterance], **about: Any) -> Corpus:
        """Build a corpus from records; `about` is what the constructor takes beside the table."""
        rest = iter(utterances)
        with _uncollected():
            tables = [_to_table(first) for first in iter(lambda: list(islice(rest, BATCH)), [])] or [_to_table([])]
        return cls(_joined(tables), **about)

    def column(self, name: str) -> list[Any]:
        """Return one column as Python values (None where there is none), a value per utterance."""
        return cast(list[Any], self.table[name].to_pylist())

    def columns(self) -> tuple[str, ...]:
        """Return the names of all columns, further ones included."""
        return tuple(self.table.column_names)

    def take(self, rows: Integers) -> Corpus:
        """Return the corpus of the given rows, in their order."""
        return Corpus(self.table.take(pa.array(rows)), **self._about())

    def is_at(self, path: Path, former: Corpus | None) -> bool:
        """Return whether a file holds this corpus, of which `former` was read, and carries its digest."""
        return former is not None and former.same_as(self) and bool(seal.is_whole(path.read_bytes()))

    def same_as(self, other: Corpus) -> bool:
        """Return whether both hold the same utterances and the same facts about the corpus."""
        return self._about() == other._about() and bool(self.table.equals(other.table))

    def votes(self) -> Votes:
        """Return all votes in columns."""
        column = self.table["votes"].combine_chunks()
        struct = column.flatten()
        labels, label_vote = _flat(struct.field("labels"))
        secondary, secondary_vote = _flat(struct.field("secondary"))
        encoded = pa.concat_arrays([labels, secondary]).dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return Votes(
            size=len(self),
            names=tuple(encoded.dictionary.to_pylist()),
            utterance=_parents(column),
            rater=struct.field("rater").to_numpy(zero_copy_only=False),
            is_self=struct.field("is_self").to_numpy(zero_copy_only=False),
            labels=codes[: len(labels)],
            label_vote=label_vote,
            secondary=codes[len(labels) :],
            secondary_vote=secondary_vote,
        )

    def input_hash(self, modality: Modality) -> str:
        """Return a hash of what a feature set of `modality` depends on: ids, and audio spans or texts, in order."""
        names = ("id", "audio", "start", "end") if modality == "speech" else ("id", "text")
        return _hash(self.table[name] for name in names)

    def label_hash(self) -> str:
        """Return a hash of everything but audio and text: what training depends on beside the features."""
        about = {name: value for name, value in self._about().items() if name != "root"}
        names = [name for name in self.columns() if name not in {"audio", "start", "end", "text", "votes"}]
        votes = self.votes()
        columns = (votes.utterance, votes.rater.tolist(), votes.is_self, votes.names)
        labels = (votes.labels, votes.label_vote, votes.secondary, votes.secondary_vote)
        return _hash([about, names, *(self.table[name] for name in names), *columns, *labels])

    def write(self, path: Path) -> None:
        """Write the corpus to a Parquet file, in one step: readers see the old file or the new one."""
        about = {**self._about(), "schema_version": SCHEMA_VERSION}
        table = self.table.replace_schema_metadata({"amber": json.dumps(about, sort_keys=True)})
        buffer = pa.BufferOutputStream()
        with pq.ParquetWriter(buffer, table.schema, write_page_checksum=True) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({f"amber-{seal.KEY}": seal.BLANK})
        write_whole(path, seal.seal(buffer.getvalue().to_pybytes()))

    @classmethod
    def read(cls, path: Path) -> Corpus:
        """Read a corpus back.

        Raises
        ------
        UserError
            If there is no such file, it was not written by this schema version, or it is damaged.

        """
        if not path.is_file():
            raise UserError(f"no utterances at {path}: run `amber extract` for this dataset first")
        content = path.read_bytes()
        whole = seal.is_whole(content)
        if whole is False:
            raise _damaged(path)
        table = parquet.read(path, content)
        about = _about_of(table)
        version = about.pop("schema_version", None)
        if version not in (1, SCHEMA_VERSION):
            raise UserError(f"{path} was not written by this version of amber: run `amber extract` again")
        if version == SCHEMA_VERSION and not whole:
            raise _damaged(path)
        if not _fits_contract(table, about):
            raise UserError(f"{path} is damaged: it does not hold the columns of utterances; run `amber extract` again")
        return cls(table.replace_schema_metadata(None), **about)

    def _about(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "release": self.release,
            "root": self.root,
            "synthetic": self.synthetic,
            "classes": list(self.classes),
            "consensus_names": self.consensus_names,
        }


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged: it is not what was written; run `amber extract` again, which writes it anew")


def _about_of(table: pa.Table) -> dict[str, Any]:
    """Return what a file says of its corpus; nothing where that can't be read."""
    try:
        about = json.loads((table.schema.metadata or {}).get(b"amber", b"{}"))
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _fits_contract(table: pa.Table, about: dict[str, Any]) -> bool:
    """Return whether a table has the columns of the contract, further ones of strings, and facts about the corpus."""
    types = dict(zip(table.column_names, table.schema.types, strict=True))
    if len(types) < table.num_columns or any(types.get(name) != kind for name, kind in _COLUMNS.items()):
        return False
    if any(kind != pa.string() for name, kind in types.items() if name not in _COLUMNS):
        return False
    if any(table[name].null_count for name in ("id", "votes")) or not _whole_votes(table["votes"].combine_chunks()):
        return False
    classes, names = about.get("classes"), about.get("consensus_names")
    return (
        about.keys() == {"name", "release", "root", "synthetic", "classes", "consensus_names"}
        and all(isinstance(about[name], str) for name in ("name", "release", "root"))
        and isinstance(about["synthetic"], bool)
        and isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
        and isinstance(names, dict)
        and all(isinstance(name, str) for name in names.values())
        and all(len(truth) == len(classes) for truth in table["truth"].to_pylist() if truth is not None and classes)
    )


def _whole_votes(votes: pa.Array) -> bool:
    """Return whether every vote has all its parts."""
    struct = votes.flatten()
    lists = [struct.field(name) for name in ("labels", "secondary")]
    parts = [struct, struct.field("rater"), struct.field("is_self"), *lists, *(part.flatten() for part in lists)]
    return not any(part.null_count for part in parts)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the garbage collector, which takes half the time of a large table: records hold no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


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


def _parents(lists: pa.Array) -> Integers:
    """Return, for each flattened element of a list array, the row of the list that holds it."""
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists), dtype=np.int64), lengths)


def _flat(lists: pa.Array) -> tuple[pa.Array, Integers]:
    return lists.flatten(), _parents(lists)


def _hash(columns: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for column in columns:
        if isinstance(column, pa.ChunkedArray):
            for piece in _json_pieces(column):
                digest.update(piece)
        elif isinstance(column, np.ndarray):
            digest.update(column.tobytes())
        else:
            digest.update(json.dumps(column, ensure_ascii=False).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _json_pieces(column: pa.ChunkedArray) -> Iterator[bytes]:
    """Yield the JSON list of a column's values piece by piece: as a whole it is larger than the column."""
    yield b"["
    for start in range(0, len(column), BATCH):
        listed = json.dumps(column.slice(start, BATCH).to_pylist(), ensure_ascii=False)[1:-1]
        yield (", " if start else "").encode() + listed.encode()
    yield b"]"

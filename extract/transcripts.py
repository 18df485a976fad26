"""Machine transcripts of a dataset: `cache/<dataset>/transcripts-<model>-<key>.parquet`, written unit by unit.

While the work goes on, a folder `transcripts-<model>-<key>.parts` holds a file per finished unit. The last one done,
they become the table, and the folder goes. Every file carries its own digest (`amber/seal.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from amber import parquet, seal
from amber.config import Section
from amber.errors import UserError
from amber.features.spec import short_hash, slug
from amber.location import remove_folder, write_whole

UNIT = 64  # utterances
SCHEMA_VERSION = 1
STATUS = ("ok", "truncated", "failed", "absent")  # absent: the corpus has no recording
FIELDS = ["text", "status", "error", "size", "modified"]  # of a `Transcript`, in order
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("origin", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.int64()),
    ]
)


class TranscriptSpec(Section):
    """Everything that machine transcripts depend on. Two tables with one spec are the same."""

    corpus: str
    release: str
    inputs: str  # hash of the ids with their audio spans
    size: int  # utterances
    model: str
    revision: str
    language: str | None
    max_seconds: float
    precision: str
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> str:
        """Return the short hash of the spec."""
        return short_hash(self)

    @property
    def name(self) -> str:
        """Return the table's name without suffix, such as `transcripts-whisper-tiny-en-1a2b3c4d`."""
        return f"transcripts-{slug(self.model)}-{self.key}"

    @property
    def origin(self) -> str:
        """Return what is said of each text's origin."""
        return f"asr:{self.model}@{self.revision}"

    @property
    def units(self) -> int:
        """Return the number of units of consecutive utterances."""
        return -(-self.size // UNIT)


@dataclass(frozen=True)
class Transcript:
    """What became of one utterance; `text` is None unless it was transcribed, `error` says why it failed.

    `size` and `modified` are the recording's bytes and time of modification in ns when it was read.
    """

    text: str | None = None
    status: str = "absent"
    error: str = ""
    size: int = 0
    modified: int = 0


def read(path: Path) -> tuple[TranscriptSpec, tuple[str, ...], list[Transcript]]:
    """Read a finished table: its spec, its ids and its transcripts, in corpus order.

    Raises
    ------
    UserError
        If it is damaged, or another version wrote it.

    """
    content = path.read_bytes()
    if not seal.is_whole(content):
        raise UserError(f"{path} is damaged: it is not what was written; run `amber transcribe` again")
    table = parquet.read(path, content)
    try:
        spec = TranscriptSpec.model_validate_json((table.schema.metadata or {}).get(b"amber", b""))
    except ValidationError:
        spec = None
    if spec is None or spec.schema_version != SCHEMA_VERSION or not table.schema.equals(_SCHEMA):
        raise UserError(f"{path} was written by another version of amber: run `amber transcribe` again")
    rows = [Transcript(*row.values()) for row in table.select(FIELDS).to_pylist()]
    return spec, tuple(table["id"].to_pylist()), rows


class TranscriptStore:
    """The transcripts of one spec in a dataset's folder, finished or not; `troubles` says which files are damaged."""

    def __init__(self, folder: Path, spec: TranscriptSpec, ids: Sequence[str]) -> None:
        self.spec, self.ids = spec, tuple(ids)
        self.location = folder / f"{spec.name}.parquet"
        self._parts = folder / f"{spec.name}.parts"
        self.troubles: list[str] = []
        self._rows: dict[int, list[Transcript]] = {}
        self._whole = self._read_table()
        self._read_parts()

    def missing(self) -> list[int]:
        """Return the numbers of the units that are not done."""
        return [number for number in range(self.spec.units) if number not in self._rows]

    def rows(self, number: int) -> range:
        """Return the rows of a unit."""
        return range(number * UNIT, min((number + 1) * UNIT, self.spec.size))

    def done(self) -> dict[int, Transcript]:
        """Return the transcripts of all units that are done, by row."""
        return {row: one for n, some in self._rows.items() for row, one in zip(self.rows(n), some, strict=True)}

    def errors(self) -> dict[str, str]:
        """Return why utterances failed, by id."""
        return {self.ids[row]: one.error for row, one in sorted(self.done().items()) if one.status == "failed"}

    def take_back(self, rows: Sequence[int]) -> list[int]:
        """Forget the units that hold some rows, so that they are done again; return their numbers."""
        units = sorted({row // UNIT for row in rows})
        for number in units:
            self._rows.pop(number, None)
        return units

    def commit(self, number: int, transcripts: Sequence[Transcript]) -> None:
        """Write a finished unit."""
        self._rows[number] = list(transcripts)
        rows = [[getattr(one, name) for name in FIELDS] for one in transcripts]
        write_whole(self._part(number), seal.dump({"unit": number, "rows": rows}))
        self._whole = False

    def finish(self) -> None:
        """Write the table, once every unit is done."""
        if not self._whole:
            write_whole(self.location, self._table())
            self._whole = True
        if self._parts.is_dir():
            remove_folder(self._parts)

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:06}.json"

    def _read_table(self) -> bool:
        """Read what is finished; return whether the table is there, and whole."""
        if not self.location.is_file():
            return False
        try:
            spec, ids, rows = read(self.location)
        except UserError:
            self.troubles.append(f"{self.location} can't be used: damaged, or of another version")
            return False
        if (spec, ids) != (self.spec, self.ids):
            return False
        self._rows = {n: rows[self.rows(n).start : self.rows(n).stop] for n in range(spec.units)}
        return True

    def _read_parts(self) -> None:
        """Read the units that an unfinished run wrote; they are later than the table."""
        for number in range(self.spec.units) if self._parts.is_dir() else ():
            path = self._part(number)
            if not path.is_file():
                continue
            rows = _rows_of(path, number, len(self.rows(number)))
            if rows is None:
                self.troubles.append(f"{path} is damaged")
            else:
                self._rows[number], self._whole = rows, False

    def _table(self) -> bytes:
        done = self.done()
        every = [done[row] for row in range(self.spec.size)]
        columns: dict[str, Sequence[Any]] = {
            "id": self.ids,
            **{name: [getattr(one, name) for one in every] for name in FIELDS},
            "origin": [self.spec.origin if one.text is not None else None for one in every],
        }
        table = pa.table(columns, schema=_SCHEMA).replace_schema_metadata({"amber": self.spec.model_dump_json()})
        buffer = pa.BufferOutputStream()
        with pq.ParquetWriter(buffer, table.schema, write_page_checksum=True) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({f"amber-{seal.KEY}": seal.BLANK})
        return seal.seal(buffer.getvalue().to_pybytes())


def _rows_of(path: Path, number: int, count: int) -> list[Transcript] | None:
    """Return the transcripts in a unit's file, or None if it is not what was written."""
    try:
        data = seal.load(path.read_bytes())
    except ValueError:
        return None
    if not data or data.get("unit") != number or len(data.get("rows", ())) != count:
        return None
    return [Transcript(*row) for row in data["rows"]]

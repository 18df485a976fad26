"""Contract 1: utterances with their raters' raw votes, and the file that carries them between stages.

A loader makes a `Corpus` of `Utterance` records, extraction writes it to `cache/<dataset>/utterances.parquet`, training
and evaluation read it. Votes are kept as the raters gave them; `amber.labels` decides what counts as a label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from amber import corpus_table, parquet, seal
from amber.arrays import Integers, Mask
from amber.errors import UserError, abbreviate, printable
from amber.location import write_whole
from amber.utterance import Utterance, Vote

__all__ = [
    "DIALOGUE",
    "FILE",
    "LEDGER",
    "MODALITIES",
    "TEXT_HUMAN",
    "TEXT_ORIGIN",
    "TURN",
    "Corpus",
    "Ledger",
    "Modality",
    "Utterance",
    "Vote",
    "Votes",
]

FILE, LEDGER = "utterances.parquet", "ledger.json"
TEXT_ORIGIN, TEXT_HUMAN = "text_origin", "text_human"  # columns of corpora with machine words
DIALOGUE, TURN = "dialogue", "turn"  # columns of corpora of dialogues
SCHEMA_VERSION = 2  # from 2 on the file carries its digest
Modality = Literal["speech", "text"]
MODALITIES: tuple[Modality, Modality] = ("speech", "text")


@dataclass(frozen=True)
class Votes:
    """The V votes of N utterances in columns, with their K labels and S secondary labels.

    `utterance[v]` is the row of vote v. Labels are codes into `names`; `labels[k]` belongs to vote `label_vote[k]`, in
    the order in which the rater named them, and likewise for secondary labels.
    """

    size: int
    names: tuple[str, ...]
    utterance: Integers  # (V,)
    rater: pa.StringArray  # (V,)
    is_self: Mask  # (V,)
    labels: Integers  # (K,)
    label_vote: Integers  # (K,)
    secondary: Integers  # (S,)
    secondary_vote: Integers  # (S,)

    def only(self, kept: Mask) -> Votes:
        """Return the votes for which a mask (V,) is true, of the same utterances."""
        number = np.cumsum(kept) - 1
        labels, secondary = kept[self.label_vote], kept[self.secondary_vote]
        return replace(
            self,
            utterance=self.utterance[kept],
            rater=self.rater.filter(pa.array(kept)),
            is_self=self.is_self[kept],
            labels=self.labels[labels],
            label_vote=number[self.label_vote[labels]],
            secondary=self.secondary[secondary],
            secondary_vote=number[self.secondary_vote[secondary]],
        )


@dataclass
class Ledger:
    """What a loader found and could not use: ids by category, and notes on how doubtful cases were decided."""

    entries: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, category: str, *ids: str) -> None:
        """File `ids` under `category`, which then exists even without ids."""
        self.entries.setdefault(category, []).extend(map(printable, ids))

    def note(self, text: str) -> None:
        """Add a note, once."""
        if (text := printable(text)) not in self.notes:
            self.notes.append(text)

    def lines(self) -> list[str]:
        """Return the ledger as lines of text: counts with the first ids, then the notes."""
        counts = [
            f"{name}: {len(ids)}" + (f" ({abbreviate(ids, 3)})" if ids else "") for name, ids in self.entries.items()
        ]
        return counts + [f"note: {note}" for note in self.notes]

    def as_json(self) -> dict[str, Any]:
        """Return the ledger as plain data: every id of every category, and the notes."""
        return {"entries": self.entries, "notes": self.notes}

    def write(self, folder: Path) -> None:
        """Write the ledger into a dataset's folder in the cache."""
        write_whole(folder / LEDGER, seal.dump(self.as_json()))


class Corpus:
    """The utterances of one dataset, in corpus order.

    Parameters
    ----------
    table
        One row per utterance, with the columns of the contract and any further string columns.
    name
        The dataset's name, which is also its folder in the cache.
    release
        The corpus release, if the corpus has releases.
    root
        The folder that `audio` paths are relative to.
    synthetic
        True for synthetic data, which is labelled as such wherever it is shown.
    classes
        The class names of `truth`, if there is a truth.
    consensus_names
        Label names by code (`{"hap": "Happiness"}`), for corpora that write their consensus in codes.

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
            raise UserError(f"{name}: {len(twice)} utterance ids occur more than once: {abbreviate(twice)}")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, utterances: Iterable[Utterance], **about: Any) -> Corpus:
        """Build a corpus of utterances; `about` are the constructor's arguments other than the table."""
        return cls(corpus_table.of(utterances), **about)

    def column(self, name: str) -> list[Any]:
        """Return one column as Python values, one per utterance (None where there is none)."""
        return cast(list[Any], self.table[name].to_pylist())

    def columns(self) -> tuple[str, ...]:
        """Return the names of all columns, further ones included."""
        return tuple(self.table.column_names)

    def take(self, rows: Integers) -> Corpus:
        """Return the corpus of the given rows (n,), in their order."""
        return Corpus(self.table.take(pa.array(rows)), **self._about())

    def with_strings(self, columns: Mapping[str, Sequence[str | None]]) -> Corpus:
        """Return the corpus with string columns (N,) of these names, new ones or in place of those there."""
        added = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        every = {**dict(zip(self.table.column_names, self.table.columns, strict=True)), **added}
        further = sorted(every.keys() - set(corpus_table.COLUMNS))
        return Corpus(pa.table({name: every[name] for name in (*corpus_table.COLUMNS, *further)}), **self._about())

    def is_at(self, path: Path, former: Corpus | None) -> bool:
        """Return whether the file from which `former` was read holds this corpus, with its digest."""
        return former is not None and former.same_as(self) and bool(seal.is_whole(path.read_bytes()))

    def same_as(self, other: Corpus) -> bool:
        """Return whether both hold the same utterances and the same facts about the corpus."""
        return self._about() == other._about() and bool(self.table.equals(other.table))

    def votes(self) -> Votes:
        """Return all votes in columns."""
        column = self.table["votes"].combine_chunks()
        struct = column.flatten()
        labels, label_vote = _flattened(struct.field("labels"))
        secondary, secondary_vote = _flattened(struct.field("secondary"))
        encoded = pa.concat_arrays([labels, secondary]).dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return Votes(
            size=len(self),
            names=tuple(encoded.dictionary.to_pylist()),
            utterance=corpus_table.parents(column),
            rater=struct.field("rater"),
            is_self=struct.field("is_self").to_numpy(zero_copy_only=False),
            labels=codes[: len(labels)],
            label_vote=label_vote,
            secondary=codes[len(labels) :],
            secondary_vote=secondary_vote,
        )

    def input_hash(self, modality: Modality, in_dialogue: bool = False) -> str:
        """Return a hash of the inputs of a feature set of `modality`: the ids, and audio spans or texts, in order.

        With `in_dialogue`, texts are read with earlier turns: the hash is of the dialogues, too.
        """
        names = ["id", "audio", "start", "end"] if modality == "speech" else ["id", "text"]
        if in_dialogue:
            names += [name for name in (DIALOGUE, TURN) if name in self.columns()]
        return corpus_table.digest(self.table[name] for name in names)

    def label_hash(self) -> str:
        """Return a hash of everything but the inputs of encoders, on which training depends besides the features."""
        about = {name: value for name, value in self._about().items() if name != "root"}
        inputs = {"audio", "start", "end", "text", TEXT_ORIGIN, TEXT_HUMAN, DIALOGUE, TURN}
        names = [name for name in self.columns() if name not in {*inputs, "votes"}]
        votes = self.votes()
        columns = (votes.utterance, pa.chunked_array([votes.rater]), votes.is_self, votes.names)
        labels = (votes.labels, votes.label_vote, votes.secondary, votes.secondary_vote)
        return corpus_table.digest([about, names, *(self.table[name] for name in names), *columns, *labels])

    def write(self, path: Path) -> None:
        """Write the corpus to a Parquet file in one step: readers see the old file or the new one."""
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
        if not _is_valid(about) or not corpus_table.fits(table, about["classes"]):
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


def _flattened(lists: pa.Array) -> tuple[pa.Array, Integers]:
    """Return the elements of a list array and the row of each."""
    return lists.flatten(), corpus_table.parents(lists)


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged: it is not what was written; run `amber extract` again, which writes it anew")


def _about_of(table: pa.Table) -> dict[str, Any]:
    """Return what a file's metadata say of its corpus; nothing if they can't be read."""
    try:
        about = json.loads((table.schema.metadata or {}).get(b"amber", b"{}"))
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _is_valid(about: dict[str, Any]) -> bool:
    """Return whether these are facts about a corpus, of the right types."""
    classes, names = about.get("classes"), about.get("consensus_names")
    return (
        about.keys() == {"name", "release", "root", "synthetic", "classes", "consensus_names"}
        and all(isinstance(about[name], str) for name in ("name", "release", "root"))
        and isinstance(about["synthetic"], bool)
        and isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
        and isinstance(names, dict)
        and all(isinstance(name, str) for name in names.values())
    )

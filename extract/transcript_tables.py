"""The tables of machine transcripts in a dataset's folder: listing them, what texts they can make, removing them.

A text feature set is of the words that were in force when it was extracted. It can be in force again as long as these
words can be had: the corpus's own, or those of a table, alone (`asr`) or where there are no others (`fill`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from amber.corpus import TEXT_HUMAN, Corpus
from amber.errors import UserError
from amber.location import remove_folder
from amber.lock import held

from . import transcripts
from .transcripts import Transcript, TranscriptSpec

State = Literal["current", "stale", "half", "unreadable"]


@dataclass(frozen=True)
class TranscriptTable:
    """A table, or the parts of one that is not finished, which are *half*.

    It is *current* if it is of the recordings of the present utterances, else *stale*; `trouble` says what is wrong
    with it.
    """

    path: Path
    state: State
    trouble: str = ""
    spec: TranscriptSpec | None = None
    rows: tuple[Transcript, ...] = ()

    @property
    def name(self) -> str:
        """Return its name without suffix."""
        return self.path.stem

    @property
    def bytes(self) -> int:
        """Return its size on disk."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())

    @property
    def counts(self) -> dict[str, int]:
        """Return how many utterances have each status."""
        return dict(Counter(row.status for row in self.rows))

    def is_called(self, name: str) -> bool:
        """Return whether a name is the table's, or its model's."""
        model = (self.spec.model, f"{self.spec.model}@{self.spec.revision}") if self.spec else ()
        return name in (self.name, self.path.name, *model)

    def as_json(self) -> dict[str, Any]:
        """Return what is known of it as plain data."""
        about: dict[str, Any] = {"name": self.name, "state": self.state, "bytes": self.bytes}
        if not self.spec:
            return {**about, "trouble": self.trouble}
        return {**about, "origin": self.spec.origin, "language": self.spec.language, "counts": self.counts}

    def delete(self) -> None:
        """Remove it, finished or not.

        Raises
        ------
        UserError
            If a process is writing it.

        """
        with held(self.path.parent, self.name, "it transcribes", "wait until it is done"):
            if self.path.is_dir():
                remove_folder(self.path)
            else:
                self.path.unlink(missing_ok=True)


def tables(folder: Path, corpus: Corpus | None) -> list[TranscriptTable]:
    """Return the tables in a dataset's folder, by name; `corpus` are its present utterances, if they can be read.

    A copy of a table under another name is none of them.
    """
    paths = [path for kind in ("parquet", "parts") for path in folder.glob(f"transcripts-*.{kind}")]
    found = [_look_at(path, corpus) for path in sorted(paths)]
    return [table for table in found if table.spec is None or table.spec.name == table.name]


def texts(corpus: Corpus, rows: Sequence[Transcript], fill: bool) -> list[str | None]:
    """Return the text of each utterance: the machine's, or with `fill` its own where it has one.

    The corpus's own words are its text, or the column that keeps them where machine words are in force.
    """
    return [own if fill and own is not None else one.text for own, one in zip(human(corpus), rows, strict=True)]


def human(corpus: Corpus) -> list[str | None]:
    """Return a corpus's own words, whatever words are in force."""
    return corpus.column(TEXT_HUMAN if TEXT_HUMAN in corpus.columns() else "text")


def words_of(corpus: Corpus, found: Sequence[TranscriptTable]) -> dict[str, str]:
    """Return the words that are not in force and can be: by the hash of a text feature set's inputs, whose they are."""
    every = {"the corpus's own words": human(corpus)}
    for table in found:
        if table.state == "current" and table.spec:
            every[f"{table.spec.origin}, asr"] = texts(corpus, table.rows, fill=False)
            every[f"{table.spec.origin}, fill"] = texts(corpus, table.rows, fill=True)
    hashes: dict[str, str] = {}
    for in_dialogue in (False, True):  # sets of features.text_context are of the dialogues, too
        for whose, text in reversed(every.items()):
            hashes[corpus.with_strings({"text": text}).input_hash("text", in_dialogue)] = whose
        hashes.pop(corpus.input_hash("text", in_dialogue), None)
    return hashes


def _look_at(path: Path, corpus: Corpus | None) -> TranscriptTable:
    if path.is_dir():
        done = len(list(path.glob("*.json")))
        return TranscriptTable(path, "half", f"not finished: {done} units done; `amber transcribe` goes on")
    try:
        spec, ids, rows = transcripts.read(path)
    except UserError as error:
        return TranscriptTable(path, "unreadable", str(error))
    current = corpus is not None and spec.inputs == corpus.input_hash("speech") and ids == corpus.ids
    return TranscriptTable(
        path, "current" if current else "stale", "" if current else "of other recordings than the present ones",
        spec, tuple(rows),
    )  # fmt: skip

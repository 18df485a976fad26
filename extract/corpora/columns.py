"""The columns of a user's table: which one is what, by its name or by the option `corpus.options.columns`."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from amber.corpus import Ledger, Utterance, Vote
from amber.corpus_table import COLUMNS
from amber.errors import UserError, abbreviate, nearest, printable
from amber.names import fold
from amber.tables import cells
from amber.tables.cells import CellError
from amber.tables.tabular import Row, Table

_VOTE = "vote_"
_TRUTH = "truth_"
_KNOWN = ("votes", *(name for name in COLUMNS if name not in ("votes", "truth")))
_OPTION = "corpus.options.columns"
# Names that people give to the columns, folded; they are proposed, never taken.
_USUAL = {
    "id": ("clip", "clip_id", "utterance", "utterance_id", "utt", "utt_id", "segment", "item", "name", "key"),
    "audio": ("path", "wav", "file", "filename", "file_name", "file_path", "filepath", "audio_path", "audio_file"),
    "text": ("transcript", "transcription", "sentence", "words"),
    "speaker": ("speaker_id", "spk", "spk_id", "actor", "actor_id", "subject", "talker"),
    "votes": ("emotion", "emotions", "label", "labels", "annotations"),
}
_LOOKED_AT = 200  # rows, for raters' columns
_MOST_LABELS = 20


@dataclass(frozen=True)
class Mapping:
    """The option `columns`: the user's columns by their names in the contract.

    `votes` is one column, a list of columns of one rater each, or count columns by label.
    """

    named: dict[str, str] = field(default_factory=dict)
    raters: tuple[str, ...] = ()
    counts: dict[str, str] = field(default_factory=dict)  # label by column

    @classmethod
    def of(cls, option: Any) -> Mapping:
        """Read the option; UserError if it is no such mapping."""
        if not isinstance(option, dict):
            raise UserError(f"{_OPTION} must be a mapping such as {{id: Clip, audio: Path}}, found {option!r}")
        for name in option:
            if name not in _KNOWN:
                raise UserError(
                    f"{_OPTION}: {name!r} is no column that amber reads{nearest(str(name), _KNOWN)}; "
                    f"known: {abbreviate(_KNOWN, 12)}"
                )
        votes = option.get("votes")
        named = {name: column for name, column in option.items() if name != "votes" or isinstance(votes, str)}
        raters = tuple(votes) if isinstance(votes, list) else ()
        counts = {column: str(label) for label, column in votes.items()} if isinstance(votes, dict) else {}
        if not all(isinstance(column, str) for column in (*named.values(), *raters, *counts)):
            raise UserError(f"{_OPTION}: columns are given by name, such as {{id: Clip, votes: [Emotion1, Emotion2]}}")
        if len(set(raters)) < len(raters) or (isinstance(votes, dict) and len(counts) < len(votes)):
            raise UserError(f"{_OPTION}: votes: a column is named twice")
        return cls(named, raters, counts)

    def ids(self) -> tuple[str, ...]:
        """Return the names that the column of ids may have."""
        return (self.named["id"],) if "id" in self.named else ("id",)

    def found_in(self, header: list[str], path: Path) -> Mapping:
        """Return the mapping with the columns as the header spells them; UserError if one is not there."""

        def find(column: str) -> str:
            if column in header:
                return column
            alike = [name for name in header if fold(name) == fold(column)]
            if len(alike) != 1:
                raise UserError(
                    f"{_OPTION}: {path} has no column {column!r}{nearest(column, header)}; "
                    f"found {abbreviate(header, 12)}"
                )
            return alike[0]

        named = {name: find(column) for name, column in self.named.items()}
        counts = {find(column): label for column, label in self.counts.items()}
        return Mapping(named, tuple(map(find, self.raters)), counts)

    def option(self) -> dict[str, Any]:
        """Return the mapping as the option."""
        votes: Any = list(self.raters) or {label: column for column, label in self.counts.items()}
        return {**self.named, **({"votes": votes} if votes else {})}


@dataclass
class Columns:
    """A table's columns: by their names in the contract, by label, by rater, and the user's own."""

    named: dict[str, str]
    counts: dict[str, str]  # label by column
    raters: tuple[str, ...]
    truths: dict[str, str]
    further: list[str]
    comma: bool  # whether numbers may have decimal commas

    @classmethod
    def of(cls, table: Table, mapping: Mapping, ledger: Ledger) -> Columns:
        """Identify the columns; a known name in another spelling counts if the name itself is not there."""
        header, path = table.header, table.path
        for name in header:
            if printable(name) != name or "\0" in name:
                raise UserError(f"{path}: a column name that is not text: {name!r}")
        given = mapping.found_in(header, path)
        taken = {*given.named.values(), *given.raters, *given.counts}
        mapped = {*given.named, *(["votes"] if given.raters or given.counts else [])}
        named = given.named | {
            name: name for name in _KNOWN if name in header and name not in mapped and name not in taken
        }
        for name in header:
            meant = fold(name)
            if name not in {*named.values(), *taken} and meant in _KNOWN and meant not in named and meant not in mapped:
                named[meant] = name
                ledger.note(f"column {name!r} is read as `{meant}`")
        counts, truths = (_labels(header, prefix, path) for prefix in (_VOTE, _TRUTH))
        if "votes" in mapped:
            counts = given.counts
        if "truth" in header:
            ledger.note("column `truth` is not read: a truth is given in truth_<label> columns")
        unread = named.pop("votes", "") if counts else ""
        if unread:
            ledger.note("column `votes` is not read: the vote_ columns are")
        replaced = [name for name in header if name in mapped and name not in {*named.values(), *taken}]
        if replaced:
            ledger.note(f"not read, as {_OPTION} takes other columns for them: {abbreviate(replaced, 12)}")
        used = {*named.values(), *counts, *given.raters, *truths, *replaced, unread, "truth"}
        further = [name for name in header if name not in used]
        if option := given.option():
            ledger.note(f"columns as {_OPTION} says: {flow(option)}")
        return cls(named, counts, given.raters, truths, further, table.has_decimal_commas)

    def utterance(self, row: Row) -> Utterance:
        """Return a row as an utterance; CellError if a cell does not hold what its column says."""

        def text(name: str) -> str | None:
            return cells.text(row.get(self.named[name]), name) if name in self.named else None

        def number(name: str) -> float | None:
            return cells.number(row.get(self.named[name]), name, self.comma) if name in self.named else None

        uid = text("id")
        if not uid:
            raise CellError("has no id")
        return Utterance(
            id=uid,
            audio=text("audio"),
            text=text("text"),
            speaker=text("speaker"),
            votes=self._votes(row),
            start=number("start"),
            end=number("end"),
            session=text("session"),
            split=text("split"),
            release=text("release"),
            consensus=text("consensus"),
            truth=self._truth(row),
            extra=self._further(row),
        )

    def _votes(self, row: Row) -> tuple[Vote, ...]:
        if self.counts:
            found = ((label, cells.count(row.get(name), name, self.comma)) for name, label in self.counts.items())
            return cells.counted(found)
        if self.raters:
            return cells.of_raters((name, row.get(name)) for name in self.raters)
        return cells.votes(row.get(self.named["votes"])) if "votes" in self.named else ()

    def _further(self, row: Row) -> dict[str, str]:
        found = ((name, cells.further(row.get(name), name)) for name in self.further)
        return {name: value for name, value in found if value is not None}

    def _truth(self, row: Row) -> tuple[float, ...] | None:
        values = [cells.number(row.get(name), name, self.comma) for name in self.truths]
        given = [value for value in values if value is not None]
        if not given:
            return None
        if len(given) < len(values) or min(given) < 0 or abs(sum(given) - 1) > 1e-3:
            raise CellError("the truth_ columns are no distribution")
        return tuple(value / sum(given) for value in given)


def check(columns: Columns, table: Table, mapping: Mapping, needed: bool, voted: bool) -> None:
    """Refuse a table that lacks ids, inputs (where `needed`) or votes (where `voted`).

    The message has the option that names them, if columns look like them.
    """
    header, path = table.header, table.path
    has_votes = not voted or bool(columns.counts or columns.raters or "votes" in columns.named)
    has_inputs = not needed or bool({"audio", "text"} & columns.named.keys())
    if "id" not in columns.named or not has_inputs:
        wanted = "the columns `id` and `audio` or `text`" if needed else "the column `id`"
        hint = _hint(columns, table, mapping, has_votes)
        raise UserError(f"{path}: needs {wanted}, found {abbreviate(header, 12)}{hint}")
    if not has_votes:
        hint = _hint(columns, table, mapping, has_votes)
        raise UserError(f"{path}: has no votes; add a count column `vote_<label>` per label, or a `votes` column{hint}")
    if columns.truths and columns.counts and set(columns.truths.values()) != set(columns.counts.values()):
        raise UserError(f"{path}: the truth_ columns name other labels than the vote_ columns")


def flow(option: dict[str, Any]) -> str:
    """Return an option as YAML in one line."""
    return str(
        yaml.safe_dump(option, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    ).strip()


def _hint(columns: Columns, table: Table, mapping: Mapping, has_votes: bool) -> str:
    """Return the line to add that names the columns which look like what is missing; empty if none does."""
    folded = {fold(name).replace(" ", "_"): name for name in columns.further}
    proposed: dict[str, Any] = {}
    for name, usual in _USUAL.items():
        found = next((folded[one] for one in usual if one in folded), None)
        if found and name not in columns.named and (name != "votes" or not has_votes):
            proposed[name] = found
    if "audio" in proposed and "id" not in columns.named:
        proposed = {"id": proposed["audio"], **proposed}  # a file may name its utterance
    raters = (
        [] if has_votes else raters_columns(table, (set(columns.further) - set(proposed.values())) | _votes(proposed))
    )
    if raters:
        proposed["votes"] = raters
    if not proposed:
        return ""
    looks = f"{abbreviate(raters)} look like raters' columns; add" if raters else "if these are the columns, add"
    return f"\n{looks}: --set '{_OPTION}={flow({**mapping.option(), **proposed})}'"


def _votes(proposed: dict[str, Any]) -> set[str]:
    return {proposed["votes"]} if "votes" in proposed else set()


def raters_columns(table: Table, among: set[str]) -> list[str]:
    """Return the columns, two or more, whose cells hold labels of one small set; [] if there are none."""
    found: dict[str, set[str]] = {name: set() for name in table.header if name in among}
    for _, row in islice(table.rows(), _LOOKED_AT):
        for name, labels in found.items():
            value = row.get(name)
            if value is not None and str(value).strip():
                labels.add(fold(str(value)))
    found = {name: labels for name, labels in found.items() if _are_labels(labels)}
    groups = [[other for other in found if _share(found[name], found[other])] for name in found]
    largest = max(groups, key=len, default=[])
    return largest if len(largest) > 1 else []


def _are_labels(values: set[str]) -> bool:
    words = all(any(letter.isalpha() for letter in value) and len(value) <= 40 for value in values)
    return 0 < len(values) <= _MOST_LABELS and words


def _share(a: set[str], b: set[str]) -> bool:
    return 2 * len(a & b) >= min(len(a), len(b))


def _labels(header: list[str], prefix: str, path: Path) -> dict[str, str]:
    """Return the labels of the columns with a prefix, by column."""
    found = {name: name.strip()[len(prefix) :].strip() for name in header if fold(name).startswith(prefix)}
    if not all(found.values()):
        raise UserError(f"{path}: a column {prefix!r} names no label")
    return found

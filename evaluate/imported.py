"""Other people's predictions: tables of id and probabilities, or of a model's sampled votes, beside our variants.

Columns: `id`, and either `p_<class>` for every class, `distribution` (an object, as `amber predict` writes it),
`vote_<label>` (how often the model said the label) or `votes` (`happy;happy;sad`, counts or a list). A column `seed`,
if there is one, tells the predictions of several trained or sampled models apart. Other columns are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from amber import seal
from amber.arrays import Floats
from amber.console import Console
from amber.errors import UserError, abbreviate
from amber.labels import OTHER
from amber.names import fold, is_folder_name
from amber.predictions import STUDENT
from amber.tables import cells
from amber.tables.cells import CellError
from amber.tables.tabular import Row, Table, open_table

from . import results
from .experiment import OF_VARIANTS, Experiment
from .loading import TOLERANCE

RESERVED = ("uniform", "prior", "majority", "oracle", "best answer", "raters against raters", OF_VARIANTS)
_P, _VOTE, _OBJECT, _VOTES = "p_", "vote_", "distribution", "votes"
Answers = dict[int, dict[str, Floats]]  # by seed and id, a distribution (C,)


@dataclass(frozen=True)
class Source:
    """A table of predictions and the name that it is shown by."""

    path: Path
    name: str

    def digest(self) -> str:
        """Return the SHA-256 of the file."""
        return seal.of_file(self.path)


def sources(paths: Sequence[Path], names: Sequence[str]) -> list[Source]:
    """Name tables: as told, else after their files.

    Raises
    ------
    UserError
        If there are not as many names as files, a name can't be one or occurs twice, or a file is not there.

    """
    if names and len(names) != len(paths):
        raise UserError(f"--name: {len(names)} names for {len(paths)} tables; give one after each --import, or none")
    found = [Source(path, name) for path, name in zip(paths, names or [path.stem for path in paths], strict=True)]
    for source in found:
        if not source.path.is_file():
            raise UserError(f"--import {source.path}: no such file")
        taken = source.name in RESERVED or source.name.endswith(" ensemble")
        if not is_folder_name(source.name) or set(source.name) & set("+,=/") or taken:
            raise UserError(f"--name {source.name!r}: can't be the name of a variant; give another one")
    all_names = [source.name for source in found]
    if len(set(all_names)) < len(all_names):
        raise UserError(f"--import: two tables are called {max(all_names, key=all_names.count)}; tell them by --name")
    return found


def join(experiment: Experiment, given: Sequence[Source], console: Console) -> Experiment:
    """Add the predictions of tables as variants.

    Utterances that a table has no prediction for are left out of the whole experiment, so that all variants are scored
    on the same ones; ids that are no test utterances are counted.

    Raises
    ------
    UserError
        If a table can't be used, or no utterance is left.

    """
    found: list[tuple[Source, Answers, results.Import]] = []
    keep = np.ones(len(experiment.ids), dtype=bool)
    for source in given:
        if source.name in experiment.variants:
            raise UserError(f"--import {source.path}: a variant is called {source.name} already; tell it by --name")
        answers = read(source.path, experiment, console)
        has = np.array([all(uid in of for of in answers.values()) for uid in experiment.ids.tolist()])
        unknown = sorted({uid for of in answers.values() for uid in of} - set(experiment.ids.tolist()))
        missing = experiment.ids[~has].tolist()
        if missing:
            console.warn(
                f"{source.path}: no prediction for {len(missing)} of {len(has)} test utterances: "
                f"{abbreviate(missing, 3)}; they are left out for every variant"
            )
        if unknown:
            console.warn(f"{source.path}: {len(unknown)} ids are no test utterances: {abbreviate(unknown, 3)}")
        keep &= has
        facts = results.Import(
            name=source.name,
            file=source.path.name,
            sha256=source.digest(),
            seeds=sorted(answers),
            missing=missing,
            unknown=unknown,
        )
        found.append((source, answers, facts))
    if not keep.any():
        raise UserError(
            "--import: no test utterance has a prediction in every table; are these the ids of this corpus?"
        )
    kept = experiment.take(np.flatnonzero(keep))
    heads, seeds = dict(kept.heads), dict(kept.seeds)
    for source, answers, facts in found:
        p = np.array([[answers[seed][uid] for uid in kept.ids.tolist()] for seed in facts.seeds])
        heads[source.name], seeds[source.name] = {STUDENT: p}, facts.seeds
    return replace(kept, heads=heads, seeds=seeds, imports=[facts for _, _, facts in found])


def read(path: Path, experiment: Experiment, console: Console) -> Answers:
    """Read a table of predictions for an experiment's classes; rows without an answer are left out.

    Raises
    ------
    UserError
        If the table can't be used.

    """
    return _Reader(path, experiment, console).read()


class _Reader:
    """Reads one table of predictions for an experiment's classes."""

    def __init__(self, path: Path, experiment: Experiment, console: Console) -> None:
        self.path, self.console, self.classes = path, console, experiment.classes
        labels: Mapping[str, Sequence[str]] = experiment.config["labels"].get("classes") or {}
        # A class is called by its name, or by any of the corpus's labels that belong to it.
        self.place = {fold(label): i for i, name in enumerate(self.classes) for label in labels.get(name, ())}
        self.place |= {fold(name): i for i, name in enumerate(self.classes)}
        kept = experiment.config["labels"].get("other") == "keep"
        self.other = self.classes.index(OTHER) if kept and OTHER in self.classes else None
        self.outside: dict[str, int] = {}  # labels of no class, and how often they were said
        self.off: list[str] = []  # ids whose probabilities don't sum to one
        self.twice: list[str] = []

    def read(self) -> Answers:
        """Return the answers by seed and id; rows without an answer are left out."""
        table = open_table(self.path)
        columns = self._columns(table)
        found: Answers = {}
        for where, row in table.rows():
            try:
                uid = cells.text(row.get("id"), "id")
                seed = cells.count(row.get("seed"), "seed") if "seed" in table.header else 0
                p = self._answer(row, columns, table.has_decimal_commas)
            except CellError as error:
                raise UserError(f"{self.path}, {where}: {error}") from None
            if uid is None:
                raise UserError(f"{self.path}, {where}: no id")
            of = found.setdefault(seed, {})
            if uid in of:
                self.twice.append(uid)
            if p is not None:
                if not (p >= 0).all() or abs(p.sum() - 1) > TOLERANCE:
                    self.off.append(uid)
                of[uid] = p
        self._refuse()
        if self.outside:
            said = abbreviate((f"{label} ({n})" for label, n in sorted(self.outside.items())), 8)
            self.console.warn(f"{self.path}: answers of no class are left out: {said}")
        if not any(found.values()):
            raise UserError(f"{self.path}: holds no predictions")
        return found

    def _refuse(self) -> None:
        if self.twice:
            raise UserError(
                f"{self.path}: {len(self.twice)} ids occur twice: {abbreviate(self.twice, 3)}\n"
                "keep one row of each, or tell several models apart by a column `seed`"
            )
        if self.off:
            raise UserError(
                f"{self.path}: the probabilities of {len(self.off)} rows don't sum to one: {abbreviate(self.off, 3)}\n"
                f"divide each row by its sum; a difference of {TOLERANCE:g} is forgiven"
            )

    def _columns(self, table: Table) -> dict[str, str]:
        """Return the columns of probabilities or of counts, with what they are about."""
        if "id" not in table.header:
            raise UserError(f"{self.path}: no column `id`; its columns are {abbreviate(table.header, 9)}")
        names = {prefix: [n for n in table.header if fold(n).startswith(prefix)] for prefix in (_P, _VOTE)}
        kinds = [prefix for prefix, of in names.items() if of] + [n for n in (_OBJECT, _VOTES) if n in table.header]
        if len(kinds) != 1:
            what = f"has {abbreviate(kinds)}: keep one of them" if kinds else "has none"
            raise UserError(
                f"{self.path}: predictions are p_<class>, distribution, vote_<label> or votes columns; it {what}\n"
                f"the classes are {abbreviate(self.classes, 12)}"
            )
        (kind,) = kinds
        if kind in (_OBJECT, _VOTES):
            return {kind: kind}
        columns = {name: name[len(kind) :] for name in names[kind]}
        if kind == _P:
            self._check_classes(list(columns.values()))
        return columns

    def _check_classes(self, given: Sequence[str]) -> None:
        """Refuse probabilities of anything but each class once."""
        places = [self.place.get(fold(name)) for name in given]
        if odd := [name for name, place in zip(given, places, strict=True) if place is None]:
            raise UserError(f"{self.path}: {abbreviate(odd)}: no class; the classes are {abbreviate(self.classes, 12)}")
        if sorted(place for place in places if place is not None) != list(range(len(self.classes))):
            raise UserError(
                f"{self.path}: each class needs one probability: found {abbreviate(given, 12)}, "
                f"the classes are {abbreviate(self.classes, 12)}"
            )

    def _answer(self, row: Row, columns: Mapping[str, str], comma: bool) -> Floats | None:
        """Return the distribution (C,) of a row; None where there is no answer."""
        if _OBJECT in columns:
            given = row.get(_OBJECT)
            if not given:
                return None
            if not isinstance(given, dict):
                raise CellError(f'{_OBJECT} must be an object such as {{"happy": 0.7, …}}')
            self._check_classes(list(map(str, given)))
            return self._probabilities({str(name): value for name, value in given.items()}, False)
        if _VOTES in columns:
            return self._of_labels([label for vote in cells.votes(row.get(_VOTES)) for label in vote.labels])
        if next(iter(columns)).lower().startswith(_VOTE):
            counts = {label: cells.count(row.get(name), name, comma) for name, label in columns.items()}
            return self._of_labels([label for label, n in counts.items() for _ in range(n)])
        return self._probabilities({label: row.get(name) for name, label in columns.items()}, comma)

    def _probabilities(self, given: Mapping[str, Any], comma: bool) -> Floats | None:
        values = {label: cells.number(value, f"{_P}{label}", comma) for label, value in given.items()}
        if all(value is None for value in values.values()):
            return None
        p = np.zeros(len(self.classes))
        for label, value in values.items():
            if value is None:
                raise CellError(f"{_P}{label} is empty; write 0, or leave the whole row empty")
            p[self.place[fold(label)]] = value
        return p

    def _of_labels(self, labels: Sequence[str]) -> Floats | None:
        """Return the shares of a model's answers that fall on each class, (C,); None where none does."""
        counts = np.zeros(len(self.classes))
        for label in labels:
            place = self.place.get(fold(label), self.other)
            if place is None:
                self.outside[label] = self.outside.get(label, 0) + 1
            else:
                counts[place] += 1
        return counts / counts.sum() if counts.any() else None

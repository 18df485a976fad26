"""Predictions as rows: what is said of each utterance, and the formats in which it is written."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from amber.arrays import Floats
from amber.corpus import MODALITIES
from amber.errors import UserError
from amber.evaluate.metrics.distribution import jsd, normalised_entropy
from amber.location import write_whole

FORMATS = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}


@dataclass(frozen=True)
class Prediction:
    """What a model says of one utterance.

    Attributes
    ----------
    id
        The utterance's id.
    distribution
        The probability of each class, by the student, or by the one expert whose modality is there; empty on an error.
    experts
        The distribution of each expert that answered, by its name (`speech`, `text` or `fusion`).
    modalities
        Which of `speech` and `text` were there and could be read.
    error
        Why there is no answer, or why a modality is missing that was given; None if all went well.

    """

    id: str
    distribution: Mapping[str, float]
    experts: Mapping[str, Mapping[str, float]]
    modalities: tuple[str, ...]
    error: str | None = None

    @property
    def label(self) -> str | None:
        """Return the most likely class, the first of equals; None if there is no answer."""
        return max(self.distribution, key=self.distribution.__getitem__) if self.distribution else None

    @property
    def by_expert(self) -> bool:
        """Return whether one expert answers in the student's place, as its modality is the only one there."""
        return len(self.modalities) == 1 and self.experts.get(self.modalities[0]) == self.distribution

    @property
    def ambiguity(self) -> float | None:
        """Return the entropy of the distribution over log C: 0 if all raters would agree, 1 if none would."""
        if not self.distribution:
            return None
        return float(normalised_entropy(_row(self.distribution))[0])

    @property
    def conflict(self) -> float | None:
        """Return the Jensen-Shannon divergence in bits between the speech and the text expert; None without both."""
        if not set(MODALITIES) <= self.experts.keys():
            return None
        return float(jsd(*(_row(self.experts[modality]) for modality in MODALITIES))[0])

    def as_json(self) -> dict[str, Any]:
        """Return the prediction as plain data."""
        return {
            "id": self.id,
            "label": self.label,
            "distribution": dict(self.distribution),
            "experts": {name: dict(p) for name, p in self.experts.items()},
            "ambiguity": self.ambiguity,
            "conflict": self.conflict,
            "modalities": list(self.modalities),
            "error": self.error,
        }

    def as_row(self, classes: Sequence[str], experts: Sequence[str]) -> dict[str, Any]:
        """Return the prediction as one row of a table; cells are None where there is nothing to say."""
        row: dict[str, Any] = {"id": self.id, "label": self.label}
        row |= {f"p_{c}": self.distribution.get(c) for c in classes}
        row |= {"ambiguity": self.ambiguity, "conflict": self.conflict, "modalities": "+".join(self.modalities)}
        row |= {f"{name}_{c}": self.experts.get(name, {}).get(c) for name in experts for c in classes}
        return {**row, "error": self.error}


def of_arrays(
    ids: Sequence[str],
    classes: Sequence[str],
    heads: Mapping[str, Floats],
    modalities: Sequence[tuple[str, ...]],
    errors: Sequence[str | None],
) -> list[Prediction]:
    """Return predictions from distributions by head, (n, C) each, whose rows are NaN where a head did not answer.

    Where the student did not answer, the expert whose modality is there answers in its place.
    """
    rows = {head: [_named(classes, p) for p in values] for head, values in heads.items()}
    found = []
    for place, (uid, there, error) in enumerate(zip(ids, modalities, errors, strict=True)):
        answers = {head: of[place] for head, of in rows.items() if of[place]}
        student = answers.pop("student", {})
        single = answers.get(there[0], {}) if len(there) == 1 else {}
        found.append(Prediction(uid, student or single, answers, there, error))
    return found


def answered(predictions: Sequence[Prediction]) -> str:
    """Say in one line how many utterances had which modalities, and whose answer is a single expert's."""
    had = Counter(one.modalities for one in predictions)
    alone = sum(one.by_expert for one in predictions)
    counts = [f"{n} have {' and '.join(which) or 'neither'}" for which, n in sorted(had.items(), reverse=True)]
    said = f"{len(predictions)} utterances: {', '.join(counts)}"
    return f"{said}; {alone} are answered by the expert of the one modality that they have" if alone else said


def _row(distribution: Mapping[str, float]) -> Floats:
    """Return a distribution as an array (1, C)."""
    return np.array([list(distribution.values())])


def _named(classes: Sequence[str], p: Floats) -> dict[str, float]:
    return {} if np.isnan(p).any() else dict(zip(classes, p.tolist(), strict=True))


def format_of(path: Path | None) -> str:
    """Return the format that a file's name asks for; JSON lines on standard output."""
    if path is None:
        return "jsonl"
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--out {path}: end the name in .jsonl, .csv or .parquet")
    return FORMATS[path.suffix.lower()]


def rendered(predictions: Sequence[Prediction], classes: Sequence[str], experts: Sequence[str], kind: str) -> bytes:
    """Return predictions as the content of a file."""
    if kind == "jsonl":
        return "".join(json.dumps(one.as_json(), ensure_ascii=False) + "\n" for one in predictions).encode()
    rows = [one.as_row(classes, experts) for one in predictions]
    if kind == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n") if rows else None
        if writer:
            writer.writeheader()
            writer.writerows(rows)
        return text.getvalue().encode()
    kinds = {"id": pa.string(), "label": pa.string(), "modalities": pa.string(), "error": pa.string()}
    names = list(rows[0]) if rows else ["id"]
    columns = {name: pa.array([row[name] for row in rows], kinds.get(name, pa.float64())) for name in names}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def write(path: Path, predictions: Sequence[Prediction], classes: Sequence[str], experts: Sequence[str]) -> None:
    """Write predictions to a file in the format that its name asks for; the file appears whole."""
    write_whole(path, rendered(predictions, classes, experts, format_of(path)))

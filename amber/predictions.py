"""Contract 3: predictions, one Parquet file per run, a row per utterance, part and head.

Columns: `id, run, part (dev|test), head, speaker`, then `n_<class>` (the raters' counts within the classes),
`p_<class>` (the prediction), `weight` (of an expert: how far the objective trusts it with the utterance; empty where
nothing is guided) and, where the generating distribution is known, `truth_<class>`. `run` names the run,
`<dataset>/<variant>/fold<k>-seed<s>`. `head` is `student` for the student's rows, whichever head that is, and `speech`,
`text` or `fusion` for the experts'. The file's metadata hold the schema version and the mean rater distribution of
the training part.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from amber import parquet
from amber.arrays import Floats
from amber.errors import UserError, abbreviate
from amber.labels import distribution

FILE = "predictions.parquet"
STUDENT = "student"
SCHEMA_VERSION = 2  # in version 1 rows held vote fractions instead of counts, and no weights
_METADATA = b"amber"
_KEYS = {"id": pa.string(), "run": pa.string(), "part": pa.string(), "head": pa.string(), "speaker": pa.string()}
_MAY_BE_EMPTY = ("speaker", "weight")


def run_name(dataset: str, variant: str, fold: int, seed: int) -> str:
    """Return how a run is called in predictions."""
    return f"{dataset}/{variant}/fold{fold}-seed{seed}"


@dataclass(frozen=True)
class Predictions:
    """Rows of predictions, held in columns.

    `keys[name]` (n,) are `id`, `run`, `part`, `head` and `speaker` (None where unknown); `counts` and `p` (n, C);
    `weight` (n,), NaN where there is none; `truth` (n, C) where it is known. `prior` (C,) is the mean rater
    distribution of the run's training part, None if that is not known.
    """

    classes: tuple[str, ...]
    keys: dict[str, NDArray[np.generic]]
    counts: Floats
    p: Floats
    weight: Floats
    truth: Floats | None = None
    prior: Floats | None = None

    def __len__(self) -> int:
        return len(self.p)

    @property
    def y(self) -> Floats:
        """Return the raters' distributions, (n, C)."""
        return distribution(self.counts)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Predictions:
        """Return the rows for which a mask (n,) is true, or the rows of given numbers in their order."""
        keys = {name: column[rows] for name, column in self.keys.items()}
        truth = self.truth[rows] if self.truth is not None else None
        return Predictions(self.classes, keys, self.counts[rows], self.p[rows], self.weight[rows], truth, self.prior)

    def of(self, **values: object) -> Predictions:
        """Return the rows whose keys equal `values`, such as `of(part="test", head="student")`."""
        mask = np.ones(len(self), dtype=bool)
        for name, value in values.items():
            mask &= self.keys[name] == value
        return self.where(mask)


def concatenate(parts: list[Predictions]) -> Predictions:
    """Join predictions over the same classes; truth and prior are kept where all parts have one, and the same prior.

    Raises
    ------
    ValueError
        If the parts are about different classes.

    """
    first = parts[0]
    if any(part.classes != first.classes for part in parts):
        raise ValueError("predictions over different classes can't be joined")
    truths = [part.truth for part in parts if part.truth is not None]
    same_prior = first.prior is not None and all(
        part.prior is not None and np.array_equal(part.prior, first.prior) for part in parts
    )
    return Predictions(
        first.classes,
        {name: np.concatenate([part.keys[name] for part in parts]) for name in first.keys},
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.p for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate(truths) if len(truths) == len(parts) else None,
        first.prior if same_prior else None,
    )


def write(path: Path, predictions: Predictions) -> None:
    """Write a predictions file."""
    columns = {name: pa.array(predictions.keys[name], kind) for name, kind in _KEYS.items()}
    for prefix, matrix in (("n", predictions.counts), ("p", predictions.p), ("truth", predictions.truth)):
        if matrix is not None:
            columns |= {f"{prefix}_{c}": pa.array(matrix[:, i]) for i, c in enumerate(predictions.classes)}
    columns["weight"] = pa.array(predictions.weight, from_pandas=True)  # NaN becomes null
    prior = predictions.prior.tolist() if predictions.prior is not None else None
    about = json.dumps({"schema": SCHEMA_VERSION, "classes": predictions.classes, "prior": prior}).encode()
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, metadata={_METADATA: about}), buffer, write_page_checksum=True)
    path.write_bytes(buffer.getvalue())


def read(path: Path) -> Predictions:
    """Read a predictions file back.

    Raises
    ------
    UserError
        If the file is missing or damaged, of an earlier version, or lacks a column of the contract.

    """
    table = parquet.read(path)
    if {"variant", "n_votes"} <= set(table.column_names):
        raise UserError(f"{path}: predictions of an earlier version; train the run again with `amber train`")
    about = _about(path, table.schema.metadata or {})
    classes = tuple(about["classes"])
    needed = [*_KEYS, "weight", *(f"{prefix}_{c}" for prefix in ("n", "p") for c in classes)]
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise UserError(f"{path}: not a predictions file, it lacks {abbreviate(missing)}")
    truths = [name for name in table.column_names if name.startswith("truth_")]
    odd = [name for name in (*needed, *truths) if not _as_written(table, name)]
    if odd or (truths and truths != [f"truth_{c}" for c in classes]):
        raise UserError(
            f"{path}: damaged, or not a predictions file: not as it is written: {abbreviate(odd or truths)}"
        )

    def matrix(prefix: str) -> Floats:
        return np.column_stack([table[f"{prefix}_{c}"].to_numpy() for c in classes])

    return Predictions(
        classes,
        {name: _strings(table[name]) for name in _KEYS},
        matrix("n"),
        matrix("p"),
        table["weight"].to_numpy(),
        matrix("truth") if truths else None,
        np.array(about["prior"]) if about["prior"] is not None else None,
    )


def _strings(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Return a column of strings in which equal ones are one object: a few names are repeated in every row."""
    encoded = column.combine_chunks().dictionary_encode()
    known = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    found: NDArray[np.object_] = known[encoded.indices.fill_null(len(known) - 1).to_numpy()]
    return found


def _about(path: Path, metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """Return what a file's metadata say: classes and prior."""
    if _METADATA not in metadata:
        raise UserError(f"{path}: not a predictions file, it lacks its metadata")
    try:
        about = json.loads(metadata[_METADATA])
        schema, classes, prior = about["schema"], about["classes"], about["prior"]
        fits = isinstance(classes, list) and bool(classes) and all(isinstance(c, str) for c in classes)
        fits &= prior is None or bool(np.shape(np.array(prior, dtype=np.float64)) == (len(classes),))
    except (ValueError, TypeError, KeyError, RecursionError):
        fits, schema = False, SCHEMA_VERSION
    if schema != SCHEMA_VERSION:
        raise UserError(f"{path}: predictions of schema {schema!r}, this amber reads {SCHEMA_VERSION}; train again")
    if not fits:
        raise UserError(f"{path}: damaged, or not a predictions file: its metadata make no sense")
    return dict(about)


def _as_written(table: pa.Table, name: str) -> bool:
    """Return whether a table has one column of a name, of its type, and without gaps where there must be none."""
    if table.column_names.count(name) != 1:
        return False
    column = table[name]
    fits = column.type == _KEYS[name] if name in _KEYS else pa.types.is_floating(column.type)
    return bool(fits and (name in _MAY_BE_EMPTY or not column.null_count))

"""Contract 3: predictions, one Parquet file a run, a row per utterance, part and head.

Columns: `id, dataset, variant, fold, seed, part (dev|test), head, speaker, n_votes`, then `y_<class>` (the raters'
distribution, never smoothed), `p_<class>` (the prediction) and, where the generating distribution is known,
`truth_<class>`. `head` is `student` for the student's rows, whichever head that is, and `speech`, `text` or `fusion`
for the experts'.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from amber import parquet
from amber.errors import UserError, some

FILE = "predictions.parquet"
STUDENT = "student"
_KEYS = {
    "id": pa.string(),
    "dataset": pa.string(),
    "variant": pa.string(),
    "fold": pa.int32(),
    "seed": pa.int64(),
    "part": pa.string(),
    "head": pa.string(),
    "speaker": pa.string(),
    "n_votes": pa.float64(),
}


@dataclass(frozen=True)
class Predictions:
    """Rows of predictions, held in columns: `keys[name]` (n,), `y`, `p` and perhaps `truth` (n, C)."""

    classes: tuple[str, ...]
    keys: dict[str, NDArray[np.generic]]
    y: NDArray[np.float64]
    p: NDArray[np.float64]
    truth: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Predictions:
        """Return the rows for which a mask (n,) is true, or the rows of given numbers in their order."""
        keys = {name: column[rows] for name, column in self.keys.items()}
        truth = self.truth[rows] if self.truth is not None else None
        return Predictions(self.classes, keys, self.y[rows], self.p[rows], truth)

    def of(self, **values: object) -> Predictions:
        """Return the rows whose keys equal `values`, such as `of(part="test", head="student")`."""
        mask = np.ones(len(self), dtype=bool)
        for name, value in values.items():
            mask &= self.keys[name] == value
        return self.where(mask)


def concatenate(parts: list[Predictions]) -> Predictions:
    """Join predictions over the same classes; the truth is kept where all parts have one.

    Raises
    ------
    ValueError
        If the parts are about different classes.

    """
    first = parts[0]
    if any(part.classes != first.classes for part in parts):
        raise ValueError("predictions over different classes can't be joined")
    keys = {name: np.concatenate([part.keys[name] for part in parts]) for name in first.keys}
    truths = [part.truth for part in parts if part.truth is not None]
    return Predictions(
        first.classes,
        keys,
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.p for part in parts]),
        np.concatenate(truths) if len(truths) == len(parts) else None,
    )


def write(path: Path, predictions: Predictions) -> None:
    """Write a predictions file."""
    columns = {name: pa.array(predictions.keys[name], kind) for name, kind in _KEYS.items()}
    for prefix, matrix in (("y", predictions.y), ("p", predictions.p), ("truth", predictions.truth)):
        if matrix is not None:
            columns |= {f"{prefix}_{c}": pa.array(matrix[:, i]) for i, c in enumerate(predictions.classes)}
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer, write_page_checksum=True)
    path.write_bytes(buffer.getvalue())


def read(path: Path) -> Predictions:
    """Read a predictions file back.

    Raises
    ------
    UserError
        If the file is missing or damaged, or lacks a column of the contract.

    """
    table = parquet.read(path)
    classes = tuple(n.removeprefix("y_") for n in table.column_names if n.startswith("y_"))
    missing = [n for n in (*_KEYS, *(f"p_{c}" for c in classes)) if n not in table.column_names]
    if missing or not classes:
        raise UserError(f"{path}: not a predictions file, it lacks {', '.join(missing) or 'y_<class> columns'}")
    numbers = [n for n in table.column_names if n.startswith(("y_", "p_", "truth_"))]
    odd = [n for n in (*_KEYS, *numbers) if not _as_written(table, n)]
    if odd:
        raise UserError(f"{path}: damaged, or not a predictions file: not as it is written: {some(odd)}")

    def matrix(prefix: str) -> NDArray[np.float64]:
        return np.column_stack([table[f"{prefix}_{c}"].to_numpy() for c in classes])

    has_truth = all(f"truth_{c}" in table.column_names for c in classes)
    keys = {name: table[name].to_numpy() for name in _KEYS}
    return Predictions(classes, keys, matrix("y"), matrix("p"), matrix("truth") if has_truth else None)


def _as_written(table: pa.Table, name: str) -> bool:
    """Return whether a table has one column of a name, of its type and without gaps; a speaker may be unknown."""
    if table.column_names.count(name) != 1:
        return False
    column = table[name]
    fits = column.type == _KEYS[name] if name in _KEYS else pa.types.is_floating(column.type)
    return bool(fits and (name == "speaker" or not column.null_count))

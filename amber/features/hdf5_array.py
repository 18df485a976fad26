"""An array of features in an HDF5 file, read block by block for the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from amber.arrays import Integers
from amber.errors import count
from amber.features.hdf5_path import Hdf5Path, reading

BLOCK_BYTES = 8 << 20  # of an array that is read at a time


@dataclass(frozen=True)
class Hdf5Array:
    """Features in a file, (M, D) or (M, L, D), and the row of each of N utterances (-1: none)."""

    place: Hdf5Path
    source: h5py.Dataset
    rows: Integers  # (N,)

    @property
    def dtype(self) -> Literal["float16", "float32"]:
        """Return the dtype in which the features are stored."""
        return "float16" if self.source.dtype == np.float16 else "float32"

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of layers and dimensions, (L, D)."""
        return (self.source.shape[1] if self.source.ndim == 3 else 1, self.source.shape[-1])  # (L, D)

    def is_synthetic(self) -> bool:
        """Return whether the file is marked as synthetic data."""
        with reading(self.place):
            return bool(np.any(self.source.file.attrs.get("synthetic", False)))

    def axes(self) -> str:
        """Return how the axes are interpreted, for messages."""
        layers, dim = self.shape
        return f"{count(layers, 'layer')} of {dim} dimensions"

    def is_ours(self) -> bool:
        """Return whether `amber cache export` wrote the array: then its second axis is known to be layers."""
        with reading(self.place):
            return "spec" in self.source.attrs

    def read(self, rows: Integers) -> NDArray[Any]:
        """Return the rows of given numbers (n,), which are all different, (n, L, D)."""
        if not len(rows):
            return np.zeros((0, *self.shape), dtype=self.dtype)
        with reading(self.place):
            if (np.diff(rows) == 1).all():
                block = self.source[rows[0] : rows[-1] + 1]
            else:  # HDF5 reads rows in rising order only
                order = np.argsort(rows)
                block = self.source[rows[order]][np.argsort(order)]
        with np.errstate(over="ignore"):  # values that do not fit become infinite and are counted
            return np.asarray(block).astype(self.dtype).reshape(-1, *self.shape)

    def blocks(self) -> Iterator[Integers]:
        """Return the numbers of all rows in blocks (n,), of whole chunks where chunks are no larger than a block."""
        total = len(self.source)
        rows = max(1, BLOCK_BYTES // (self.source.dtype.itemsize * int(np.prod(self.shape))))
        chunk = self.source.chunks[0] if self.source.chunks else 1
        rows -= rows % chunk if chunk <= rows else 0
        return (np.arange(start, min(start + rows, total)) for start in range(0, total, rows))

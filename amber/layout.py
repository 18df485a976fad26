"""Which Zarr arrays a feature set has, and how they are cut into chunks: a unit owns whole chunks of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from amber.features import FeatureSpec


@dataclass(frozen=True)
class Array:
    """One array's shape, chunks and type.

    `lost` is what Zarr reads where a chunk is missing: nothing that is ever written, so that it is not taken for one
    of zeros, and one of zeros is written. Of arrays without it chunks may be missing. Numbers that must be there also
    carry a checksum, which finds bit rot, and are not compressed: float16 features do not get smaller.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: Any
    lost: Any = None

    @property
    def fill(self) -> Any:
        """Return what is read where there is no chunk."""
        return self.lost if self.lost is not None else "" if self.dtype is str else 0

    def is_lost(self, found: NDArray[Any]) -> bool:
        """Return whether rows (n, ...) that were read lie in a chunk that is missing and must not be."""
        if self.lost is None:
            return False
        first = found.reshape(len(found), int(np.prod(found.shape[1:])))[:, 0]
        return bool((np.isnan(first) if isinstance(self.lost, float) else first == self.lost).any())


def arrays(spec: FeatureSpec) -> dict[str, Array]:
    """Return the arrays of a feature set by name.

    Level *pooled*: `pooled` (N, L, D), a chunk a unit. Level *frames*: `spans` (N, 2) into `frames` (T, L, D), where
    every unit has the same room, far more than it needs: Zarr stores no chunk that was not written, and so no unit
    needs to know how long the others are.
    """
    n, rows, units = spec.size, spec.unit_rows, spec.units
    vector = (len(spec.layers), spec.dim)
    if spec.level == "pooled":
        features = {"pooled": Array((n, *vector), (rows, *vector), spec.dtype, np.nan)}
    else:
        features = {
            "frames": Array((units * spec.unit_room, *vector), (spec.chunk_frames, *vector), spec.dtype, np.nan),
            "spans": Array((n, 2), (rows, 2), "int64", -1),
        }
    return {
        **features,
        "status": Array((n,), (rows,), "uint8", 255),
        "errors": Array((n,), (rows,), str),
        "commits": Array((units,), (1,), "uint64"),
        "ids": Array((n,), (n,), str, ""),
    }


def lay_out(location: Path, spec: FeatureSpec, ids: Sequence[str]) -> zarr.Group:
    """Create an empty feature set in place of whatever is there; its spec is written last."""
    group = zarr.open_group(store=str(location), mode="w", zarr_format=3)
    for name, array in arrays(spec).items():
        group.create_array(
            name,
            shape=array.shape,
            chunks=array.chunks,
            dtype=array.dtype,
            fill_value=array.fill,
            compressors="auto" if array.dtype is str else None if array.lost is None else [Crc32cCodec()],
        )
    names: Any = group["ids"]
    names[:] = np.array(ids, dtype=object)
    group.attrs["spec"] = spec.model_dump(mode="json")
    return group

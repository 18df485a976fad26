"""Which Zarr arrays a feature set has, and how they are cut into chunks: a unit owns whole chunks of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from amber.features import FeatureSpec


@dataclass(frozen=True)
class Array:
    """One array's shape, chunks and type; float16 features do not compress, a checksum finds bit rot."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: Any
    checked: bool = False


def arrays(spec: FeatureSpec) -> dict[str, Array]:
    """Return the arrays of a feature set by name.

    Level *pooled*: `pooled` (N, L, D), a chunk a unit. Level *frames*: `spans` (N, 2) into `frames` (T, L, D), where
    every unit has the same room, far more than it needs: Zarr stores no chunk that was not written, and so no unit
    needs to know how long the others are.
    """
    n, rows, units = spec.size, spec.unit_rows, spec.units
    vector = (len(spec.layers), spec.dim)
    if spec.level == "pooled":
        features = {"pooled": Array((n, *vector), (rows, *vector), spec.dtype, checked=True)}
    else:
        features = {
            "frames": Array((units * spec.unit_room, *vector), (spec.chunk_frames, *vector), spec.dtype, checked=True),
            "spans": Array((n, 2), (rows, 2), "int64", checked=True),
        }
    return {
        **features,
        "status": Array((n,), (rows,), "uint8", checked=True),
        "errors": Array((n,), (rows,), str),
        "commits": Array((units,), (1,), "uint64"),
        "ids": Array((n,), (n,), str),
    }


def lay_out(location: str, spec: FeatureSpec, ids: Sequence[str]) -> zarr.Group:
    """Create an empty feature set in place of whatever is there; its spec is written last."""
    group = zarr.open_group(store=location, mode="w", zarr_format=3)
    for name, array in arrays(spec).items():
        group.create_array(
            name,
            shape=array.shape,
            chunks=array.chunks,
            dtype=array.dtype,
            fill_value="" if array.dtype is str else 0,
            compressors=[Crc32cCodec()] if array.checked else "auto" if array.dtype is str else None,
        )
    names: Any = group["ids"]
    names[:] = np.array(ids, dtype=object)
    group.attrs["spec"] = spec.model_dump(mode="json")
    return group

"""Which Zarr arrays a feature set has, and how they are cut into chunks: a unit owns whole chunks of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.errors import ContainsArrayError

from amber.features.spec import FeatureSpec

FORMAT = 2  # of the arrays; in format 1 `ids`, `errors` and `commits` had no checksum, and there were no `stamps`
_BAD_METADATA = (ValueError, KeyError, TypeError)  # what Zarr raises for a `zarr.json` that is not


@dataclass(frozen=True)
class Array:
    """One array's shape, chunks and type.

    `lost` is what Zarr reads where a chunk is missing: nothing that is ever written, so that it is not taken for one
    of zeros, and one of zeros is written. Of arrays without it chunks may be missing. Every chunk carries a checksum,
    which finds bit rot; numbers are not compressed: float16 features do not get smaller.
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

    def is_metadata_of(self, array: zarr.Array[Any]) -> bool:
        """Return whether what is there is laid out so; the checksum apart, which format 1 does not have everywhere."""
        same_fill = array.fill_value == self.fill or bool(isinstance(self.lost, float) and np.isnan(array.fill_value))
        same_type = self.dtype is str or array.dtype == self.dtype
        here = (array.shape, array.chunks, array.metadata.encode_chunk_key((0,) * len(self.shape)))
        return same_fill and same_type and here == (self.shape, self.chunks, "/".join("c" + "0" * len(self.shape)))

    def is_checked(self, array: zarr.Array[Any]) -> bool:
        """Return whether its chunks carry checksums."""
        return any(isinstance(codec, Crc32cCodec) for codec in array.compressors)

    def create(self, group: zarr.Group, name: str, overwrite: bool = False) -> zarr.Array[Any]:
        """Create it, empty."""
        return group.create_array(
            name,
            shape=self.shape,
            chunks=self.chunks,
            dtype=self.dtype,
            fill_value=self.fill,
            compressors=[*([ZstdCodec()] if self.dtype is str else []), Crc32cCodec()],
            overwrite=overwrite,
        )


def arrays(spec: FeatureSpec) -> dict[str, Array]:
    """Return the arrays of a feature set by name.

    Level *pooled*: `pooled` (N, L, D), a chunk a unit. Level *frames*: `spans` (N, 2) into `frames` (T, L, D), where
    every unit has the same room, far more than it needs: Zarr stores no chunk that was not written, and so no unit
    needs to know how long the others are. `stamps` (N, 3) tell which recordings were read, where there were any.
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
        **({"stamps": Array((n, 3), (rows, 3), "int64", -1)} if spec.sample_rate else {}),
        "status": Array((n,), (rows,), "uint8", 255),
        "errors": Array((n,), (rows,), str),
        "commits": Array((units,), (1,), "uint64"),
        "ids": Array((n,), (n,), str, ""),
    }


def lay_out(location: Path, spec: FeatureSpec, ids: Sequence[str]) -> zarr.Group:
    """Create an empty feature set; its spec is written last.

    Nothing that is there is removed, as another writer may be at work, on object storage without a lock: two that lay
    out the same set write the same bytes. An array that is not of this set is what a killed run of another version
    left, and is replaced.
    """
    group = zarr.open_group(store=str(location), mode="a", zarr_format=3)
    for name, array in arrays(spec).items():
        if not _is_there(group, name, array):
            try:
                array.create(group, name)
            except ContainsArrayError:
                if not _is_there(group, name, array):  # else another writer was faster
                    array.create(group, name, overwrite=True)
    names: Any = group["ids"]
    names[:] = np.array(ids, dtype=object)
    group.attrs.update({"spec": spec.model_dump(mode="json"), "format": FORMAT})
    return group


def _is_there(group: zarr.Group, name: str, array: Array) -> bool:
    try:
        found = group[name]
        return isinstance(found, zarr.Array) and array.is_metadata_of(found) and array.is_checked(found)
    except _BAD_METADATA:
        return False

"""The layout of a feature set: its Zarr arrays and their chunks, of which every unit owns whole ones."""

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
_BAD_METADATA = (ValueError, KeyError, TypeError)  # what Zarr raises for a damaged `zarr.json`


@dataclass(frozen=True)
class ArrayLayout:
    """The shape, chunks and type of a Zarr array.

    `missing` is the value that Zarr returns where a chunk does not exist. It is a value that is never written, so a
    missing chunk is not mistaken for zeros. An array without it may lack chunks. Every chunk carries a checksum against
    bit rot; numbers are not compressed, as float16 features do not get smaller.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: Any
    missing: Any = None

    @property
    def fill(self) -> Any:
        """Return the value that is read where there is no chunk."""
        return self.missing if self.missing is not None else "" if self.dtype is str else 0

    def is_missing(self, found: NDArray[Any]) -> bool:
        """Return whether some rows of `found` (n, ...), as they were read, lie in a missing chunk that must exist."""
        if self.missing is None:
            return False
        first = found.reshape(len(found), int(np.prod(found.shape[1:])))[:, 0]
        return bool((np.isnan(first) if isinstance(self.missing, float) else first == self.missing).any())

    def fits(self, array: zarr.Array[Any]) -> bool:
        """Return whether an array has this layout, apart from checksums, which format 1 lacks in places."""
        same_fill = array.fill_value == self.fill or bool(
            isinstance(self.missing, float) and np.isnan(array.fill_value)
        )
        same_type = self.dtype is str or array.dtype == self.dtype
        here = (array.shape, array.chunks, array.metadata.encode_chunk_key((0,) * len(self.shape)))
        return same_fill and same_type and here == (self.shape, self.chunks, "/".join("c" + "0" * len(self.shape)))

    def has_checksums(self, array: zarr.Array[Any]) -> bool:
        """Return whether the chunks of an array carry checksums."""
        return any(isinstance(codec, Crc32cCodec) for codec in array.compressors)

    def create(self, group: zarr.Group, name: str, overwrite: bool = False) -> zarr.Array[Any]:
        """Create the array, empty."""
        return group.create_array(
            name,
            shape=self.shape,
            chunks=self.chunks,
            dtype=self.dtype,
            fill_value=self.fill,
            compressors=[*([ZstdCodec()] if self.dtype is str else []), Crc32cCodec()],
            overwrite=overwrite,
        )


def array_layouts(spec: FeatureSpec) -> dict[str, ArrayLayout]:
    """Return the layouts of a feature set's arrays by name.

    Level *pooled*: `pooled` (N, L, D), one chunk per unit. Level *frames*: `spans` (N, 2) into `frames` (T, L, D), in
    which every unit has the same room, far more than it needs. Zarr does not store chunks that were not written, so the
    room costs nothing and units can be written independently. `stamps` (N, 3) identify the recordings, for audio.
    """
    n, rows, units = spec.size, spec.unit_rows, spec.units
    vector = (len(spec.layers), spec.dim)
    if spec.level == "pooled":
        features = {"pooled": ArrayLayout((n, *vector), (rows, *vector), spec.dtype, np.nan)}
    else:
        features = {
            "frames": ArrayLayout((units * spec.unit_room, *vector), (spec.chunk_frames, *vector), spec.dtype, np.nan),
            "spans": ArrayLayout((n, 2), (rows, 2), "int64", -1),
        }
    return {
        **features,
        **({"stamps": ArrayLayout((n, 3), (rows, 3), "int64", -1)} if spec.sample_rate else {}),
        "status": ArrayLayout((n,), (rows,), "uint8", 255),
        "errors": ArrayLayout((n,), (rows,), str),
        "commits": ArrayLayout((units,), (1,), "uint64"),
        "ids": ArrayLayout((n,), (n,), str, ""),
    }


def create_arrays(location: Path, spec: FeatureSpec, ids: Sequence[str]) -> zarr.Group:
    """Create an empty feature set; its spec is written last.

    Fitting arrays are kept, as another writer may be at work on object storage, which has no lock; both write the same
    bytes. Others were left by a killed run of another version and are replaced.
    """
    group = zarr.open_group(store=str(location), mode="a", zarr_format=3)
    for name, array in array_layouts(spec).items():
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


def _is_there(group: zarr.Group, name: str, array: ArrayLayout) -> bool:
    try:
        found = group[name]
        return isinstance(found, zarr.Array) and array.fits(found) and array.has_checksums(found)
    except _BAD_METADATA:
        return False

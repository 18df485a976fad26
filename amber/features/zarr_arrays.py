"""The Zarr arrays of one feature set, opened on first use and checked as they are read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from amber.errors import RunFailure
from amber.features import chunks
from amber.features.layout import ArrayLayout
from amber.location import is_local

BAD_CHUNK = (ValueError, RuntimeError)  # what codecs raise for bytes that were changed
BAD_METADATA = (ValueError, KeyError, TypeError)  # what Zarr raises for a damaged `zarr.json`
# A chunk is copied while the processor still caches it: twice as fast from a local disk as many chunks at once.
_READING = {"async.concurrency": 2, "codec_pipeline.batch_size": 1}
_FIX = "`amber cache verify` names the damage, `amber extract` repairs it"


class ZarrArrays:
    """The arrays of the feature set at `location`, by name, with the `layouts` that they must have."""

    def __init__(self, location: Path, group: zarr.Group, layouts: dict[str, ArrayLayout]) -> None:
        self.location = location
        self.group = group
        self.layouts = layouts
        self._opened: dict[str, zarr.Array[Any]] = {}  # opening an array reads a file

    def __getitem__(self, name: str) -> zarr.Array[Any]:
        """Return an array, to write to it; RunFailure if its metadata are damaged."""
        if name not in self._opened:
            try:
                array = self.group[name]
            except BAD_METADATA as error:
                raise damaged_metadata(f"{self.location}/{name}") from error
            assert isinstance(array, zarr.Array)  # noqa: S101 (the layout has no groups)
            self._opened[name] = array
        return self._opened[name]

    def check_metadata(self, checksums: bool) -> None:
        """Raise a RunFailure if an array has another layout, or no checksums where all must have `checksums`."""
        for name, layout in self.layouts.items():
            array = self[name]
            if not layout.fits(array) or (checksums and not layout.has_checksums(array)):
                raise damaged_metadata(f"{self.location}/{name}")

    def read(self, name: str, selection: slice = slice(None), chunk: str = "") -> NDArray[Any]:
        """Return a selection of an array.

        Raises
        ------
        RunFailure
            If a chunk is damaged or missing. Errors name the chunk if it is given, such as `/c/3`.

        """
        array = self[name]
        if is_local(self.location) and selection == slice(None) and self.layouts[name].dtype is not str:
            with suppress(chunks.ChunkError):  # then Zarr says what is wrong, or reads another format
                found = np.empty(array.shape, dtype=array.dtype)
                chunks.read(self.location / name, 0, found, array.chunks[0])
                return found
        where, fix = f"{self.location}/{name}{chunk}", "" if chunk else f"; {_FIX}"
        try:
            with zarr.config.set(_READING):
                found = np.asarray(array[selection])
        except BAD_CHUNK as error:
            raise RunFailure(f"{where}: a chunk is damaged ({error}){fix}") from error
        if self.layouts[name].is_missing(found):
            raise RunFailure(f"{where}: a chunk is missing{fix}")
        return found

    def read_into(self, name: str, out: NDArray[Any], start: int) -> None:
        """Fill `out` (n, ...) with the rows of an array from `start` on, which must be the first row of a chunk.

        Raises
        ------
        RunFailure
            If a chunk is damaged or missing.

        """
        if not is_local(self.location):
            out[:] = self.read(name, slice(start, start + len(out)))
            return
        try:
            chunks.read(self.location / name, start, out, self[name].chunks[0])
        except chunks.ChunkError as error:
            raise RunFailure(f"{self.location}/{name}/{error}; {_FIX}") from error


def damaged_metadata(location: Path | str) -> RunFailure:
    """Return the error of a `zarr.json` that can't be used."""
    return RunFailure(
        f"{location}/zarr.json can't be used: it is damaged, or another process is just writing it\n"
        "if none is, move the feature set out of the cache and run `amber extract` again"
    )

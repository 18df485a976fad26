"""Feature chunks, read from a local disk directly into an array and checked.

A chunk is a number of uncompressed rows followed by a CRC32C. Zarr would copy it three times, which took three quarters
of the time of streaming features.
"""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

THREADS = 2  # more do not read faster from one disk
_CRC_BYTES = 4

_crc32c: Any = importlib.import_module("crc32c").crc32c  # releases the GIL for large buffers


class ChunkError(ValueError):
    """A chunk is damaged or missing; the message names it."""


def read(folder: Path, start: int, out: NDArray[Any], rows: int) -> None:
    """Fill `out` (n, ...) with the rows from `start` on of the Zarr array in `folder`.

    `rows` is the number of rows of a chunk, `start` the first row of one.

    Raises
    ------
    ChunkError
        If a chunk is damaged or missing.

    """
    bytes_of_row = out[:1].nbytes
    wanted = out.view(np.uint8).reshape(-1)

    def one(number: int) -> None:
        first = number * rows - start
        part = wanted[first * bytes_of_row : (first + rows) * bytes_of_row]
        name = f"c/{number}" + "/0" * (out.ndim - 1)
        _read_chunk(folder / name, name, part, rows * bytes_of_row)

    # One or two chunks are read before a thread would start.
    numbers = range(start // rows, -(-(start + len(out)) // rows))
    for _ in _threads().map(one, numbers) if len(numbers) > THREADS else map(one, numbers):
        pass


def _read_chunk(path: Path, name: str, part: NDArray[np.uint8], size: int) -> None:
    """Read the first rows of a chunk of `size` bytes into `part` (bytes,) and check all of it."""
    try:
        with path.open("rb", buffering=0) as file:
            whole = part if len(part) == size else np.empty(size, dtype=np.uint8)
            found = file.readinto(whole.data)
            tail = file.read(_CRC_BYTES + 1)
    except FileNotFoundError:
        raise ChunkError(f"{name}: a chunk is missing") from None
    if found != size or len(tail) != _CRC_BYTES:
        raise ChunkError(f"{name}: a chunk is damaged (its length is not {size + _CRC_BYTES})")
    if _crc32c(whole) != int.from_bytes(tail, "little"):
        raise ChunkError(f"{name}: a chunk is damaged (its checksum does not match)")
    if whole is not part:
        part[:] = whole[: len(part)]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="chunks")

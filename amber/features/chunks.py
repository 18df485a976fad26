"""Feature chunks read from a local disk straight into place, each held against its checksum.

These are the bytes that Zarr would read: rows of numbers, uncompressed, and a CRC32C after them. Through Zarr a chunk
is copied three times on its way; where features are streamed, that was three quarters of the time.
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

_crc32c: Any = importlib.import_module("crc32c").crc32c  # of large buffers without holding up other threads


class ChunkError(ValueError):
    """A chunk whose content is not what was written; the message names it."""


def read(folder: Path, start: int, out: NDArray[Any], rows: int) -> None:
    """Fill `out` (n, ...) with the rows from `start` on of the Zarr array in `folder`, whose chunks hold `rows` rows.

    `start` is the first row of a chunk.

    Raises
    ------
    ChunkError
        If a chunk is damaged or not there.

    """
    bytes_of_row = out[:1].nbytes
    wanted = out.view(np.uint8).reshape(-1)

    def one(number: int) -> None:
        first = number * rows - start
        part = wanted[first * bytes_of_row : (first + rows) * bytes_of_row]
        name = f"c/{number}" + "/0" * (out.ndim - 1)
        _read_chunk(folder / name, name, part, rows * bytes_of_row)

    # One after the other without need: a chunk or two are read before a thread is awake.
    numbers = range(start // rows, -(-(start + len(out)) // rows))
    for _ in _threads().map(one, numbers) if len(numbers) > THREADS else map(one, numbers):
        pass


def _read_chunk(path: Path, name: str, part: NDArray[np.uint8], size: int) -> None:
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

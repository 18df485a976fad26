"""Reading Parquet files, ours and strangers': one file, held in Arrow's own memory, and checked before it is used.

Arrow's threads may outlive the interpreter: were they to read from a file of Python's, the process could abort while
it ends. A path would be enough for that, but what it leads to may change while it is read, and not every place has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from amber.errors import UserError


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; whatever is wrong with it, then or while it is read, is a `UserError`.

    `content` are its bytes, where they have been read before.
    """
    try:
        content = path.read_bytes() if content is None else content
        buffer = pa.allocate_buffer(len(content))
        memoryview(buffer).cast("B")[:] = content
        del content
        yield pq.ParquetFile(pa.BufferReader(buffer), page_checksum_verification=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    # What Arrow raises for damaged files is of many kinds; strings that are not UTF-8 come up when they are used.
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, LookupError, TypeError) as error:
        raise UserError(f"{path}: can't be read as Parquet: {_reason(error)}") from None


def read(path: Path, content: bytes | None = None) -> pa.Table:
    """Read a Parquet file whole; `content` are its bytes, where they have been read before.

    Raises
    ------
    UserError
        If it can't be read, or holds what its schema does not allow.

    """
    with opened(path, content) as file:
        table = file.read()
        table.validate(full=True)
        return table


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__

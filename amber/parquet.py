"""Reading Parquet files: a whole file is read into Arrow's own memory and checked before it is used.

Arrow's threads may outlive the interpreter; if they read from a Python file object, the process could abort at exit.
Arrow could open a path itself, but the file may change while it is read, and remote files have no local path.
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
    """Open a Parquet file. Whatever is wrong with it, now or while it is read, raises a `UserError`.

    `content` are its bytes, if they were read before.
    """
    try:
        content = path.read_bytes() if content is None else content
        buffer = pa.allocate_buffer(len(content))
        memoryview(buffer).cast("B")[:] = content
        del content
        yield pq.ParquetFile(pa.BufferReader(buffer), page_checksum_verification=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    # Arrow raises many kinds of exceptions for damaged files; strings that are not UTF-8 raise when they are used.
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, LookupError, TypeError) as error:
        raise UserError(f"{path}: can't be read as Parquet: {_reason(error)}") from None


def read(path: Path, content: bytes | None = None) -> pa.Table:
    """Read a whole Parquet file; `content` are its bytes, if they were read before.

    Raises
    ------
    UserError
        If it can't be read, or violates its schema.

    """
    with opened(path, content) as file:
        table = file.read()
        table.validate(full=True)
        return table


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__

"""Tables in files: CSV, TSV, Excel, JSON Lines and Parquet as columns and rows, one row at a time.

Anything ambiguous is refused, with its line: text in no encoding that is known or told, a stray quotation mark, a line
that is no JSON object. Rows are numbered from 1, the header of a CSV included.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from amber import parquet
from amber.errors import UserError, abbreviate
from amber.names import fold

from . import workbook
from .cells import CellError, decoder

SUFFIXES = (".csv", ".tsv", ".xlsx", ".parquet", ".jsonl", ".ndjson")
ENCODINGS = ("utf-8", "latin-1", "cp1252", "utf-16")
MOST_LINE = 1 << 24  # characters
MOST_CELL = 131_072  # characters of a cell in CSV: what Python's reader takes
BATCH = 5_000  # rows of Parquet that are Python's at a time

_SEPARATORS = (",", ";", "\t", "|")
_NAMED = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
Row = Mapping[str, Any]
Rows = Iterator[tuple[str, Row]]  # where a row is, and its cells by column


@dataclass(frozen=True)
class Table:
    """A table: its columns, and a remark if it was read in an unusual way."""

    path: Path
    header: list[str]
    remark: str = ""
    separator: str = ","
    skipped: int = 0  # lines before the header
    encoding: str | None = None  # as told; None: of the byte-order mark, UTF-8 without one
    sheet: str | None = None  # of a workbook

    @property
    def has_decimal_commas(self) -> bool:
        """Return whether a comma in a number can only be a decimal comma: where cells are not separated by commas."""
        return self.path.suffix.lower() in (".csv", ".tsv") and self.separator in (";", "\t")

    def rows(self) -> Rows:
        """Yield where each row is, and the row.

        Raises
        ------
        UserError
            If the rest of the file can't be read.

        """
        suffix = self.path.suffix.lower()
        if suffix == ".parquet":
            return _parquet_rows(self.path)
        if suffix == ".xlsx":
            return workbook.rows(self.path, self.sheet)
        return _json_rows(self.path, self.encoding) if suffix in (".jsonl", ".ndjson") else self._csv_rows()

    def _csv_rows(self) -> Rows:
        with _text(self.path, self.encoding) as file:
            records = _records(file, self)
            next(records)
            for number, (line, cells) in enumerate(records, 2):
                if not cells:
                    continue
                where = f"row {number}" if line == number else f"row {number} (line {line})"
                if len(cells) != len(self.header):
                    how = "more" if len(cells) > len(self.header) else "fewer"
                    raise UserError(f"{self.path}, {where}: {how} cells than the header has")
                yield where, dict(zip(self.header, cells, strict=True))


def open_table(
    path: Path, ids: Collection[str] = ("id",), encoding: str | None = None, sheet: str | None = None
) -> Table:
    """Find a table's columns.

    Parameters
    ----------
    path
        The file.
    ids
        Names of columns, one of which the separator of a CSV must bring out.
    encoding
        Of text without a byte-order mark, one of `ENCODINGS`; UTF-8 where absent.
    sheet
        Which sheet of a workbook; where absent, the only one that holds anything.

    Raises
    ------
    UserError
        If the file can't be read or has no columns, or a column occurs twice.

    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        with parquet.opened(path) as file:
            table = Table(path, list(file.schema_arrow.names))
    elif suffix == ".xlsx":
        table = Table(path, workbook.header(path, sheet), sheet=sheet)
    elif suffix in (".jsonl", ".ndjson"):
        rows = _json_rows(path, encoding, json.loads)
        table = Table(path, list(dict.fromkeys(name for _, row in rows for name in row)), encoding=encoding)
    else:
        table = _csv_table(path, ids, encoding)
    if not table.header:
        raise UserError(f"{path}: is empty, or begins with an empty line; the names of its columns must come first")
    if len(set(table.header)) < len(table.header):
        raise UserError(f"{path}: a column name occurs twice: {abbreviate(table.header, 12)}")
    return table


def _csv_table(path: Path, ids: Collection[str], encoding: str | None) -> Table:
    with _text(path, encoding) as file:
        usual, first, skipped = "\t" if path.suffix.lower() == ".tsv" else ",", _line(file, path), 0
        declared = re.fullmatch(r"sep=(.)\s*", first)  # as Excel writes it
        if declared:
            first, skipped = _line(file, path), 1
    separator = declared[1] if declared else _separator(first, usual, ids)
    said = f"read as separated by {_NAMED.get(separator, separator)}" if separator != usual else ""
    table = Table(path, [], said, separator, skipped, encoding)
    with _text(path, encoding) as file:
        _, header = next(_records(file, table), (1, []))
    return replace(table, header=[name.strip() for name in header])


def _separator(line: str, usual: str, ids: Collection[str]) -> str:
    """Return the separator that makes an id a column of the header, else the one that makes the most columns."""
    known = {fold(name) for name in ids}
    names = {s: next(csv.reader([line], delimiter=s), []) for s in (usual, *_SEPARATORS)}
    with_id = (s for s, found in names.items() if len(found) > 1 and any(fold(name) in known for name in found))
    return next(with_id, None) or max(names, key=lambda s: len(names[s]))


def _records(file: TextIO, table: Table) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of CSV, header included, each with the line that it begins in."""
    held: list[str] = []  # the lines of a record

    def lines() -> Iterator[str]:
        while line := _line(file, table.path):
            held.append(line)
            yield line

    for _ in range(table.skipped):
        _line(file, table.path)
    reader = csv.reader(lines(), delimiter=table.separator, strict=True)
    while True:
        held.clear()
        begun = reader.line_num + 1 + table.skipped
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{table.path}, line {begun}: {_quoting(str(error))}") from None
        if cells is None:
            return
        # Two stray quotation marks hide the rows between them in one cell, and the count of cells may be right.
        if len(held) > 1 and _are_rows(held, table):
            last = begun + len(held) - 1
            raise UserError(
                f"{table.path}, line {begun}: a quoted cell runs on to line {last}, over what looks like whole rows\n"
                "close the quotation mark, or write line breaks in a text as spaces"
            )
        yield begun, cells


def _are_rows(lines: list[str], table: Table) -> bool:
    """Return whether each line alone has as many cells as the header, which a text with line breaks hardly ever has."""
    return bool(table.header) and all(line.count(table.separator) == len(table.header) - 1 for line in lines)


def _quoting(reason: str) -> str:
    if "field limit" in reason:
        return f"a cell of over {MOST_CELL:,} characters; is a quotation mark left open in this line?"
    if "unexpected end" in reason:
        return "a quotation mark is opened and never closed"
    if "expected after" in reason:
        return 'text goes on after a closing quotation mark; inside a quoted cell, write "" for "'
    return f"not valid CSV: {reason}"


def _json_rows(path: Path, encoding: str | None = None, decode: Callable[[str], Any] = decoder.decode) -> Rows:
    with _text(path, encoding, newline="\n") as file:
        number = 0
        while line := _line(file, path):
            number += 1
            if not line.strip():
                continue
            try:
                row = decode(line)
            except CellError as error:
                raise UserError(f"{path}, line {number}: {error}") from None
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                hint = "; a JSON array? write one object per line" if number == 1 and line.lstrip()[:1] == "[" else ""
                raise UserError(f"{path}, line {number}: not a JSON object{hint}")
            yield f"line {number}", row


def _parquet_rows(path: Path) -> Rows:
    with parquet.opened(path) as file:
        number = 0
        for batch in file.iter_batches(batch_size=BATCH):
            batch.validate(full=True)
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row


@contextmanager
def _text(path: Path, told: str | None = None, newline: str | None = None) -> Iterator[TextIO]:
    """Open a text file in the encoding of its byte-order mark; without one, as told, UTF-8 by default."""
    try:
        with path.open("rb") as raw:
            head = raw.read(4096)
        encoding = _encoding(head, told)
        if not encoding.startswith(("utf-16", "utf-32")) and b"\0" in head:
            raise UserError(
                f"{path}: not UTF-8 text, but binary, or UTF-16 without its byte-order mark; save it as UTF-8\n"
                "if it is UTF-16: --set corpus.options.encoding=utf-16"
            )
        begin = head.decode(encoding, "ignore")
        with path.open(encoding=encoding, newline=newline) as file:
            file.read(len(begin) - len(begin.lstrip("\ufeff")))  # byte-order marks that a program put before the first
            yield file
    except UnicodeError:
        line = _undecodable(path) if encoding == "utf-8-sig" else ""
        hint = "\nor name its encoding: --set corpus.options.encoding=latin-1 (or cp1252)" if line else ""
        raise UserError(
            f"{path}{line}: not {encoding.removesuffix('-sig').upper()} text; "
            f"save it as UTF-8 (in Excel: CSV UTF-8){hint}"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None


def _encoding(head: bytes, told: str | None) -> str:
    """Return the encoding of a text that begins with `head`: a byte-order mark's, else the one told, else UTF-8."""
    if head.startswith(codecs.BOM_UTF8) or told is None:
        return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8-sig")
    usual = {"utf-8": "utf-8-sig", "utf-16": "utf-16-be" if head[:1] == b"\0" else "utf-16-le"}
    return next((name for mark, name in _MARKS if head.startswith(mark)), usual.get(told, told))


def _undecodable(path: Path) -> str:
    """Return which line of a file is the first that is not UTF-8, for messages."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f", line {number} (byte 0x{line[error.start]:02x})"
    return ""


def _line(file: TextIO, path: Path) -> str:
    """Return the next line, empty at the end."""
    line = file.readline(MOST_LINE + 1)
    if len(line) > MOST_LINE:
        raise UserError(f"{path}: a line of over {MOST_LINE:,} characters; is this a table with one row per line?")
    return line

"""Sheets of Excel workbooks (`.xlsx`) as columns and rows; through openpyxl, the extra `excel`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amber.errors import UserError, abbreviate, nearest


def header(path: Path, sheet: str | None) -> list[str]:
    """Return the names of a sheet's columns, which its first row holds.

    Raises
    ------
    UserError
        If openpyxl is missing, the file is no workbook, or it can't be told which sheet is meant.

    """
    with _lines(path, sheet) as lines:
        return _names(next(lines, ()), path)


def rows(path: Path, sheet: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each row is, and its cells by column; rows without any cell are no rows."""
    with _lines(path, sheet) as lines:
        names = _names(next(lines, ()), path)
        for number, cells in enumerate(lines, 2):
            if any(cell is not None for cell in cells[len(names) :]):
                raise UserError(f"{path}, row {number}: more cells than the header has")
            if any(cell is not None for cell in cells):
                padded = (*cells, *[None] * (len(names) - len(cells)))
                yield f"row {number}", dict(zip(names, padded, strict=False))


def _names(cells: tuple[Any, ...], path: Path) -> list[str]:
    given = list(cells)
    while given and given[-1] is None:
        given.pop()
    if None in given:
        raise UserError(f"{path}: column {given.index(None) + 1} has no name in the first row")
    return [str(name).strip() for name in given]


@contextmanager
def _lines(path: Path, sheet: str | None) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Open a sheet as tuples of values, one per row."""
    try:
        import openpyxl
    except ImportError:
        raise UserError(f"{path}: Excel tables need openpyxl: pip install '.[excel]'") from None
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a workbook that can be read ({error}); save it as .xlsx or CSV UTF-8") from None
    try:
        yield _sheet(book, path, sheet).iter_rows(values_only=True)
    finally:
        book.close()


def _sheet(book: Any, path: Path, sheet: str | None) -> Any:
    names = [found.title for found in book.worksheets]
    if sheet is not None:
        if sheet not in names:
            raise UserError(
                f"corpus.options.sheet: {path} has no sheet {sheet!r}{nearest(sheet, names)}; "
                f"it has {abbreviate(names)}"
            )
        return book[sheet]
    filled = [found for found in book.worksheets if any(map(any, found.iter_rows(max_row=2, values_only=True)))]
    if len(filled) != 1:
        raise UserError(
            f"{path}: {len(filled)} sheets hold something: {abbreviate(s.title for s in filled) or 'none'}\n"
            f"name one: --set corpus.options.sheet={filled[0].title if filled else 'NAME'}"
        )
    return filled[0]

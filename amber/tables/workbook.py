"""Sheets of Excel workbooks (`.xlsx`) as columns and rows; through openpyxl, the extra `excel`.

A cell that holds an error of Excel's, or a formula whose result was never stored, is refused: it is neither empty nor
a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    """Open a sheet as tuples of values, one per row; a `UserError` says what is wrong, now or while it is read."""
    try:
        import openpyxl
    except ImportError:
        raise UserError(f"{path}: Excel tables need openpyxl: pip install '.[excel]'") from None
    with ExitStack() as opened:

        def book(values: bool) -> Any:
            file = opened.enter_context(path.open("rb"))
            return openpyxl.load_workbook(file, read_only=True, data_only=values)

        try:
            found = _sheet(book(values=True), path, sheet)
            yield _values(found, lambda: _rows(book(values=False)[found.title]), path)
        except UserError:
            raise
        except Exception as error:
            # Whatever a damaged file makes the library raise.
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise UserError(
                f"{path}: not a workbook that can be read ({reason}); save it as .xlsx or CSV UTF-8"
            ) from error


def _rows(sheet: Any, **limits: int) -> Iterator[tuple[Any, ...]]:
    """Return the cells of a sheet by row, whatever size it says it has: some programs leave an old one there."""
    sheet.reset_dimensions()
    rows: Iterator[tuple[Any, ...]] = sheet.iter_rows(**limits)
    return rows


def _values(sheet: Any, formulas: Callable[[], Iterator[tuple[Any, ...]]], path: Path) -> Iterator[tuple[Any, ...]]:
    """Yield the values of each row. `formulas` opens the same rows with formulas for values."""
    from openpyxl.cell.read_only import EMPTY_CELL
    from openpyxl.utils import get_column_letter

    with_formulas: Iterator[tuple[int, tuple[Any, ...]]] | None = None
    for number, cells in enumerate(_rows(sheet), 1):
        troubles = {place: f"the error {cell.value}" for place, cell in enumerate(cells, 1) if cell.data_type == "e"}
        # What is in the file without a value: a blank cell with a format, or a formula; the result "" is of type str.
        blank = [n for n, c in enumerate(cells) if c.value is None and c is not EMPTY_CELL and c.data_type != "str"]
        if blank:
            with_formulas = with_formulas or enumerate(formulas(), 1)
            beside = next(row for other, row in with_formulas if other == number)
            troubles |= {n + 1: "a formula without a stored value" for n in blank if beside[n].data_type == "f"}
        if troubles:
            place, what = min(troubles.items())
            raise UserError(
                f"{path}, sheet {sheet.title!r}, row {number}, column {get_column_letter(place)}: holds {what}\n"
                "correct it, open and save the workbook in Excel, or paste values in place of formulas"
            )
        yield tuple(cell.value for cell in cells)


def _sheet(book: Any, path: Path, sheet: str | None) -> Any:
    names = [found.title for found in book.worksheets]
    if sheet is not None:
        if sheet not in names:
            raise UserError(
                f"corpus.options.sheet: {path} has no sheet {sheet!r}{nearest(sheet, names)}; "
                f"it has {abbreviate(names)}"
            )
        return book[sheet]
    filled = [found for found in book.worksheets if any(cell.value for row in _rows(found, max_row=2) for cell in row)]
    if len(filled) != 1:
        raise UserError(
            f"{path}: {len(filled)} sheets hold something: {abbreviate(s.title for s in filled) or 'none'}\n"
            f"name one: --set corpus.options.sheet={filled[0].title if filled else 'NAME'}"
        )
    return filled[0]

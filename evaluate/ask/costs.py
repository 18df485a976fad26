"""What a vote on an utterance costs: the same for all, or a column of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from amber.arrays import Floats
from amber.console import Console
from amber.errors import UserError, abbreviate
from amber.tables import cells
from amber.tables.cells import CellError
from amber.tables.tabular import open_table

COLUMN = "cost"


def costs(given: str | None, ids: Sequence[str], console: Console) -> Floats:
    """Return the cost of a vote on each utterance, (n,).

    Parameters
    ----------
    given
        A number, the path of a table with the columns `id` and `cost`, or None: every vote costs 1.
    ids
        The utterances, (n,).
    console
        Where ids of the table that are no utterances are counted.

    Raises
    ------
    UserError
        If a cost is missing or not above zero.

    """
    try:
        same = 1.0 if given is None else cells.number(given, "--cost")
    except CellError:
        return _of_table(Path(str(given)), ids, console)
    if same is None or same <= 0:
        raise UserError(f"--cost {given}: a vote must cost more than nothing")
    return np.full(len(ids), same)


def _of_table(path: Path, ids: Sequence[str], console: Console) -> Floats:
    if not path.is_file():
        raise UserError(f"--cost {path}: neither a number nor a table with the columns id and {COLUMN}")
    table = open_table(path)
    if missing := [name for name in ("id", COLUMN) if name not in table.header]:
        raise UserError(f"--cost {path}: no column {abbreviate(missing)}; its columns are {abbreviate(table.header)}")
    found: dict[str, float] = {}
    for where, row in table.rows():
        try:
            uid = cells.text(row.get("id"), "id")
            cost = cells.number(row.get(COLUMN), COLUMN, table.has_decimal_commas)
        except CellError as error:
            raise UserError(f"{path}, {where}: {error}") from None
        if uid is None or uid in found:
            raise UserError(f"{path}, {where}: " + ("no id" if uid is None else f"{uid} is there twice"))
        if cost is None or cost <= 0:
            raise UserError(f"{path}, {where}: a vote on {uid} must cost more than nothing")
        found[uid] = cost
    if missing := [uid for uid in ids if uid not in found]:
        raise UserError(f"--cost {path}: no cost for {len(missing)} utterances: {abbreviate(missing, 3)}")
    if unknown := sorted(found.keys() - set(ids)):
        console.warn(f"{path}: {len(unknown)} ids are no utterances of these runs: {abbreviate(unknown, 3)}")
    return np.array([found[uid] for uid in ids])

"""Experiments -> their matrix of corpora: `matrix.json` and `matrix.html` in the folder of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amber.console import Console
from amber.location import reaching

from .. import finding
from .measure import matrix
from .page import PAGE, render
from .tables import text


@dataclass(frozen=True)
class Matrix:
    """What `matrix.json` holds, and where it is."""

    folder: Path
    data: dict[str, Any]

    def text(self) -> str:
        """Return the tables, and the page's place."""
        return f"{text(self.data['cells'])}\n\npage: {self.folder / PAGE}"


def run(folders: Sequence[Path], console: Console) -> Matrix:
    """Score experiments and write what they come to; the errors are those of `measure.matrix`."""
    cells, runs = matrix(folders, console)
    data = {"cells": [cell.as_json() for cell in cells]}
    named = {finding.named(folder, folders[0]): of for folder, of in zip(folders, runs, strict=True)}
    with reaching(folders[0]):
        data = finding.write(folders[0], finding.MATRIX, named, data, {PAGE: render(data["cells"]).encode()})
    return Matrix(folders[0], data)

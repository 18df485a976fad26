"""`amber matrix`: experiments that were trained on one corpus and tested on others, in one table."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from amber import cli_options as options
from amber.cli_options import Command, examples
from amber.console import print_result
from amber.location import locate


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    shown = (
        "amber matrix runs/iemocap runs/iemocap-on-msp-podcast",
        "amber matrix runs/iemocap runs/iemocap-on-msp-podcast runs/msp-podcast runs/msp-podcast-on-iemocap --json",
    )
    app.command(cls=Command, epilog=examples(*shown))(matrix)


def matrix(
    context: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUNS...", help="Experiments, such as runs/iemocap runs/iemocap-on-msp-podcast."),
    ],
    as_json: options.Json = False,
) -> None:
    """Print the matrix of corpora: what was trained on one scores on another, with 95 % intervals.

    The page `matrix.html` is written to the first experiment's folder.
    """
    from amber.evaluate.corpora import stage

    found = stage.run([locate(folder) for folder in runs], context.obj.console)
    print_result(json.dumps(found.data["cells"], indent=1) if as_json else found.text())

"""`amber ask`: which utterances deserve another rater."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from amber import cli_options as options
from amber.cli_options import Command, examples
from amber.console import print_result
from amber.errors import UserError
from amber.location import locate

DRAWS = 10


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    shown = ("amber ask --runs runs/demo --budget 200", "amber ask --runs runs/demo --validate")
    app.command(cls=Command, epilog=examples(*shown))(ask)


def ask(
    context: typer.Context,
    runs: options.Experiment,
    variant: options.Variant = None,
    budget: Annotated[
        float | None, typer.Option("--budget", help="What all votes may cost. [default: one vote on each, ranked]")
    ] = None,
    cost: Annotated[
        str | None, typer.Option("--cost", help="What a vote costs: a number, or a table of id and cost. [default: 1]")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="The most new votes on one utterance.")] = 10,
    out: Annotated[
        Path | None, typer.Option("--out", help="The list as CSV. [default: ask.csv in the experiment's folder]")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="Predictions of utterances without a vote: they are ranked by them alone."),
    ] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Hide votes of these runs, ask for them, and say whether it paid.")
    ] = False,
    shown: Annotated[
        str, typer.Option("--shown", help="With --validate, how many votes are shown, such as 3 or 1-5.")
    ] = "3",
    draws: Annotated[int, typer.Option("--draws", min=2, help="With --validate, how often votes are hidden.")] = DRAWS,
    as_json: options.Json = False,
) -> None:
    """Rank utterances by how much one more rater's vote is expected to tell of the panel's distribution."""
    if validate and any(given is not None for given in (budget, cost, out, predictions)):
        raise UserError("amber ask: --validate takes no --budget, --cost, --predictions or --out\nit writes ask.html")
    if out is not None and out.suffix.lower() != ".csv":
        raise UserError(f"--out {out}: end the name in .csv")
    from amber.evaluate.ask import page, stage

    if validate:
        found, path = stage.check(locate(runs), variant, _range(shown), draws, context.obj.console)
        print_result(json.dumps(asdict(found), indent=1) if as_json else f"{page.plain(found)}\n\npage: {path}")
        return
    asked = stage.ask(locate(runs), variant, budget, cost, most, out, context.obj.console, predictions)
    print_result(json.dumps(asked.rows(), indent=1) if as_json else asked.text())


def _range(shown: str) -> tuple[int, int]:
    """Return the least and the greatest number of votes that are shown."""
    match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", shown.strip())
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high:
        raise UserError(f"--shown {shown}: a number of votes from 1 on, or a range such as 1-5")
    return low, high

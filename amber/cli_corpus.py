"""The commands `amber corpus check` and `amber corpus synth`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from amber import cli_options as options
from amber import document
from amber.cli_options import Command, examples
from amber.console import print_result
from amber.errors import UserError, printable

app = typer.Typer(help="Check a corpus on disk, or write a synthetic one in a licensed layout.", rich_markup_mode=None)


@app.command(
    cls=Command,
    epilog=examples(
        "amber corpus check --dataset iemocap --root DIR",
        "amber corpus check --dataset msp-podcast --root DIR --option test=Test2 --json",
    ),
)
def check(
    dataset: options.NeededCorpus,
    root: Annotated[Path | None, typer.Option("--root", help="The folder or the table of the corpus.")] = None,
    given: options.LoaderOptions = None,
    as_json: options.Json = False,
) -> None:
    """Check a corpus against what is known of it; exit code 1 if a finding is fatal."""
    from amber.extract import checks
    from amber.extract.corpora import Source

    source = Source(dataset, dataset, cache=Path("cache", dataset), root=root, options=_options(given))
    report = checks.run(source)
    print_result(json.dumps(report.as_json(), indent=1, ensure_ascii=False) if as_json else report.text())
    if not report.passed:
        raise typer.Exit(1)


@app.command(
    cls=Command,
    epilog=examples(
        "amber corpus synth --layout iemocap --out DIR", "amber corpus synth --layout crema-d --out DIR --size 100"
    ),
)
def synth(
    layout: options.Layout,
    out: Annotated[Path, typer.Option("--out", help="The folder to write, which must be new or empty.")],
    size: Annotated[int, typer.Option("--size", min=1, help="How many utterances to write.")] = 600,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the random generator.")] = 0,
) -> None:
    """Write the demo corpus in the exact layout of a licensed one, its quirks included."""
    from amber.extract import synthetic

    synthetic.run(layout, out, size, seed)
    dataset = "msp-podcast" if layout.startswith("msp-podcast") else layout
    print_result(f"{out}: synthetic; try `amber corpus check --dataset {dataset} --root {out}`")


def _options(pairs: list[str] | None) -> dict[str, Any]:
    found = {}
    for pair in pairs or ():
        key, sign, value = pair.partition("=")
        if not sign:
            raise UserError(f"--option {pair}: write it as key=value")
        try:
            found[key.strip()] = document.parse(value)
        except document.DocumentError as error:
            raise UserError(f"--option {printable(pair)[:120]}: {error}") from None
    return found

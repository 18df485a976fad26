"""The commands `amber corpus check` and `amber corpus synth`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from amber import document
from amber.console import print_result
from amber.errors import UserError, printable

app = typer.Typer(help="Check a corpus on disk, or write a synthetic one in a licensed layout.", rich_markup_mode=None)

Option = Annotated[list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="A loader's own option.")]


@app.command()
def check(
    dataset: Annotated[str, typer.Option("--dataset", help="iemocap, msp-podcast, crema-d, table.")],
    root: Annotated[Path | None, typer.Option("--root", help="The folder of the corpus.")] = None,
    options: Option = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a corpus against what is known of it; exit code 1 if a finding is fatal."""
    from amber.extract import checks
    from amber.extract.corpora import Source

    source = Source(dataset, dataset, cache=Path("cache", dataset), root=root, options=_options(options))
    report = checks.run(source)
    print_result(json.dumps(report.as_json(), indent=1, ensure_ascii=False) if as_json else report.text())
    if not report.passed:
        raise typer.Exit(1)


@app.command()
def synth(
    layout: Annotated[str, typer.Option("--layout", help="iemocap, msp-podcast[-1.6|-2.0] or crema-d.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    size: Annotated[int, typer.Option("--size", min=1, help="Utterances.")] = 600,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random generator.")] = 0,
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

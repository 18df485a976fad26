"""`amber curve`: what more raters and more utterances are worth, trained and measured from the cache."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from amber import cli_options as options
from amber.cli_config import dataset_of, listed, load_given
from amber.cli_options import Command, examples
from amber.cluster import Cluster
from amber.console import print_result
from amber.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    shown = ("amber curve --features cache/ --dataset crema-d", "amber curve --votes 1,2,4 --draws 5 --dry-run")
    app.command(cls=Command, epilog=examples(*shown))(curve)


def curve(
    context: typer.Context,
    features: options.CacheFolder = None,
    dataset: options.Cached = None,
    config_file: options.ConfigFile = None,
    variants: Annotated[str, typer.Option("--variants", help="Variants to train, with commas between them.")] = "soft",
    votes: Annotated[
        str | None,
        typer.Option("--votes", help="Votes per utterance, such as 1,2,3. [default: 1,2,3,5,8,… to the median]"),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, help="How often votes are drawn.")] = 3,
    shares: Annotated[
        bool, typer.Option("--shares/--no-shares", help="Also use fewer utterances with more votes, at equal cost.")
    ] = True,
    seeds: options.Seeds = None,
    runs: options.RunsFolder = None,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    overrides: options.Set = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Train with 1, 2, 3, … votes per utterance and measure where more raters stop paying.

    The test part keeps all of its votes. Runs that are done are not done again.
    """
    cluster = Cluster(workers, scheduler)
    given: dict[str, Any] = {"seeds": listed(seeds), "runs": runs}
    config = load_given(config_file, overrides, features={"cache": features}, train=given)
    from amber.evaluate.curve import stage as measuring
    from amber.train import curve as planning
    from amber.train import stage as training

    name = dataset_of(config, dataset)
    counts = _counts(votes) if votes else None
    made = planning.configured(config, name, [str(v) for v in listed(variants) or []], counts, draws, shares)
    if dry_run:
        print_result("\n".join(training.plan(made, name)))
        return
    experiment = training.run(made, name, context.obj.console, cluster)
    result = measuring.run(experiment.folder, made.train.variants, context.obj.console)
    print_result(json.dumps(result.data, indent=1) if as_json else result.text())


def _counts(votes: str) -> list[int]:
    found = listed(votes) or []
    if not all(isinstance(one, int) for one in found):
        raise UserError(f"--votes {votes}: give counts of votes, such as 1,2,3")
    return found

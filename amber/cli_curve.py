"""`amber curve`: what more raters and more utterances are worth, trained and measured from the cache."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from amber.cli_config import ConfigFile, Set, dataset_of, listed, load_given
from amber.cluster import Cluster
from amber.console import print_result
from amber.errors import UserError


def curve(
    context: typer.Context,
    features: Annotated[str | None, typer.Option("--features", help="The feature cache (default: cache/).")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="The dataset's name in the cache.")] = None,
    config_file: ConfigFile = None,
    variants: Annotated[str, typer.Option("--variants", help="Such as soft,amber2.")] = "soft",
    votes: Annotated[
        str | None,
        typer.Option("--votes", help="Votes an utterance, such as 1,2,3 (default: 1,2,3,5,8,… to the median)."),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, help="How often votes are drawn.")] = 3,
    shares: Annotated[
        bool, typer.Option("--shares/--no-shares", help="Also fewer utterances with more votes, at equal cost.")
    ] = True,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Such as 0,1,2.")] = None,
    runs: Annotated[str | None, typer.Option("--runs", help="Where runs are kept (default: runs/).")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes of a local Dask cluster.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="A running one: tcp://host:8786.")] = None,
    overrides: Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; compute and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train with 1, 2, 3, … votes an utterance and measure where more raters stop paying.

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

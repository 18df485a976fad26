"""The command `amber transcribe`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from amber import cli_options as options
from amber.cli_config import load_given
from amber.cli_options import Command, examples
from amber.console import print_result
from amber.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    shown = (
        "amber transcribe --dataset table --root TABLE.csv --model openai/whisper-small --language de",
        "amber transcribe --config pipeline.yaml --model FOLDER --dry-run",
    )
    app.command(cls=Command, epilog=examples(*shown))(transcribe)


def transcribe(
    context: typer.Context,
    dataset: options.Corpus = None,
    root: options.Root = None,
    name: options.Name = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The recogniser, Whisper or CTC: a folder, or a model on the hub.")
    ] = None,
    language: Annotated[str | None, typer.Option("--language", help="{transcribe.language}")] = None,
    device: options.Device = None,
    precision: options.Precision = None,
    max_seconds: options.MaxSeconds = None,
    max_failures: options.MaxFailures = None,
    retry_failed: options.RetryFailed = False,
    features: options.CacheFolder = None,
    config_file: options.ConfigFile = None,
    overrides: options.Set = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Transcribe a corpus's recordings by machine into the cache; only what is not transcribed yet."""
    if not config_file and not dataset:
        raise UserError("amber transcribe: say which corpus with --dataset (demo, table, …) or --config")
    config = load_given(
        config_file,
        overrides,
        corpus={"dataset": dataset, "root": root, "name": name},
        transcribe={"model": model, "language": language},
        features={
            "device": device,
            "precision": precision,
            "max_seconds": max_seconds,
            "max_failures": max_failures,
            "cache": features,
        },
    )
    from amber.extract import transcribe as stage

    if dry_run:
        print_result("\n".join(stage.plan(config)))
        return
    outcome = stage.run(config, context.obj.console, retry_failed)
    print_result(json.dumps(outcome.as_json(), indent=1) if as_json else "\n".join(outcome.lines()))

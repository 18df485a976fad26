"""The command `amber transcribe`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from amber.cli_config import load_given
from amber.console import print_result
from amber.errors import UserError


def transcribe(
    context: typer.Context,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="demo, table, audformat, iemocap, msp-podcast, crema-d.")
    ] = None,
    root: Annotated[str | None, typer.Option("--root", help="Where the corpus lies.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Its name in the cache (default: the dataset).")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Whisper or CTC: a folder or a hub model.")] = None,
    language: Annotated[str | None, typer.Option("--language", help="For multilingual Whisper, such as de.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, …")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")] = None,
    max_seconds: Annotated[float | None, typer.Option("--max-seconds", help="Longest piece of audio.")] = None,
    max_failures: Annotated[float | None, typer.Option("--max-failures", help="Share that may fail.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Do units with failures again.")] = False,
    features: Annotated[str | None, typer.Option("--features", help="The feature cache (default: cache/).")] = None,
    config_file: Annotated[Path | None, typer.Option("--config", help="A pipeline file.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a configuration key.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; compute and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
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

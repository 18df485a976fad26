"""`amber predict` and `amber export`: use a trained model, and make a bundle of it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from amber import cli_options as options
from amber.cli_options import Command, examples
from amber.console import print_result
from amber.errors import UserError
from amber.location import locate

Model = Annotated[
    str,
    typer.Option("--model", help="A bundle, a run's folder or an experiment's, such as runs/demo; or hf://OWNER/NAME."),
]
_SPEECH_FOLDER = "The folder of the speech encoder, if it is not where it was in training."
_TEXT_FOLDER = "The folder of the text encoder, if it is not where it was in training."


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    asked = (
        'amber predict --model runs/demo recording.wav --text "what a day"',
        "amber predict --model BUNDLE --table clips.csv --out predictions.csv",
    )
    app.command(cls=Command, epilog=examples(*asked))(predict)
    made = (
        "amber export --runs runs/demo --variant amber2 --to BUNDLE",
        "amber export --runs runs/demo --to BUNDLE --push OWNER/NAME",
    )
    app.command(cls=Command, epilog=examples(*made))(export)


def predict(
    context: typer.Context,
    model: Model,
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Recordings, folders of them, or `-` for JSON lines on standard input."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", help="The words; once per recording, or alone.")] = None,
    table: Annotated[
        Path | None, typer.Option("--table", help="A table with `id` and `audio` or `text` (CSV, JSON Lines, Parquet).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="A file ending in .jsonl, .csv or .parquet. [default: JSON lines on standard output]"
        ),
    ] = None,
    features: Annotated[
        Path | None, typer.Option("--features", help="Where features are kept while a table is predicted.")
    ] = None,
    variant: options.Variant = None,
    speech: Annotated[str | None, typer.Option("--speech", help=_SPEECH_FOLDER)] = None,
    text_encoder: Annotated[str | None, typer.Option("--text-encoder", help=_TEXT_FOLDER)] = None,
    device: Annotated[str, typer.Option("--device", help="Where the encoders run: auto, cpu, cuda, …")] = "auto",
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
) -> None:
    """Predict how raters would vote on recordings and texts.

    Per utterance: the distribution over emotions, each expert's, the most likely class, the predicted ambiguity, and
    the conflict between voice and words. A file that can't be read is a row with its error.
    """
    from amber.cluster import Cluster
    from amber.predict import inputs, rows, stage
    from amber.predict.model import load

    if sum(map(bool, (table, files, text and not files))) != 1:
        raise UserError("amber predict: give recordings, --text, or --table; `-` reads JSON lines from standard input")
    rows.format_of(out)  # a mistake is found before anything is computed
    loaded = load(model, variant)
    encoders = {modality: name for modality, name in (("speech", speech), ("text", text_encoder)) if name}
    chosen = stage.Options(encoders, device, Cluster(workers, scheduler))
    with tempfile.TemporaryDirectory(prefix="amber-") as folder:
        if files == ["-"]:
            corpus = inputs.of_json_lines(sys.stdin.buffer.read(), Path(folder))
        elif table:
            corpus = inputs.of_table(table)
        else:
            corpus = inputs.of_files([Path(file) for file in files or []], text or [])
        cache = features or (out.with_name(f".{out.name}.features") if out else Path(folder, "cache"))
        found = stage.run(loaded, corpus, cache, chosen, context.obj.console)
        if out:
            rows.write(out, found, loaded.classes, loaded.experts)
        else:
            print_result(rows.rendered(found, loaded.classes, loaded.experts, "jsonl").decode())
    if out and not features:
        stage.remove(cache)
    context.obj.console.say(rows.answered(found))
    failed = [one for one in found if one.error]
    if failed:
        context.obj.console.warn(
            f"{len(failed)} of {len(found)} have an error, first {failed[0].id}: {failed[0].error}"
        )


def export(
    context: typer.Context,
    runs: options.Experiment,
    to: Annotated[Path, typer.Option("--to", help="The bundle's folder, which must not be there yet.")],
    variant: options.Variant = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also write the heads as heads.onnx, for use without amber.")
    ] = False,
    final: Annotated[
        bool, typer.Option("--final", help="Make one model, trained on all utterances as the folds' models were.")
    ] = False,
    features: Annotated[
        str | None, typer.Option("--features", help="The cache for --final. [default: the one that the runs read]")
    ] = None,
    push: Annotated[
        str | None, typer.Option("--push", help="Also upload it: OWNER/NAME on the hub, private if it is new.")
    ] = None,
) -> None:
    """Make a bundle of a trained variant: one folder to use with `amber predict`, to hand on and to publish.

    The models of all folds and seeds answer together: the mean of their distributions. With --final, one model answers
    that learned from all utterances, with the steps, temperature and weights that the folds chose; the figures in its
    card are those of the folds' models.
    """
    from amber.predict import export as exporting
    from amber.predict import hub

    if push:
        hub.check(push)  # a mistake is found before anything is written
    console = context.obj.console
    console.say(exporting.run(locate(runs), variant, to, exporting.Options(onnx, final, features), console))
    if push:
        hub.push(to, push)
        context.obj.console.say(f"uploaded; to be used as --model {hub.SCHEME}{push}")
    print_result(str(to))

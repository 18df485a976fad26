"""The command line. Stages are imported when their command runs, so that `amber --help` answers at once."""

from __future__ import annotations

import io
import json
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amber import __version__, cli_config, cli_predict
from amber.cli_ask import ask
from amber.cli_cache import app as cache_app
from amber.cli_config import load_given as _load
from amber.cli_corpus import app as corpus_app
from amber.cli_transcribe import transcribe
from amber.console import Console, print_result
from amber.errors import RunFailure, UserError
from amber.machine import set_thread_defaults

if TYPE_CHECKING:
    from amber.config import Config

# Some releases of typer carry their own click, others use the installed one: this is the right class in both.
_UsageError: Any = typer.BadParameter.__bases__[0]

INTERRUPTED = 130  # typer turns the keyboard's interrupt into this exit code
PAPER_ENCODERS = {"speech": "facebook/wav2vec2-base", "text": "bert-base-uncased"}

app = typer.Typer(
    name="amber",
    help="Emotion in speech and text as a distribution over emotions: extract once, experiment in minutes.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(corpus_app, name="corpus")
app.add_typer(cache_app, name="cache")
app.command("config")(cli_config.config)
app.command("variants")(cli_config.variants)
app.command("predict")(cli_predict.predict)
app.command("export")(cli_predict.export)
app.command()(transcribe)
app.command()(ask)


@dataclass
class State:
    """The options that stand before the command."""

    console: Console
    debug: bool


ConfigFile = Annotated[Path | None, typer.Option("--config", help="A pipeline file; defaults where absent.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a configuration key.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Features = Annotated[str | None, typer.Option("--features", help="The feature cache (default: cache/).")]
Dataset = Annotated[str | None, typer.Option("--dataset", help="The dataset's name in the cache.")]
RunsFolder = Annotated[str | None, typer.Option("--runs", help="Where runs are kept (default: runs/).")]


def _version(wanted: bool) -> None:
    if wanted:
        print_result(f"amber {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results, warnings, errors.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    context.obj = State(Console(quiet), debug)


@app.command()
def run(
    context: typer.Context,
    pipeline: Annotated[Path | None, typer.Argument(help="Default: pipeline.yaml here, if there is one.")] = None,
    overrides: Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; compute and write nothing.")] = False,
) -> None:
    """Run every stage of a pipeline, doing only what is missing.

    Where `corpus.transcripts` asks for machine words and `transcribe.model` names a recogniser, it transcribes first.
    """
    from amber.extract import stage as extraction
    from amber.extract import transcribe as transcription

    path = pipeline or (Path("pipeline.yaml") if Path("pipeline.yaml").exists() else None)
    config = _load(path, overrides)
    console = context.obj.console
    dataset = config.corpus.name or config.corpus.dataset
    if dry_run:
        print_result("\n".join(_plan(config, dataset)))
        return
    _check_matrix(config)
    if transcription.is_due(config):
        for line in transcription.run(config, console).lines():
            console.say(line)
    outcomes = extraction.run(config, console)
    from amber.evaluate import stage as evaluation
    from amber.train import stage as training

    configs = _per_encoder(config, outcomes) if config.features.encoders else [config]
    folders = [training.run(one, dataset, console).folder for one in configs]
    result = evaluation.run(folders, config.evaluate, console)
    print_result(result.text())


@app.command()
def extract(
    context: typer.Context,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="demo, table, iemocap, msp-podcast, crema-d.")
    ] = None,
    root: Annotated[str | None, typer.Option("--root", help="Where the corpus lies.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Its name in the cache (default: the dataset).")] = None,
    speech: Annotated[str | None, typer.Option("--speech", help="Encoder: a name, a folder or a hub model.")] = None,
    encoders: Annotated[
        str | None, typer.Option("--encoders", help="Several speech encoders in one pass: a,b,c.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Encoder: a name, a folder or a hub model.")] = None,
    level: Annotated[str | None, typer.Option("--level", help="pooled or frames.")] = None,
    layers: Annotated[str | None, typer.Option("--layers", help="all, last, or numbers such as 6,12.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="float16 or float32.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, …")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")] = None,
    max_seconds: Annotated[float | None, typer.Option("--max-seconds", help="Longest window of audio.")] = None,
    max_failures: Annotated[float | None, typer.Option("--max-failures", help="Share that may fail.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Do units with failures again.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare recordings by content, not size and date.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes of a local Dask cluster.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="A running one: tcp://host:8786.")] = None,
    features: Features = None,
    config_file: ConfigFile = None,
    overrides: Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; compute and write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Extract frozen speech and text features of a corpus into the cache; only what it lacks."""
    from amber.extract import stage

    if not config_file and not dataset:
        raise UserError("amber extract: say which corpus with --dataset (demo, table, …) or --config")
    if speech and encoders:
        raise UserError("amber extract: --encoders stands in place of --speech; give one of them")
    if workers and scheduler:
        raise UserError("amber extract: --workers starts a cluster, --scheduler uses a running one; give one of them")
    # Without a pipeline file, the encoders are the paper's.
    defaults = {} if config_file else PAPER_ENCODERS
    config = _load(
        config_file,
        overrides,
        corpus={"dataset": dataset, "root": root, "name": name},
        features={
            "speech": speech or defaults.get("speech"),
            "encoders": _parts(encoders),
            "text": text or defaults.get("text"),
            "level": level,
            "layers": layers,
            "dtype": dtype,
            "device": device,
            "precision": precision,
            "max_seconds": max_seconds,
            "max_failures": max_failures,
            "cache": features,
        },
    )
    if dry_run:
        print_result("\n".join(stage.plan(config)))
        return
    cluster = stage.Cluster(workers, scheduler)
    outcomes = stage.run(config, context.obj.console, cluster, retry_failed, check)
    if as_json:
        print_result(json.dumps([outcome.as_json() for outcome in outcomes], indent=1))


@app.command()
def train(
    context: typer.Context,
    features: Features = None,
    dataset: Dataset = None,
    config_file: ConfigFile = None,
    variants: Annotated[str | None, typer.Option("--variants", help="Such as ce,soft,amber2.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Such as 0,1,2.")] = None,
    folds: Annotated[str | None, typer.Option("--folds", help="all, or numbers such as 1,2.")] = None,
    runs: RunsFolder = None,
    overrides: Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; compute and write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Train every variant, fold and seed that is not done, on cached features."""
    config = _load(
        config_file,
        overrides,
        features={"cache": features},
        train={
            "variants": _listed(variants),
            "seeds": _listed(seeds),
            "folds": folds if folds in (None, "all") else _listed(folds),
            "runs": runs,
        },
    )
    if config.features.encoders:
        raise UserError("amber train: features.encoders is for `amber run`; say which with --set features.speech=NAME")
    from amber.train import stage

    if dry_run:
        print_result("\n".join(stage.plan(config, _dataset(config, dataset))))
        return
    experiment = stage.run(config, _dataset(config, dataset), context.obj.console)
    if as_json:
        done = [str(experiment.folder / run.path) for run in experiment.runs]
        print_result(json.dumps({"experiment": str(experiment.folder), "runs": done}, indent=1))


@app.command()
def evaluate(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--runs", help="An experiment's folder, such as runs/demo; several: side by side."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[RUNS]...", help="As --runs: `--runs a b c`.")] = None,
    imports: Annotated[
        list[Path] | None, typer.Option("--import", help="A table of another system's predictions; several: again.")
    ] = None,
    names: Annotated[list[str] | None, typer.Option("--name", help="What to call it; once for each --import.")] = None,
    overrides: Set = None,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Turn the predictions of an experiment, or of several side by side, into metrics, tables and a report.

    Other systems' predictions stand in the same table: `amber evaluate --runs runs/demo --import gemini.csv`.
    """
    folders = [*(runs or []), *(more or [])]
    if not folders:
        raise UserError("amber evaluate: say which experiment with --runs, such as --runs runs/demo")
    config = _load(config_file, overrides)
    from amber.evaluate import imported, stage

    tables = imported.sources(imports or [], names or [])
    result = stage.run(folders, config.evaluate, context.obj.console, tables)
    print_result(json.dumps(result.metrics, indent=1) if as_json else result.text())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use or configuration, 130 interrupted."""
    set_thread_defaults()
    for stream in (sys.stdout, sys.stderr):  # names of files may hold bytes that are not UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = app(args=list(arguments), prog_name="amber", standalone_mode=False)
    except _UsageError as error:
        code = _fail(f"{error.format_message()} (see `{_command(error)} --help`)", 2)
    except UserError as error:
        code = _fail(str(error), 2, debug="--debug" in arguments)
    except RunFailure as error:
        code = _fail(str(error), 1, debug="--debug" in arguments)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        code = _fail(f"{error.strerror or error}: {error.filename or ''}", 1, debug="--debug" in arguments)
    if code == INTERRUPTED:
        _fail("interrupted; what was finished is kept, the same command goes on from there", code)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"amber: {message}\n")
    return code


def _command(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context else "amber"


def _parts(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _listed(text: str | None) -> list[Any] | None:
    parts = _parts(text)
    if parts is None:
        return None
    return [int(part) if re.fullmatch(r"[0-9]{1,20}", part) else part for part in parts]


def _dataset(config: Config, dataset: str | None) -> str | None:
    """Return the dataset that was named, on the command line or by the configuration's corpus."""
    if dataset or "corpus" not in config.model_fields_set:
        return dataset
    named = config.corpus.name or ("dataset" in config.corpus.model_fields_set and config.corpus.dataset)
    return named or None


def _check_matrix(config: Config) -> None:
    """Refuse mistakes in the variants before hours of extraction."""
    from amber.train import matrix, utterances

    utterances.refuse_unread(config.features, matrix.variants(config))


def _per_encoder(config: Config, outcomes: Sequence[Any]) -> list[Config]:
    """Return the configuration of each experiment of a comparison of encoders, by what extraction found."""
    from amber import encoder_table
    from amber.features.store import FeatureStore

    sets = [FeatureStore.open(one.location).spec for one in outcomes if one.modality == "speech"]
    name = config.experiment or config.corpus.name or config.corpus.dataset
    return encoder_table.experiments(config, name, sets)


def _plan(config: Config, dataset: str) -> list[str]:
    """Return what `amber run` would do; training can be planned in full only once its features are there."""
    from amber.extract import stage as extraction
    from amber.extract import transcribe as transcription

    _check_matrix(config)
    if transcription.is_due(config):
        lines = [*transcription.plan(config), f"extract {dataset}: transcripts come first"]
    else:
        lines = extraction.plan(config)
    from amber.train import matrix
    from amber.train import stage as training

    try:
        return [*lines, *training.plan(config, dataset)]
    except UserError:
        names = ", ".join(variant.name for variant in matrix.variants(config))
        return [*lines, f"train {names}, seeds {config.train.seeds}, folds {config.train.folds}: features come first"]


if __name__ == "__main__":
    main()

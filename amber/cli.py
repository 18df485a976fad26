"""The command line. Stages are imported when their command runs, so that `amber --help` answers at once."""

from __future__ import annotations

import io
import json
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amber import (
    __version__,
    cli_ask,
    cli_cache,
    cli_config,
    cli_corpus,
    cli_curve,
    cli_matrix,
    cli_predict,
    cli_transcribe,
    interrupt,
)
from amber import cli_options as options
from amber.cli_config import dataset_of as _dataset
from amber.cli_config import listed as _listed
from amber.cli_config import load_given as _load
from amber.cli_options import Command, examples
from amber.cluster import Cluster
from amber.console import Console, print_result
from amber.errors import RunFailure, UserError, abbreviate
from amber.location import locate
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
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@dataclass
class State:
    """The options that stand before the command."""

    console: Console
    debug: bool


def _version(wanted: bool) -> None:
    if wanted:
        print_result(f"amber {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results, warnings and errors.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    context.obj = State(Console(quiet), debug)


@app.command(
    cls=Command,
    epilog=examples("amber run", "amber run pipelines/iemocap.yaml --set corpus.root=DIR --dry-run"),
)
def run(
    context: typer.Context,
    pipeline: Annotated[
        Path | None, typer.Argument(help="The pipeline file. [default: pipeline.yaml here, if there is one]")
    ] = None,
    overrides: options.Set = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
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
    print_result(json.dumps(result.metrics, indent=1) if as_json else result.text())


@app.command(
    cls=Command,
    epilog=examples(
        "amber extract --dataset demo --speech logmel --text minilm",
        "amber extract --dataset table --root TABLE.csv --level frames --layers last",
    ),
)
def extract(
    context: typer.Context,
    dataset: options.Corpus = None,
    root: options.Root = None,
    name: options.Name = None,
    speech: options.SpeechEncoder = None,
    encoders: Annotated[
        str | None, typer.Option("--encoders", help="Several speech encoders in one pass: a,b,c.")
    ] = None,
    text: options.TextEncoder = None,
    level: options.Level = None,
    layers: options.Layers = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    precision: options.Precision = None,
    max_seconds: options.MaxSeconds = None,
    max_failures: options.MaxFailures = None,
    retry_failed: options.RetryFailed = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare recordings by content, not by size and date.")
    ] = False,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    features: options.CacheFolder = None,
    config_file: options.ConfigFile = None,
    overrides: options.Set = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Extract frozen speech and text features of a corpus into the cache; only what it lacks."""
    from amber.extract import stage

    if not config_file and not dataset:
        raise UserError("amber extract: say which corpus with --dataset (demo, table, …) or --config")
    if speech and encoders:
        raise UserError("amber extract: --encoders stands in place of --speech; give one of them")
    cluster = Cluster(workers, scheduler)
    # Without a pipeline file, the encoders are the paper's.
    defaults = {} if config_file else PAPER_ENCODERS
    config = _load(
        config_file,
        overrides,
        corpus={"dataset": dataset, "root": root, "name": name},
        features={
            "speech": speech or defaults.get("speech"),
            "encoders": None if encoders is None else [str(name) for name in _listed(encoders) or []],
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
    outcomes = stage.run(config, context.obj.console, cluster, retry_failed, check)
    if as_json:
        print_result(json.dumps([outcome.as_json() for outcome in outcomes], indent=1))


@app.command(
    cls=Command,
    epilog=examples(
        "amber train --variants ce,soft,amber2 --seeds 0,1,2",
        "amber train --config pipeline.yaml --set 'grid={objective.modality_weight: [0.25, 0.5, 1.0]}' --dry-run",
    ),
)
def train(
    context: typer.Context,
    features: options.CacheFolder = None,
    dataset: options.CachedOrSeveral = None,
    config_file: options.ConfigFile = None,
    variants: options.Variants = None,
    seeds: options.Seeds = None,
    folds: options.Folds = None,
    runs: options.RunsFolder = None,
    tests: Annotated[
        str | None, typer.Option("--test-dataset", help="Also test on other datasets of the cache, such as B or B,C.")
    ] = None,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    overrides: options.Set = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Train every variant, fold and seed that is not done, on cached features."""
    cluster = Cluster(workers, scheduler)
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
    config = _tested_on(config, tests, _dataset(config, dataset))
    from amber.train import stage

    if dry_run:
        print_result("\n".join(stage.plan(config, _dataset(config, dataset))))
        return
    experiment = stage.run(config, _dataset(config, dataset), context.obj.console, cluster)
    if as_json:
        done = [str(experiment.folder / run.path) for run in experiment.runs]
        print_result(json.dumps({"experiment": str(experiment.folder), "runs": done}, indent=1))


@app.command(
    cls=Command,
    epilog=examples(
        "amber evaluate --runs runs/demo",
        "amber evaluate --runs runs/demo runs/with-self-reports --json",
        "amber evaluate --runs runs/demo --import gemini.csv",
    ),
)
def evaluate(
    context: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Option("--runs", help="An experiment's folder, such as runs/demo; several are put side by side."),
    ] = None,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[RUNS]...", help="Further folders, as in `--runs a b c`.")
    ] = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="A table of another system's predictions; may be given several times."),
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--name", help="What to call the other system; once for each --import.")
    ] = None,
    overrides: options.Set = None,
    config_file: options.ConfigFile = None,
    as_json: options.Json = False,
) -> None:
    """Turn the predictions of an experiment, or of several side by side, into metrics, tables and a report.

    Other systems' predictions stand in the same table.
    """
    folders = [locate(folder) for folder in [*(runs or []), *(more or [])]]
    if not folders:
        raise UserError("amber evaluate: say which experiment with --runs, such as --runs runs/demo")
    config = _load(config_file, overrides)
    from amber.evaluate import imported, stage

    tables = imported.sources(imports or [], names or [])
    result = stage.run(folders, config.evaluate, context.obj.console, tables)
    print_result(json.dumps(result.metrics, indent=1) if as_json else result.text())


for module in (cli_predict, cli_transcribe, cli_ask, cli_curve, cli_matrix):
    module.register(app)
app.add_typer(cli_corpus.app, name="corpus")
app.add_typer(cli_cache.app, name="cache")
cli_config.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use or configuration, 130 interrupted."""
    set_thread_defaults()
    for stream in (sys.stdout, sys.stderr):  # names of files may hold bytes that are not UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        with interrupt.remembered():
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


def _tested_on(config: Config, tests: str | None, dataset: str | None) -> Config:
    """Return a configuration that tests on further datasets, with their usual labels where it says nothing of them."""
    if not tests:
        return config
    from amber.config import LabelOptions
    from amber.train.joint import names_of

    named = {str(name): LabelOptions() for name in _listed(tests) or []}
    learned = [name for name in names_of(dataset) if name in named]
    if learned:
        raise UserError(
            f"--test-dataset: the models learn from {abbreviate(learned)}; their own test parts are tested anyway"
        )
    return config.model_copy(update={"transfer": {**named, **config.transfer}}) if named else config


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

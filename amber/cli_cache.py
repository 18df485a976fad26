"""The commands `amber cache ls`, `verify`, `gc`, `export` and `import`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amber import cli_options as options
from amber.cli_options import Command, examples
from amber.console import Console, print_result
from amber.errors import UserError, abbreviate, count
from amber.location import locate
from amber.names import is_folder_name

if TYPE_CHECKING:
    from amber.corpus import Modality
    from amber.extract.transcript_tables import TranscriptTable
    from amber.features.catalog import Dataset, Entry

app = typer.Typer(help="List, verify, clean, share and receive cached features.", rich_markup_mode=None)

Features = Annotated[str, typer.Option("--features", help="The feature cache: a folder, or s3://bucket/folder.")]
CACHE = "cache/"
_ARRAY = "An array of features, (N, D) or (N, L, D)."


@app.command(cls=Command, epilog=examples("amber cache ls", "amber cache ls --features s3://bucket/cache --json"))
def ls(features: Features = CACHE, as_json: options.Json = False) -> None:
    """List datasets, feature sets and machine transcripts: what they are, their size, whether complete and current."""
    from amber.extract.transcript_tables import tables, words_of
    from amber.features import catalog

    cache = locate(features)
    found = catalog.survey(cache, words=lambda folder, corpus: words_of(corpus, tables(folder, corpus)))
    said = [(dataset, tables(cache / dataset.name, dataset.corpus)) for dataset in found]
    if as_json:
        plain = [{**one.as_json(), "transcripts": [table.as_json() for table in of]} for one, of in said]
        print_result(json.dumps(plain, indent=1, ensure_ascii=False))
    else:
        lines = [line for dataset, of in said for line in _listing(dataset, of)]
        print_result("\n".join(lines) or f"{features}: no dataset")


@app.command(cls=Command, epilog=examples("amber cache verify", "amber cache verify --dataset demo --json"))
def verify(
    context: typer.Context, features: Features = CACHE, dataset: options.Cached = None, as_json: options.Json = False
) -> None:
    """Read everything and list what is damaged; exit code 1 if anything is. `amber extract` repairs it."""
    from amber.features import catalog
    from amber.features.verify import verify as run

    verdict = run(locate(features), catalog.survey(locate(features), dataset), context.obj.console)
    if as_json:
        print_result(
            json.dumps(
                {
                    "sets": verdict.sets,
                    "units": verdict.units,
                    "findings": [vars(f) for f in verdict.faults],
                    "remarks": [vars(f) for f in verdict.remarks],
                },
                indent=1,
                ensure_ascii=False,
            )
        )
    else:
        lines = [f"{f.where}: {f.what}" for f in verdict.faults]
        lines += [f"note: {f.where}: {f.what}" for f in verdict.remarks]
        total = f"{verdict.sets} feature sets, {verdict.units} committed units: {len(verdict.faults) or 'no'} findings"
        print_result("\n".join([*lines, total]))
    if verdict.faults:
        raise typer.Exit(1)


@app.command(cls=Command, epilog=examples("amber cache gc", "amber cache gc --pipeline pipeline.yaml --yes"))
def gc(
    context: typer.Context,
    features: Features = CACHE,
    pipelines: Annotated[
        list[Path] | None, typer.Option("--pipeline", help="Keep what this pipeline names; may be given several times.")
    ] = None,
    transcripts: Annotated[
        list[str] | None,
        typer.Option("--transcripts", help="Also this table of machine transcripts, by its name or its model's."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """Delete feature sets that no pipeline names; without --pipeline, those of outdated utterances.

    Text features of words that are not in force, human ones or those of a table of machine transcripts, are kept. With
    --transcripts a table goes, and what was made of its words.
    """
    from amber.config_file import load
    from amber.extract.transcript_tables import tables, words_of
    from amber.features import catalog

    console, cache, asked = context.obj.console, locate(features), transcripts or []
    gone = [table for path in sorted(cache.glob("*")) if path.is_dir() for table in tables(path, None)
            if any(map(table.is_called, asked))]  # fmt: skip
    for name in asked:
        if not any(table.is_called(name) for table in gone):
            raise UserError(f"--transcripts {name}: no such table in {features}; `amber cache ls` lists them")
    paths = {table.path for table in gone}
    datasets = catalog.survey(
        cache, words=lambda at, of: words_of(of, [table for table in tables(at, of) if table.path not in paths])
    )
    found = catalog.unneeded(datasets, [load(path) for path in pipelines or ()])
    for dataset in datasets:
        for entry in dataset.entries:
            if entry.state == "unreadable" or (entry.state == "stale" and not dataset.corpus):
                console.warn(f"{entry.path}: kept: {entry.trouble if dataset.corpus else dataset.trouble}")
            elif entry.may_be_in_work():
                console.warn(f"{entry.path}: kept: it is being written, or was within the last hour")
    if not (found or gone):
        print_result(f"{features}: nothing to delete")
        return
    lines = [f"{table.path}: {_size(table.bytes)}, asked for by --transcripts" for table in gone]
    lines += [f"{entry.path}: {_size(entry.bytes)}, {_reason(entry)}" for entry in found]
    what = f"{len(found)} feature sets" + (f" and {len(gone)} tables of transcripts" if gone else "")
    print_result("\n".join(lines))
    if not (yes or _agreed(what, sum(one.bytes for one in (*found, *gone)), console)):
        return
    for table in gone:
        table.delete()
    for entry in found:
        catalog.delete(cache, entry)
    print_result(f"{what} deleted")


@app.command(
    cls=Command,
    epilog=examples(
        "amber cache export --to features.h5", "amber cache export --to features.h5 --dataset demo --layer mean"
    ),
)
def export(
    context: typer.Context,
    to: Annotated[Path, typer.Option("--to", help="The HDF5 file to write.")],
    features: Features = CACHE,
    dataset: options.Cached = None,
    layer: Annotated[str, typer.Option("--layer", help="The layer to write: last, mean, a number, or all.")] = "last",
    speech: Annotated[
        str | None, typer.Option("--speech", help="The speech encoder, if the cache has several.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="The text encoder, if the cache has several.")] = None,
) -> None:
    """Write a dataset's features to HDF5: /ids, /speech and /text."""
    from amber.features import catalog, hdf5_export

    cache = locate(features)
    corpus = catalog.find_corpus(cache, dataset)
    asked: dict[Modality, str | None] = {"speech": speech, "text": text}
    there = catalog.modalities(cache, corpus)
    wanted = [modality for modality, name in asked.items() if name or modality in there]
    stores = [catalog.find_set(cache, corpus, modality, asked[modality]) for modality in wanted]
    written = hdf5_export.export(to, corpus, stores, layer, context.obj.console)
    print_result(f"{to}: {', '.join(f'/{name} {shape}' for name, shape in written.items())}")


@app.command(
    "import",
    cls=Command,
    epilog=examples(
        "amber cache import --dataset lab --table votes.csv --speech features.h5:/speech --ids features.h5:/ids",
        "amber cache import --dataset lab --table votes.csv --text features.h5:/text",
    ),
)
def import_(
    context: typer.Context,
    dataset: Annotated[str, typer.Option("--dataset", help="The dataset's name in the cache.")],
    table: Annotated[
        Path, typer.Option("--table", help="The table of ids and votes, in the format of --dataset table.")
    ],
    speech: Annotated[
        str | None, typer.Option("--speech", metavar="FILE:/PATH", help="An array (N, D) or (N, L, D) of features.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="FILE:/PATH", help="An array (N, D) or (N, L, D) of features.")
    ] = None,
    ids: Annotated[
        str | None,
        typer.Option("--ids", metavar="FILE:/PATH", help="Ids of the rows; without it, rows are in the table's order."),
    ] = None,
    features: Features = CACHE,
) -> None:
    """Build a dataset from a table and arrays in HDF5; audio need not be there."""
    from amber.corpus import MODALITIES
    from amber.extract.corpora import Source, load
    from amber.features.hdf5_import import import_ as run
    from amber.features.hdf5_path import Hdf5Path

    if not is_folder_name(dataset):
        raise UserError(f"--dataset: {dataset!r} can't be the name of a folder in the cache")
    if not table.exists():
        raise UserError(f"--table {table}: no such file")
    asked = zip(MODALITIES, (speech, text), strict=True)
    places = {modality: Hdf5Path.parse(f"--{modality}", place) for modality, place in asked if place}
    ids_place = Hdf5Path.parse("--ids", ids) if ids else None
    folder = locate(features) / dataset
    loaded = load(Source("table", dataset, folder, table, {"inputs": "optional"}))
    lines = run(loaded.corpus, loaded.ledger, places, ids_place, folder, context.obj.console)
    print_result("\n".join(lines))


def _listing(dataset: Dataset, transcripts: Sequence[TranscriptTable]) -> list[str]:
    corpus = dataset.corpus
    if corpus:
        release = f", release {corpus.release}" if corpus.release else ""
        head = f"{count(len(corpus), 'utterance')}{release}{', synthetic' if corpus.synthetic else ''}"
    else:
        head = dataset.trouble
    sets = [line for entry in dataset.entries for line in _described(entry)]
    tables = [line for table in transcripts for line in _words(table)]
    return [f"{dataset.name}: {head}", *(f"  {line}" for line in (*sets, *tables))]


def _words(table: TranscriptTable) -> list[str]:
    head = f"{table.name}  {_size(table.bytes)}  {table.state}{': ' + table.trouble if table.trouble else ''}"
    if not table.spec:
        return [head]
    counts = ", ".join(f"{n} {what}" for what, n in table.counts.items())
    return [head, f"  transcripts, {table.spec.origin}; {counts}"]


def _described(entry: Entry) -> list[str]:
    head = f"{entry.path.name}  {_size(entry.bytes)}"
    if not entry.store:
        return [f"{head}  {entry.state}: {entry.trouble}"]
    spec, committed = entry.store.spec, entry.store.committed()
    layers = f"layer{'s' if len(spec.layers) > 1 else ''} {abbreviate(map(str, spec.layers), 30)}"
    counts = ", ".join(f"{n} {what}" for what, n in entry.counts().items() if n)
    units = f"{committed.sum()} of {count(len(committed), 'unit')}{'' if committed.all() else ' (not complete)'}"
    return [
        f"{head}  {entry.state}{': ' + entry.trouble if entry.trouble else ''}",
        f"  {spec.modality}, {spec.encoder}, {spec.level}, {layers}, {count(spec.dim, 'dimension')}, "
        f"{spec.dtype}, {spec.precision}",
        f"  {units}; {counts}",
    ]


def _reason(entry: Entry) -> str:
    return entry.trouble or "no pipeline names it"


def _agreed(what: str, size: int, console: Console) -> bool:
    if not sys.stdin.isatty():
        console.warn("nothing deleted: there is no terminal to ask on; give --yes")
        return False
    return typer.confirm(f"Delete {what}, {_size(size)}?", err=True)


def _size(count: int) -> str:
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count} B"

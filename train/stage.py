"""The training stage: the matrix of runs, group by group, skipping what is done."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amber import splits
from amber.config import Config, Layer
from amber.console import Advance, Console
from amber.corpus import Modality
from amber.errors import RunFailure, UserError, abbreviate
from amber.features import recordings
from amber.features.catalog import find_corpus
from amber.labels import LabelSpace
from amber.location import absolute, locate, reaching
from amber.lock import held
from amber.machine import choose, environment
from amber.splits import Fold

from .context import FoldContext, candidates_of, group_key
from .dataset import TrainingData, find_stores, join
from .frames import BLOCK_UNITS
from .group import train, work
from .head_names import inputs_of
from .inputs import Inputs
from .matrix import LAYERED, Run, Variant, chosen_folds, run_key, runs, variants, without_effect
from .parallel import for_each, workers_for
from .results import RunMetadata, fault, remove_partial, write_run

SCHEMA_VERSION = 6  # of what a run's result depends on beside its configuration


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that the runs of an experiment share."""

    name: str
    folder: Path
    data: TrainingData
    folds: dict[int, Fold]
    runs: list[Run]
    metadata: RunMetadata
    context: dict[str, Any]
    memory: float  # GB that the features of one fold take
    tight: bool  # not everything that a group reads fits: one layer choice at a time, frames read again every epoch
    said: list[str]  # what the configuration asks for in vain, and what was replaced since it was extracted

    def key(self, run: Run) -> str:
        """Return the hash of what a run's result depends on."""
        return run_key(run, self.context)

    def faults(self) -> dict[str, str]:
        """Return what is damaged of each run that is not done, by path; nothing where it is another or not there."""
        found = {run.path: fault(self.folder / run.path, self.key(run)) for run in self.runs}
        return {path: what for path, what in found.items() if what is not None}

    def missing(self) -> list[Run]:
        """Return the runs that are not done; each file of the others is read to tell."""
        faults = self.faults()
        return [run for run in self.runs if run.path in faults]


def prepare(config: Config, dataset: str | None) -> TrainingPlan:
    """Read and check everything that training needs, before anything trains.

    Parameters
    ----------
    config
        The configuration.
    dataset
        The dataset's name in the cache; None for the only one there.

    Raises
    ------
    UserError
        For mistakes in the configuration, missing features, and speakers that would leak.

    """
    all_variants = variants(config)
    heads = {head for variant in all_variants for head in variant.heads}
    corpus = find_corpus(locate(config.features.cache), dataset)
    space = LabelSpace.resolve(config.labels, corpus)
    stores = find_stores(config.features, corpus, inputs_of(heads))
    for store in stores.values():
        if store.ids() != corpus.ids:
            raise RunFailure(f"{store.location}: its ids are not those of the utterances; run `amber extract` again")
    data = join(corpus, space, stores)
    split = splits.resolve(config.splits, data.corpus)
    test = config.corpus.options.get("test", "test1")
    folds = {fold.number: fold for fold in splits.make_folds(split, data.corpus, test)}
    if any(store.spec.text_context for store in stores.values()):
        splits.check_dialogues(list(folds.values()), data.corpus)
    numbers = chosen_folds(config, folds)
    needed, tight = _memory(data, all_variants, config.train.memory)
    specs = {modality: store.spec.model_dump(mode="json") for modality, store in stores.items()}
    sections = {
        "dataset": {"name": corpus.name, "release": corpus.release, "synthetic": corpus.synthetic},
        "features": {modality: store.spec.name for modality, store in stores.items()},
        "labels": space.options.model_dump(mode="json"),
        "splits": split.model_dump(mode="json") | ({"test": test} if split.scheme == "official" else {}),
    }
    name = config.experiment or corpus.name
    cache = str(absolute(locate(config.features.cache)))
    return TrainingPlan(
        name=name,
        folder=Path(config.train.runs, name),
        data=data,
        folds=folds,
        runs=runs(config, numbers),
        metadata=RunMetadata(name, sections, specs, {**environment(), "cache": cache}),
        context={"schema": SCHEMA_VERSION, "corpus": corpus.label_hash(), **sections, **_content(data)},
        memory=needed,
        tight=tight,
        said=[*without_effect(config), *_replaced(data)],
    )


def _content(data: TrainingData) -> dict[str, Any]:
    """Return what the numbers of every run come from: what the feature sets hold, and which utterances are used."""
    ids = hashlib.sha256(json.dumps(data.corpus.ids).encode()).hexdigest()[:16]
    return {"content": {modality: store.content() for modality, store in data.stores.items()}, "ids": ids}


def _replaced(data: TrainingData) -> list[str]:
    found = {
        modality: recordings.replaced(stamps[data.rows[modality]], data.corpus)
        for modality, store in data.stores.items()
        if (stamps := store.stamps()) is not None
    }
    return [f"{modality}: {what}" for modality, what in found.items() if what]


def run(config: Config, dataset: str | None, console: Console) -> TrainingPlan:
    """Train every run of the matrix that is not done."""
    with reaching(locate(config.features.cache)):
        experiment = prepare(config, dataset)
        _run(experiment, config, console)
    return experiment


def _run(experiment: TrainingPlan, config: Config, console: Console) -> None:
    for line in describe(experiment):
        console.say(line)
    if not experiment.folder.exists():
        choose(config.train.device)  # a mistake is found before anything is written
    elsewhere = "wait until it has ended, or train under another name with --set experiment=NAME"
    with held(experiment.folder, "train", "`amber train` writes one experiment at a time", elsewhere):
        remove_partial(experiment.folder)
        _train(experiment, config, console)


def _train(experiment: TrainingPlan, config: Config, console: Console) -> None:
    faults = experiment.faults()
    if not faults:
        console.say(f"{experiment.folder}: all {len(experiment.runs)} runs are done")
        return
    device = choose(config.train.device)
    _say_what_is_replaced(experiment, faults, console)
    groups = _groups(experiment)
    # Groups side by side may be of as many folds.
    at_once = 1 if experiment.tight else min(len(groups), int(config.train.memory / max(experiment.memory, 1e-9)))
    workers, threads = workers_for(at_once, device.name)
    choices = {layer for run in experiment.runs for one in candidates_of(run, experiment.data) for layer in one.layers}
    # A single group reads each choice once; frames it reads in every epoch.
    keep = not experiment.tight and (len(groups) > 1 or any(map(experiment.data.is_frames, experiment.data.stores)))
    features = Inputs(experiment.data, experiment.folds, device.name, keep, (len(choices) + 1) * workers)
    # A group that was cut is trained again as a whole: its numbers depend on the command alone, not on what was done.
    cut = [group for group in groups if faults.keys() & {run.path for run in group}]
    total = sum(work(run, experiment.data, experiment.folds[run.fold]) for group in cut for run in group)

    def train_group(group: list[Run], advance: Advance) -> None:
        context = FoldContext(experiment.data, experiment.folds[group[0].fold], features, device.name, advance)
        for trained in train(group, context):
            folder = experiment.folder / trained.run.path
            if trained.run.path in faults:
                write_run(
                    folder, experiment.key(trained.run), trained, context.fold, experiment.data, experiment.metadata
                )

    with console.progress("train", total, 0) as advance:
        for_each(train_group, cut, advance, workers, threads)


def describe(experiment: TrainingPlan) -> Iterator[str]:
    """Say what the experiment is about: utterances, those left out, folds, leaks."""
    data = experiment.data
    one_hot = np.mean(data.y.max(axis=1) >= 1 - 1e-9)
    yield (
        f"{experiment.name}: {len(data.corpus)} utterances of {data.corpus.name}, "
        f"{len(data.space.classes)} classes, {one_hot:.0%} with all votes on one class"
    )
    left_out = ", ".join(f"{n} {why}" for why, n in data.left_out.items() if n)
    if left_out:
        yield f"{experiment.name}: left out: {left_out}"
    if data.outside and data.outside.votes:
        yield f"{experiment.name}: {data.outside}"
    yield from (f"{experiment.name}: {line}" for line in experiment.said)
    for modality in filter(data.is_frames, data.stores):
        how = "read again every epoch: more than train.memory" if experiment.tight else "in memory"
        yield f"{experiment.name}: {modality}: {int(data.lengths(modality).sum())} frames, {how}"
    yield from (f"{experiment.name}: {line}" for line in splits.unused(list(experiment.folds.values()), data.corpus))
    found = [splits.leaks(fold, data.corpus) for fold in experiment.folds.values()]
    shared = sum(leak.transcripts for leak in found)
    if shared:
        scenarios = sum((Counter(leak.by_scenario) for leak in found), Counter())
        divided = ", ".join(f"{n} {name}" for name, n in sorted(scenarios.items()))
        yield (
            f"{experiment.name}: {shared} test utterances have a transcript that also occurs in training"
            f"{f' ({divided})' if divided else ''}"
        )
    unknown = sum(leak.unknown_speakers for leak in found)
    if unknown:
        yield f"{experiment.name}: {unknown} utterances of unknown speakers; speakers may cross parts there"


def plan(config: Config, dataset: str | None) -> list[str]:
    """Say what `run` would do, in lines."""
    experiment = prepare(config, dataset)
    missing = len(experiment.missing())
    done = len(experiment.runs) - missing
    return [
        *describe(experiment),
        f"train {experiment.folder}: {len(experiment.runs)} runs, {done} done, {missing} to do",
    ]


def _memory(data: TrainingData, every: Sequence[Variant], allowed: float) -> tuple[float, bool]:
    """Return how many GB a fold's features take, and whether that is one layer choice at a time for want of memory.

    Frames are then streamed.

    Raises
    ------
    UserError
        If a layer is not there, or the pooled features of one choice alone take more than allowed.

    """
    together: dict[tuple[Modality, Layer], float] = {}
    at_a_time = 0.0
    for variant in every:
        for candidate in candidates_of(Run(variant, 0, 0), data):
            sizes = {choice: data.size(*choice) / 1e9 for choice in candidate.layers}
            frames = {choice for choice in sizes if data.is_frames(choice[0])}
            if frames and variant.model not in LAYERED:
                raise UserError(f"variant {variant.name}: {variant.model} reads pooled features, not frames")
            pooled = sum(size for choice, size in sizes.items() if choice not in frames)
            if pooled > allowed:
                layers = ", ".join(f"{modality} {layer}" for modality, layer in candidate.layers)
                where = f"train.layer: {layers} of {data.corpus.name}"
                raise UserError(
                    f"{where} takes {pooled:.1f} GB, train.memory allows {allowed:g}\n"
                    "choose one layer or their mean, extract fewer layers, or raise it with --set train.memory=GB"
                )
            blocks = sum(sizes[c] * min(1.0, BLOCK_UNITS / data.stores[c[0]].spec.units) for c in frames)
            together |= sizes
            at_a_time = max(at_a_time, pooled + blocks)
    needed = sum(together.values())
    return (needed, False) if needed <= allowed else (at_a_time, True)


def _groups(experiment: TrainingPlan) -> list[list[Run]]:
    """Divide all runs into groups that train together, one fold after another."""
    by_key: dict[tuple[object, ...], list[Run]] = {}
    for run in experiment.runs:
        by_key.setdefault(group_key(run), []).append(run)
    return sorted(by_key.values(), key=lambda group: group[0].fold)


def _say_what_is_replaced(experiment: TrainingPlan, faults: Mapping[str, str], console: Console) -> None:
    damaged = [what for what in faults.values() if what]
    if damaged:
        console.warn(f"{len(damaged)} runs are damaged and are trained again: {abbreviate(damaged, 3)}")
    there = [path for path, what in faults.items() if not what and (experiment.folder / path).exists()]
    if there:
        console.say(f"{experiment.folder}: {len(there)} runs of another configuration or cache will be replaced")

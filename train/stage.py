"""The training stage: the matrix of runs, group by group, skipping what is done."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amber import splits
from amber.config import Config
from amber.console import Advance, Console
from amber.corpus import MODALITIES, Corpus
from amber.errors import RunFailure, abbreviate, count
from amber.features import recordings
from amber.features.catalog import find_corpus
from amber.labels import LabelSpace
from amber.location import absolute, locate, reaching
from amber.lock import held
from amber.machine import choose, environment
from amber.splits import Fold

from .context import FoldContext, candidates_of, group_key
from .dataset import TrainingData, find_stores, join
from .group import train, work
from .inputs import Inputs
from .matrix import Run, chosen_folds, run_key, runs, variants, without_effect
from .memory import memory_needed
from .parallel import for_each, workers_for
from .results import RunMetadata, fault, remove_partial, write_run
from .utterances import Utterances, divide, refuse_unread, used

SECTIONS = ("dataset", "features", "labels", "splits", "divided")  # of a run's `config.yaml`, on which it depends
SCHEMA_VERSION = 6  # of what a run's result depends on beside its configuration


@dataclass(frozen=True)
class Part:
    """Utterances that some variants share, what their runs record, and what the runs' results depend on."""

    utterances: Utterances
    metadata: RunMetadata
    context: dict[str, Any]


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that the runs of an experiment share.

    `data` are the utterances that any variant uses and `folds` their folds; `parts` says which of them each uses.
    """

    name: str
    folder: Path
    data: TrainingData
    folds: dict[int, Fold]
    parts: list[Part]
    runs: list[Run]
    memory: float  # GB that the features of one fold take
    tight: bool  # not everything that a group reads fits: one layer choice at a time, frames read again every epoch
    said: list[str]  # what the configuration asks for in vain, and what was replaced since it was extracted

    def part(self, run: Run) -> Part:
        """Return the part whose utterances a run uses."""
        return next(part for part in self.parts if run.variant in part.utterances.variants)

    def key(self, run: Run) -> str:
        """Return the hash of what a run's result depends on."""
        return run_key(run, self.part(run).context)

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
    refuse_unread(config.features, all_variants)
    require = config.features.require
    corpus = find_corpus(locate(config.features.cache), dataset)
    space = LabelSpace.resolve(config.labels, corpus)
    read = {modality for variant in all_variants for modality in variant.reads}
    stores = find_stores(config.features, corpus, [modality for modality in MODALITIES if modality in read])
    for store in stores.values():
        if store.ids() != corpus.ids:
            raise RunFailure(f"{store.location}: its ids are not those of the utterances; run `amber extract` again")
    everyone = join(corpus, space, stores)
    data = used(everyone, all_variants, require)
    split = splits.resolve(config.splits, data.corpus)
    test = config.corpus.options.get("test", "test1")
    folds = {fold.number: fold for fold in splits.make_folds(split, data.corpus, test)}
    if any(store.spec.text_context for store in stores.values()):
        splits.check_dialogues(list(folds.values()), data.corpus)
    numbers = chosen_folds(config, folds)
    divided = divide(data, folds, all_variants, require, len(everyone.corpus))
    sizes = [memory_needed(part.data, part.variants, config.train.memory) for part in divided]
    shared = {
        "dataset": {"name": corpus.name, "release": corpus.release, "synthetic": corpus.synthetic},
        "labels": space.options.model_dump(mode="json"),
        "splits": split.model_dump(mode="json") | ({"test": test} if split.scheme == "official" else {}),
    }
    name = config.experiment or corpus.name
    about = {**environment(), "cache": str(absolute(locate(config.features.cache)))}
    return TrainingPlan(
        name=name,
        folder=Path(config.train.runs, name),
        data=data,
        folds=folds,
        parts=[_part(name, corpus, shared, about, part, data, require) for part in divided],
        runs=runs(config, numbers),
        memory=max(needed for needed, _ in sizes),
        tight=any(tight for _, tight in sizes),
        said=[*without_effect(config), *_replaced(data)],
    )


def _part(
    name: str,
    corpus: Corpus,
    shared: Mapping[str, Any],
    about: Mapping[str, Any],
    utterances: Utterances,
    of: TrainingData,
    require: str,
) -> Part:
    """Return a part of an experiment on a corpus; `of` are the utterances that any variant uses."""
    data = utterances.data
    specs = {modality: store.spec.model_dump(mode="json") for modality, store in data.stores.items()}
    features = {modality: store.spec.name for modality, store in data.stores.items()}
    sections = {"dataset": shared["dataset"], "features": features, **shared}
    if data.corpus.ids != of.corpus.ids:
        sections["divided"] = _hash(of.corpus.ids)  # the folds are of these
    context = context_of(corpus, sections, data)
    metadata = RunMetadata(name, {**sections, "utterances": utterances.described(require)}, specs, about)
    return Part(utterances, metadata, context)


def context_of(corpus: Corpus, sections: Mapping[str, Any], data: TrainingData) -> dict[str, Any]:
    """Return what runs depend on beside their own configuration: votes, sections, what feature sets hold, and ids.

    `sections` may hold more than counts.
    """
    counted = {key: sections[key] for key in SECTIONS if key in sections}
    content = {modality: store.content() for modality, store in data.stores.items()}
    about = {"schema": SCHEMA_VERSION, "corpus": corpus.label_hash()}
    return {**about, **counted, "content": content, "ids": _hash(data.corpus.ids)}


def _hash(ids: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]


def _replaced(data: TrainingData) -> list[str]:
    found = {
        modality: recordings.replaced(stamps[there], data.corpus.take(np.flatnonzero(data.rows[modality] >= 0)))
        for modality, store in data.stores.items()
        if (stamps := store.stamps()) is not None and len(there := data.rows[modality][data.rows[modality] >= 0])
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
        console.say(f"{experiment.folder}: {count(len(experiment.runs), 'run')}, all done")
        return
    device = choose(config.train.device)
    _say_what_is_replaced(experiment, faults, console)
    # A group that was cut is trained again as a whole: its numbers depend on the command alone, not on what was done.
    cut = [
        (part, [group for group in _groups(experiment, part) if faults.keys() & {run.path for run in group}])
        for part in experiment.parts
    ]
    total = sum(
        work(run, part.utterances.data, part.utterances.folds[run.fold])
        for part, groups in cut
        for group in groups
        for run in group
    )
    with console.progress("train", total, 0) as advance:
        for part, groups in cut:
            if groups:
                _train_part(experiment, part, groups, faults.keys(), config.train.memory, device.name, advance)


def _train_part(
    experiment: TrainingPlan,
    part: Part,
    groups: Sequence[list[Run]],
    wanted: Collection[str],
    memory: float,
    device: str,
    advance: Advance,
) -> None:
    """Train groups of runs that use the same utterances; write those runs whose paths are wanted."""
    data, folds = part.utterances.data, part.utterances.folds
    every = _groups(experiment, part)
    # Groups side by side may be of as many folds.
    at_once = 1 if experiment.tight else min(len(every), int(memory / max(experiment.memory, 1e-9)))
    workers, threads = workers_for(at_once, device)
    choices = {layer for group in every for run in group for one in candidates_of(run, data) for layer in one.layers}
    # A single group reads each choice once; frames it reads in every epoch.
    keep = not experiment.tight and (len(every) > 1 or any(map(data.is_frames, data.stores)))
    features = Inputs(data, folds, device, keep, (len(choices) + 1) * workers)

    def train_group(group: list[Run], advance: Advance) -> None:
        context = FoldContext(data, folds[group[0].fold], features, device, advance)
        for trained in train(group, context):
            if trained.run.path in wanted:
                folder = experiment.folder / trained.run.path
                write_run(folder, experiment.key(trained.run), trained, context.fold, data, part.metadata)

    for_each(train_group, groups, advance, workers, threads)


def describe(experiment: TrainingPlan) -> Iterator[str]:
    """Say what the experiment is about: utterances, those left out, folds, leaks."""
    data = experiment.data
    one_hot = np.mean(data.y.max(axis=1) >= 1 - 1e-9)
    yield (
        f"{experiment.name}: {count(len(data.corpus), 'utterance')} of {data.corpus.name}, "
        f"{len(data.space.classes)} classes, {one_hot:.0%} with all votes on one class"
    )
    left_out = ", ".join(f"{n} {why}" for why, n in data.left_out.items() if n)
    if left_out:
        yield f"{experiment.name}: left out: {left_out}"
    yield from (f"{experiment.name}: {line}" for line in _used(experiment))
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
            f"{experiment.name}: {count(shared, 'test utterance')} with a transcript that also occurs in training"
            f"{f' ({divided})' if divided else ''}"
        )
    unknown = sum(leak.unknown_speakers for leak in found)
    if unknown:
        yield f"{experiment.name}: {count(unknown, 'utterance')} of unknown speakers; speakers may cross parts there"


def _used(experiment: TrainingPlan) -> Iterator[str]:
    """Say which utterances variants use, where modalities decide it."""
    every = [part.utterances for part in experiment.parts]
    if len(every) > 1:
        for one in every:
            yield f"{', '.join(variant.name for variant in one.variants)}: {one.line()}"
        yield "variants use different utterances (features.require=read); those that all of them test are compared"
    elif len(every[0].data.corpus) < every[0].labelled:
        yield f"{every[0].line()}: these are used, by every variant alike"


def plan(config: Config, dataset: str | None) -> list[str]:
    """Say what `run` would do, in lines."""
    experiment = prepare(config, dataset)
    missing = len(experiment.missing())
    done = len(experiment.runs) - missing
    return [
        *describe(experiment),
        f"train {experiment.folder}: {count(len(experiment.runs), 'run')}, {done} done, {missing} to do",
    ]


def _groups(experiment: TrainingPlan, part: Part) -> list[list[Run]]:
    """Divide the runs of a part into groups that train together, one fold after another."""
    by_key: dict[tuple[object, ...], list[Run]] = {}
    for run in filter(lambda run: experiment.part(run) is part, experiment.runs):
        by_key.setdefault(group_key(run), []).append(run)
    return sorted(by_key.values(), key=lambda group: group[0].fold)


def _say_what_is_replaced(experiment: TrainingPlan, faults: Mapping[str, str], console: Console) -> None:
    damaged = [what for what in faults.values() if what]
    if damaged:
        console.warn(f"{count(len(damaged), 'damaged run')} trained again: {abbreviate(damaged, 3)}")
    there = [path for path, what in faults.items() if not what and (experiment.folder / path).exists()]
    if there:
        console.say(
            f"{experiment.folder}: {count(len(there), 'run')} of another configuration or cache will be replaced"
        )

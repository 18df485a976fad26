"""What an experiment's runs share, read and checked before anything trains; and the groups in which runs train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amber import splits
from amber.config import Config
from amber.corpus import MODALITIES, Corpus, Modality
from amber.digest import short_hash
from amber.features import recordings
from amber.features.catalog import find_corpus
from amber.labels import LabelSpace
from amber.location import absolute, locate
from amber.machine import environment
from amber.splits import Fold

from . import balance, joint
from .context import group_key
from .dataset import TrainingData, check_ids, find_stores, join
from .matrix import Run, chosen_folds, run_key, runs, variants, without_effect
from .memory import memory_needed
from .results import RunMetadata
from .run_folder import fault
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
    dataset: str  # as `prepare` takes it
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
        The dataset's name in the cache, or several (`a,b`) as one training set; None for the only one there.

    Raises
    ------
    UserError
        For mistakes in the configuration, missing features, and speakers that would leak.

    """
    all_variants = variants(config)
    refuse_unread(config.features, all_variants)
    require = config.features.require
    modalities = [m for m in MODALITIES if any(m in variant.reads for variant in all_variants)]
    sources = joint.read(config, joint.names_of(dataset), modalities)
    if sources:
        joint.refuse_votes(all_variants)
    everyone, corpus = _joint(sources) if sources else _single(config, dataset, modalities)
    data = used(everyone, all_variants, require)
    split = config.splits if sources else splits.resolve(config.splits, data.corpus)
    test = config.corpus.options.get("test", "test1")
    made = joint.make_folds(sources, data, test) if sources else splits.make_folds(split, data.corpus, test)
    folds = {fold.number: fold for fold in made}
    if any(store.spec.text_context for store in everyone.stores.values()):
        splits.check_dialogues(list(folds.values()), data.corpus)
    numbers = chosen_folds(config, folds)
    divided = divide(data, folds, all_variants, require, len(everyone.corpus))
    balance.check(divided, [source.corpus.name for source in sources])
    sizes = [memory_needed(part.data, part.variants, config.train.memory) for part in divided]
    shared: dict[str, Any] = {
        "dataset": {"name": corpus.name, "release": corpus.release, "synthetic": corpus.synthetic},
        "labels": everyone.space.options.model_dump(mode="json"),
        "splits": split.model_dump(mode="json") | ({"test": test} if split.scheme == "official" else {}),
    }
    if sources:
        shared["dataset"]["corpora"] = {source.corpus.name: source.described() for source in sources}
        shared["splits"] |= {"scheme": split.scheme or "of each corpus", "test": test}
    name = config.experiment or corpus.name
    about = {**environment(), "cache": str(absolute(locate(config.features.cache)))}
    return TrainingPlan(
        name=name,
        dataset=joint.SEPARATOR.join(source.corpus.name for source in sources) or corpus.name,
        folder=locate(config.train.runs) / name,
        data=data,
        folds=folds,
        parts=[_part(name, corpus, shared, about, part, data, require) for part in divided],
        runs=runs(config, numbers),
        memory=max(needed for needed, _ in sizes),
        tight=any(tight for _, tight in sizes),
        said=[
            *without_effect(config),
            *splits.without_effect(config.splits, {source.split.scheme for source in sources} or {split.scheme}),
            *balance.without_effect(all_variants),
            *_said(sources, data),
        ],
    )


def _single(config: Config, dataset: str | None, modalities: Sequence[Modality]) -> tuple[TrainingData, Corpus]:
    """Return the labelled utterances of one corpus, and the corpus."""
    corpus = find_corpus(locate(config.features.cache), dataset)
    space = LabelSpace.resolve(config.labels, corpus)
    stores = find_stores(config.features, corpus, modalities)
    check_ids(stores, corpus)
    return join(corpus, space, stores), corpus


def _joint(sources: Sequence[joint.Source]) -> tuple[TrainingData, Corpus]:
    """Return the labelled utterances of several corpora, and the corpora as one."""
    return joint.combine(sources), joint.joined([source.corpus for source in sources])


def _said(sources: Sequence[joint.Source], data: TrainingData) -> list[str]:
    if not sources:
        return _replaced(data)
    return [
        *joint.one_sided(sources),
        *(f"{source.corpus.name}: {line}" for source in sources for line in _replaced(source.data)),
    ]


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
        sections["divided"] = short_hash(of.corpus.ids)  # the folds are of these
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
    return {**about, **counted, "content": content, "ids": short_hash(data.corpus.ids)}


def _replaced(data: TrainingData) -> list[str]:
    found = {
        modality: recordings.replaced(stamps[there], data.corpus.take(np.flatnonzero(data.rows[modality] >= 0)))
        for modality, store in data.stores.items()
        if (stamps := store.stamps()) is not None and len(there := data.rows[modality][data.rows[modality] >= 0])
    }
    return [f"{modality}: {what}" for modality, what in found.items() if what]


def groups_of(experiment: TrainingPlan, part: Part) -> list[list[Run]]:
    """Divide the runs of a part into groups that train together, one fold after another."""
    by_key: dict[tuple[object, ...], list[Run]] = {}
    for run in filter(lambda run: experiment.part(run) is part, experiment.runs):
        by_key.setdefault(group_key(run), []).append(run)
    return sorted(by_key.values(), key=lambda group: group[0].fold)

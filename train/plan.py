"""What an experiment's runs share, read and checked before anything trains; and the groups in which runs train."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amber import splits
from amber.config import Config, Layer
from amber.corpus import Modality
from amber.errors import RunFailure, UserError
from amber.features import recordings
from amber.features.catalog import find_corpus
from amber.labels import LabelSpace
from amber.location import absolute, locate
from amber.machine import environment
from amber.splits import Fold

from .context import candidates_of, group_key
from .dataset import TrainingData, find_stores, join
from .frames import BLOCK_UNITS
from .head_names import inputs_of
from .matrix import LAYERED, Run, Variant, chosen_folds, run_key, runs, variants, without_effect
from .results import RunMetadata, fault

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
        folder=locate(config.train.runs) / name,
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


def groups_of(experiment: TrainingPlan) -> list[list[Run]]:
    """Divide all runs into groups that train together, one fold after another."""
    by_key: dict[tuple[object, ...], list[Run]] = {}
    for run in experiment.runs:
        by_key.setdefault(group_key(run), []).append(run)
    return sorted(by_key.values(), key=lambda group: group[0].fold)


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

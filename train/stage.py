"""The training stage: the matrix of runs, group by group, skipping what is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from amber import splits
from amber.config import Config
from amber.console import Advance, Console
from amber.corpus import Modality
from amber.labels import LabelSpace, smooth
from amber.location import absolute, locate
from amber.machine import choose, surroundings
from amber.splits import Fold

from .data import Data, LayerChoice, Matrix, Scaling, find_corpus, find_stores, join, layer_of, part, standardised
from .fit import Fitted, fit, group_key, predict
from .heads import inputs_of
from .matrix import Run, chosen_folds, run_key, runs, variants
from .results import Facts, is_done, predictions_of, write_run

LAYERS_KEPT = 4  # in memory, of those that groups read: two modalities, and the next choice of a grid
SCHEMA_VERSION = 1  # of what a run's result depends on beside its configuration


@dataclass(frozen=True)
class Experiment:
    """Everything that the runs of an experiment share."""

    name: str
    folder: Path
    data: Data
    folds: dict[int, Fold]
    runs: list[Run]
    facts: Facts
    context: dict[str, Any]

    def key(self, run: Run) -> str:
        """Return the hash of what a run's result depends on."""
        return run_key(run, self.context)

    def missing(self) -> list[Run]:
        """Return the runs that are not done."""
        return [run for run in self.runs if not is_done(self.folder / run.path, self.key(run))]


def prepare(config: Config, dataset: str | None) -> Experiment:
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
    corpus = find_corpus(config.features.cache, dataset)
    space = LabelSpace.resolve(config.labels, corpus)
    stores = find_stores(config.features, corpus, inputs_of(heads))
    data = join(corpus, space, stores)
    split = splits.resolve(config.splits, data.corpus)
    test = config.corpus.options.get("test", "test1")
    folds = {fold.number: fold for fold in splits.make_folds(split, data.corpus, test)}
    numbers = chosen_folds(config, folds)
    specs = {modality: store.spec.model_dump(mode="json") for modality, store in stores.items()}
    sections = {
        "dataset": {"name": corpus.name, "release": corpus.release, "synthetic": corpus.synthetic},
        "features": {modality: store.spec.name for modality, store in stores.items()},
        "labels": space.options.model_dump(mode="json"),
        "splits": split.model_dump(mode="json") | ({"test": test} if split.scheme == "official" else {}),
    }
    name = config.experiment or corpus.name
    return Experiment(
        name=name,
        folder=Path(config.train.runs, name),
        data=data,
        folds=folds,
        runs=runs(config, numbers),
        facts=Facts(name, sections, specs, {**surroundings(), "cache": str(absolute(locate(config.features.cache)))}),
        context={"schema": SCHEMA_VERSION, "corpus": corpus.label_hash(), **sections},
    )


def run(config: Config, dataset: str | None, console: Console) -> Experiment:
    """Train every run of the matrix that is not done."""
    experiment = prepare(config, dataset)
    for line in describe(experiment):
        console.say(line)
    missing = experiment.missing()
    if not missing:
        console.say(f"{experiment.folder}: all {len(experiment.runs)} runs are done")
        return experiment
    device = choose(config.train.device)
    _say_what_is_replaced(experiment, missing, console)
    # Groups share their features: a layer is read once, not once a group.
    read = lru_cache(LAYERS_KEPT)(experiment.data.inputs)
    total = sum(run.variant.training.epochs for run in missing)
    with console.progress("train", total, 0) as advance:
        for group in _groups(missing):
            _train_group(group, experiment, read, device.name, advance)
    return experiment


def describe(experiment: Experiment) -> Iterator[str]:
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
    used = {row for fold in experiment.folds.values() for rows in fold.parts().values() for row in rows.tolist()}
    if len(used) < len(data.corpus):
        yield f"{experiment.name}: {len(data.corpus) - len(used)} utterances are in no part of any fold"
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


def _groups(missing: Sequence[Run]) -> list[list[Run]]:
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in missing:
        groups.setdefault(group_key(run), []).append(run)
    return list(groups.values())


def _train_group(
    group: list[Run],
    experiment: Experiment,
    read: Callable[[Modality, LayerChoice], Matrix],
    device: str,
    advance: Advance,
) -> None:
    data, fold, training = experiment.data, experiment.folds[group[0].fold], group[0].variant.training
    raw = {
        modality: read(modality, layer_of(training.layer, modality)) for modality in inputs_of(group[0].variant.heads)
    }
    inputs, scalings = standardised(raw, fold.train)
    y = data.y
    train = part(inputs, smooth(y, data.space.options.smoothing), fold.train, device)
    dev = part(inputs, y, fold.dev, device)
    note = f"{', '.join(dict.fromkeys(run.variant.name for run in group))}, fold {fold.number}"
    fitted = fit(group, train, dev, device, lambda: advance(len(group), note))
    advance(len(group) * (training.epochs - max(len(f.epochs) for f in fitted)), note)  # what early stopping saved
    parts = {"dev": fold.dev, "test": fold.test}
    rows = np.concatenate([fold.dev, fold.test])
    _write_group(fitted, _probabilities(fitted, inputs, rows, data, device), parts, scalings, experiment)


def _probabilities(
    fitted: Sequence[Fitted],
    inputs: dict[Modality, NDArray[np.float32]],
    rows: NDArray[np.int64],
    data: Data,
    device: str,
) -> dict[str, NDArray[np.float64]]:
    """Return the probabilities of every head in every run, (R, rows, C)."""
    variant = fitted[0].run.variant
    tensors = {modality: torch.from_numpy(matrix[rows]).to(device) for modality, matrix in inputs.items()}
    states = [f.state for f in fitted]
    found = predict(variant.heads, states, variant.training, tensors, len(data.space.classes))
    probabilities = {head: p.double().cpu().numpy() for head, p in found.items()}
    # Float32 rows sum to one within 1e-7 only: figures recomputed elsewhere should not depend on who normalises.
    return {head: p / p.sum(axis=-1, keepdims=True) for head, p in probabilities.items()}


def _write_group(
    fitted: Sequence[Fitted],
    probabilities: dict[str, NDArray[np.float64]],
    parts: dict[str, NDArray[np.int64]],
    scalings: dict[Modality, Scaling],
    experiment: Experiment,
) -> None:
    for place, one in enumerate(fitted):
        of_run = {head: p[place] for head, p in probabilities.items()}
        predictions = predictions_of(one.run, experiment.data, parts, of_run)
        folder = experiment.folder / one.run.path
        write_run(folder, experiment.key(one.run), one, predictions, scalings, experiment.data, experiment.facts)


def _say_what_is_replaced(experiment: Experiment, missing: Sequence[Run], console: Console) -> None:
    there = [run for run in missing if (experiment.folder / run.path).exists()]
    if there:
        console.say(f"{experiment.folder}: {len(there)} runs of another configuration or cache will be replaced")

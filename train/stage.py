"""The training stage: the matrix of runs, group by group, skipping what is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber import splits
from amber.config import Config
from amber.console import Advance, Console
from amber.corpus import Modality
from amber.errors import UserError
from amber.labels import LabelSpace
from amber.location import absolute, locate
from amber.machine import choose, surroundings
from amber.splits import Fold

from . import rivals
from .calibration import fit_temperature
from .data import Data, Scaling, find_corpus, find_stores, join, layer_of
from .fit import Fitted, fit, group_key, largest_group, predict
from .frames import BLOCK_UNITS
from .heads import inputs_of
from .inputs import Inputs, part
from .matrix import LAYERED, Run, Variant, chosen_folds, run_key, runs, variants
from .parallel import for_each, workers_for
from .results import Facts, is_done, predictions_of, write_run

SCHEMA_VERSION = 3  # of what a run's result depends on beside its configuration


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
    memory: float  # GB that the features of one fold take
    streamed: bool  # frames are read again every epoch: they do not fit

    def key(self, run: Run) -> str:
        """Return the hash of what a run's result depends on."""
        return run_key(run, self.context)

    def is_done(self, run: Run) -> bool:
        """Return whether a run's folder holds its finished result."""
        return is_done(self.folder / run.path, self.key(run))

    def missing(self) -> list[Run]:
        """Return the runs that are not done."""
        return [run for run in self.runs if not self.is_done(run)]


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
    needed, streamed = _memory(data, all_variants, config.train.memory)
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
        memory=needed,
        streamed=streamed,
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
    features = Inputs(experiment.data, experiment.folds, device.name, keep=not experiment.streamed)
    groups = _groups(experiment, device.name)
    # Groups side by side may be of as many folds.
    at_once = min(len(groups), int(config.train.memory / max(experiment.memory, 1e-9)))
    workers, threads = workers_for(at_once, device.name)
    # A group that was cut is trained again as a whole: its numbers depend on the command alone, not on what was done.
    cut = [group for group in groups if not all(experiment.is_done(run) for run in group)]
    total = sum(run.variant.training.epochs for group in cut for run in group)

    def train(group: list[Run], advance: Advance) -> None:
        _train_group(group, experiment, features, device.name, advance)

    with console.progress("train", total, 0) as advance:
        for_each(train, cut, advance, workers, threads)
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
    for modality in filter(data.is_frames, data.stores):
        how = "read again every epoch: more than train.memory" if experiment.streamed else "in memory"
        yield f"{experiment.name}: {modality}: {int(data.lengths(modality).sum())} frames, {how}"
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


def _memory(data: Data, every: Sequence[Variant], allowed: float) -> tuple[float, bool]:
    """Return how many GB a fold's features take at most, and whether frames are streamed because they are too many.

    Raises
    ------
    UserError
        If a layer is not there, or pooled features alone take more than allowed.

    """
    largest, at_a_time = 0.0, 0.0
    for variant in every:
        layer = variant.training.layer
        sizes = {m: data.size(m, layer_of(layer, m)) / 1e9 for m in inputs_of(variant.heads)}
        frames = {modality for modality in sizes if data.is_frames(modality)}
        if frames and variant.model not in LAYERED:
            raise UserError(f"variant {variant.name}: {variant.model} reads pooled features, not frames")
        pooled = sum(size for modality, size in sizes.items() if modality not in frames)
        if pooled > allowed:
            raise UserError(
                f"train.layer: {layer} of {data.corpus.name} takes {pooled:.1f} GB, train.memory allows {allowed:g}\n"
                "choose one layer or their mean, extract fewer layers, or raise it with --set train.memory=GB"
            )
        blocks = sum(sizes[m] * min(1.0, BLOCK_UNITS / data.stores[m].spec.units) for m in frames)
        largest, at_a_time = max(largest, sum(sizes.values())), max(at_a_time, pooled + blocks)
    return (largest, False) if largest <= allowed else (at_a_time, True)


def _groups(experiment: Experiment, device: str) -> list[list[Run]]:
    """Divide all runs into groups that train side by side, those of one layer choice and then of one fold together."""
    by_key: dict[tuple[object, ...], list[Run]] = {}
    for run in experiment.runs:
        by_key.setdefault(group_key(run), []).append(run)
    data = experiment.data
    frames = {modality: float(data.lengths(modality).mean()) for modality in data.stores if data.is_frames(modality)}
    # Of frames a head sees mean and deviation.
    dims = {m: store.spec.dim * (2 if m in frames else 1) for m, store in data.stores.items()}
    groups = []
    for runs_of in by_key.values():
        size = largest_group(runs_of[0], dims, len(data.space.classes), device, sum(frames.values()))
        groups += [runs_of[start : start + size] for start in range(0, len(runs_of), size)]
    return sorted(groups, key=lambda group: (str(group[0].variant.training.layer), group[0].fold))


def _train_group(group: list[Run], experiment: Experiment, features: Inputs, device: str, advance: Advance) -> None:
    data, fold, variant = experiment.data, experiment.folds[group[0].fold], group[0].variant
    tell = partial(advance, 0)
    inputs, scalings = features.of(fold.number, inputs_of(variant.heads), variant.training.layer, tell)
    train, dev = (part(inputs, data.counts, rows, device, fold.number) for rows in (fold.train, fold.dev))
    note = f"{', '.join(dict.fromkeys(run.variant.name for run in group))}, fold {fold.number}"
    smoothing = data.space.options.smoothing
    parts = {"dev": fold.dev, "test": fold.test}
    scored = part(inputs, data.counts, np.concatenate(list(parts.values())), device, fold.number)
    if variant.model == "heads":
        fitted = fit(group, train, dev, device, lambda: advance(len(group), note), smoothing)
        found = predict(fitted, scored)  # (R, m, C) by head
    else:
        fitted = rivals.fit(group, train, dev, smoothing)
        found = rivals.predict(fitted, scored)
    # In float32 a distribution sums to one within 1e-7 only.
    exact = {head: p.double() for head, p in found.items()}
    probabilities = {head: (p / p.sum(dim=-1, keepdim=True)).cpu().numpy() for head, p in exact.items()}
    # What early stopping saved.
    done = max(len(f.epochs) for f in fitted) if variant.model == "heads" else 0
    advance(len(group) * (variant.training.epochs - done), note)
    for place, one in enumerate(fitted):
        if not experiment.is_done(one.run):
            _write(one, {head: p[place] for head, p in probabilities.items()}, parts, scalings, experiment)


def _write(
    fitted: Fitted,
    probabilities: dict[str, NDArray[np.float64]],
    parts: dict[str, NDArray[np.int64]],
    scalings: dict[Modality, Scaling],
    experiment: Experiment,
) -> None:
    data, run = experiment.data, fitted.run
    temperature = None
    if run.variant.training.calibrate:
        of_dev = probabilities[run.variant.objective.student][: len(parts["dev"])]
        temperature = fit_temperature(data.counts[parts["dev"]], of_dev)
    predictions = predictions_of(run, data, parts, probabilities, temperature)
    folder, key = experiment.folder / run.path, experiment.key(run)
    write_run(folder, key, fitted, predictions, scalings, data, experiment.facts, temperature)


def _say_what_is_replaced(experiment: Experiment, missing: Sequence[Run], console: Console) -> None:
    there = [run for run in missing if (experiment.folder / run.path).exists()]
    if there:
        console.say(f"{experiment.folder}: {len(there)} runs of another configuration or cache will be replaced")

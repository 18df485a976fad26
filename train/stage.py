"""The training stage: the matrix of runs, group by group, skipping what is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from amber import splits
from amber.cluster import Cluster
from amber.config import Config
from amber.console import Console
from amber.errors import abbreviate
from amber.location import locate, reaching
from amber.lock import held
from amber.machine import choose

from .cluster import run_on_cluster
from .parallel import for_each
from .plan import TrainingPlan, prepare
from .results import remove_partial
from .trainer import Trainer

__all__ = ["TrainingPlan", "describe", "plan", "prepare", "run"]


def run(config: Config, dataset: str | None, console: Console, cluster: Cluster | None = None) -> TrainingPlan:
    """Train every run of the matrix that is not done, in this process or on a cluster."""
    with reaching(locate(config.features.cache)), reaching(locate(config.train.runs)):
        experiment = prepare(config, dataset)
        for line in describe(experiment):
            console.say(line)
        if not experiment.folder.exists():
            choose(config.train.device)  # a mistake is found before anything is written
        elsewhere = "wait until it has ended, or train under another name with --set experiment=NAME"
        with held(experiment.folder, "train", "`amber train` writes one experiment at a time", elsewhere):
            remove_partial(experiment.folder)
            _train(experiment, config, console, cluster or Cluster())
    return experiment


def _train(experiment: TrainingPlan, config: Config, console: Console, cluster: Cluster) -> None:
    faults = experiment.faults()
    if not faults:
        console.say(f"{experiment.folder}: all {len(experiment.runs)} runs are done")
        return
    device = choose(config.train.device).name
    _say_what_is_replaced(experiment, faults, console)
    trainer = Trainer(experiment, config.train.memory, device)
    # A group that was cut is trained again as a whole: its numbers depend on the command alone, not on what was done.
    cut = [number for number, group in enumerate(trainer.groups) if faults.keys() & {run.path for run in group}]
    sizes = {number: trainer.work(number) for number in cut}
    with console.progress("train", sum(sizes.values()), 0) as advance:
        if not cluster:
            missing = faults.keys()
            for_each(lambda n, step: trainer.train(n, missing, step), cut, advance, trainer.workers, trainer.threads)
            return
        for number in run_on_cluster(cluster, config, trainer, cut, faults.keys(), console):
            advance(sizes[number], f"fold {trainer.groups[number][0].fold}")
    remove_partial(experiment.folder)  # of workers that were lost


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


def _say_what_is_replaced(experiment: TrainingPlan, faults: Mapping[str, str], console: Console) -> None:
    damaged = [what for what in faults.values() if what]
    if damaged:
        console.warn(f"{len(damaged)} runs are damaged and are trained again: {abbreviate(damaged, 3)}")
    there = [path for path, what in faults.items() if not what and (experiment.folder / path).exists()]
    if there:
        console.say(f"{experiment.folder}: {len(there)} runs of another configuration or cache will be replaced")

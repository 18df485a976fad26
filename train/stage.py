"""The training stage: the matrix of runs, group by group, skipping what is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from amber import splits
from amber.cluster import Cluster
from amber.config import Config
from amber.console import Advance, Console
from amber.errors import abbreviate, count
from amber.location import locate, reaching
from amber.lock import held
from amber.machine import choose

from . import transfer
from .cluster import run_on_cluster
from .parallel import for_each
from .plan import TrainingPlan, prepare
from .run_folder import remove_partial
from .trainer import Trainer
from .utterances import lines

__all__ = ["TrainingPlan", "describe", "plan", "prepare", "run"]


def run(config: Config, dataset: str | None, console: Console, cluster: Cluster | None = None) -> TrainingPlan:
    """Train every run of the matrix that is not done, in this process or on a cluster."""
    with reaching(locate(config.features.cache)), reaching(locate(config.train.runs)):
        experiment = prepare(config, dataset)
        others = transfer.targets(experiment, config, dataset)
        for line in describe(experiment):
            console.say(line)
        if not experiment.folder.exists():
            choose(config.train.device)  # a mistake is found before anything is written
        elsewhere = "wait until it has ended, or train under another name with --set experiment=NAME"
        with held(experiment.folder, "train", "`amber train` writes one experiment at a time", elsewhere):
            remove_partial(experiment.folder)
            _train(experiment, config, console, cluster or Cluster())
        for other in others:
            transfer.test(experiment, other, console)
    return experiment


def _train(experiment: TrainingPlan, config: Config, console: Console, cluster: Cluster) -> None:
    faults = experiment.faults()
    if not faults:
        console.say(f"{experiment.folder}: {count(len(experiment.runs), 'run')}, all done")
        return
    pa.default_memory_pool().release_unused()  # of a large corpus, Arrow keeps about 100 MB that it has freed
    device = choose(config.train.device).name
    _say_what_is_replaced(experiment, faults, console)
    missing = faults.keys()
    trainers = [Trainer(experiment, part, config.train.memory, device) for part in experiment.parts]
    # A group that was cut is trained again as a whole: its numbers depend on the command alone, not on what was done.
    sizes = {
        (place, number): trainer.work(number)
        for place, trainer in enumerate(trainers)
        for number, group in enumerate(trainer.groups)
        if missing & {run.path for run in group}
    }
    with console.progress("train", sum(sizes.values()), 0) as advance:
        if cluster:
            for task in run_on_cluster(cluster, config, trainers, list(sizes), missing, console):
                advance(sizes[task], trainers[task[0]].note(task[1]))
        else:
            for place in range(len(trainers)):
                numbers = [number for of, number in sizes if of == place]
                _train_here(trainers.pop(0), numbers, missing, advance)  # popped: its inputs are let go
    remove_partial(experiment.folder)  # of workers that were lost


def _train_here(trainer: Trainer, numbers: Sequence[int], missing: Collection[str], advance: Advance) -> None:
    """Train groups in this process."""

    def one(number: int, step: Advance) -> None:
        trainer.train(number, missing, step)

    for_each(one, numbers, advance, trainer.workers, trainer.threads)


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
    yield from (f"{experiment.name}: {line}" for line in lines([part.utterances for part in experiment.parts]))
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


def plan(config: Config, dataset: str | None) -> list[str]:
    """Say what `run` would do, in lines."""
    experiment = prepare(config, dataset)
    missing = len(experiment.missing())
    done = len(experiment.runs) - missing
    return [
        *describe(experiment),
        f"train {experiment.folder}: {count(len(experiment.runs), 'run')}, {done} done, {missing} to do",
    ]


def _say_what_is_replaced(experiment: TrainingPlan, faults: Mapping[str, str], console: Console) -> None:
    damaged = [what for what in faults.values() if what]
    if damaged:
        console.warn(f"{count(len(damaged), 'damaged run')} trained again: {abbreviate(damaged, 3)}")
    there = [path for path, what in faults.items() if not what and (experiment.folder / path).exists()]
    if there:
        console.say(
            f"{experiment.folder}: {count(len(there), 'run')} of another configuration or cache will be replaced"
        )

"""Training on a Dask cluster: a group of runs is a task; a worker reads the same plan and writes the runs itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch

from amber.cluster import Cluster, own_device, run_tasks
from amber.config import Config
from amber.console import Console, ignore
from amber.errors import RunFailure
from amber.location import absolute, locate
from amber.machine import choose

from .parallel import threads_of
from .plan import prepare
from .trainer import Trainer


def run_on_cluster(
    cluster: Cluster,
    config: Config,
    trainer: Trainer,
    numbers: Sequence[int],
    missing: Collection[str],
    console: Console,
) -> Iterator[int]:
    """Train the groups of these numbers on a cluster, one per worker at a time; yield each number as it is done.

    Parameters
    ----------
    cluster
        A local or a running one. Its workers must see cache and runs under the same names as this command.
    config
        The command's configuration.
    trainer
        The command's own plan and groups, which every worker's are compared with.
    numbers
        Which groups.
    missing
        Paths of the runs that are to be written.
    console
        Is told where the dashboard is.

    Raises
    ------
    UserError
        If the scheduler can't be reached.
    RunFailure
        If a worker reads another cache, or groups keep losing their worker.

    """
    cache, runs = (str(absolute(locate(where))) for where in (config.features.cache, config.train.runs))
    changes = {
        "features": config.features.model_copy(update={"cache": cache}),
        "train": config.train.model_copy(update={"runs": runs}),
    }
    # What was not given is left out: what a key's absence means stays the same.
    written = config.model_copy(update=changes).model_dump_json(exclude_unset=True)
    dataset = trainer.plan.data.corpus.name
    tasks = []
    for number in numbers:
        keys = {run.path: trainer.plan.key(run) for run in trainer.groups[number]}
        wanted = {path: key for path, key in keys.items() if path in missing}
        tasks.append((written, dataset, number, wanted, trainer.threads))
    for place, _ in run_tasks(cluster, _do, tasks, console, cores=torch.get_num_threads()):
        yield numbers[place]


def _do(config: str, dataset: str, number: int, wanted: dict[str, str], threads: int) -> None:
    trainer = _trainer(config, dataset)
    keys = {run.path: trainer.plan.key(run) for run in trainer.groups[number]}
    if any(keys.get(path) != key for path, key in wanted.items()):
        raise RunFailure(
            f"{Path(trainer.plan.folder).name}: a worker would train something else: its cache or its version of amber "
            "is not this one's"
        )
    with threads_of(threads):
        trainer.train(number, wanted, ignore)


@lru_cache(maxsize=1)
def _trainer(config: str, dataset: str) -> Trainer:
    """Return this worker process's trainer."""
    read = Config.model_validate_json(config)
    return Trainer(prepare(read, dataset), read.train.memory, own_device(choose(read.train.device).name))

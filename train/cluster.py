"""Training on a Dask cluster: a group of runs is a task; a worker reads the same plan and writes the runs itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

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

Task = tuple[int, int]  # the numbers of a part of the plan, and of a group in it


def run_on_cluster(
    cluster: Cluster,
    config: Config,
    trainers: Sequence[Trainer],
    tasks: Sequence[Task],
    missing: Collection[str],
    console: Console,
) -> Iterator[Task]:
    """Train groups on a cluster, one per worker at a time; yield each task as it is done.

    Parameters
    ----------
    cluster
        A local or a running one. Its workers must see cache and runs under the same names as this command.
    config
        The command's configuration.
    trainers
        The command's own, one for each part of the plan, which every worker's are compared with.
    tasks
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
    arguments = []
    for part, number in tasks:
        trainer = trainers[part]
        wanted = {path: key for path, key in trainer.keys(number).items() if path in missing}
        arguments.append((written, trainer.plan.dataset, part, number, wanted, trainer.threads))
    for place, _ in run_tasks(cluster, _do, arguments, console, cores=torch.get_num_threads()):
        yield tasks[place]


def _do(config: str, dataset: str, part: int, number: int, wanted: dict[str, str], threads: int) -> None:
    trainer = _trainer(config, dataset, part)
    keys = trainer.keys(number)
    if any(keys.get(path) != key for path, key in wanted.items()):
        raise RunFailure(
            f"{trainer.plan.folder.name}: a worker would train something else: its cache or its amber differs"
        )
    with threads_of(threads):
        trainer.train(number, wanted, ignore)


@lru_cache(maxsize=1)
def _trainer(config: str, dataset: str, part: int) -> Trainer:
    """Return this worker process's trainer of a part of the plan."""
    read = Config.model_validate_json(config)
    plan = prepare(read, dataset)
    return Trainer(plan, plan.parts[part], read.train.memory, own_device(choose(read.train.device).name))

"""Tasks on a Dask cluster, a local one or a running one; the tasks of a lost worker are done again.

Extraction (a unit is a task) and training (a group of runs is a task) use the same engine. A task writes its own
result, so that nothing is lost with the scheduler, and returns only what is to be reported.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from amber.console import Console
from amber.errors import RunFailure, UserError

PATIENCE = "5s"  # to reach a running scheduler


@dataclass(frozen=True)
class Cluster:
    """Where tasks are done: in this process, by `workers` of a local cluster, or on a running `scheduler`."""

    workers: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        """Refuse both at once."""
        if self.workers and self.scheduler:
            raise UserError("--workers starts a cluster, --scheduler uses a running one; give one of them")

    def __bool__(self) -> bool:
        return bool(self.workers or self.scheduler)


def run_tasks(
    cluster: Cluster,
    function: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    console: Console,
    threads: int = 1,
    retries: int = 0,
    cores: int | None = None,
) -> Generator[tuple[int, Any], None, None]:
    """Call `function(*task)` for every task on a cluster; yield the number and the result of each as it is done.

    Parameters
    ----------
    cluster
        A local or a running one.
    function, tasks
        What is called, a function of a module, and its arguments.
    console
        Is told where the cluster's dashboard is.
    threads
        Tasks that a worker of a local cluster does at a time.
    retries
        Of a task that raises, in case the worker was at fault. Those of lost workers are done again in any case.
    cores
        Threads of arithmetic in each local worker, where the environment does not say; None for its share.

    Raises
    ------
    UserError
        If the scheduler can't be reached.
    RunFailure
        If tasks keep losing their worker, or the scheduler stops.

    """
    distributed: Any = importlib.import_module("distributed")  # late: it takes a second
    comm: Any = importlib.import_module("distributed.comm")
    with _client(distributed, cluster, threads, cores) as client:
        console.say(f"dashboard: {_dashboard(client)}")
        numbers, futures = {}, distributed.as_completed([])
        for number, task in enumerate(tasks):
            future = client.submit(function, *task, pure=False, retries=retries)
            numbers[future.key] = number
            futures.add(future)
        for future in futures:
            try:
                result = future.result()
            except distributed.KilledWorker as error:
                raise RunFailure(f"a task lost its worker several times: {error}") from None
            except (CancelledError, comm.CommClosedError) as error:
                raise RunFailure(
                    f"the scheduler stopped or cancelled the work ({type(error).__name__})\n"
                    "what is done is kept; the same command goes on from there"
                ) from None
            yield numbers[future.key], result


def own_device(name: str) -> str:
    """Return the device of the worker that calls this: on a machine with several GPUs each worker has its own."""
    worker = importlib.import_module("distributed").get_worker().name
    if name != "cuda" or not isinstance(worker, int):
        return name
    import torch

    return f"cuda:{worker % torch.cuda.device_count()}"


@contextmanager
def _client(distributed: Any, cluster: Cluster, threads: int, cores: int | None) -> Iterator[Any]:
    for name in ("distributed", "distributed.client"):  # amber reports what goes wrong, once
        logging.getLogger(name).setLevel(logging.ERROR if cluster.scheduler is None else logging.CRITICAL)
    with ExitStack() as stack:
        if cluster.scheduler is None:
            workers = cluster.workers or 1
            # The number of threads must be set before a process imports torch.
            share = str(cores or max(1, (os.cpu_count() or 1) // workers))
            local = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=threads,
                dashboard_address="127.0.0.1:0",
                env={"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", share)},
            )
            yield stack.enter_context(distributed.Client(stack.enter_context(local)))
            return
        try:
            client = stack.enter_context(distributed.Client(cluster.scheduler, timeout=PATIENCE))
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(f"--scheduler {cluster.scheduler}: can't be reached: {error}") from None
        yield client


def _dashboard(client: Any) -> str:
    """Return the address of the dashboard; without bokeh, which draws it, that of the scheduler's plain pages."""
    link = str(client.dashboard_link)
    if not link or importlib.util.find_spec("bokeh"):
        return link or "none"
    return f"{link.removesuffix('/status')}/info/main/workers.html (with charts: pip install '.[dashboard]')"

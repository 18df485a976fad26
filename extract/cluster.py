"""Units spread over the processes of a Dask cluster: a unit is a task, and a lost worker's units are done again."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

from amber.errors import RunFailure, UserError
from amber.features.store import FeatureStore
from amber.location import absolute, locate
from amber.machine import Device

from .engine import UNITS_AT_ONCE, Engine, Recipe, Tick
from .inputs import Input

RETRIES = 2  # of a unit that raises: by then it is not the worker's fault
PATIENCE = "5s"  # to find a scheduler that is running

dask: Any = importlib.import_module("distributed")
comm: Any = importlib.import_module("distributed.comm")


def on_cluster(
    workers: int | None,
    scheduler: str | None,
    recipe: Recipe,
    store: FeatureStore,
    units: Mapping[int, Sequence[Input | None]],
    tick: Tick,
) -> Generator[int, None, None]:
    """Do units on `workers` local processes or on a running `scheduler`; yield each one's number of failures.

    Raises
    ------
    UserError
        If the scheduler can't be reached.
    RunFailure
        If a unit keeps failing, or keeps losing its worker.

    """
    with _client(workers, scheduler) as client:
        sizes = {}
        tasks, where = dask.as_completed([]), str(absolute(store.location))
        for number, inputs in units.items():
            task = client.submit(_do, recipe, where, number, inputs, pure=False, retries=RETRIES)
            sizes[task.key] = len(inputs)
            tasks.add(task)
        for task in tasks:
            try:
                failed: int = task.result()
            except dask.KilledWorker as error:
                raise RunFailure(f"a unit lost its worker again and again: {error}") from None
            except (CancelledError, comm.CommClosedError) as error:
                raise RunFailure(
                    f"the scheduler went away, or gave the work up ({type(error).__name__})\n"
                    "what is done is kept; the same command goes on from there"
                ) from None
            tick(sizes[task.key])
            yield failed


@contextmanager
def _client(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    for name in ("distributed", "distributed.client"):  # what goes wrong with a scheduler is said once, by us
        logging.getLogger(name).setLevel(logging.ERROR if scheduler is None else logging.CRITICAL)
    with ExitStack() as stack:
        if scheduler is None:
            assert workers is not None  # noqa: S101 (one of the two is given)
            # Processes are told their threads before they import torch.
            threads = str(max(1, (os.cpu_count() or 1) // workers))
            cluster = stack.enter_context(
                dask.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=UNITS_AT_ONCE,
                    dashboard_address=None,
                    env={"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)},
                )
            )
            yield stack.enter_context(dask.Client(cluster))
            return
        try:
            client = stack.enter_context(dask.Client(scheduler, timeout=PATIENCE))
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(f"--scheduler {scheduler}: can't be reached: {error}") from None
        yield client


def _do(recipe: Recipe, location: str, number: int, inputs: Sequence[Input | None]) -> int:
    return _engine(recipe, location).do(number, inputs, lambda _: None)


@lru_cache(maxsize=1)
def _engine(recipe: Recipe, location: str) -> Engine:
    """Return this worker process's one engine; RunFailure if the worker has another revision of the encoder."""
    card, store = recipe.card(), FeatureStore.open(locate(location))
    if card.revision != store.spec.revision:
        raise RunFailure(
            f"{recipe.encoder}: revision {card.revision} is here, {store.spec.revision} is being extracted"
        )
    return Engine(card, _own_device(recipe.device), store)


def _own_device(device: Device) -> Device:
    """Return the worker's device: where several GPUs are on a machine, each of its workers has its own."""
    name = dask.get_worker().name
    if device.name != "cuda" or not isinstance(name, int):
        return device
    import torch

    return replace(device, name=f"cuda:{name % torch.cuda.device_count()}")

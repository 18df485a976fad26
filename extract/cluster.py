"""Extraction on a Dask cluster: every unit is a task, and the units of a lost worker are done again."""

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

from amber.console import Advance, ignore
from amber.errors import RunFailure, UserError
from amber.features.store import FeatureStore
from amber.location import absolute, locate
from amber.machine import Device

from .engine import UNITS_AT_ONCE, Done, EncoderReference, Engine
from .inputs import Input
from .rate import Rate

RETRIES = 2  # of a unit that raises, in case the worker was at fault
PATIENCE = "5s"  # to reach a running scheduler

dask: Any = importlib.import_module("distributed")
comm: Any = importlib.import_module("distributed.comm")


def run_on_cluster(
    workers: int | None,
    scheduler: str | None,
    reference: EncoderReference,
    store: FeatureStore,
    units: Mapping[int, Sequence[Input | None]],
    advance: Advance,
) -> Generator[int, None, None]:
    """Do units on `workers` local processes or on a running `scheduler`; yield the number of failures of each.

    Raises
    ------
    UserError
        If the scheduler can't be reached.
    RunFailure
        If a unit keeps failing, or keeps losing its worker.

    """
    with _client(workers, scheduler) as client:
        sizes, rate = {}, Rate()
        tasks, where = dask.as_completed([]), str(absolute(store.location))
        for number, inputs in units.items():
            task = client.submit(_do, reference, where, number, inputs, pure=False, retries=RETRIES)
            sizes[task.key] = len(inputs)
            tasks.add(task)
        for task in tasks:
            try:
                done: Done = task.result()
            except dask.KilledWorker as error:
                raise RunFailure(f"a unit lost its worker several times: {error}") from None
            except (CancelledError, comm.CommClosedError) as error:
                raise RunFailure(
                    f"the scheduler stopped or cancelled the work ({type(error).__name__})\n"
                    "what is done is kept; the same command goes on from there"
                ) from None
            advance(sizes[task.key], rate.note(done.seconds))
            yield done.failed


@contextmanager
def _client(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    for name in ("distributed", "distributed.client"):  # amber reports what goes wrong, once
        logging.getLogger(name).setLevel(logging.ERROR if scheduler is None else logging.CRITICAL)
    with ExitStack() as stack:
        if scheduler is None:
            assert workers is not None  # noqa: S101 (one of the two is given)
            # The number of threads must be set before a process imports torch.
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


def _do(reference: EncoderReference, location: str, number: int, inputs: Sequence[Input | None]) -> Done:
    return _engine(reference, location).do(number, inputs, ignore)


@lru_cache(maxsize=1)
def _engine(reference: EncoderReference, location: str) -> Engine:
    """Return this worker process's engine; RunFailure if the worker has another revision of the encoder."""
    info, store = reference.find(), FeatureStore.open(locate(location))
    if info.revision != store.spec.revision:
        raise RunFailure(
            f"{reference.encoder}: revision {info.revision} on this worker, {store.spec.revision} in the feature set"
        )
    return Engine(info, _own_device(reference.device), store)


def _own_device(device: Device) -> Device:
    """Return the worker's device; on a machine with several GPUs each worker gets its own."""
    name = dask.get_worker().name
    if device.name != "cuda" or not isinstance(name, int):
        return device
    import torch

    return replace(device, name=f"cuda:{name % torch.cuda.device_count()}")

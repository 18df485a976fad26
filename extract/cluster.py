"""Extraction on a Dask cluster: every unit is a task."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from amber.cluster import Cluster, own_device, run_tasks
from amber.console import Advance, Console, ignore
from amber.errors import RunFailure
from amber.features.store import FeatureStore
from amber.location import absolute, locate

from .engine import UNITS_AT_ONCE, Done, EncoderReference, Engine
from .inputs import Input
from .rate import Rate

RETRIES = 2  # of a unit that raises, in case the worker was at fault


def run_on_cluster(
    cluster: Cluster,
    reference: EncoderReference,
    store: FeatureStore,
    units: Mapping[int, Sequence[Input | None]],
    console: Console,
    advance: Advance,
) -> Generator[int, None, None]:
    """Do units on a cluster; yield the number of failures of each. Errors are those of `run_tasks`."""
    where, sizes = str(absolute(store.location)), [len(inputs) for inputs in units.values()]
    tasks = [(reference, where, number, inputs) for number, inputs in units.items()]
    rate = Rate()
    for place, done in run_tasks(cluster, _do, tasks, console, UNITS_AT_ONCE, RETRIES):
        advance(sizes[place], rate.note(done.seconds))
        yield done.failed


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
    engine = Engine(info, replace(reference.device, name=own_device(reference.device.name)), store)
    engine.fit_budget()
    return engine

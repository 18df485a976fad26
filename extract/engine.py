"""An encoder in one process: units are read, encoded and written, so that these steps of different units overlap.

`amber extract` on one machine and every worker of a cluster use the same engine.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, NamedTuple

from amber.console import Advance
from amber.corpus import Modality
from amber.errors import RunFailure
from amber.features.store import FeatureStore
from amber.features.unit import Status
from amber.machine import Device

from . import encoders
from .encoders import EncoderInfo, memory
from .inputs import Input
from .rate import Rate
from .units import Batch, UnitBuilder

READERS = 4  # threads that decode and resample audio
UNITS_AT_ONCE = 2  # one is encoded while the other is written or its first batches are read


@dataclass(frozen=True)
class EncoderReference:
    """What another process needs to find an encoder: the arguments of `encoders.find`, and the device."""

    encoder: str
    modality: Modality
    layers: str
    max_seconds: float
    margin: float | None
    device: Device

    def find(self) -> EncoderInfo:
        """Find the encoder; UserError if there is none."""
        return encoders.find(self.encoder, self.modality, self.layers, self.max_seconds, self.margin)


@dataclass(frozen=True)
class Task:
    """A unit of one of several feature sets, with the inputs of its utterances."""

    info: EncoderInfo
    device: Device
    store: FeatureStore
    number: int
    inputs: Sequence[Input | None]


class Done(NamedTuple):
    """What came of a unit: how many of its utterances failed, and the seconds of audio that were encoded."""

    failed: int
    seconds: float


class Engine:
    """Encodes and writes the units of a feature set; safe to use from several threads."""

    def __init__(
        self, info: EncoderInfo, device: Device, store: FeatureStore, encoding: ThreadPoolExecutor | None = None
    ) -> None:
        self._info, self._device, self._store = info, device, store
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        # A single thread loads and runs the encoder, or all of several engines: torch keeps threads and memory for each
        # thread that calls it, and with more of them than cores they wait for one another asleep.
        self._encoding = encoding or ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._encoder = self._encoding.submit(info.load, device).result()
        self._budget = info.budget_on(device)
        self._stopped = threading.Event()
        self._rate = Rate()

    def fit_budget(self) -> None:
        """Set the budget of batches by a GPU's free memory, once all the models that share it are loaded."""
        if self._device.name.startswith("cuda"):
            self._budget = self._encoding.submit(self._fitting_budget).result()

    def _fitting_budget(self) -> int:
        batch = memory.trial(self._info)
        budget = memory.fitting_budget(lambda: self._encoder.pooled(batch), self._info.budget, self._device.name)
        if hasattr(self._encoder, "budget"):
            self._encoder.budget = budget
        return budget

    def do(self, number: int, inputs: Sequence[Input | None], advance: Advance) -> Done:
        """Read, encode and commit one unit."""
        builder = UnitBuilder(inputs, self._store.spec)
        plan = builder.plan(self._budget, self._info.padding, self._info.heard)
        reading = builder.reading(plan, self._readers, getattr(self._encoder, "prepare", None))
        self._encoding.submit(self._encode, builder, plan, reading, advance).result()
        unit = builder.unit()
        self._store.commit(number, unit)
        return Done(int((unit.status == Status.FAILED).sum()), sum(map(builder.seconds, plan)))

    def _encode(
        self, builder: UnitBuilder, plan: Sequence[Batch], reading: Iterator[list[Any]], advance: Advance
    ) -> None:
        """Encode the batches of a plan, each as it is read."""
        for batch in builder.encode(plan, reading, self._encoder):
            advance(len(batch), self._rate.note(builder.seconds(batch)))
            if self._stopped.is_set():
                raise RunFailure("stopped")
        # In this thread, too: the progress bar is not thread-safe.
        advance(builder.size - sum(map(len, plan)), self._rate.note(0.0))

    def close(self) -> None:
        """Stop after the batch that is being encoded and end the threads."""
        self._stopped.set()
        self._encoding.shutdown(cancel_futures=True)
        self._readers.shutdown(cancel_futures=True)


def run_locally(
    info: EncoderInfo,
    device: Device,
    store: FeatureStore,
    units: Mapping[int, Sequence[Input | None]],
    advance: Advance,
) -> Generator[int, None, None]:
    """Do units in this process; yield the number of failed utterances of each one as it is committed.

    If the caller closes the generator, the remaining units are not done.
    """
    engine = Engine(info, device, store)
    engine.fit_budget()
    with ThreadPoolExecutor(UNITS_AT_ONCE) as executor:
        futures = [executor.submit(engine.do, number, inputs, advance) for number, inputs in units.items()]
        try:
            for future in as_completed(futures):
                yield future.result().failed
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            engine.close()


def run_together(tasks: Sequence[Task], advance: Advance) -> Generator[tuple[FeatureStore, int], None, None]:
    """Do units of several feature sets in this process, in their order; yield each unit's set and failures.

    If the caller closes the generator, the remaining units are not done.
    """
    encoding = ThreadPoolExecutor(1, thread_name_prefix="encoder")
    engines: dict[str, Engine] = {}
    for task in tasks:
        if task.store.spec.name not in engines:
            engines[task.store.spec.name] = Engine(task.info, task.device, task.store, encoding)
    for engine in engines.values():
        engine.fit_budget()

    def do(task: Task) -> tuple[FeatureStore, int]:
        return task.store, engines[task.store.spec.name].do(task.number, task.inputs, advance).failed

    with ThreadPoolExecutor(UNITS_AT_ONCE) as executor:
        futures = [executor.submit(do, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            for one in engines.values():
                one.close()

"""An encoder at work in one process: units are read, encoded and written, each step of one beside another's.

The same engine serves `amber extract` on one machine and every worker of a cluster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from amber.corpus import Modality
from amber.errors import RunFailure
from amber.features.store import FeatureStore
from amber.features.unit import Status
from amber.machine import Device

from . import encoders
from .encoders import Card
from .inputs import Input
from .units import Batch, Draft

READERS = 4  # threads that decode and resample audio
UNITS_AT_ONCE = 2  # one is encoded while another is written, and the next one's first batches are read

Tick = Callable[[int], object]  # told of utterances as they are done


@dataclass(frozen=True)
class Recipe:
    """How to come by an encoder in another process: what `encoders.find` is asked, and the device."""

    encoder: str
    modality: Modality
    layers: str
    max_seconds: float
    device: Device

    def card(self) -> Card:
        """Find the encoder; UserError if it can't be had."""
        return encoders.find(self.encoder, self.modality, self.layers, self.max_seconds)


class Engine:
    """Does the units of a feature set; several threads may ask it to at once."""

    def __init__(self, card: Card, device: Device, store: FeatureStore) -> None:
        self._card, self._device, self._store = card, device, store
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        # One unit at a time and always in one thread, loading included: torch keeps threads and memory for each thread
        # that calls it, and with more of them than cores they no longer wait for one another awake.
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._encoder = self._encoding.submit(card.load, device).result()
        self._stopped = threading.Event()

    def do(self, number: int, inputs: Sequence[Input | None], tick: Tick) -> int:
        """Read, encode and commit one unit; return how many of its utterances failed."""
        draft = Draft(inputs, self._store.spec)
        plan = draft.plan(self._card.budget_on(self._device), self._card.padding)
        reading = draft.reading(plan, self._readers)
        self._encoding.submit(self._encode, draft, plan, reading, tick).result()
        unit = draft.unit()
        self._store.commit(number, unit)
        return int((unit.status == Status.FAILED).sum())

    def _encode(self, draft: Draft, plan: Sequence[Batch], reading: Iterator[list[Any]], tick: Tick) -> None:
        for batch, items in zip(plan, reading, strict=True):
            if self._stopped.is_set():
                raise RunFailure("stopped")
            draft.encode(batch, items, self._encoder)
            tick(len(batch))
        tick(draft.size - sum(map(len, plan)))  # here, too: progress is counted by one thread

    def close(self) -> None:
        """Let no further batch be encoded, and the threads go."""
        self._stopped.set()
        self._encoding.shutdown(cancel_futures=True)
        self._readers.shutdown(cancel_futures=True)


def here(
    card: Card, device: Device, store: FeatureStore, units: Mapping[int, Sequence[Input | None]], tick: Tick
) -> Generator[int, None, None]:
    """Do units in this process; yield how many utterances failed in each, as they are committed.

    What is left undone when the caller stops asking stays undone.
    """
    engine = Engine(card, device, store)
    with ThreadPoolExecutor(UNITS_AT_ONCE) as executor:
        futures = [executor.submit(engine.do, number, inputs, tick) for number, inputs in units.items()]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            engine.close()

"""Feature sets that are filled: one after another, or those of several encoders in one pass over the audio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amber.cluster import Cluster
from amber.console import Advance, Console
from amber.corpus import Corpus, Modality
from amber.errors import RunFailure, abbreviate, count
from amber.features import recordings
from amber.features.fill import fill, missing_units
from amber.features.spec import FeatureSpec
from amber.features.store import FeatureStore, writing
from amber.machine import Device

from . import engine, replaced
from .cluster import run_on_cluster
from .encoders import EncoderInfo
from .engine import EncoderReference, Task
from .inputs import Input, inputs, shared


@dataclass(frozen=True)
class Outcome:
    """What a feature set holds after extraction: counts of utterances by status, and why utterances failed."""

    location: Path
    modality: Modality
    counts: dict[str, int]
    errors: dict[str, str]
    units: int
    units_done_now: int

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        return {**self.__dict__, "location": str(self.location)}

    def line(self) -> str:
        """Return the outcome in one line."""
        counts = ", ".join(f"{n} {what}" for what, n in self.counts.items() if n)
        return f"{self.location}: {counts} ({self.units_done_now} of {count(self.units, 'unit')} done now)"


@dataclass(frozen=True)
class Work:
    """One modality's part of the extraction, determined before anything is encoded."""

    info: EncoderInfo
    reference: EncoderReference
    spec: FeatureSpec
    max_failures: float  # share of the utterances

    @property
    def allowed(self) -> int:
        """Return how many utterances may fail."""
        return max(1, int(self.max_failures * self.spec.size))

    @property
    def device(self) -> Device:
        """Return the device of the encoder."""
        return self.reference.device


def extract(
    work: Work,
    corpus: Corpus,
    folder: Path,
    console: Console,
    cluster: Cluster,
    retry_failed: bool = False,
    check: bool = False,
) -> Outcome:
    """Extract one modality of a corpus into a dataset's folder; the options are those of `stage.run`."""
    with writing(folder, work.spec.name):
        store, now = _opened(work, corpus, folder, console, check)

        def commit(missing: Sequence[int], advance: Advance) -> None:
            _commit(work, store, inputs(corpus, work.spec), missing, cluster, console, advance)

        done_now = fill(store, commit, console, work.info.modality, retry_failed)
        return _outcome(work, store, done_now, now if check else None)


def extract_together(
    works: Sequence[Work],
    corpus: Corpus,
    folder: Path,
    console: Console,
    retry_failed: bool = False,
    check: bool = False,
) -> list[Outcome]:
    """Extract the features of several speech encoders; every recording is decoded once.

    All encoders are in memory at once. Their units are done in the order of their first utterances, and a recording is
    kept until the last encoder that lacks it has read it.
    """
    with ExitStack() as stack:
        for work in works:
            stack.enter_context(writing(folder, work.spec.name))
        opened = [_opened(work, corpus, folder, console, check) for work in works]
        missing = [missing_units(store, console, retry_failed) for store, _ in opened]
        tasks = _tasks(works, [store for store, _ in opened], missing, corpus)
        size = sum(len(task.inputs) for task in tasks)
        names = ", ".join(work.info.name for work in works)
        if tasks:
            device = works[0].device
            console.say(f"speech: {names}, {device.precision} on {device.name} ({device.reason})")
            with console.progress("speech", size, 0) as advance:
                _do(works, tasks, advance)
        rows = zip(works, opened, missing, strict=True)
        return [_outcome(work, store, len(done), now if check else None) for work, (store, now), done in rows]


def _tasks(
    works: Sequence[Work], stores: Sequence[FeatureStore], missing: Sequence[Sequence[int]], corpus: Corpus
) -> list[Task]:
    """Return the missing units of several sets, in the order of their first utterances, with recordings shared."""
    units = [(store.unit(n), place, n) for place, store in enumerate(stores) for n in missing[place]]
    rates = [work.spec.sample_rate or 0 for work in works]
    readers = Counter((rates[place], row) for unit, place, _ in units for row in unit)
    every = {rate: shared(corpus, rate, readers) for rate in set(rates)}
    return [
        Task(works[place].info, works[place].device, stores[place], number, every[rates[place]][unit.start : unit.stop])
        for unit, place, number in sorted(units, key=lambda one: (one[0].start, one[1]))
    ]


def _do(works: Sequence[Work], tasks: Sequence[Task], advance: Advance) -> None:
    """Do the units of several sets; RunFailure if more utterances of one fail than is allowed."""
    limits = {work.spec.name: work for work in works}
    failed = {task.store.spec.name: len(task.store.errors()) for task in tasks}
    with closing(engine.run_together(tasks, advance)) as results:
        for store, more in results:
            name = store.spec.name
            failed[name] += more
            if failed[name] > limits[name].allowed:
                raise _too_many(store, failed[name], limits[name].max_failures)


def _opened(
    work: Work, corpus: Corpus, folder: Path, console: Console, check: bool
) -> tuple[FeatureStore, recordings.Stamps | None]:
    """Open or create a feature set, units of replaced recordings taken back; return it with the present stamps."""
    now = recordings.look(corpus) if work.spec.sample_rate else None
    if now is not None and check:
        now = recordings.with_digests(corpus, now, np.arange(len(corpus)))
    store = FeatureStore.create(folder, work.spec, corpus.ids, now)
    if now is not None:
        replaced.drop_changed(store, corpus, now, console)
    return store, now


def _outcome(work: Work, store: FeatureStore, done_now: int, checked: recordings.Stamps | None) -> Outcome:
    """Return what a set holds now; digests that were computed, among the stamps `checked`, are kept."""
    if checked is not None:
        replaced.keep_digests(store, checked)
    return Outcome(store.location, work.info.modality, store.counts(), store.errors(), work.spec.units, done_now)


def _commit(
    work: Work,
    store: FeatureStore,
    every: Sequence[Input | None],
    missing: Sequence[int],
    cluster: Cluster,
    console: Console,
    advance: Advance,
) -> None:
    """Do the missing units; RunFailure if more utterances fail than is allowed."""
    device = work.device
    console.say(f"{work.info.modality}: {work.info.name}, {device.precision} on {device.name} ({device.reason})")
    units = {number: every[store.unit(number).start : store.unit(number).stop] for number in missing}
    failed = len(store.errors())
    with closing(_failures(work, store, units, cluster, console, advance)) as failures:
        for more in failures:
            failed += more
            if failed > work.allowed:
                raise _too_many(store, failed, work.max_failures)


def _failures(
    work: Work,
    store: FeatureStore,
    units: Mapping[int, Sequence[Input | None]],
    cluster: Cluster,
    console: Console,
    advance: Advance,
) -> Generator[int, None, None]:
    """Do units, here or on a cluster; yield the number of failed utterances of each one."""
    if not cluster:
        return engine.run_locally(work.info, work.device, store, units, advance)
    return run_on_cluster(cluster, work.reference, store, units, console, advance)


def _too_many(store: FeatureStore, failed: int, share: float) -> RunFailure:
    errors = store.errors()
    first = abbreviate((f"{uid} ({reason})" for uid, reason in errors.items()), 3)
    return RunFailure(
        f"{failed} utterances failed, more than --max-failures {share:g} allows; what is done is kept\nfirst: {first}"
    )

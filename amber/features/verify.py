"""Verifying a cache: everything in it is read and compared with what it should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amber import seal
from amber.audio import duration
from amber.console import Advance, Console
from amber.corpus import FILE, LEDGER, Corpus
from amber.errors import RunFailure
from amber.features import recordings
from amber.features.catalog import Dataset, Entry
from amber.features.store import FeatureStore
from amber.features.unit import USABLE, Unit

FRAMES_OFF = 3  # tolerated difference between a recording's frames and its duration: families round differently


@dataclass(frozen=True)
class Fault:
    """Something that is wrong: where, and what."""

    where: str
    what: str


@dataclass(frozen=True)
class Verdict:
    """The result of a verification; `remarks` are worth knowing but no damage."""

    faults: list[Fault]
    remarks: list[Fault]
    sets: int
    units: int


def verify(cache: Path, datasets: Sequence[Dataset], console: Console) -> Verdict:
    """Read everything in these datasets and compare it with what it should be; nothing is changed."""
    verdict = Verdict([], [], sum(len(d.entries) for d in datasets), sum(_done(e) for d in datasets for e in d.entries))
    with console.progress("verify", verdict.units) as advance:
        for dataset in datasets:
            if not dataset.corpus:
                verdict.faults.append(Fault(dataset.name, dataset.trouble))
            verdict.faults.extend(Fault(dataset.name, what) for what in _ledger(cache / dataset.name / LEDGER))
            for entry in dataset.entries:
                where = f"{dataset.name}/{entry.path.name}"
                if entry.store:
                    found = _faults(entry.store, dataset.corpus if entry.state == "current" else None, advance)
                    verdict.faults.extend(Fault(where, what) for what in found)
                    if dataset.corpus and entry.state == "current":
                        what = recordings.replaced(entry.store.stamps(), dataset.corpus, digests=True)
                        verdict.remarks.extend([Fault(where, what)] if what else [])
                verdict.remarks.extend(Fault(where, what) for what in _remarks(entry))
                if entry.state == "unreadable":
                    verdict.faults.append(Fault(where, entry.trouble))
    return verdict


def _done(entry: Entry) -> int:
    return int(entry.store.committed().sum()) if entry.store else 0


def _remarks(entry: Entry) -> Iterator[str]:
    if entry.state in ("half", "stale"):
        yield entry.trouble
    if entry.store and not entry.store.complete():
        committed = entry.store.committed()
        yield f"not complete: {committed.sum()} of {len(committed)} units; `amber extract` goes on from there"


def _faults(store: FeatureStore, corpus: Corpus | None, advance: Advance) -> Iterator[str]:
    """Yield what is wrong with a set; `corpus` holds its utterances, if it is current."""
    try:
        ids: tuple[str, ...] = store.ids()
    except RunFailure as failure:
        ids = ()
        yield str(failure)
    else:
        if corpus and ids != corpus.ids:
            yield f"its ids are not those of {FILE}"
    for number in np.flatnonzero(store.committed()).tolist():
        rows = store.unit(number)
        try:
            unit = store.read_unit(number)
        except RunFailure as failure:
            span = f"{ids[rows.start]} to {ids[rows.stop - 1]}" if ids else f"rows {rows.start} to {rows.stop - 1}"
            yield f"unit {number} ({span}): {failure}"
        else:
            if store.is_stamped and not store.has_stamps(number):
                yield f"unit {number}: stamps/c/{number}/0: a chunk is damaged or missing; `amber extract` repairs it"
            if corpus and store.spec.hop and store.spec.sample_rate:
                yield from _odd_lengths(unit, store.spec.hop / store.spec.sample_rate, corpus, rows)
        advance()


def _ledger(path: Path) -> Iterator[str]:
    if path.is_file() and seal.is_whole(path.read_bytes()) is False:
        yield f"{LEDGER} is not what was written; `amber extract` writes it anew"


def _odd_lengths(unit: Unit, hop: float, corpus: Corpus, rows: range) -> Iterator[str]:
    """Yield the recordings of a unit whose number of frames, `hop` seconds each, does not fit their duration.

    Recordings that can't be read are skipped.
    """
    assert unit.lengths is not None  # noqa: S101 (only level *frames* has a hop)
    about = corpus.take(np.array(rows, dtype=np.int64))
    spans = zip(about.column("audio"), about.column("start"), about.column("end"), strict=True)
    for uid, (path, start, end), count, status in zip(about.ids, spans, unit.lengths, unit.status, strict=True):
        seconds = duration(Path(corpus.root, path), start, end) if path and status in USABLE else None
        if seconds is not None and abs(count * hop - seconds) > FRAMES_OFF * hop:
            yield f"{uid}: {count} frames, but its {seconds:.2f} s make about {seconds / hop:.0f}"

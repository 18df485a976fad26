"""Recordings that were replaced since they were extracted: their units are done again, the stamps of others updated."""

from __future__ import annotations

import numpy as np

from amber.console import Console
from amber.corpus import Corpus
from amber.errors import count
from amber.features import recordings
from amber.features.store import FeatureStore


def drop_changed(store: FeatureStore, corpus: Corpus, now: recordings.Stamps, console: Console) -> None:
    """Take back the commits of units whose recordings were replaced; `now` are the current stamps (N, 3)."""
    then = store.stamps()
    if then is None:
        return
    done = np.repeat(store.committed(), store.spec.unit_rows)[: len(corpus)]
    # A copied file has another time; where its digest is known, that shows that it is the same.
    copied = np.flatnonzero(done & (then[:, recordings.DIGEST] != 0) & recordings.changed(then, now))
    now = recordings.with_digests(corpus, now, copied)
    changed = recordings.changed(then, now) & done
    if changed.any():
        rows = np.flatnonzero(changed)
        units = store.units_of(rows)
        store.take_back(units)
        what = count(len(units), "unit")
        console.warn(f"{store.spec.modality}: {recordings.describe(corpus, then, now, rows)}; doing {what} again")
    _write_stamps(store, then, recordings.merged(then, now, done & ~changed & (now[:, recordings.TIME] != 0)))


def keep_digests(store: FeatureStore, now: recordings.Stamps) -> None:
    """Record the digests, in `now` (N, 3), of recordings that did not change meanwhile."""
    then = store.stamps()
    assert then is not None  # noqa: S101 (the caller knows that there are recordings)
    same = (then[:, : recordings.DIGEST] == now[:, : recordings.DIGEST]).all(axis=1)
    _write_stamps(store, then, recordings.merged(then, now, same))


def _write_stamps(store: FeatureStore, then: recordings.Stamps, now: recordings.Stamps) -> None:
    """Write the stamps (N, 3) of the units in which they changed."""
    rows = np.flatnonzero((then != now).any(axis=1))
    store.write_stamps(now, store.units_of(rows))

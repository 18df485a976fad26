"""Filling a feature set: every unit that is missing or damaged is done, for extraction and import alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from amber.console import Advance, Console, ignore
from amber.errors import RunFailure
from amber.features.store import FeatureStore

Commit = Callable[[Sequence[int], Advance], None]  # commits units by number and reports utterances as they are done


def fill(store: FeatureStore, commit: Commit, console: Console, label: str, retry_failed: bool = False) -> int:
    """Have `commit` do every unit that a feature set lacks, and return their number. Call it within `writing`.

    Parameters
    ----------
    store
        The feature set.
    commit
        Commits the units of given numbers.
    console
        Where progress, in utterances, and warnings go.
    label
        Shown with the progress.
    retry_failed
        Whether units with utterances that failed are done again.

    Raises
    ------
    RunFailure
        If the metadata are damaged, and whatever `commit` raises.

    """
    missing = missing_units(store, console, retry_failed)
    if missing:
        size = store.spec.size
        with console.progress(label, size, size - sum(len(store.unit(number)) for number in missing)) as advance:
            commit(missing, advance)
    return len(missing)


def missing_units(store: FeatureStore, console: Console, retry_failed: bool = False) -> list[int]:
    """Return the units that a feature set lacks, damaged ones included, which are named; the options are `fill`'s."""
    committed = int(store.committed().sum())
    if committed:  # earlier runs' units are read before they are relied on
        with console.progress(f"{store.spec.modality}: checking what is cached", committed) as advance:
            for trouble in drop_damaged(store, advance).values():
                console.warn(f"{trouble}; doing it again")
    if retry_failed:
        store.take_back_failed()
    missing: list[int] = np.flatnonzero(~store.committed()).tolist()
    return missing


def drop_damaged(store: FeatureStore, advance: Advance = ignore) -> dict[int, str]:
    """Read every committed unit and take back the commits of damaged ones, so that they are done again.

    Parameters
    ----------
    store
        The feature set.
    advance
        Called after each unit.

    Returns
    -------
    dict
        What is wrong with each unit that is no longer committed.

    Raises
    ------
    RunFailure
        If the metadata are damaged; then nothing is taken back.

    """
    store.check_layout()
    found = {}
    for number in np.flatnonzero(store.committed()).tolist():
        try:
            store.read_unit(number)
        except RunFailure as failure:
            store.take_back([number])
            found[number] = str(failure)
        advance()
    return found

"""Long recordings in pieces for a recogniser, cut where it is quiet, so that few words are cut in two."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from amber.audio import SAMPLE_RATE, Signal

QUIET = SAMPLE_RATE // 5  # samples: the pause that is looked for, 200 ms
HOP = SAMPLE_RATE // 100  # samples: how finely it is looked for, 10 ms


def pieces(signal: Signal, most: int) -> Iterator[Signal]:
    """Yield a signal (T,) in pieces of at most `most` samples that follow one another.

    A cut lies in the middle of the quietest 200 ms of the last quarter of what a piece may hold.
    """
    while len(signal) > most:
        cut = _quietest(signal, most - most // 4, most)
        yield signal[:cut]
        signal = signal[cut:]
    yield signal


def _quietest(signal: Signal, first: int, last: int) -> int:
    """Return the middle of the quietest pause within samples `first` to `last`; the earliest of several."""
    width = min(QUIET, last - first)
    energy = np.cumsum(np.square(signal[first:last], dtype=np.float64))
    starts = np.arange(0, last - first - width + 1, HOP)
    sums = energy[starts + width - 1] - np.where(starts > 0, energy[starts - 1], 0.0)
    return first + int(starts[int(sums.argmin())]) + width // 2

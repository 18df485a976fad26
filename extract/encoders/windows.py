"""Overlapping windows over long audio; each contributes the features of one part of the signal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Window(NamedTuple):
    """Samples `start` to `stop` of a signal, of which `first` to `last` are the window's own part."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def samples(self) -> int:
        """Return the number of samples."""
        return self.stop - self.start


def windows(length: int, window: int, overlap: int) -> Iterator[Window]:
    """Cut a signal of `length` samples into windows of at most `window` samples that overlap by `overlap`.

    The windows' own parts follow one another and cover the signal. Where two windows meet, each part ends half an
    overlap away from the edge of its window.
    """
    start, half = 0, overlap // 2
    while True:
        stop = min(start + window, length)
        first = start + overlap - half if start else 0
        last = stop - half if stop < length else length
        yield Window(start, stop, first, last)
        if stop == length:
            return
        start = stop - overlap

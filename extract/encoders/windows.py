"""Long audio: overlapping windows, each of which speaks for a part of the signal."""

from __future__ import annotations

from collections.abc import Iterator


def windows(length: int, window: int, overlap: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a signal into overlapping windows.

    Yields
    ------
    start, stop, first, last
        The window's samples, and the part of them that it speaks for: the parts follow one another and cover the
        signal, each edge half an overlap away from its window's own edge.

    """
    start, half = 0, overlap // 2
    while True:
        stop = min(start + window, length)
        first = start + overlap - half if start else 0
        last = stop - half if stop < length else length
        yield start, stop, first, last
        if stop == length:
            return
        start = stop - overlap

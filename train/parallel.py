"""Groups of runs on the cores of one machine, one thread each; of a single group, kinds of candidates instead.

The operations of a step are too small to be divided between cores: they would wait for one another more than work.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from threading import Event, Lock
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

from amber.console import Advance

T = TypeVar("T")
R = TypeVar("R")

# Seconds after which a thread of several has to let another use the interpreter. Operations take a hundredth of
# Python's 5 ms, and a thread that waits for as long between two of them trains a quarter slower (docs/LOG.md).
TURN = 1e-4


class StoppedError(Exception):
    """Raised in a thread that goes on to no purpose: another failed, or the user interrupted."""


def workers_for(groups: int, device: str) -> tuple[int, int]:
    """Return how many groups train at a time, and how many threads each may use."""
    cores = torch.get_num_threads()
    if device != "cpu":
        return 1, cores
    workers = max(1, min(cores, groups))
    return workers, max(1, cores // workers)


def for_each(
    function: Callable[[T, Advance], None], items: Sequence[T], advance: Advance, workers: int, threads: int
) -> None:
    """Call `function(item, advance)` for every item, `workers` of them at a time.

    The first failure, or an interrupt, ends all of them: `advance` raises `StoppedError` in the others.
    """
    stopping, lock = Event(), Lock()

    def advance_or_stop(n: int = 1, note: str = "") -> None:
        if stopping.is_set():
            raise StoppedError
        with lock:
            advance(n, note)

    with threads_of(threads), turns_of(TURN), ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(function, item, advance_or_stop) for item in items]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def side_by_side(
    function: Callable[[T, Advance], R], items: Sequence[T], order: Sequence[int], advance: Advance, workers: int
) -> list[R]:
    """Return `function(item, advance)` of every item, in their order; `workers` of them at a time, a thread each.

    `order` has the places of the items in the order in which they begin: first those that take longest.
    """
    if workers == 1:
        return [function(item, advance) for item in items]
    found: dict[int, R] = {}

    def one(place: int, step: Advance) -> None:
        found[place] = function(items[place], step)

    for_each(one, order, advance, workers, threads=1)
    return [found[place] for place in range(len(items))]


@contextmanager
def turns_of(seconds: float) -> Iterator[None]:
    """Let threads take turns in the interpreter after this time within the context."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def threads_of(number: int) -> Iterator[None]:
    """Use this many threads for every operation of PyTorch and NumPy within the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpool_limits(number, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)

"""Reading ahead: the next piece is read while the last one is in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield `function(item)` of every item, in their order; one thread works on the next meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as executor:
        waiting: Future[R] | None = None
        for item in items:
            done, waiting = waiting, executor.submit(function, item)
            if done:
                yield done.result()
        if waiting:
            yield waiting.result()

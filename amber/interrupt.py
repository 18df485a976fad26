"""Interrupts (Ctrl-C) that are not lost.

Python raises `KeyboardInterrupt` wherever the main thread happens to be. In a destructor, in a callback of C code or in
a module that catches everything while it is imported, it is swallowed. So an interrupt is also remembered, and raised
again where a command looks for it: whenever it reports progress.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_arrived = threading.Event()


@contextmanager
def remembered() -> Iterator[None]:
    """Remember interrupts until the context ends, where they would raise `KeyboardInterrupt`."""
    _arrived.clear()
    in_force = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else they are ignored, or someone else's
    if not in_force or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def check() -> None:
    """Raise `KeyboardInterrupt` if an interrupt has arrived."""
    if _arrived.is_set():
        raise KeyboardInterrupt


def _remember(_number: int, _frame: FrameType | None) -> None:
    _arrived.set()
    raise KeyboardInterrupt

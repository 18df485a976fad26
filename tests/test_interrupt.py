"""An interrupt ends a command, whatever swallowed the exception that it raised."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

import pytest

from amber import interrupt
from amber.console import Console


def swallow_an_interrupt() -> None:
    """Interrupt this process, and catch what that raises, as a destructor or some code in C would."""
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(5)


@pytest.mark.parametrize("quiet", [True, False])
def test_an_interrupt_that_was_swallowed_is_raised_with_the_next_step(quiet: bool) -> None:
    with interrupt.remembered(), Console(quiet).progress("work", 3) as advance:
        advance()
        swallow_an_interrupt()
        with pytest.raises(KeyboardInterrupt):
            advance()


def test_one_command_is_not_ended_by_the_interrupt_of_another() -> None:
    with interrupt.remembered():
        swallow_an_interrupt()
    with interrupt.remembered(), Console(quiet=True).progress("work", 1) as advance:
        advance()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupts_that_are_ignored_stay_ignored() -> None:
    """A shell ignores them for what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt.remembered():
            os.kill(os.getpid(), signal.SIGINT)
            interrupt.check()
    finally:
        signal.signal(signal.SIGINT, before)

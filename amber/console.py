"""Progress and remarks of a command: a bar on a terminal, plain lines elsewhere, nothing when quiet.

They go to standard error, results alone to standard output.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from amber import interrupt

PLAIN_INTERVAL = 5.0  # seconds between two plain progress lines, so that a log file stays short


class Advance(Protocol):
    """Report `n` more steps done, with an optional note shown beside the bar."""

    def __call__(self, n: int = 1, note: str = "") -> None:
        """Report progress."""


def ignore(n: int = 1, note: str = "") -> None:
    """Ignore progress: an `Advance` that shows nothing."""


class Console:
    """Shows a command's progress, with rate and time left, and its remarks.

    Parameters
    ----------
    quiet
        Show nothing but warnings and errors.

    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._rich = RichConsole(stderr=True, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Print one remark."""
        if not self.quiet:
            self._print(line)

    def warn(self, line: str) -> None:
        """Print one warning, also when quiet."""
        self._print(f"warning: {line}")

    @contextmanager
    def progress(self, label: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Show progress in `total` steps, of which `done` were done before, until the context ends.

        Reporting a step raises `KeyboardInterrupt` if the command was interrupted before.
        """
        if self.quiet:
            yield _interruptible(ignore)
        elif self._rich.is_terminal:
            with self._bar(label, total, done) as advance:
                yield _interruptible(advance)
        else:
            yield _interruptible(self._plain(label, total, done))

    def _print(self, line: str) -> None:
        self._rich.print(line, markup=False)

    @contextmanager
    def _bar(self, label: str, total: int, done: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._rich) as bar:
            task = bar.add_task(label, total=total, completed=done, note="", pace="")

            def advance(n: int = 1, note: str = "") -> None:
                bar.update(task, advance=n, note=note)
                bar.update(task, pace=_rate(bar.tasks[0].speed or 0.0))

            yield advance

    def _plain(self, label: str, total: int, done: int) -> Advance:
        started = last = time.monotonic()
        count = done

        def advance(n: int = 1, note: str = "") -> None:
            nonlocal count, last
            count += n
            now = time.monotonic()
            ended = n > 0 and count >= total
            if not ended and now - last < PLAIN_INTERVAL:
                return
            last = now
            tail = f"  {note}" if note else ""
            self._print(f"{label}: {count}/{total}  {_pace(count - done, total - count, now - started)}{tail}")

        return advance


def _interruptible(advance: Advance) -> Advance:
    def checked(n: int = 1, note: str = "") -> None:
        interrupt.check()
        advance(n, note)

    return checked


def _pace(did: int, left: int, seconds: float) -> str:
    """Say how long the steps took, and while some are left how fast they are done and how long they will take."""
    spent = f"{seconds:.0f} s"
    if did <= 0 or left <= 0 or seconds < 1:
        return spent
    return f"{spent}, {_rate(did / seconds)}, {left * seconds / did:.0f} s left"


def _rate(by_second: float) -> str:
    """Write how many steps are done in a second, or in a minute where that is few; empty for none."""
    if by_second <= 0:
        return ""
    return f"{by_second:.3g}/s" if by_second >= 1 else f"{60 * by_second:.3g}/min"


def print_result(text: str) -> None:
    """Print a command's result on standard output."""
    sys.stdout.write(text.rstrip("\n") + "\n")

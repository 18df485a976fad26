"""The two ways in which a command can end badly."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's: wrong use, configuration or input (exit code 2).

    The message is one to three lines: what is wrong, where, and the fix.
    """


class RunFailure(Exception):  # noqa: N818 (it is the run that failed, not the program)
    """The command was right but could not be carried out (exit code 1)."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known word closest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def abbreviate(names: Iterable[str], most: int = 5) -> str:
    """Join up to `most` names with commas and say how many more there are."""
    listed = list(names)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def count(n: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 layer`, `2 layers`; `plural` is that of a noun that takes more than an s."""
    return f"{n} {noun if n == 1 else plural or f'{noun}s'}"


def printable(text: str) -> str:
    """Return a text that can be written: names of files may hold bytes that are not UTF-8, which are escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

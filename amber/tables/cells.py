"""Typed cells of users' tables: text, numbers, counts and votes; anything else is refused.

A cell is a string (in CSV) or a value of JSON or Parquet. Nothing is guessed: `true` is no count, `["a"]` no label,
and NaN is a missing value, never the text "nan".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Set
from datetime import date, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from amber.corpus import Vote
from amber.errors import nearest
from amber.names import fold

MOST_VOTES = 10_000  # on one utterance

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_THOUSANDS = re.compile(r"\s*[1-9][0-9]{0,2},[0-9]{3}\s*")  # such as 1,000: one vote or a thousand?
# Such as `anger:3`, `anger*3`, `anger x3`; `anger (3)`; `3x anger`.
_COUNTED = re.compile(
    r".*\S(?:\s*[:=*×]|\s+x)\s*[0-9.]+|.*\S\s*[(\[]\s*[0-9]+\s*[)\]]|[0-9]+\s*[x×*]\s*\S.*", re.IGNORECASE
)
_NUMBERED = re.compile(r"(?P<of>.*\S)\s+[0-9]+|[0-9]+\s+(?P<first>\S.*)")  # `anger 3`, `3 anger`: or names of labels
_DIGIT = re.compile(r"[0-9]")
_SEPARATED = re.compile(r"[,|\n]")
_KEYS = {"rater", "labels", "secondary", "is_self"}  # of a vote
_VOTES = 'a list of labels, or of {"rater": …, "labels": […]}, or counts such as {"anger": 3}'


class CellError(ValueError):
    """A cell that does not hold what its column says; the message names the column."""


def text(value: Any, column: str) -> str | None:
    """Return a cell as text, stripped; None if it is empty. Whole numbers count as text, as ids often are numbers.

    Raises
    ------
    CellError
        If it holds anything else.

    """
    if value is None:
        return None
    if isinstance(value, str):
        return _clean(value, column)
    if isinstance(value, bytes):
        try:
            return _clean(value.decode(), column)
        except UnicodeDecodeError:
            raise CellError(f"{column} holds bytes that are not UTF-8") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value != value:
            return None
        if abs(value) < 2**63 and value == int(value):
            return str(int(value))
    raise CellError(f"{column} must be text, found {_shown(value)}")


def further(value: Any, column: str) -> str | None:
    """Return a cell of a user's own column as text; values that are not text are written as in JSON or Python."""
    if isinstance(value, list | tuple | dict):
        try:
            return _clean(json.dumps(value, ensure_ascii=False, default=str), column)
        except (ValueError, RecursionError):
            raise CellError(f"{column} can't be kept as text: {_shown(value)}") from None
    if isinstance(value, bool | Decimal | date | time | timedelta):
        return str(value)
    if isinstance(value, int | float) and value == value and (abs(value) >= 2**63 or value != int(value)):
        return repr(value)
    return text(value, column)


def number(value: Any, column: str, comma: bool = False) -> float | None:
    """Return a cell as a finite number; None where it is empty. With `comma`, decimals may have a comma, as in 1,5.

    Raises
    ------
    CellError
        If it holds anything else.

    """
    if value is None or (isinstance(value, float) and value != value):
        return None
    found: float | None = None
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        pointed = value.replace(",", ".") if comma and _DECIMAL_COMMA.fullmatch(value) else value
        found = float(pointed) if _NUMBER.fullmatch(pointed) and len(value) < 400 else None
        if found is None and value.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise CellError(f"{column} must be a finite number, found {value!r}")
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
    if found is None:
        has_comma = isinstance(value, str) and re.fullmatch(r"\d+,\d+", value)
        hint = "; write decimals with a point" if has_comma else ""
        raise CellError(f"{column} must be a number, found {_shown(value)}{hint}")
    if not math.isfinite(found):
        raise CellError(f"{column} must be a finite number, found {_shown(value)}")
    return found


def count(value: Any, column: str, comma: bool = False) -> int:
    """Return a cell as a number of votes; 0 where it is empty.

    Raises
    ------
    CellError
        If it is no whole number, or more than `MOST_VOTES`.

    """
    if comma and isinstance(value, str) and _THOUSANDS.fullmatch(value):
        raise CellError(
            f"{column}: {value.strip()!r} may be a decimal or thousands; write whole numbers without a comma"
        )
    found = number(value, column, comma) or 0.0
    if found < 0 or found != int(found):
        raise CellError(f"{column} must be a whole number of votes, found {found:g}")
    if found > MOST_VOTES:
        raise CellError(f"{column}: {found:g} votes on one utterance; {MOST_VOTES:,} is the maximum")
    return int(found)


def counted(counts: Iterable[tuple[str, int]]) -> tuple[Vote, ...]:
    """Turn counts of labels into votes of unnamed raters.

    Raises
    ------
    CellError
        If there are too many.

    """
    given = list(counts)
    if sum(times for _, times in given) > MOST_VOTES:
        raise CellError(f"votes: {sum(n for _, n in given):,} on one utterance; {MOST_VOTES:,} is the maximum")
    labels = [label for label, times in given for _ in range(times)]
    return tuple(_unnamed(number, label) for number, label in enumerate(labels, 1))


def votes(cell: Any) -> tuple[Vote, ...]:
    """Return the votes in a `votes` cell: `happy;happy;sad`, counts by label, or a list of labels or of votes.

    Raises
    ------
    CellError
        If it is none of these.

    """
    if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{"):
        cell = _parsed(cell)
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ()
    if isinstance(cell, str):
        return _listed(cell)
    if isinstance(cell, list) and cell and all(isinstance(item, tuple) for item in cell):
        cell = _unique(cell)  # a map in Parquet
    if isinstance(cell, dict):
        if isinstance(cell.get("labels"), list):
            raise CellError(f"votes must be {_VOTES}; found one vote that is not in a list")
        return counted((_label(label, "votes"), count(n, f"votes: {label}")) for label, n in cell.items())
    if not isinstance(cell, list):
        raise CellError(f"votes must be {_VOTES}; found {_shown(cell)}")
    if len(cell) > MOST_VOTES:
        raise CellError(f"votes: {len(cell):,} on one utterance; {MOST_VOTES:,} is the maximum")
    found = tuple(_vote(item, place) for place, item in enumerate(cell, 1))
    named = [(vote.rater, vote.is_self) for vote, item in zip(found, cell, strict=True) if _names_rater(item)]
    if len(set(named)) < len(named):
        twice = next(rater for rater, is_self in named if named.count((rater, is_self)) > 1)
        raise CellError(f"votes: rater {twice!r} votes more than once; keep one of the votes")
    return found


def several(label: str, known: Set[str] = frozenset()) -> bool:
    """Return whether a label is several votes in one, such as `happy, sad` or `happy|sad`.

    It is if a comma, a bar or a line break divides it and a piece occurs twice, or every piece is among the folded
    labels `known`: one label may well have a comma in its name.
    """
    pieces = [fold(piece) for piece in _SEPARATED.split(label) if piece.strip()]
    return len(set(pieces)) < len(pieces) or (_SEPARATED.search(label) is not None and set(pieces) <= known)


def several_votes(label: str, where: str) -> CellError:
    """Return the error of a label that is several votes in one."""
    return CellError(
        f"{where}: {label!r} looks like several votes in one; separate votes with ;\n"
        f"if it is one label, give it a name without {' or '.join(sorted(set(map(repr, _SEPARATED.findall(label)))))}"
    )


def of_raters(cells: Iterable[tuple[str, Any]]) -> tuple[Vote, ...]:
    """Return the votes in raters' cells, given with the raters' names: a label each, or several as `happy;sad`."""
    given = ((rater, text(cell, rater)) for rater, cell in cells)
    named = ((rater, [piece for piece in map(str.strip, cell.split(";")) if piece]) for rater, cell in given if cell)
    return tuple(
        Vote(rater=rater, labels=tuple([_one(label, rater) for label in labels])) for rater, labels in named if labels
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's pairs as a dict; CellError if a key is given twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise CellError(f"{next(key for key in keys if keys.count(key) > 1)!r} is given twice in one object")
    return found


decoder = json.JSONDecoder(object_pairs_hook=_unique)


def _parsed(cell: str) -> Any:
    try:
        return decoder.decode(cell)
    except CellError as error:
        raise CellError(f"votes: {error}") from None
    except (ValueError, RecursionError):
        raise CellError("`votes` starts like JSON but is not") from None


def _listed(cell: str) -> tuple[Vote, ...]:
    labels = [_one(label, "votes") for piece in cell.split(";") if (label := _clean(piece, "votes"))]
    if _DIGIT.search(cell):
        numbered = filter(None, map(_NUMBERED.fullmatch, labels))
        of = {fold(found["of"] or found["first"]) for found in numbered}
        all_counted = len(of) == len(labels) > 1  # as in `anger 2; joy 1`; `type 1; type 2` are two labels
        for label in labels:
            if all_counted or _COUNTED.fullmatch(label):
                raise CellError(f'votes: {label!r} looks like a count; write counts as {{"anger": 3}} or vote_ columns')
    return counted((label, 1) for label in labels)


def _names_rater(item: Any) -> bool:
    return isinstance(item, dict) and item.get("rater") is not None


def _vote(item: Any, place: int) -> Vote:
    if isinstance(item, str):
        return _unnamed(place, _label(item, "votes"))
    labels = item.get("labels") if isinstance(item, dict) else None
    if not isinstance(labels, list):
        raise CellError(f'a vote is {{"rater": …, "labels": […]}} or a label, found {_shown(item)}')
    if not item.keys() <= _KEYS:
        odd = next((key for key in item.keys() - _KEYS if item[key] is not None), None)
        if odd is not None:
            raise CellError(f"votes: a vote has no {odd!r}{nearest(odd, _KEYS)}; it has {', '.join(sorted(_KEYS))}")
    is_self, secondary = item.get("is_self"), item.get("secondary")
    if is_self is not None and not isinstance(is_self, bool):
        raise CellError(f"votes: is_self must be true or false, found {_shown(is_self)}")
    if secondary is not None and not isinstance(secondary, list):
        raise CellError(f"votes: secondary must be a list of labels, found {_shown(secondary)}")
    return Vote(
        text(item.get("rater"), "votes: rater") or str(place),
        tuple([_label(label, "votes: labels") for label in labels]),
        tuple([_label(label, "votes: secondary") for label in secondary]) if secondary else (),
        bool(is_self),
    )


def _label(value: Any, column: str) -> str:
    label = _cleaned(value, column) if isinstance(value, str) else None
    if label is None:
        raise CellError(f"{column}: a label must be a text that is not empty, found {_shown(value)}")
    if ";" in label:
        raise CellError(f'{column}: {label!r} is one label with a semicolon; list several as ["happy", "sad"]')
    return _one(label, column)


def _one(label: str, column: str) -> str:
    """Return a label; CellError if it is several votes in one."""
    if not label.isalpha() and several(label):
        raise several_votes(label, column)
    return label


def _clean(value: str, column: str) -> str | None:
    stripped = value.strip()
    if "\0" in stripped:
        raise CellError(f"{column} holds a NUL character")
    if not stripped.isascii():
        try:
            stripped.encode()
        except UnicodeEncodeError:
            raise CellError(f"{column} holds half a character (a lone surrogate), which is not text") from None
    return stripped or None


# There are few different labels, whatever the number of rows.
_cleaned = lru_cache(maxsize=1 << 14)(_clean)


@lru_cache(maxsize=1 << 14)
def _unnamed(number: int, label: str) -> Vote:
    """Return the vote of an unnamed rater."""
    return Vote(rater=str(number), labels=(label,))


def _shown(value: Any) -> str:
    """Return a value as JSON would write it, cut short."""
    try:
        said = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        said = type(value).__name__
    return said if len(said) <= 60 else f"{said[:57]}…"

"""Word error rate: how far machine transcripts are from human ones.

WER = (substitutions + deletions + insertions) / words of the human transcripts, over all utterances together
(Levenshtein distance over words). It can exceed 1. Words are compared without case and punctuation; numbers and
abbreviations are not spelled out, so that other normalisers find other rates.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"\w+(?:'\w+)*")


@dataclass(frozen=True)
class WordErrors:
    """The word errors of `utterances` machine transcripts against human ones with `words` words in all."""

    errors: int
    words: int
    utterances: int

    @property
    def rate(self) -> float:
        """Return the word error rate; NaN without words."""
        return self.errors / self.words if self.words else float("nan")

    def line(self) -> str:
        """Return the rate in one line."""
        return (
            f"word error rate against {self.utterances} human transcripts: {self.rate:.1%} "
            f"({self.errors} errors in {self.words} words)"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {**self.__dict__, "rate": self.rate if self.words else None}


def word_errors(pairs: Iterable[tuple[str, str]]) -> WordErrors:
    """Count the word errors of pairs of a human and a machine transcript."""
    errors = total = utterances = 0
    for human, machine in pairs:
        reference = words(human)
        errors += distance(reference, words(machine))
        total += len(reference)
        utterances += 1
    return WordErrors(errors, total, utterances)


def words(text: str) -> list[str]:
    """Return the words of a text, with compatible characters unified (NFKC), case folded, without punctuation."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return _WORD.findall(plain)


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the fewest substitutions, deletions and insertions that turn one sequence into the other (Levenshtein)."""
    if a == b:
        return 0
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]

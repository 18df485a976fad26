"""Dialogues: the turns before an utterance, which a text encoder may read with it (`features.text_context`).

An utterance's column `dialogue` says which dialogue it is in, its column `turn` is a number that grows with time.
"""

from __future__ import annotations

import math

from amber.corpus import DIALOGUE, TURN, Corpus, Ledger
from amber.errors import UserError, abbreviate


def contexts(corpus: Corpus, count: int) -> list[tuple[str, ...]]:
    """Return the texts of up to `count` turns before each utterance in its dialogue, oldest first.

    Never of later turns, nor of another dialogue. A turn without a transcript counts, and adds nothing.

    Raises
    ------
    UserError
        If the corpus has no dialogues, or a turn is no number or there twice.

    """
    texts: list[tuple[str, ...]] = [()] * len(corpus)
    spoken = corpus.column("text")
    for rows in _dialogues(corpus).values():
        for place, row in enumerate(rows):
            before = (spoken[earlier] for earlier in rows[max(0, place - count) : place])
            texts[row] = tuple(text for text in before if text)
    return texts


def account(corpus: Corpus, ledger: Ledger) -> None:
    """File what has no context: utterances of no dialogue, and turns that are no context for want of a transcript."""
    named, spoken = corpus.column(DIALOGUE), corpus.column("text")
    ledger.add("in no dialogue, so without text_context", *_ids(corpus, [name is None for name in named]))
    silent = [name is not None and not text for name, text in zip(named, spoken, strict=True)]
    ledger.add("no transcript, so nothing in the text_context of later turns", *_ids(corpus, silent))


def _ids(corpus: Corpus, chosen: list[bool]) -> list[str]:
    return [uid for uid, wanted in zip(corpus.ids, chosen, strict=True) if wanted]


def _dialogues(corpus: Corpus) -> dict[str, list[int]]:
    """Return the rows of each dialogue in the order of its turns."""
    missing = [name for name in (DIALOGUE, TURN) if name not in corpus.columns()]
    if missing:
        raise UserError(
            f"features.text_context: {corpus.name} has no column {' or '.join(map(repr, missing))}\n"
            "give each utterance its dialogue and the number of its turn, or set text_context=0"
        )
    turns: dict[str, dict[float, int]] = {}
    for row, (name, written) in enumerate(zip(corpus.column(DIALOGUE), corpus.column(TURN), strict=True)):
        if name is None:
            continue
        number, uid = _number(written), corpus.ids[row]
        if number is None:
            raise UserError(f"features.text_context: {uid} is in dialogue {name!r}, but its turn is {written!r}")
        there = turns.setdefault(name, {})
        if number in there:
            both = abbreviate((corpus.ids[there[number]], uid))
            raise UserError(f"features.text_context: dialogue {name!r} has the turn {written} twice: {both}")
        there[number] = row
    return {name: [row for _, row in sorted(of.items())] for name, of in turns.items()}


def _number(written: str | None) -> float | None:
    try:
        number = float(written or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None

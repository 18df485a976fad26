"""A text with what a model reads before it, and its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amber.errors import UserError


@dataclass(frozen=True)
class Passage:
    """A text, the instruction that a model was trained to expect, and earlier turns of its dialogue, oldest first."""

    text: str
    instruction: str = ""
    turns: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of characters that a model reads."""
        return len(self.instruction) + sum(len(turn) + 1 for turn in self.turns) + len(self.text)

    def before(self, separator: str) -> str:
        """Return what stands before the text."""
        return self.instruction + "".join(f"{turn}{separator}" for turn in self.turns)


@dataclass(frozen=True)
class Tokens:
    """The tokens that a model reads; features are of those from `first` on; `is_cut` if some had to be left out."""

    ids: list[int]
    first: int
    is_cut: bool


class TokenReader:
    """A tokenizer that tells an utterance's own tokens from what stands before them.

    The own tokens are those of the text and what closes it (`[SEP]`, an end-of-text token). Without instruction and
    earlier turns, an encoder's opening token (`[CLS]`) is one of them. A decoder's is not: it attends to nothing else,
    and in trained models its states dwarf those of words (Sun et al., "Massive activations in large language models",
    2024). Where a decoder's tokenizer closes no text, its end-of-text token is added, so that the last token has read
    the whole text.
    """

    def __init__(self, tokenizer: Any, limit: int, is_decoder: bool) -> None:
        self._tokenizer, self._limit = tokenizer, limit
        with_special, bare = (tokenizer("a", add_special_tokens=add)["input_ids"] for add in (True, False))
        opening = _opening(with_special, bare)
        self._closing = len(with_special) - len(bare) - opening
        self._added = [tokenizer.eos_token_id] if is_decoder and not self._closing else []
        if self._added == [None]:
            raise UserError(f"{tokenizer.name_or_path}: its tokenizer has no end-of-text token")
        self._first = opening if is_decoder else 0
        self._separator = f" {tokenizer.sep_token} " if tokenizer.sep_token and not is_decoder else "\n"

    def read(self, batch: Sequence[str | Passage]) -> list[Tokens]:
        """Return the tokens of each text; the oldest turns are left out of what is too long, then the text's end is."""
        plain = [text for text in batch if isinstance(text, str)]
        found = iter(self._plain(plain) if plain else ())
        return [next(found) if isinstance(text, str) else self._passage(text) for text in batch]

    def _plain(self, batch: list[str]) -> list[Tokens]:
        every = self._tokenizer(batch)["input_ids"]
        kept = self._tokenizer(batch, truncation=True, max_length=self._limit - len(self._added))["input_ids"]
        return [
            Tokens(cut + self._added, self._first, len(cut) < len(ids)) for ids, cut in zip(every, kept, strict=True)
        ]

    def _passage(self, passage: Passage) -> Tokens:
        if not self._tokenizer.is_fast:
            raise UserError(
                f"{self._tokenizer.name_or_path}: its tokenizer does not say where tokens come from, "
                "which text_context and text_instruction need; choose another encoder"
            )
        room = self._limit - len(self._added)
        for dropped in range(len(passage.turns) + 1):
            before = Passage("", passage.instruction, passage.turns[dropped:]).before(self._separator)
            whole = self._tokenizer(before + passage.text, return_offsets_mapping=True)
            if len(whole["input_ids"]) <= room:
                break
        ids = whole["input_ids"]
        end = len(ids) - self._closing
        own = next((i for i in range(end) if whole["offset_mapping"][i][1] > len(before)), end)
        excess = max(0, len(ids) - room)
        if own and own >= end - excess and excess:
            raise ValueError(f"text_instruction leaves no room for the text: {own} of {self._limit} tokens")
        kept = ids[: end - excess] + ids[end:] + self._added
        return Tokens(kept, own, bool(dropped or excess))


def _opening(with_special: list[int], bare: list[int]) -> int:
    """Return how many special tokens stand before those of a text."""
    starts = range(len(with_special) - len(bare) + 1)
    return next((start for start in starts if with_special[start : start + len(bare)] == bare), 0)

"""What an encoder is given of each utterance: a recording or a transcript, described before it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amber.corpus import Corpus

from . import audio
from .encoders import Card


@dataclass(frozen=True)
class Recording:
    """A span of an audio file, at a sample rate in Hz; `start` and `end` in seconds, None for the file's own."""

    path: Path
    rate: int
    start: float | None
    end: float | None

    def length(self) -> int:
        """Return about how many samples there are; AudioError if that can't be told."""
        return audio.length(self.path, self.rate, self.start, self.end)

    def read(self) -> audio.Signal:
        """Return the samples, float32 (T,); AudioError if they can't be had."""
        return audio.read(self.path, self.rate, self.start, self.end)


@dataclass(frozen=True)
class Transcript:
    """A text."""

    text: str

    def length(self) -> int:
        """Return the number of characters."""
        return len(self.text)

    def read(self) -> str:
        """Return the text."""
        return self.text


Input = Recording | Transcript


def inputs(corpus: Corpus, card: Card) -> Sequence[Input | None]:
    """Return what an encoder is given of each utterance, in corpus order; None where the corpus has nothing."""
    if card.modality == "text":
        return [Transcript(text) if text is not None else None for text in corpus.column("text")]
    root, rate = Path(corpus.root), card.sample_rate or 0
    spans = zip(corpus.column("audio"), corpus.column("start"), corpus.column("end"), strict=True)
    return [Recording(root / path, rate, start, end) if path else None for path, start, end in spans]

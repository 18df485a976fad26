"""The inputs of an encoder: the recording or the transcript of each utterance, read only when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amber.audio import Signal
from amber.corpus import Corpus

from . import audio
from .encoders import EncoderInfo


@dataclass(frozen=True)
class Recording:
    """A span of an audio file, read at `rate` Hz; `start` and `end` are seconds, None for the file's own."""

    path: Path
    rate: int
    start: float | None
    end: float | None

    def length(self) -> int:
        """Return about how many samples there are; AudioError if the file can't be read."""
        return audio.length(self.path, self.rate, self.start, self.end)

    def read(self) -> Signal:
        """Return the samples, float32 (T,); AudioError if the file can't be read."""
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


def inputs(corpus: Corpus, info: EncoderInfo) -> Sequence[Input | None]:
    """Return the input of each utterance, in corpus order; None where the corpus has none."""
    if info.modality == "text":
        return [Transcript(text) if text is not None else None for text in corpus.column("text")]
    return spans(corpus, info.sample_rate or 0)


def spans(corpus: Corpus, rate: int) -> list[Recording | None]:
    """Return the recording of each utterance at `rate` Hz, in corpus order; None where the corpus has none."""
    root = Path(corpus.root)
    rows = zip(corpus.column("audio"), corpus.column("start"), corpus.column("end"), strict=True)
    return [Recording(root / path, rate, start, end) if path else None for path, start, end in rows]

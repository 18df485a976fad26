"""The inputs of an encoder: the recording or the transcript of each utterance, read only when it is needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amber.audio import Signal
from amber.corpus import Corpus
from amber.features.spec import FeatureSpec

from . import audio
from .dialogue import contexts
from .encoders.passage import Passage


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


class Kept:
    """A signal that is kept until the last of `readers` has read it."""

    def __init__(self, readers: int) -> None:
        self._left, self._lock = readers, threading.Lock()
        self._signal: Signal | None = None

    def read(self, decode: Callable[[], Signal]) -> Signal:
        """Return the signal (T,), decoded if this is the first time; encoders may write to what they get."""
        with self._lock:
            self._left -= 1
            signal = decode() if self._signal is None else self._signal
            self._signal = signal if self._left > 0 else None
            return signal.copy() if self._left > 0 else signal


@dataclass(frozen=True)
class SharedRecording(Recording):
    """A recording that several encoders read."""

    kept: Kept

    def read(self) -> Signal:
        """Return the samples, float32 (T,); AudioError if the file can't be read."""
        return self.kept.read(super().read)


@dataclass(frozen=True)
class Transcript:
    """A text, with what is read before it where there is such a thing."""

    text: str | Passage

    def length(self) -> int:
        """Return the number of characters."""
        return len(self.text)

    def read(self) -> str | Passage:
        """Return the text."""
        return self.text


Input = Recording | Transcript


def inputs(corpus: Corpus, spec: FeatureSpec) -> Sequence[Input | None]:
    """Return the input of each utterance to a feature set, in corpus order; None where the corpus has none."""
    if spec.modality == "speech":
        return spans(corpus, spec.sample_rate or 0)
    texts, instruction = corpus.column("text"), spec.text_instruction
    if not (instruction or spec.text_context):
        return [Transcript(text) if text is not None else None for text in texts]
    turns = contexts(corpus, spec.text_context) if spec.text_context else [()] * len(corpus)
    return [
        Transcript(Passage(text, instruction, before)) if text is not None else None
        for text, before in zip(texts, turns, strict=True)
    ]


def shared(corpus: Corpus, rate: int, readers: Mapping[tuple[int, int], int]) -> list[Recording | None]:
    """Return the recordings as `spans` does, each to be decoded once for its `readers`, a number by rate and row."""
    return [
        one and SharedRecording(one.path, one.rate, one.start, one.end, Kept(readers[rate, row]))
        for row, one in enumerate(spans(corpus, rate))
    ]


def spans(corpus: Corpus, rate: int) -> list[Recording | None]:
    """Return the recording of each utterance at `rate` Hz, in corpus order; None where the corpus has none."""
    root = Path(corpus.root)
    rows = zip(corpus.column("audio"), corpus.column("start"), corpus.column("end"), strict=True)
    return [Recording(root / path, rate, start, end) if path else None for path, start, end in rows]

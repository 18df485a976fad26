"""Frozen speech models: the frames of every chosen layer, independent of the other items of a batch.

Audio longer than the model's window is cut into overlapping windows that begin on a frame. Each frame comes from the
window in which it is furthest from an edge. Windows are encoded in batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from amber.arrays import Floats32, Mask
from amber.audio import SAMPLE_RATE, Signal
from amber.errors import UserError
from amber.machine import Device

from ..batching import batches
from .convolution import use_products
from .forward import hidden_states, to_device
from .frame_spans import Features, FrameSpan, join, pool
from .framing import Framing
from .masking import TrueLengths, hide_padding
from .memory import in_halves
from .preprocessing import at_least, preprocessing
from .pretrained import PretrainedModel
from .windows import Window, windows


class Piece(NamedTuple):
    """A window of a signal, with what the model takes of it: (T,) or (T, bands)."""

    window: Window
    values: Floats32


Pieces = tuple[Piece, ...]


class SpeechTransformer:
    """A speech model on signals at 16 kHz, float32 (T,), or on what `prepare` makes of them."""

    def __init__(
        self,
        pretrained: PretrainedModel,
        layers: tuple[int, ...],
        device: Device,
        framing: Framing,
        max_seconds: float,
        budget: int,
    ) -> None:
        extractor = pretrained.extractor()
        if extractor.sampling_rate != SAMPLE_RATE:
            raise UserError(
                f"{pretrained.name}: takes audio at {extractor.sampling_rate} Hz; only {SAMPLE_RATE} Hz is supported"
            )
        model = pretrained.model()
        self._lengths = TrueLengths()
        self._preprocessing = preprocessing(pretrained.config.model_type, extractor, framing)
        if pretrained.config.model_type == "whisper":
            from .whisper import WhisperEncoder

            model = WhisperEncoder(model.get_encoder())  # the decoder is not needed
        elif pretrained.config.model_type == "emotion2vec":
            from .emotion2vec_layers import Emotion2vecLayers

            model = Emotion2vecLayers(model, pretrained.config, self._lengths, products=device.name == "cpu")
        elif pretrained.config.model_type != "wav2vec2-bert":
            if device.name == "cpu":
                use_products(model)
            hide_padding(model, self._lengths)
        self._model = to_device(model, device)
        self._layers = layers
        self._device = device
        self._framing = framing
        self._window, self._overlap = framing.window(max_seconds)
        self.budget = budget  # samples of a batch of windows, padding included

    def prepare(self, signal: Signal) -> Pieces:
        """Return the windows of a signal (T,) as the model takes them; any thread may call it."""
        signal = at_least(self._preprocessing.whole(signal), self._framing.least)
        cut = windows(len(signal), self._window, self._overlap)
        return tuple(Piece(w, self._preprocessing.window(signal[w.start : w.stop])) for w in cut)

    def pooled(self, batch: Sequence[Signal | Pieces]) -> Features:
        """Return each signal's mean over its frames, (B, L, D)."""
        return pool(self._spans(batch), len(batch))

    def frames(self, batch: Sequence[Signal | Pieces]) -> list[Features]:
        """Return all frames, one array (T, L, D) per signal."""
        return join(self._spans(batch), len(batch))

    def truncated(self, batch: Sequence[Signal | Pieces]) -> Mask:
        """Return that none is truncated, (B,): long signals are encoded window by window."""
        return np.zeros(len(batch), dtype=bool)

    def _spans(self, batch: Sequence[Signal | Pieces]) -> Iterator[FrameSpan]:
        """Yield the frames of every layer of signals, window by window."""
        prepared = [item if isinstance(item, tuple) else self.prepare(item) for item in batch]
        cut = [(place, piece) for place, pieces in enumerate(prepared) for piece in pieces]
        # The batch holds items of similar length already: this only bounds memory.
        sizes = [self._framing.heard(piece.window.samples) for _, piece in cut]
        for chosen in batches(sizes, self.budget, padding=1.0):
            yield from in_halves(lambda some: list(self._encode(some)), [cut[i] for i in chosen])

    def _encode(self, cut: Sequence[tuple[int, Piece]]) -> Iterator[FrameSpan]:
        """Encode windows, each with the place of its signal, as one batch; yield the frames of their own parts."""
        self._lengths.set([piece.window.samples for _, piece in cut])
        inputs = self._preprocessing.batch([piece.values for _, piece in cut])
        states = hidden_states(self._model, inputs, self._device)  # (B, T, D) per layer
        for row, (item, piece) in enumerate(cut):
            first, last = self._own_frames(piece.window)
            start = piece.window.start // self._framing.stride + first
            yield FrameSpan(item, start, [states[k][row, first:last] for k in self._layers])

    def _own_frames(self, window: Window) -> tuple[int, int]:
        """Return the frames that begin in a window's own part; the last window of a signal keeps all to its end."""
        stride = self._framing.stride
        is_last = window.last == window.stop
        last = self._framing.count(window.samples) if is_last else (window.last - window.start) // stride
        return (window.first - window.start) // stride, last

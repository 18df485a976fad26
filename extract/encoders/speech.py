"""Speech models, frozen: every chosen layer's frames of an utterance, whatever stands beside it in the batch.

Audio longer than the model's window is cut into overlapping windows that begin on a frame. Each frame is taken from
one window, where it is furthest from an edge, and windows are encoded a batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from amber.errors import UserError
from amber.machine import Device

from ..batching import batches
from .convolution import use_products
from .forward import hidden_states, place
from .framing import RATE, Framing
from .hub import Source
from .masking import TrueLengths, hide_padding
from .pieces import Piece, join, pool
from .windows import windows

LONG = 10 * 60 * RATE  # samples: beyond it, a signal is not copied as a whole

Signal = NDArray[np.float32]
Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Cut:
    """A window of one item of a batch: its samples, and the part of them that it speaks for."""

    item: int
    start: int
    stop: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.stop - self.start


class SpeechTransformer:
    """A speech model on signals at 16 kHz."""

    def __init__(
        self,
        source: Source,
        layers: tuple[int, ...],
        device: Device,
        framing: Framing,
        max_seconds: float,
        budget: int,
    ) -> None:
        extractor = source.extractor()
        if extractor.sampling_rate != RATE:
            raise UserError(f"{source.name}: hears audio at {extractor.sampling_rate} Hz; only {RATE} Hz is known here")
        model = source.model()
        self._lengths = TrueLengths()
        self._normalised, self._inputs = _ears(source.config.model_type, extractor, framing)
        if source.config.model_type == "whisper":
            model = model.get_encoder()  # the decoder is let go
        elif source.config.model_type != "wav2vec2-bert":
            if device.name == "cpu":
                use_products(model)
            hide_padding(model, self._lengths)
        self._model = place(model, device)
        self._layers = layers
        self._device = device
        self._framing = framing
        self._window, self._overlap = framing.window(max_seconds)
        self._budget = budget

    def pooled(self, batch: Sequence[Signal]) -> NDArray[np.float32]:
        """Encode signals, each pooled over all of its frames, (B, L, D)."""
        return pool(self._pieces(batch), len(batch))

    def frames(self, batch: Sequence[Signal]) -> list[NDArray[np.float32]]:
        """Return all frames of each signal, each (T, L, D)."""
        return join(self._pieces(batch), len(batch))

    def truncated(self, batch: Sequence[Signal]) -> NDArray[np.bool_]:
        """Return that none is cut: long signals are encoded window by window."""
        return np.zeros(len(batch), dtype=bool)

    def _pieces(self, batch: Sequence[Signal]) -> Iterator[Piece]:
        signals = [_at_least(self._normalised(signal), self._framing.least) for signal in batch]
        cuts = [
            Cut(item, *window)
            for item, signal in enumerate(signals)
            for window in windows(len(signal), self._window, self._overlap)
        ]
        # Similar lengths came together already: here only memory is bounded.
        for chosen in batches([self._framing.fixed or len(cut) for cut in cuts], self._budget, padding=1.0):
            yield from self._encoded([cuts[i] for i in chosen], signals)

    def _encoded(self, cuts: list[Cut], signals: list[Signal]) -> Iterator[Piece]:
        """Encode windows as one batch, and yield of each the frames that it speaks for."""
        heard = [signals[cut.item][cut.start : cut.stop] for cut in cuts]
        self._lengths.set([len(signal) for signal in heard])
        states = hidden_states(self._model, self._inputs(heard), self._device)
        for row, cut in enumerate(cuts):
            first, last = self._part(cut)
            place_in_time = cut.start // self._framing.stride + first
            yield Piece(cut.item, place_in_time, [states[k][row, first:last] for k in self._layers])

    def _part(self, cut: Cut) -> tuple[int, int]:
        """Return the frames of a window that begin in its part of the signal; the last part takes what is left."""
        stride = self._framing.stride
        last = self._framing.count(len(cut)) if cut.last == cut.stop else (cut.last - cut.start) // stride
        return (cut.first - cut.start) // stride, last


def _ears(kind: str, extractor: Any, framing: Framing) -> tuple[Callable[[Signal], Signal], Callable[..., Inputs]]:
    """Return what a family does to a whole signal, and how it turns windows into the model's inputs."""

    def heard(signal: Signal) -> Any:
        return extractor(signal, sampling_rate=RATE, return_tensors="np")

    def waveforms(signals: list[Signal]) -> Inputs:
        return _padded("input_values", signals)  # (B, T)

    def mel_pairs(signals: list[Signal]) -> Inputs:
        features = [heard(s).input_features[0, : framing.count(len(s))] for s in signals]
        return _padded("input_features", features)  # (B, T, bands)

    def mel_images(signals: list[Signal]) -> Inputs:
        features = [heard(signal).input_features[0] for signal in signals]
        return {"input_features": torch.from_numpy(np.stack(features))}  # (B, bands, T)

    if kind == "whisper":
        return _as_it_is, mel_images
    if kind == "wav2vec2-bert":
        return _as_it_is, mel_pairs

    def whole(signal: Signal) -> Signal:
        if len(signal) > LONG:
            return _normalised_in_place(signal) if extractor.do_normalize else signal
        return np.asarray(heard(signal).input_values[0], dtype=np.float32)

    return whole, waveforms


def _normalised_in_place(signal: Signal) -> Signal:
    """Give a long signal mean 0 and variance 1, as its extractor would with several copies of it in memory."""
    blocks = [signal[start : start + LONG] for start in range(0, len(signal), LONG)]
    mean = sum(float(block.sum(dtype=np.float64)) for block in blocks) / len(signal)
    variance = sum(float(np.square(block - np.float32(mean)).sum(dtype=np.float64)) for block in blocks) / len(signal)
    for block in blocks:
        block -= np.float32(mean)
        block /= np.float32(np.sqrt(variance + 1e-7))
    return signal


def _padded(name: str, items: list[NDArray[np.float32]]) -> Inputs:
    """Return arrays (T, ...) as one (B, T, ...) and, where lengths differ, which of it is not padding, (B, T)."""
    longest = max(len(item) for item in items)
    values = np.zeros((len(items), longest, *items[0].shape[1:]), dtype=np.float32)
    mask = np.zeros((len(items), longest), dtype=np.int64)
    for row, item in enumerate(items):
        values[row, : len(item)] = item
        mask[row, : len(item)] = 1
    if mask.all():  # attention is faster without a mask that hides nothing
        return {name: torch.from_numpy(values)}
    return {name: torch.from_numpy(values), "attention_mask": torch.from_numpy(mask)}


def _at_least(signal: Signal, samples: int) -> Signal:
    """Lengthen a signal with silence to what makes one frame."""
    return signal if len(signal) >= samples else np.pad(signal, (0, samples - len(signal)))


def _as_it_is(signal: Signal) -> Signal:
    return signal

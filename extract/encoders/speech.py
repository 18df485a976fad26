"""Frozen speech models: the frames of every chosen layer, independent of the other items of a batch.

Audio longer than the model's window is cut into overlapping windows that begin on a frame. Each frame comes from the
window in which it is furthest from an edge. Windows are encoded in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from amber.arrays import Floats32, Mask
from amber.audio import SAMPLE_RATE, Signal
from amber.errors import UserError
from amber.machine import Device

from ..batching import batches
from .convolution import use_products
from .forward import hidden_states, to_device
from .frame_spans import FrameSpan, join, pool
from .framing import Framing
from .masking import TrueLengths, hide_padding
from .pretrained import PretrainedModel
from .windows import Window, windows

LONG = 10 * 60 * SAMPLE_RATE  # samples: longer signals are not copied as a whole

Inputs = dict[str, torch.Tensor]


class SpeechTransformer:
    """A speech model on signals at 16 kHz."""

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
        self._normalised, self._inputs = preprocessors(pretrained.config.model_type, extractor, framing)
        if pretrained.config.model_type == "whisper":
            model = model.get_encoder()  # the decoder is not needed
        elif pretrained.config.model_type != "wav2vec2-bert":
            if device.name == "cpu":
                use_products(model)
            hide_padding(model, self._lengths)
        self._model = to_device(model, device)
        self._layers = layers
        self._device = device
        self._framing = framing
        self._window, self._overlap = framing.window(max_seconds)
        self._budget = budget

    def pooled(self, batch: Sequence[Signal]) -> Floats32:
        """Return each signal's mean over its frames, (B, L, D)."""
        return pool(self._spans(batch), len(batch))

    def frames(self, batch: Sequence[Signal]) -> list[Floats32]:
        """Return all frames, one array (T, L, D) per signal."""
        return join(self._spans(batch), len(batch))

    def truncated(self, batch: Sequence[Signal]) -> Mask:
        """Return that none is truncated, (B,): long signals are encoded window by window."""
        return np.zeros(len(batch), dtype=bool)

    def _spans(self, batch: Sequence[Signal]) -> Iterator[FrameSpan]:
        """Yield the frames of every layer of signals (T,), window by window."""
        signals = [at_least(self._normalised(signal), self._framing.least) for signal in batch]
        cut = [
            (item, window)
            for item, signal in enumerate(signals)
            for window in windows(len(signal), self._window, self._overlap)
        ]
        # The batch holds items of similar length already: this only bounds memory.
        sizes = [self._framing.fixed or window.samples for _, window in cut]
        for chosen in batches(sizes, self._budget, padding=1.0):
            yield from self._encode([cut[i] for i in chosen], signals)

    def _encode(self, cut: list[tuple[int, Window]], signals: list[Signal]) -> Iterator[FrameSpan]:
        """Encode windows, each with the place of its signal (T,), as one batch; yield the frames of their own parts."""
        waveforms = [signals[item][window.start : window.stop] for item, window in cut]
        self._lengths.set([len(waveform) for waveform in waveforms])
        states = hidden_states(self._model, self._inputs(waveforms), self._device)  # (B, T, D) per layer
        for row, (item, window) in enumerate(cut):
            first, last = self._own_frames(window)
            start = window.start // self._framing.stride + first
            yield FrameSpan(item, start, [states[k][row, first:last] for k in self._layers])

    def _own_frames(self, window: Window) -> tuple[int, int]:
        """Return the frames that begin in a window's own part; the last window of a signal keeps all to its end."""
        stride = self._framing.stride
        is_last = window.last == window.stop
        last = self._framing.count(window.samples) if is_last else (window.last - window.start) // stride
        return (window.first - window.start) // stride, last


def preprocessors(
    kind: str, extractor: Any, framing: Framing
) -> tuple[Callable[[Signal], Signal], Callable[..., Inputs]]:
    """Return a model family's two preprocessors.

    The first normalises a whole signal, (T,) to (T,). The second turns windows of normalised signals, (T,) each, into
    the model's inputs: (B, T) waveforms, or mel features (B, T, bands) or (B, bands, T).
    """

    def extract(signal: Signal) -> Any:
        return extractor(signal, sampling_rate=SAMPLE_RATE, return_tensors="np")

    def waveforms(signals: list[Signal]) -> Inputs:
        return _padded("input_values", signals)  # (B, T)

    def mel_pairs(signals: list[Signal]) -> Inputs:
        features = [extract(s).input_features[0, : framing.count(len(s))] for s in signals]
        return _padded("input_features", features)  # (B, T, bands)

    def mel_images(signals: list[Signal]) -> Inputs:
        features = [extract(signal).input_features[0] for signal in signals]
        return {"input_features": torch.from_numpy(np.stack(features))}  # (B, bands, T)

    if kind == "whisper":
        return _unchanged, mel_images
    if kind == "wav2vec2-bert":
        return _unchanged, mel_pairs

    def whole(signal: Signal) -> Signal:
        if len(signal) > LONG:
            return _normalised_in_place(signal) if extractor.do_normalize else signal
        return np.asarray(extract(signal).input_values[0], dtype=np.float32)

    return whole, waveforms


def _normalised_in_place(signal: Signal) -> Signal:
    """Give a long signal (T,) mean 0 and variance 1 in place; its extractor would copy it several times."""
    blocks = [signal[start : start + LONG] for start in range(0, len(signal), LONG)]
    mean = sum(float(block.sum(dtype=np.float64)) for block in blocks) / len(signal)
    variance = sum(float(np.square(block - np.float32(mean)).sum(dtype=np.float64)) for block in blocks) / len(signal)
    for block in blocks:
        block -= np.float32(mean)
        block /= np.float32(np.sqrt(variance + 1e-7))
    return signal


def _padded(name: str, items: list[Floats32]) -> Inputs:
    """Return arrays (T, ...) padded to one (B, T, ...) and, where lengths differ, the attention mask (B, T)."""
    longest = max(len(item) for item in items)
    values = np.zeros((len(items), longest, *items[0].shape[1:]), dtype=np.float32)
    mask = np.zeros((len(items), longest), dtype=np.int64)
    for row, item in enumerate(items):
        values[row, : len(item)] = item
        mask[row, : len(item)] = 1
    if mask.all():  # attention is faster without a mask
        return {name: torch.from_numpy(values)}
    return {name: torch.from_numpy(values), "attention_mask": torch.from_numpy(mask)}


def at_least(signal: Signal, samples: int) -> Signal:
    """Pad a signal (T,) with silence to at least `samples`."""
    return signal if len(signal) >= samples else np.pad(signal, (0, samples - len(signal)))


def _unchanged(signal: Signal) -> Signal:
    """Return the signal (T,) itself: the family normalises every window."""
    return signal

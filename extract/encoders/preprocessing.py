"""What speech models take of a recording, made on the processor ahead of the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from amber.arrays import Floats32
from amber.audio import SAMPLE_RATE, Signal

from .framing import Framing
from .log_mel import LogMel

LONG = 10 * 60 * SAMPLE_RATE  # samples: longer signals are not copied as a whole

LAYER_NORM_EPS = 1e-5  # added to the variance, as in torch

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of a model family.

    Attributes
    ----------
    whole
        Normalises a whole signal, (T,) to (T,); may change it in place.
    window
        Turns a window (T,) of such a signal into the model's input, without padding: (T,) or (T, bands).
    name
        What the model calls that input.

    """

    whole: Callable[[Signal], Signal]
    window: Callable[[Signal], Floats32]
    name: str

    def batch(self, items: Sequence[Floats32]) -> Inputs:
        """Return items (T, ...) padded to one (B, T, ...) and, where lengths differ, the attention mask (B, T)."""
        longest = max(len(item) for item in items)
        values = np.zeros((len(items), longest, *items[0].shape[1:]), dtype=np.float32)
        mask = np.zeros((len(items), longest), dtype=np.int64)
        for row, item in enumerate(items):
            values[row, : len(item)] = item
            mask[row, : len(item)] = 1
        if mask.all():  # attention is faster without a mask
            return {self.name: torch.from_numpy(values)}
        return {self.name: torch.from_numpy(values), "attention_mask": torch.from_numpy(mask)}


def preprocessing(kind: str, extractor: Any, framing: Framing) -> Preprocessing:
    """Return the preprocessing of models of type `kind` with a feature extractor of transformers'."""
    if kind == "whisper":
        log_mel = LogMel(extractor)
        return Preprocessing(
            _unchanged, lambda window: log_mel(window, framing.heard(len(window)) // log_mel.hop), "input_features"
        )

    def extract(signal: Signal) -> Any:
        return extractor(signal, sampling_rate=SAMPLE_RATE, return_tensors="np")

    if kind == "wav2vec2-bert":
        return Preprocessing(
            _unchanged, lambda window: extract(window).input_features[0, : framing.count(len(window))], "input_features"
        )

    if kind == "emotion2vec":
        return Preprocessing(partial(_layer_normalised, asked=extractor.do_normalize), _unchanged, "input_values")

    def whole(signal: Signal) -> Signal:
        if len(signal) > LONG:
            return normalised_in_place(signal) if extractor.do_normalize else signal
        return np.asarray(extract(signal).input_values[0], dtype=np.float32)

    return Preprocessing(whole, _unchanged, "input_values")


def _layer_normalised(signal: Signal, *, asked: bool) -> Signal:
    """Return a signal (T,) as torch's `layer_norm` over its length makes it, or itself if that is not asked for."""
    if not asked:
        return signal
    return normalised_in_place(signal if len(signal) > LONG else signal.copy(), LAYER_NORM_EPS)


def normalised_in_place(signal: Signal, eps: float = 1e-7) -> Signal:
    """Give a long signal (T,) mean 0 and variance 1 in place; its extractor would copy it several times."""
    blocks = [signal[start : start + LONG] for start in range(0, len(signal), LONG)]
    mean = sum(float(block.sum(dtype=np.float64)) for block in blocks) / len(signal)
    variance = sum(float(np.square(block - np.float32(mean)).sum(dtype=np.float64)) for block in blocks) / len(signal)
    for block in blocks:
        block -= np.float32(mean)
        block /= np.float32(np.sqrt(variance + eps))
    return signal


def at_least(signal: Signal, samples: int) -> Signal:
    """Pad a signal (T,) with silence to at least `samples`."""
    return signal if len(signal) >= samples else np.pad(signal, (0, samples - len(signal)))


def _unchanged(signal: Signal) -> Signal:
    """Return the signal (T,) itself."""
    return signal

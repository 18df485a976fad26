"""Acoustic functionals, one vector per utterance: log-mel statistics, and eGeMAPS by openSMILE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from amber.arrays import Floats32, Mask
from amber.audio import SAMPLE_RATE, Signal
from amber.corpus import Modality
from amber.errors import UserError

from . import EncoderInfo, choose_layers

WINDOW, HOP, FFT, BANDS = 400, 160, 512, 80  # 25 ms and 10 ms
LONG = 60_000  # frames, ten minutes: longer signals are processed block by block
BLOCK = 6_000  # frames
FLOOR = 1e-10  # power below which a band counts as silent

Functionals = Callable[[Signal], Floats32]


def info(name: str, modality: Modality, layers: str, max_seconds: float) -> EncoderInfo:
    """Return what is known of `logmel` or `egemaps`; both have a single layer and take audio of any length."""
    make, dim, revision = _KINDS[name]
    return EncoderInfo(
        name=name,
        revision=revision(),
        modality="speech",
        layers=choose_layers(layers, 1, name),
        dim=dim,
        sample_rate=SAMPLE_RATE,
        max_seconds=None,
        budget=60 * SAMPLE_RATE,
        load=lambda device: _PerUtterance(name, make()),
        has_frames=False,
    )


class _PerUtterance:
    """An encoder that computes functionals (D,) of one signal (T,) at a time."""

    def __init__(self, name: str, functionals: Functionals) -> None:
        self._name = name
        self._functionals = functionals

    def pooled(self, batch: Sequence[Signal]) -> Floats32:
        """Return the functionals of signals at 16 kHz, (B, 1, D)."""
        return np.stack([self._functionals(signal) for signal in batch])[:, None, :]

    def frames(self, batch: Sequence[Signal]) -> list[Floats32]:
        """Raise a UserError: functionals describe whole utterances."""
        raise UserError(f"{self._name} has one vector per utterance and no frames: use level `pooled`")

    def truncated(self, batch: Sequence[Signal]) -> Mask:
        """Return that none is truncated, (B,)."""
        return np.zeros(len(batch), dtype=bool)


def _log_mel() -> Functionals:
    import torch
    from transformers.audio_utils import mel_filter_bank

    filters = torch.from_numpy(
        mel_filter_bank(
            num_frequency_bins=FFT // 2 + 1,
            num_mel_filters=BANDS,
            min_frequency=20.0,
            max_frequency=SAMPLE_RATE / 2,
            sampling_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
    ).float()  # (FFT / 2 + 1, BANDS)
    return partial(log_mel_statistics, filters=filters, window=torch.hann_window(WINDOW))


def log_mel_statistics(signal: Signal, *, filters: Any, window: Any) -> Floats32:
    """Return mean, standard deviation and standard deviation of the first difference of log-mel bands, (3 * 80,).

    Frames of 25 ms every 10 ms, natural logarithm of power. A long signal is processed block by block.

    Parameters
    ----------
    signal
        (T,) at 16 kHz.
    filters
        Mel filter bank, a tensor (FFT / 2 + 1, 80).
    window
        Analysis window, a tensor (400,).

    """
    import torch

    if len(signal) > LONG * HOP:
        return _statistics_of_blocks(_blocks(signal), filters, window)
    spectrum = torch.stft(
        torch.from_numpy(signal), FFT, HOP, WINDOW, window=window, center=True, pad_mode="constant", return_complex=True
    )  # (FFT / 2 + 1, frames)
    mel = torch.log(torch.clamp(spectrum.abs().square().T @ filters, min=FLOOR))  # (frames, BANDS)
    delta = torch.diff(mel, dim=0)
    parts = [mel.mean(dim=0), mel.std(dim=0, correction=0), delta.std(dim=0, correction=0)]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


def _blocks(signal: Signal) -> Iterator[Signal]:
    """Yield the parts (T,) of a signal that make `BLOCK` frames each; the last makes the rest."""
    half, frames = FFT // 2, 1 + len(signal) // HOP
    for first in range(0, frames, BLOCK):
        start, stop = first * HOP - half, (min(first + BLOCK, frames) - 1) * HOP + half
        part = signal[max(0, start) : min(stop, len(signal))]
        yield np.pad(part, (max(0, -start), max(0, stop - len(signal))))


def _statistics_of_blocks(blocks: Iterator[Signal], filters: Any, window: Any) -> Floats32:
    """Compute `log_mel_statistics` from sums over blocks (T,), so that memory does not grow with the signal."""
    import torch

    frames, last = 0, None
    sums = torch.zeros(4, BANDS, dtype=torch.float64)  # bands, differences, and the squares of both
    for block in blocks:
        spectrum = torch.stft(
            torch.from_numpy(block), FFT, HOP, WINDOW, window=window, center=False, return_complex=True
        )
        mel = torch.log(torch.clamp(spectrum.abs().square().T @ filters, min=FLOOR)).double()  # (frames, BANDS)
        delta = torch.diff(mel, dim=0, prepend=last)
        frames, last = frames + len(mel), mel[-1:]
        sums += torch.stack([mel.sum(0), delta.sum(0), mel.square().sum(0), delta.square().sum(0)])
    counts = torch.tensor([[frames], [frames - 1], [frames], [frames - 1]])
    mean, delta_mean, square, delta_square = sums / counts
    stds = [(square - mean**2).clamp(min=0).sqrt(), (delta_square - delta_mean**2).clamp(min=0).sqrt()]
    return np.asarray(torch.cat([mean, *stds]).float().numpy(), dtype=np.float32)


def _egemaps() -> Functionals:
    opensmile = _opensmile()
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )

    def functionals(signal: Signal) -> Floats32:
        return np.asarray(smile(signal, SAMPLE_RATE).reshape(-1), dtype=np.float32)

    return functionals


def _opensmile() -> Any:
    try:
        import opensmile
    except ImportError:
        raise UserError(
            "encoder egemaps needs the package opensmile (its licence is for research): pip install '.[egemaps]'"
        ) from None
    return opensmile


_KINDS: dict[str, tuple[Callable[[], Functionals], int, Callable[[], str]]] = {
    "logmel": (_log_mel, 3 * BANDS, lambda: "1"),
    "egemaps": (_egemaps, 88, lambda: f"eGeMAPSv02 opensmile {_opensmile().__version__}"),
}

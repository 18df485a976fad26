"""Whisper's log-mel spectrogram (Radford et al., 2022), without computing that of silence.

Whisper's extractor pads a signal to 30 s with silence and computes all of it; here a frame that lies in the silence
gets the floor. Plain NumPy, which runs in the threads that read recordings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import rfft
from scipy.sparse import csr_array

from amber.arrays import Floats32
from amber.audio import Signal

FLOOR = 1e-10  # least power
RANGE = 8.0  # decades below the loudest band that are kept


class LogMel:
    """The log-mel spectrogram of a Whisper model, with the parameters of its feature `extractor`."""

    def __init__(self, extractor: Any) -> None:
        self.hop: int = extractor.hop_length
        self._fft: int = extractor.n_fft
        # A bin of the spectrum belongs to two bands at most. NumPy's dense product would also start threads of its own.
        self._filters = csr_array(np.asarray(extractor.mel_filters, dtype=np.float32).T)  # (bands, FFT / 2 + 1)
        self._window = np.hanning(self._fft + 1)[:-1].astype(np.float32)  # (FFT,), periodic

    def __call__(self, signal: Signal, frames: int) -> Floats32:
        """Return the spectrogram (frames, bands) of a signal (T,) with silence up to `frames` hops."""
        half = self._fft // 2
        heard = min(frames, (len(signal) + half - 1) // self.hop + 1)  # frames that are not all silence
        end = min(frames * self.hop, max(len(signal), heard * self.hop + half))
        padded = np.pad(np.pad(signal, (0, end - len(signal))), half, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, self._fft)[:: self.hop][:heard]  # (heard, FFT)
        spectrum = rfft(windows * self._window, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)  # (heard, FFT / 2 + 1)
        mel = np.full((frames, self._filters.shape[0]), np.log10(FLOOR), dtype=np.float32)
        np.log10(np.maximum((self._filters @ power.T).T, FLOOR), out=mel[:heard])
        np.maximum(mel, mel.max() - RANGE, out=mel)
        mel += 4.0
        mel /= 4.0
        return mel

"""Recordings for the encoders: mono float32 at the encoder's rate, or an `AudioError` with the reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from amber.audio import AudioError, Signal, cut_short, duration, opened, seconds

SHORTEST = 0.025  # seconds: one analysis window
LONGEST = 4 * 3600.0  # seconds of one utterance
LONG = 1 << 24  # samples of all channels together: longer spans are decoded block by block
BLOCK = 1 << 21  # samples of all channels together
_TOLERANCE = 0.05  # seconds by which a span may exceed the file, or a lossy file fall short of its header
_LAST_BIT = 2.0**-14  # range of samples that differ in the last of 16 bits only, which holds no speech
_CANCELLED = 0.05  # of the channels' level: the mean of a signal and its inverse is below


def read(path: Path, rate: int, start: float | None = None, end: float | None = None) -> Signal:
    """Read (a span of) an audio file.

    Parameters
    ----------
    path
        Any format that libsndfile reads.
    rate
        Wanted sample rate in Hz; other rates are resampled (soxr, high quality).
    start, end
        Seconds; None for the file's beginning and end.

    Returns
    -------
    ndarray
        float32 (T,), channels averaged.

    Raises
    ------
    AudioError
        If the file is missing, no audio file, unreadable, or shorter than its span or than its header says; if it
        holds less than 25 ms, more than four hours, no signal, or samples that are not finite.

    """
    with opened(path) as file:
        first, last = _span(file, start, end)
        file.seek(first)
        found, count = file.samplerate, min(last, file.frames) - first
        if count < SHORTEST * found:
            held = math.floor(count / found * 1e5) / 100  # rounded down: 24.999 ms are less than 25 ms
            raise AudioError(f"holds {held:g} ms, less than {SHORTEST * 1000:g} ms")
        return _resampled(_mono(file, count), count, found, rate)


def length(path: Path, rate: int, start: float | None = None, end: float | None = None) -> int:
    """Return about how many samples `read` returns, by the file's header.

    Raises
    ------
    AudioError
        If the file is missing, no audio file, unreadable, or shorter than the span or than its header says.

    """
    with opened(path) as file:
        first, last = _span(file, start, end)
        return max(1, round((last - first) / int(file.samplerate) * rate))


def hours(root: str, paths: Sequence[str], sample: int = 200) -> float | None:
    """Estimate the total duration of audio files, in hours, from an even sample of them; None if none is readable."""
    found = [duration(Path(root, path)) for path in paths[:: max(1, len(paths) // sample)]]
    known = [seconds for seconds in found if seconds is not None]
    return float(np.mean(known)) * len(paths) / 3600 if known else None


def _span(file: soundfile.SoundFile, start: float | None, end: float | None) -> tuple[int, int]:
    """Return the first and the last frame (exclusive) of a span in seconds; AudioError if it is not in the file."""
    whole = seconds(file)
    if not file.frames:
        raise AudioError("holds no samples")
    begin, stop = start or 0.0, whole if end is None else end
    said = f"the span {begin:g} to {f'{end:g} s' if end is not None else 'the end'} is not within its {whole:.2f} s"
    if not (0 <= begin < stop <= whole + 1):  # before it is converted to frames: the seconds may be huge
        raise AudioError(said)
    first = round(begin * file.samplerate)
    last = round(stop * file.samplerate) if end is not None else file.frames
    if not first < last <= file.frames + int(_TOLERANCE * file.samplerate):
        raise AudioError(said)
    if last - first > LONGEST * file.samplerate:
        raise AudioError(
            f"{(last - first) / file.samplerate / 3600:.1f} h in one utterance; {LONGEST / 3600:g} h is the maximum"
        )
    return first, last


def _mono(file: soundfile.SoundFile, count: int) -> Iterator[Signal]:
    """Yield the next `count` frames in blocks (T,), channels averaged; AudioError if they can hold no speech."""
    left, highest, lowest = count, -np.inf, np.inf
    block = count if count * file.channels <= LONG else max(1, BLOCK // file.channels)
    energy, mixed = 0.0, 0.0  # of the channels on average, and of their mean
    while left:
        samples = file.read(min(left, block), dtype="float32", always_2d=True)  # (T, channels)
        if not len(samples):
            break
        mono = samples.mean(axis=1)
        if not np.isfinite(mono).all():
            raise AudioError("holds samples that are not finite")
        highest, lowest = max(highest, mono.max()), min(lowest, mono.min())
        if file.channels > 1:
            energy += float(np.vdot(samples, samples)) / file.channels
            mixed += float(np.vdot(mono, mono))
        left -= len(samples)
        yield mono
    if left > (int(_TOLERANCE * file.samplerate) if file.format == "MP3" else 0):
        raise cut_short((count - left) / file.samplerate, count / file.samplerate)
    if mixed < _CANCELLED**2 * energy:
        raise AudioError("its channels cancel out: one is the inverse of the other; keep one of them")
    if highest - lowest <= _LAST_BIT:
        raise AudioError("holds no signal: all samples are the same, but for the last bit")


def _resampled(blocks: Iterator[Signal], count: int, found: int, rate: int) -> Signal:
    """Return blocks (T,) of `count` samples in all as one signal (T,), resampled from `found` Hz to `rate` Hz."""
    first = next(blocks, np.zeros(0, dtype=np.float32))
    if len(first) == count:
        next(blocks, None)  # errors in the whole are raised at its end
        return np.ascontiguousarray(first if found == rate else soxr.resample(first, found, rate), dtype=np.float32)
    stream = soxr.ResampleStream(found, rate, 1, dtype="float32") if found != rate else None
    signal = np.empty(count * rate // found + rate, dtype=np.float32)  # memory is used only as it is filled
    filled = 0
    block: Signal | None = first
    while block is not None:
        following = next(blocks, None)
        piece = stream.resample_chunk(block, last=following is None) if stream else block
        signal[filled : filled + len(piece)] = piece
        filled += len(piece)
        block = following
    return signal[:filled]

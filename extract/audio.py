"""Audio files as the encoders want them: mono float32 at the encoder's rate, or a reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from .corpora.reading import is_lfs_stub

Signal = NDArray[np.float32]

SHORTEST = 0.025  # seconds: one analysis window


class AudioError(ValueError):
    """An audio file that can't be used; the message says why."""


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file; whatever is wrong with it, then or while it is read, is an `AudioError`."""
    try:
        if is_lfs_stub(path):
            raise AudioError("a Git LFS stub, not audio: run `git lfs pull` in the corpus")
        with soundfile.SoundFile(path) as file:
            yield file
    except FileNotFoundError:
        raise AudioError("no such file") from None
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioError(f"can't be read: {error}") from None


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
        If the file is missing, a Git LFS stub, unreadable or shorter than its span; if it holds less than 25 ms, or
        samples that are not finite.

    """
    with _opened(path) as file:
        first = round((start or 0.0) * file.samplerate)
        last = round(end * file.samplerate) if end is not None else file.frames
        if not 0 <= first < last or last > file.frames + file.samplerate // 20:
            whole = file.frames / file.samplerate
            raise AudioError(f"the span {start or 0:g} to {end} s is not within its {whole:.2f} s")
        file.seek(first)
        samples = file.read(last - first, dtype="float32", always_2d=True)  # (T, channels)
        found = file.samplerate
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise AudioError("holds samples that are not finite")
    if len(mono) < SHORTEST * found:
        raise AudioError(f"holds {len(mono) / found * 1000:.0f} ms, less than {SHORTEST * 1000:.0f} ms")
    return np.ascontiguousarray(mono if found == rate else soxr.resample(mono, found, rate), dtype=np.float32)


def length(path: Path, rate: int, start: float | None = None, end: float | None = None) -> int:
    """Return how many samples `read` will come to, by the file's header: close enough to plan with.

    Raises
    ------
    AudioError
        If the file is missing, a Git LFS stub or unreadable.

    """
    with _opened(path) as file:
        seconds = file.frames / file.samplerate
        return max(1, round(((seconds if end is None else end) - (start or 0.0)) * rate))


def hours(paths: list[Path], sample: int = 200) -> float | None:
    """Estimate the total duration of audio files, in hours, from an even sample of them; None if none is readable."""
    chosen = paths[:: max(1, len(paths) // sample)]
    seconds = []
    for path in chosen:
        try:
            seconds.append(soundfile.info(path).duration)
        except (OSError, soundfile.LibsndfileError):
            continue
    return float(np.mean(seconds)) * len(paths) / 3600 if seconds else None

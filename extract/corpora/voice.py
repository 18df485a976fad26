"""A small source-filter voice whose prosody and voice quality carry an emotion; the demo corpus speaks with it.

The vowels of the text set formants and syllable count; the emotion sets pitch, pitch range, rate, level, brightness,
breathiness, jitter and the final contour, which are the correlates that the literature on vocal expression names
(Juslin and Laukka, 2003). The emotions should be distinguishable; the voice need not sound human.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from amber.arrays import Floats
from amber.audio import SAMPLE_RATE, Signal


@dataclass(frozen=True)
class Speaker:
    """A speaker's anatomy: mean pitch in Hz, and the length of the vocal tract relative to an adult male's."""

    pitch: float
    tract: float


# Columns: pitch factor, pitch range (semitones), syllable (s), level (dB), brightness (0..1), breath, jitter, final
# contour (semitones). Rows: neutral, happiness, sadness, anger.
_PROSODY = np.array(
    [
        [1.00, 1.5, 0.170, 0.0, 0.50, 0.06, 0.010, -1.0],
        [1.28, 4.0, 0.150, 3.0, 0.65, 0.05, 0.012, 2.5],
        [0.90, 0.8, 0.225, -6.0, 0.25, 0.18, 0.016, -3.0],
        [1.18, 2.8, 0.138, 6.0, 0.90, 0.02, 0.035, -0.5],
    ]
)
# Standard deviation of an utterance's prosody from its emotion's, in the same units.
_SPREAD = np.array([0.06, 0.6, 0.014, 1.5, 0.08, 0.02, 0.004, 0.8])
_FORMANTS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "y": (400, 2000, 2550),
}
_BANDWIDTHS = (80.0, 110.0, 160.0)  # Hz


def speak(text: str, emotion: Floats, speaker: Speaker, rng: np.random.Generator) -> Signal:
    """Speak a sentence.

    Parameters
    ----------
    text
        Its vowel groups become syllables.
    emotion
        Weights (4,) of neutral, happiness, sadness and anger, which blend their prosody.
    speaker
        Whose voice it is.
    rng
        Draws this utterance's deviation from its emotion's prosody.

    Returns
    -------
    ndarray
        float32 (T,) at 16 kHz, within -1 to 1.

    """
    prosody = emotion @ _PROSODY + rng.normal(size=_SPREAD.size) * _SPREAD
    pitch, spread, syllable, level, bright, breath, jitter, final = prosody
    vowels = [group[0] for group in re.findall(r"[aeiouy]+", text.lower())] or ["a"]
    semitones = rng.normal(size=len(vowels)) * max(spread, 0.2)
    semitones[-2:] += final * np.array([0.5, 1.0])[-len(vowels[-2:]) :]
    parts = []
    for vowel, tone in zip(vowels, semitones, strict=True):
        length = int(SAMPLE_RATE * max(syllable, 0.08) * rng.uniform(0.85, 1.15))
        f0 = speaker.pitch * max(pitch, 0.5) * 2 ** (tone / 12)
        source = _source(f0, length, max(jitter, 0.0), max(breath, 0.0), rng)
        parts.append(_filter(source, vowel, speaker.tract, float(np.clip(bright, 0.05, 0.98))) * _envelope(length))
        parts.append(0.01 * rng.normal(size=int(SAMPLE_RATE * 0.02)))  # the gap that a consonant leaves
    wave = np.concatenate(parts)
    wave *= 0.05 * 10 ** (level / 20) / (np.sqrt(np.mean(wave**2)) + 1e-9)
    return np.clip(wave + 1e-4 * rng.normal(size=len(wave)), -1, 1).astype(np.float32)


def _source(f0: float, length: int, jitter: float, breath: float, rng: np.random.Generator) -> Floats:
    """Return glottal pulses at `f0` Hz with breath noise, (length,)."""
    wobble = 1 + jitter * np.interp(np.arange(length), *_wobble_points(length, rng))
    phase = np.cumsum(f0 * wobble / SAMPLE_RATE) % 1.0
    pulses = np.where(phase < 0.6, np.sin(np.pi * phase / 0.6) ** 2, 0.0)
    return np.asarray(np.diff(pulses, prepend=0.0) * 8 + breath * rng.normal(size=length))


def _wobble_points(length: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    points = np.linspace(0, length, max(3, length // 80))
    return points, rng.normal(size=len(points))


def _filter(source: Floats, vowel: str, tract: float, bright: float) -> Floats:
    """Shape the source (T,) by spectral tilt and three formant resonances; return (T,)."""
    wave = lfilter([bright], [1.0, bright - 1.0], source)
    for centre, width in zip(_FORMANTS[vowel], _BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        angle = 2 * np.pi * min(centre / tract, 0.45 * SAMPLE_RATE) / SAMPLE_RATE
        wave = lfilter([1 - radius], [1.0, -2 * radius * np.cos(angle), radius**2], wave)
    return np.asarray(wave / (np.abs(wave).max() + 1e-9))


def _envelope(length: int) -> Floats:
    """Return a smooth rise and fall over 20 ms at both ends, (length,)."""
    ramp = np.minimum(1.0, np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.02 * SAMPLE_RATE))
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * ramp))

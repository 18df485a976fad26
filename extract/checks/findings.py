"""Findings of `amber corpus check`, and the checks that all corpora share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from amber.audio import SAMPLE_RATE, AudioError, opened, seconds
from amber.corpus import Corpus, Ledger

Level = Literal["ok", "info", "warn", "fatal"]
SAMPLE = 20  # audio files that a check opens


@dataclass(frozen=True)
class Finding:
    """One statement about a corpus on disk, with the utterances or files that it concerns."""

    level: Level
    text: str
    ids: tuple[str, ...] = ()


def expect(what: str, found: object, expected: object) -> Finding:
    """Compare a figure with the known one: `ok` where equal, else `warn` with both."""
    if found == expected:
        return Finding("ok", f"{what}: {found}")
    return Finding("warn", f"{what}: {found}, expected {expected}")


def check_audio(corpus: Corpus, usual: tuple[float, float], sample: int = SAMPLE) -> Iterator[Finding]:
    """Open an even sample of the audio: unreadable files are fatal, odd formats and durations are warnings.

    `usual` are the least and the greatest usual duration in seconds.
    """
    paths: Sequence[str] = [path for path in corpus.column("audio") if path]
    chosen = paths[:: max(1, len(paths) // sample)][:sample]
    odd, unusual = [], []
    for name in chosen:
        path = Path(corpus.root, name)
        try:
            with opened(path) as file:
                rate, channels, duration = file.samplerate, file.channels, seconds(file)
        except AudioError as error:
            yield Finding("fatal", f"unreadable audio ({error})", (name,))
            continue
        if rate != SAMPLE_RATE or channels != 1:
            odd.append(name)
        if not usual[0] <= duration <= usual[1]:
            unusual.append(name)
    if odd:
        yield Finding("warn", "not 16 kHz mono (resampled on load)", tuple(odd))
    if unusual:
        yield Finding("warn", f"duration outside {usual[0]:g} to {usual[1]:g} s", tuple(unusual))
    if chosen and not odd and not unusual:
        yield Finding("ok", f"{len(chosen)} audio files sampled: 16 kHz mono, {usual[0]:g} to {usual[1]:g} s")


def check_joined(ledger: Ledger, expected: Collection[str] = ()) -> Iterator[Finding]:
    """Report how labels, audio and transcripts match, and what failed; gaps in `expected` are no warnings."""
    for name in ("labelled without audio", "audio without label", "without transcript"):
        ids = tuple(ledger.entries.get(name, ()))
        level: Level = "ok" if not ids else "info" if name in expected else "warn"
        yield Finding(level, f"{name}: {len(ids)}", ids)
    failed = ledger.entries.get("failed", [])
    stubs = tuple(name for name in failed if name.lower().endswith((".wav", ".flac")))
    if stubs:
        yield Finding("fatal", f"{len(stubs)} Git LFS stubs, not audio: run `git lfs pull` in the corpus", stubs)
    if len(failed) > len(stubs):
        rest = tuple(name for name in failed if name not in stubs)
        yield Finding("warn", f"{len(rest)} rows or lines that can't be read", rest)


def inform(ledger: Ledger, categories: Sequence[str]) -> Iterator[Finding]:
    """Report the number of ids in each category that has any."""
    for name in categories:
        ids = tuple(ledger.entries.get(name, ()))
        if ids:
            yield Finding("info", f"{name}: {len(ids)}", ids)

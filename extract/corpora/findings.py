"""What `amber corpus check` finds: short statements with a level, and the checks that all corpora share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import soundfile

from amber.corpus import Corpus

from .reading import is_lfs_stub

Level = Literal["ok", "info", "warn", "fatal"]
SAMPLE = 20  # audio files that a check opens


@dataclass(frozen=True)
class Finding:
    """One statement about a corpus on disk, with the utterances or files that it is about."""

    level: Level
    text: str
    ids: tuple[str, ...] = ()


def expect(what: str, found: object, expected: object) -> Finding:
    """Compare a figure with the known one: `ok` where equal, else `warn` with both."""
    if found == expected:
        return Finding("ok", f"{what}: {found}")
    return Finding("warn", f"{what}: {found}, expected {expected}")


def check_audio(corpus: Corpus, seconds: tuple[float, float], sample: int = SAMPLE) -> Iterator[Finding]:
    """Open an even sample of the audio files: stubs and unreadable files are fatal, odd formats and lengths warned of."""
    paths: Sequence[str] = [path for path in corpus.column("audio") if path]
    chosen = paths[:: max(1, len(paths) // sample)][:sample]
    odd, unusual = [], []
    for name in chosen:
        path = Path(corpus.root, name)
        try:
            if is_lfs_stub(path):
                yield Finding("fatal", "a Git LFS stub, not audio: run `git lfs pull` in the corpus", (name,))
                continue
            info = soundfile.info(path)
        except (OSError, soundfile.LibsndfileError) as error:
            yield Finding("fatal", f"unreadable audio ({error})", (name,))
            continue
        if info.samplerate != 16_000 or info.channels != 1:
            odd.append(name)
        if not seconds[0] <= info.duration <= seconds[1]:
            unusual.append(name)
    if odd:
        yield Finding("warn", "not 16 kHz mono (resampled on load)", tuple(odd))
    if unusual:
        yield Finding("warn", f"duration outside {seconds[0]:g} to {seconds[1]:g} s", tuple(unusual))
    if chosen and not odd and not unusual:
        yield Finding("ok", f"{len(chosen)} audio files sampled: 16 kHz mono, {seconds[0]:g} to {seconds[1]:g} s")

"""What the corpus adds to predictions, where it is at hand: transcripts, audio files, durations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amber import audio as sound
from amber import corpus as contract
from amber.corpus import Corpus
from amber.features import recordings

from .gather import Experiment, FoundRun


@dataclass(frozen=True)
class Material:
    """Per test utterance, in the experiment's order: transcript, audio file, its span and the duration in seconds.

    `text` and `audio` are None where there is none, `seconds` (N,) is NaN where it is unknown.
    """

    text: list[str | None]
    audio: list[Path | None]
    span: list[tuple[float | None, float | None]]
    seconds: NDArray[np.float64]


def find_corpus(runs: Sequence[FoundRun]) -> Corpus | None:
    """Return the utterances of the cache that the runs read; None where it is not on this machine."""
    cache = runs[0].cache()
    path = cache / str(runs[0].config["dataset"]["name"]) / contract.FILE if cache else None
    return Corpus.read(path) if path is not None and path.is_file() else None


def digest(corpus: Corpus | None) -> list[str]:
    """Return what figures and report depend on of the utterances: words, spans, and recordings as they are now."""
    if corpus is None:
        return []
    stamps = hashlib.sha256(recordings.look(corpus).tobytes()).hexdigest()
    return [corpus.root, corpus.input_hash("speech"), corpus.input_hash("text"), stamps]


def find(experiment: Experiment, corpus: Corpus | None) -> Material:
    """Look the test utterances up; empty where there is no corpus."""
    n = len(experiment.ids)
    nothing = Material([None] * n, [None] * n, [(None, None)] * n, np.full(n, np.nan))
    if corpus is None:
        return nothing
    row = {uid: i for i, uid in enumerate(corpus.ids)}
    columns = {name: corpus.column(name) for name in ("text", "audio", "start", "end")}
    text, audio, span, seconds = nothing.text, nothing.audio, nothing.span, nothing.seconds
    for place, uid in enumerate(experiment.ids.tolist()):
        if uid not in row:
            continue
        words, name, start, end = (columns[column][row[uid]] for column in columns)
        file = Path(corpus.root, name) if name else None
        text[place] = words or None
        span[place] = (start, end)
        if file is not None and corpus.root and file.is_file():
            audio[place] = file.absolute()
            found = sound.duration(file, start, end)
            seconds[place] = np.nan if found is None else found  # unreadable: unknown
        elif start is not None and end is not None:
            seconds[place] = end - start
    return Material(text, audio, span, seconds)

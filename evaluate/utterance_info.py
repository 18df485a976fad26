"""What the corpus tells of utterances, where it is at hand: transcripts, audio files, durations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amber import audio as sound
from amber import corpus as contract
from amber.corpus import Corpus
from amber.features import recordings

from .experiment import FinishedRun, UtteranceInfo


def find_corpus(runs: Sequence[FinishedRun]) -> Corpus | None:
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


def utterance_info(ids: NDArray[np.object_], corpus: Corpus | None) -> UtteranceInfo:
    """Look utterances up by their ids, (N,); nothing is known of them where there is no corpus."""
    info = UtteranceInfo.unknown(len(ids))
    if corpus is None:
        return info
    row = {uid: i for i, uid in enumerate(corpus.ids)}
    columns = {name: corpus.column(name) for name in ("text", "audio", "start", "end")}
    for place, uid in enumerate(ids.tolist()):
        if uid not in row:
            continue
        words, name, start, end = (columns[column][row[uid]] for column in columns)
        file = Path(corpus.root, name) if name else None
        info.text[place] = words or None
        info.span[place] = (start, end)
        if file is not None and corpus.root and file.is_file():
            info.audio[place] = file.absolute()
            found = sound.duration(file, start, end)
            info.seconds[place] = np.nan if found is None else found  # unreadable: unknown
        elif start is not None and end is not None:
            info.seconds[place] = end - start
    return info

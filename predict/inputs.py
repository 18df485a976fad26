"""What is to be predicted: files, folders, texts, a table or JSON lines, as a corpus without votes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from amber.corpus import DIALOGUE, TURN, Corpus, Utterance
from amber.errors import UserError, abbreviate
from amber.extract import corpora

NAME = "predict"  # of the corpus
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au")


def of_files(paths: Sequence[Path], texts: Sequence[str | None]) -> Corpus:
    """Return recordings, those in folders included, with their texts, in the order given.

    Parameters
    ----------
    paths
        Audio files, and folders whose audio files are taken in the order of their names, subfolders included.
    texts
        Nothing, or one text per recording; alone, each is an utterance of its own.

    Raises
    ------
    UserError
        If a path is not there, a folder holds no audio, or there are not as many texts as recordings.

    """
    files = [file for path in paths for file in _files(path)]
    if files and texts and len(files) != len(texts):
        raise UserError(f"--text: {len(texts)} texts for {len(files)} recordings; give one for each, in their order")
    if not files:
        return _corpus(_utterance(f"text-{n}", None, text) for n, text in enumerate(texts, 1))
    spoken = texts or [None] * len(files)
    ids = _ids(files)
    items = zip(ids, files, spoken, strict=True)
    return _corpus(_utterance(uid, str(file.absolute()), text) for uid, file, text in items)


def of_arrays(audio: Sequence[Any], texts: Sequence[str | None], rate: int, folder: Path) -> Corpus:
    """Return recordings given as paths or as arrays of samples, with their texts.

    Parameters
    ----------
    audio
        Paths, arrays (T,) or (T, channels) of samples at `rate`, or None.
    texts
        As many texts, or None.
    rate
        Samples per second of the arrays.
    folder
        Where arrays are written as files, so that they are read exactly as recordings are.

    Raises
    ------
    UserError
        If an array is empty, not finite or not of samples, `rate` is no whole number, or a text is no string.

    """
    if not isinstance(rate, int | np.integer) or rate < 1:
        raise UserError(f"rate: {rate!r}: not a whole number of samples per second")
    utterances = []
    for number, (sound, text) in enumerate(zip(audio, texts, strict=True), 1):
        if not isinstance(text, str | None):
            raise UserError(f"text {number}: {text!r} is no string")
        path: Path | None = None
        uid = f"utterance-{number}"
        if isinstance(sound, str | Path):
            path, uid = Path(sound).absolute(), str(sound)
        elif sound is not None:
            path = folder / f"{number}.wav"
            soundfile.write(path, _samples(sound, number), rate, subtype="FLOAT")
        utterances.append(_utterance(uid, str(path) if path else None, text))
    if len({one.id for one in utterances}) < len(utterances):  # the same file twice, with two texts
        utterances = [replace(one, id=f"{one.id}#{n}") for n, one in enumerate(utterances, 1)]
    return _corpus(utterances)


def _samples(sound: Any, number: int) -> Any:
    samples = np.asarray(sound)
    if samples.ndim not in (1, 2) or not samples.size or samples.dtype.kind not in "fiu":
        raise UserError(f"audio {number}: expected samples (T,) or (T, channels), found an array {samples.shape}")
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        raise UserError(f"audio {number}: expected samples (T, channels), found {samples.shape}: transpose them")
    if samples.dtype.kind in "iu":  # as in a file of that width, where unsigned samples lie about the middle
        width = np.iinfo(samples.dtype)
        middle = (float(width.min) + float(width.max) + 1) / 2
        samples = (samples.astype(np.float64) - middle) / (float(width.max) + 1 - middle)
    if not np.isfinite(samples).all():
        raise UserError(f"audio {number}: its samples are not all finite")
    return samples.astype(np.float32)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        every = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        found = sorted(file for file in every if not file.name.startswith("._"))  # the Mac's own notes on a file
        if not found:
            raise UserError(f"{path}: no recordings in it; known are {abbreviate(SUFFIXES, 9)}")
        yield from found
    elif path.exists():
        yield path
    else:
        raise UserError(f"{path}: no such file or folder")


def _ids(files: Sequence[Path]) -> list[str]:
    """Return an id for each file: its path as given."""
    ids = [str(file) for file in files]
    twice = sorted({one for one in ids if ids.count(one) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise UserError(f"{abbreviate(twice)}: given more than once")
    return ids


def _corpus(utterances: Any) -> Corpus:
    return Corpus.of(utterances, name=NAME, root="/")


def of_table(path: Path, **more: Any) -> Corpus:
    """Return the utterances of a table, as extraction reads it, with more options; votes may be missing.

    Raises
    ------
    UserError
        If it can't be read, or has no `id` or neither `audio` nor `text`.

    """
    source = corpora.Source("table", NAME, path.parent / NAME, path, {"votes": "optional", **more})
    corpus: Corpus = corpora.load(source).corpus
    return corpus


def of_json_lines(content: bytes, folder: Path) -> Corpus:
    """Return the utterances of JSON lines as of a table, which is kept in a folder.

    Audio paths are relative to the current folder.
    """
    path = folder / "standard-input.jsonl"
    path.write_bytes(content)
    return of_table(path, audio=Path.cwd())


def _utterance(uid: str, audio: str | None, text: str | None) -> Utterance:
    """Return an utterance without votes, which is the only turn of its dialogue."""
    alone = {DIALOGUE: uid, TURN: "1"}
    return Utterance(id=uid, audio=audio, text=text, speaker=None, votes=(), extra=alone)

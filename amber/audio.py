"""Audio files, opened with checks: one that is not audio, or whose header says another length, raises an `AudioError`.

libsndfile reads a truncated file, such as an interrupted copy leaves behind, as a shorter one and mentions it in its
log only. Here such a file is refused wherever the format records a length; an MP3 without a Xing header does not. A WAV
or AIFF whose header says less than the file holds, such as a program leaves that ended before it wrote it anew, is
refused, too.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import soundfile

from amber.arrays import Floats32

Signal = Floats32  # (T,): mono samples from -1 to 1

SAMPLE_RATE = 16_000  # Hz: of the speech models, the acoustic functionals and the synthetic voice
RATES = (1_000, 768_000)  # Hz: least and most that a header may claim
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_SLACK = 128  # bytes by which a header may exceed the data: some writers count the header itself
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's number of frames, or more, for a FLAC without a length
_STREAMED = 0x7FFFF000  # lengths from here on, counted from 0 or from 2^31, stand for "unknown" in streamed files

_LFS_HEAD = b"version https://git-lfs"
LFS_MAX_BYTES = 1024  # bytes; a Git LFS stub is about 130
# The data chunk of WAV, AIFF, SVX, AU and W64 in libsndfile's log: the length in its header, and the actual one.
_SHORTENED = re.compile(r"^\s*(?:data|SSND|BODY|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_RF64 = re.compile(r"does not match value from 'ds64' chunk of (\d+)")
_NIST = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)
# Of formats in chunks: the order of bytes and the name of the chunk that holds the samples.
_CHUNKED: dict[bytes, tuple[Literal["little", "big"], bytes]] = {
    b"RIFF": ("little", b"data"),
    b"RIFX": ("big", b"data"),
    b"FORM": ("big", b"SSND"),
}
_CHUNK = re.compile(rb"[\w %-]{4}")  # a chunk's name, which four bytes of sound hardly ever are
_OGG_PAGE = 27 + 255 + 255 * 255  # bytes, at most


class AudioError(ValueError):
    """An audio file that can't be used; the message says why."""


def is_lfs_stub(path: Path) -> bool:
    """Return whether a file is the short text that Git LFS leaves where the content was not fetched."""
    info = path.stat()
    if info.st_size >= LFS_MAX_BYTES or not stat.S_ISREG(info.st_mode):
        return False
    with path.open("rb") as file:
        return file.read(len(_LFS_HEAD)) == _LFS_HEAD


@contextmanager
def opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file. Whatever is wrong with it, now or while it is read, raises an `AudioError`.

    libsndfile gets an open file, not a path: given a path, it would read a macOS twin `._name` as a part of the file.
    """
    try:
        descriptor = _descriptor(path)
        with soundfile.SoundFile(descriptor) as file:
            _check(file, path)
            yield file
    except FileNotFoundError:
        raise AudioError("no such file") from None
    except soundfile.LibsndfileError as error:
        raise AudioError(f"can't be read: {error.error_string}") from None
    except OSError as error:
        raise AudioError(f"can't be read: {error.strerror or error}") from None


def seconds(file: soundfile.SoundFile) -> float:
    """Return the duration of an open audio file in seconds, by its header."""
    return float(file.frames / file.samplerate)


def duration(path: Path, start: float | None = None, end: float | None = None) -> float | None:
    """Return the duration in seconds of (a span of) a recording, or None if the file can't be read.

    `start` and `end` are seconds, None for the beginning and the end of the file, which is opened only for its end.
    """
    try:
        if end is None:
            with opened(path) as file:
                end = seconds(file)
    except AudioError:
        return None
    return end - (start or 0.0)


def _descriptor(path: Path) -> int:
    """Open a regular file without blocking; anything else, such as a pipe, raises an `AudioError`."""
    if "\0" in str(path):
        raise AudioError("no such file")
    descriptor = os.open(path, _FLAGS)
    info, trouble = os.fstat(descriptor), ""
    if not stat.S_ISREG(info.st_mode):
        trouble = "not a file, but a folder, a pipe or a device"
    elif info.st_size < LFS_MAX_BYTES and os.read(descriptor, len(_LFS_HEAD)) == _LFS_HEAD:
        trouble = "a Git LFS stub, not audio: run `git lfs pull` in the corpus"
    if trouble:
        os.close(descriptor)
        raise AudioError(trouble)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _check(file: soundfile.SoundFile, path: Path) -> None:
    """Refuse an impossible sample rate or length, and a file that is shorter or longer than its header says."""
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise AudioError(f"its header claims {file.samplerate} Hz; {RATES[0]:,} to {RATES[1]:,} Hz are read")
    if file.frames >= _UNKNOWN_FRAMES:
        raise AudioError("its header does not say how long it is; convert it anew")
    announced = _announced(file, path)
    if announced > file.frames:
        raise cut_short(seconds(file), announced / file.samplerate)
    if file.format in ("WAV", "WAVEX", "AIFF") and (more := _beyond(path)):
        raise AudioError(f"its header says {seconds(file):.2f} s, but {more:,} more bytes follow; convert it anew")
    if file.format == "OGG" and not _ogg_ends(path):
        raise AudioError("its end is missing: the last page of the Ogg stream is not there")


def cut_short(found: float, announced: float) -> AudioError:
    """Return the error of a file that holds `found` of the `announced` seconds."""
    return AudioError(f"holds {found:.2f} s of the {announced:.2f} s that its header says: its end is missing")


def _announced(file: soundfile.SoundFile, path: Path) -> int:
    """Return the number of frames in the header, or 0 where it is not known."""
    log = file.extra_info
    if shortened := _SHORTENED.search(log):
        promised, there = int(shortened[1]), int(shortened[2])
        if promised % (1 << 31) >= _STREAMED or promised == 1 << 31 or promised <= there + _SLACK:
            return 0
        return int(max(file.frames + 1, round(file.frames * promised / max(1, there))))
    if file.format == "RF64" and (frames := _RF64.search(log)):
        return int(frames[1])
    if file.format == "NIST":
        with path.open("rb") as raw:
            samples = _NIST.search(raw.read(1024))
        return int(samples[1]) if samples else 0
    return 0


def _beyond(path: Path) -> int:
    """Return how many bytes follow the samples of a WAV or AIFF that are within the whole, yet no chunk and no padding.

    Programs append what they like behind the whole; that is not looked at.
    """
    with path.open("rb") as file:
        kind, size = file.read(4), file.read(4)
        if kind not in _CHUNKED:
            return 0
        order, sound = _CHUNKED[kind]
        end = min(os.fstat(file.fileno()).st_size, 8 + int.from_bytes(size, order))
        at, name = 12, b""
        while name != sound:
            file.seek(at)
            name, length = file.read(4), int.from_bytes(file.read(4), order)
            if not _CHUNK.fullmatch(name):
                return 0
            at += 8 + length + (length % 2 if name != sound else 0)
        file.seek(at)
        # A chunk begins at an even place, though not every program pads the samples to one.
        begin = file.read(5)
        if end - at <= _SLACK or _CHUNK.match(begin) or _CHUNK.match(begin, length % 2):
            return 0
        file.seek(at)
        while piece := file.read(min(1 << 20, end - file.tell())):
            if piece.strip(b"\0"):
                return end - at
        return 0


def _ogg_ends(path: Path) -> bool:
    """Return whether the last page of an Ogg file is complete and marked as the last one."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _OGG_PAGE))
        tail = file.read()
    at = tail.rfind(b"OggS")
    page = tail[at:] if at >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and 27 + page[26] + sum(page[27 : 27 + page[26]]) <= len(page)

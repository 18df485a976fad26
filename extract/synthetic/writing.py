"""Writing files as the licensed corpora have them, leftovers of other systems included."""

from __future__ import annotations

from pathlib import Path

import soundfile

from amber.audio import SAMPLE_RATE, Signal

README = "Speech and votes made by `amber corpus synth` to rehearse a layout. Nothing here is from a real corpus.\n"

_STUB = "version https://git-lfs.github.com/spec/v1\noid sha256:{digest:064x}\nsize {size}\n"
_APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \xb0\xff"


def put(path: Path, content: str | bytes) -> None:
    """Write a file and the folders above it; text as UTF-8, its line ends as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def put_wav(path: Path, signal: Signal) -> None:
    """Write a signal (T,) as a mono wav of 16 bits at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal, SAMPLE_RATE, subtype="PCM_16", format="WAV")


def put_stub(path: Path, samples: int) -> None:
    """Write what Git LFS leaves in place of a wav that was not fetched."""
    put(path, _STUB.format(digest=samples, size=44 + 2 * samples))


def put_twin(path: Path) -> None:
    """Write the binary `._` twin that macOS leaves beside a file."""
    put(path.with_name("._" + path.name), _APPLE_DOUBLE)

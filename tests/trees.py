"""Small trees of files for the loaders' tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from amber.extract.corpora import Source

STUB = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 81320\n"


def source(root: Path, dataset: str, **options: object) -> Source:
    """Return the source of a corpus that lies at `root`."""
    return Source(dataset=dataset, name=dataset, cache=root / "cache", root=root, options=options)


def write(root: Path, path: str, content: str | bytes) -> Path:
    """Write one file below `root`, as it is given."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


def wav(root: Path, path: str, seconds: float = 0.1, rate: int = 16_000) -> Path:
    """Write a silent mono wav below `root`."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(target, np.zeros(round(seconds * rate), np.float32), rate, subtype="PCM_16")
    return target


def contents(root: Path) -> dict[str, bytes]:
    """Return every file below `root`."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}

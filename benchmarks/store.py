"""Reading through the store: `python benchmarks/store.py`.

Pooled: 100,000 x 768 float16, against `np.load` of the same numbers. Frames: units streamed one after the other, one
read ahead, against reading the bytes of the same files. All from the page cache; the store also checks a CRC32C of
every chunk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from amber.features.spec import FeatureSpec
from amber.features.store import FeatureStore
from amber.features.unit import Unit

DIM = 768


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median duration of several calls."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def spec(size: int, level: str) -> FeatureSpec:
    about = {"corpus": "benchmark", "release": "", "inputs": "", "size": size, "modality": "speech", "level": level}
    encoder = {"encoder": "random", "revision": "0", "layers": (0,), "dim": DIM, "pooling": "mean"}
    audio = {"sample_rate": None, "max_seconds": None, "dtype": "float16", "precision": "fp32"}
    return FeatureSpec.model_validate({**about, **encoder, **audio})


def fill_pooled(folder: Path, features: np.ndarray) -> FeatureStore:
    store = FeatureStore.create(folder, spec(len(features), "pooled"), [f"u{i}" for i in range(len(features))])
    for number in range(store.spec.units):
        rows = store.unit(number)
        block = features[rows.start : rows.stop, None, :]
        store.commit(number, Unit(block, np.ones(len(rows), dtype=np.uint8), [""] * len(rows)))
    return store


def fill_frames(folder: Path, size: int) -> FeatureStore:
    random = np.random.default_rng(1)
    store = FeatureStore.create(folder, spec(size, "frames"), [f"u{i}" for i in range(size)])
    for number in range(store.spec.units):
        lengths = random.integers(95, 600, len(store.unit(number)))  # 1.9 to 12 s at 50 Hz
        frames = random.normal(size=(lengths.sum(), 1, DIM)).astype(np.float16)
        store.commit(number, Unit(frames, np.ones(len(lengths), dtype=np.uint8), [""] * len(lengths), lengths))
    return store


def pooled(folder: Path, size: int, repeats: int) -> None:
    features = np.random.default_rng(0).normal(size=(size, DIM)).astype(np.float16)
    np.save(folder / "plain.npy", features)
    started = time.perf_counter()
    store = fill_pooled(folder, features)
    written = time.perf_counter() - started
    assert np.array_equal(FeatureStore.open(store.location).layer(0), features)  # noqa: S101
    plain = seconds(lambda: np.load(folder / "plain.npy"), repeats)
    ours = seconds(lambda: FeatureStore.open(store.location).layer(0), repeats)
    print(f"pooled: {size} x {DIM} float16: written in {written:.2f} s, {store.spec.units} units")
    print(f"np.load {plain:.3f} s · store {ours:.3f} s · speed of the store over np.load: {plain / ours:.2f}")


def frames(folder: Path, size: int, repeats: int) -> None:
    store = fill_frames(folder, size)
    files = [path for path in (store.location / "frames" / "c").rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)

    def stream() -> int:
        return sum(len(unit.features) for unit in FeatureStore.open(store.location).stream(range(store.spec.units)))

    def bytes_of_files() -> int:
        return sum(len(path.read_bytes()) for path in files)

    plain, ours = seconds(bytes_of_files, repeats), seconds(stream, repeats)
    print(f"frames: {total / 1e9:.2f} GB in {len(files)} chunks, {store.spec.units} units")
    print(f"bytes {plain:.3f} s · stream {ours:.3f} s · speed of the stream over the bytes: {plain / ours:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--framed", type=int, default=3_200, help="utterances with frames")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pooled(Path(folder), options.size, options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        frames(Path(folder), options.framed, options.repeats)


if __name__ == "__main__":
    main()

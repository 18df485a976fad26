"""Reading a pooled feature set through the store, against `np.load` of the same numbers: `python benchmarks/store.py`.

Both read 100,000 x 768 float16 from the page cache; the store also checks a CRC32C of every chunk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from amber.features import FeatureSpec
from amber.store import FeatureStore
from amber.unit import Unit

DIM = 768


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median duration of several calls."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def fill(folder: Path, features: np.ndarray) -> FeatureStore:
    spec = FeatureSpec(
        corpus="benchmark",
        release="",
        inputs="",
        size=len(features),
        modality="speech",
        encoder="random",
        revision="0",
        layers=(0,),
        dim=DIM,
        level="pooled",
        pooling="mean",
        sample_rate=None,
        max_seconds=None,
        dtype="float16",
        precision="fp32",
    )
    store = FeatureStore.create(folder, spec, [f"u{i}" for i in range(len(features))])
    for number in range(len(store.committed())):
        rows = store.unit(number)
        block = features[rows.start : rows.stop, None, :]
        store.commit(number, Unit(block, np.ones(len(rows), dtype=np.uint8), [""] * len(rows)))
    return store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    features = np.random.default_rng(0).normal(size=(options.size, DIM)).astype(np.float16)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "plain.npy"), features)
        started = time.perf_counter()
        store = fill(Path(folder), features)
        written = time.perf_counter() - started
        assert np.array_equal(FeatureStore.open(store.location).layer(0), features)  # noqa: S101
        plain = seconds(lambda: np.load(Path(folder, "plain.npy")), options.repeats)
        ours = seconds(lambda: FeatureStore.open(store.location).layer(0), options.repeats)
        print(f"{options.size} x {DIM} float16: written in {written:.2f} s, {len(store.committed())} units")
        print(f"np.load {plain:.3f} s · store {ours:.3f} s · speed of the store over np.load: {plain / ours:.2f}")


if __name__ == "__main__":
    main()

"""How many seconds of audio a core reads per second of its time: `python benchmarks/decoding.py [--seconds 5.44]`.

Recordings of noise, which compress worse than speech, in 16 bits; through the reader that extraction uses, to 16 kHz
mono. Time is the processor's, not the clock's, so that other work beside it counts little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from amber.extract.audio import read

CLIPS, RATE, AGAIN = 40, 16_000, 5


def decoded(folder: Path, seconds: float, rate: int, kind: str) -> float:
    """Return seconds of audio per second of processor time."""
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * rate))
    paths = [folder / f"{i}-{rate}.{kind}" for i in range(CLIPS)]
    for path in paths:
        soundfile.write(path, noise, rate)
    started = time.process_time()
    for _ in range(AGAIN):
        for path in paths:
            read(path, RATE)
    return AGAIN * CLIPS * seconds / (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.44)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for rate, kind in ((16_000, "wav"), (16_000, "flac"), (44_100, "wav")):
            found = decoded(Path(folder), options.seconds, rate, kind)
            print(f"{kind} of {rate} Hz: {found:,.0f} s of audio per second of a core")


if __name__ == "__main__":
    main()

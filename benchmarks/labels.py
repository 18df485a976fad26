"""Time and memory of loading the labels of a corpus of MSP-Podcast 2.0's size.

Writes synthetic label files in that release's dialect (264,705 turns, 1.5 million rater rows, no audio) into a
temporary folder; then times loading them, choosing the utterances of `msp-8` and counting their votes.

    python benchmarks/labels.py [--size N] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from amber.config import LabelOptions
from amber.corpus import Corpus
from amber.extract.corpora import Source, msp_podcast
from amber.labels import LabelSpace

SIZE = 264_705
RATERS = 5.67  # per utterance, on average
BAR_SECONDS, BAR_GIB = 20.0, 2.0
NAMES = ("Neutral", "Happy", "Sad", "Angry", "Surprise", "Contempt", "Disgust", "Fear", "Other", "Other-puzzled, tired")
SHARES = (0.36, 0.24, 0.08, 0.09, 0.07, 0.05, 0.04, 0.02, 0.03, 0.02)
SECOND = ("", "Amused", "Excited", "Concerned", "Frustrated,Annoyed", "Confused,Dissapointed", "Depressed")
CODES = "NHSAUCDFOX"
SPLITS = ("Train", "Development", "Test1", "Test2")
WORKERS = 14_000


def write(root: Path, size: int) -> int:
    """Write the label files of a synthetic release; return the number of rater rows."""
    rng = np.random.default_rng(0)
    for folder in ("Labels", "Audios"):
        (root / folder).mkdir(parents=True)
    files = [f"MSP-PODCAST_{i // 60:04d}_{i % 60:04d}.wav" for i in range(size)]
    raters = 5 + rng.poisson(RATERS - 5, size)
    split = rng.choice(len(SPLITS), size, p=[0.64, 0.13, 0.17, 0.06])
    code = rng.integers(0, len(CODES), size)
    with (root / "Labels" / "labels_consensus.csv").open("w") as out:
        out.write("FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n")
        for i, file in enumerate(files):
            speaker = "Unknown" if i % 9 == 0 else 4 * (i % 700) + split[i]
            out.write(f"{file},{CODES[code[i]]},4.200000,4.000000,3.800000,{speaker},Female,{SPLITS[split[i]]}\n")
    rows = int(raters.sum())
    worker = rng.integers(0, WORKERS, rows)
    primary = rng.choice(len(NAMES), rows, p=SHARES)
    second = rng.integers(0, len(SECOND), rows)
    with (root / "Labels" / "labels_detailed.csv").open("w") as out:
        out.write("FileName,WorkerID,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom\n")
        row = 0
        for i, file in enumerate(files):
            for _ in range(raters[i]):
                name, other = NAMES[primary[row]], SECOND[second[row]]
                both = f'"{name},{other}"' if other else name
                typed = f'"{name}"' if "," in name else name
                if "," in name and not other:
                    both = typed
                out.write(f"{file},WORKER{worker[row]:08d},{typed},{both},4.000000,5.000000,3.000000\n")
                row += 1
    return rows


def load(root: Path) -> Corpus:
    """Load the release and label it, saying how long each step takes."""
    start = time.perf_counter()
    corpus: Corpus = msp_podcast.load(Source("msp-podcast", "msp-podcast", root / "cache", root)).corpus
    loaded = time.perf_counter()
    labelled = LabelSpace.resolve(LabelOptions(preset="msp-8"), corpus).label(corpus)
    counted = time.perf_counter()
    print(f"load {loaded - start:.1f} s · label {counted - loaded:.1f} s · {len(labelled.rows):,} utterances labelled")
    return corpus


def main() -> int:
    """Write, load and compare with the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=SIZE, help="utterances (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="print the 25 functions that take longest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = write(root, options.size)
        print(f"{options.size:,} utterances, {rows:,} rater rows; {_peak():.2f} GiB before loading")
        start = time.perf_counter()
        if options.profile:
            profiler = cProfile.Profile()
            profiler.runcall(load, root)
            pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
        else:
            load(root)
        seconds = time.perf_counter() - start
    met = seconds <= BAR_SECONDS and _peak() <= BAR_GIB
    bar = f"bar: {BAR_SECONDS:g} s, {BAR_GIB:g} GiB"
    print(f"{seconds:.1f} s, peak {_peak():.2f} GiB ({bar}): {'met' if met else 'MISSED'}")
    return 0 if met or options.profile else 1


def _peak() -> float:
    """Return the peak resident memory of this process in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 30 if sys.platform == "darwin" else 1 << 20)


if __name__ == "__main__":
    sys.exit(main())

"""How long evaluation takes at IEMOCAP's size: 10 variants, 5 folds, 5 seeds, 10,039 utterances.

The predictions are synthetic. The command is run as a user runs it, in a process of its own whose peak memory is read.

    python benchmarks/evaluate.py [--speakers 2000 --utterances 45000 --variants 3 --seeds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from amber import done
from amber.config import Objective
from amber.predictions import FILE, Predictions, run_name, write

VARIANTS = ("ce", "soft", "modality", "amber2", "amber2-uniform", "amber2-js", "speech", "text", "mine", "yours")
CLASSES = ("neutral", "happy", "sad", "angry")
FOLDS, HEADS = 5, ("student", "speech", "text")


def make(folder: Path, size: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    votes = rng.multinomial(3, [0.3, 0.3, 0.2, 0.2], size=size.utterances).astype(np.float64)
    y = votes / 3
    ids = np.array([f"Ses{i:06d}" for i in range(size.utterances)], dtype=object)
    speaker = rng.integers(size.speakers, size=size.utterances)
    session = speaker % FOLDS
    for variant in VARIANTS[: size.variants]:
        for fold in range(1, FOLDS + 1):
            test, dev = np.flatnonzero(session == fold - 1), np.flatnonzero(session == fold % FOLDS)
            rows = np.tile(np.concatenate([test, dev]), len(HEADS))
            n = len(rows)
            part = np.tile(np.repeat(["test", "dev"], [len(test), len(dev)]), len(HEADS)).astype(object)
            head = np.repeat(HEADS, n // len(HEADS)).astype(object)
            for seed in range(size.seeds):
                p = 0.5 * y[rows] + 0.5 * rng.dirichlet(np.ones(4), size=n)
                keys = {
                    "id": ids[rows],
                    "run": np.full(n, run_name("synthetic", variant, fold, seed), dtype=object),
                    "part": part,
                    "head": head,
                    "speaker": np.array([f"s{s}" for s in speaker[rows]], dtype=object),
                }
                run = folder / variant / f"fold{fold}-seed{seed}"
                run.mkdir(parents=True)
                prior = y[session != fold - 1].mean(axis=0)
                write(run / FILE, Predictions(CLASSES, keys, votes[rows], p, np.full(n, np.nan), None, prior))
                shared = {
                    "dataset": {"name": "synthetic", "release": "", "synthetic": True},
                    "labels": {
                        **dict.fromkeys(("preset", "raters", "multiple", "other", "subset"), "any"),
                        "classes": {c: [c] for c in CLASSES},
                        "min_votes": 1,
                        "smoothing": 0.0,
                    },
                    "splits": {"scheme": "leave-one-session-out"},
                    "objective": Objective().model_dump(),
                }
                config = {"experiment": folder.name, "variant": variant, "fold": fold, "seed": seed, **shared}
                (run / "config.yaml").write_text(yaml.safe_dump(config))
                (run / "env.json").write_text("{}")
                epochs = [json.dumps({"epoch": e, "dev_bc": 0.8}) for e in range(1, 31)]
                (run / "metrics.jsonl").write_text("\n".join(epochs) + "\n")
                done.write(run, f"{variant}{fold}{seed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("speakers", 10), ("utterances", 10_039), ("variants", len(VARIANTS)), ("seeds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    size = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "bench")
        make(folder, size)
        command = [sys.executable, "-m", "amber.cli", "--quiet", "evaluate", "--runs", str(folder)]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        page = (folder / "report.html").stat().st_size / 1e6
    print(
        f"{size.variants} variants x {FOLDS} folds x {size.seeds} seeds, {size.utterances} utterances of "
        f"{size.speakers} speakers, {os.cpu_count()} cores: {seconds:.1f} s, peak {peak:.2f} GiB, "
        f"report {page:.1f} MB"
    )


if __name__ == "__main__":
    main()

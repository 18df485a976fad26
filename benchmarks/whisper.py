"""How much of Whisper's 30 s must be encoded: full against trimmed context, on a real corpus.

    python benchmarks/whisper.py --model FOLDER --root TABLE.csv --pipeline pipelines/emodb.yaml --cache CACHE

Extracts the corpus with `features.context=full` and with `trimmed` at several margins into one cache, trains on each
with several choices of layers, and prints seconds, the cosine to the full features by layer, UAR and NLL. A second call
with the same cache does what is missing; times are those of the first extraction.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from study import print_table, score_runs

from amber.features.catalog import find_corpus
from amber.features.reader import FeatureReader
from amber.features.store import feature_sets

FULL = "full"
LAYERS = "last,learned,mean,all"


def amber(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "amber.cli", "-q", *arguments], check=True, stdout=subprocess.DEVNULL)


def extract(options: argparse.Namespace, context: str, encoder: str) -> dict[str, float]:
    """Extract in a context, `full` or a margin; return the seconds and the CPU seconds that it took."""
    sets = ["context=full"] if context == FULL else ["context=trimmed", f"margin={context}"]
    overrides = [part for value in sets for part in ("--set", f"features.{value}")]
    corpus = ["--dataset", "table", "--root", str(options.root), "--text", "minilm", "--features", str(options.cache)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    amber("extract", *corpus, "--speech", encoder, *overrides)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - started, "cpu": cpu}


def sets(cache: Path) -> dict[str, FeatureReader]:
    """Return the speech sets of a cache by context."""
    corpus = find_corpus(cache, None)
    # Unlike the acoustic features, transformers take no more than so many seconds at once.
    found = [store for store in feature_sets(cache, corpus.name) if store.spec.max_seconds]
    return {FULL if s.spec.margin is None else f"{s.spec.margin:g}": s for s in found}


def cosines(one: FeatureReader, other: FeatureReader) -> list[float]:
    """Return the mean cosine over utterances by layer."""
    a, b = (store.every_layer().astype(np.float64) for store in (one, other))  # (N, L, D)
    return list(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).mean(axis=0))


def scores(options: argparse.Namespace, store: FeatureReader) -> dict[str, tuple[float, float]]:
    """Train on a set; return UAR and NLL by choice of layers, and of the default."""
    with tempfile.TemporaryDirectory() as runs:
        shared = ["--config", str(options.pipeline), "--features", str(options.cache), "--runs", runs]
        shared += ["--seeds", options.seeds, "--variants", options.variant]
        shared += ["--set", f"features.speech={store.location.name}"]
        amber("train", *shared)
        amber("train", *shared, "--set", f"grid={{train.layer: [{LAYERS}]}}")
        (experiment,) = Path(runs).iterdir()
        found = score_runs(experiment, {})
    by_layer = {name.rpartition("=")[2] if "=" in name else "default": of for name, of in found.items()}
    return {name: (of["uar"], of["nll"]) for name, of in by_layer.items() if "temperature" not in name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "root", "pipeline", "cache"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--contexts", default="1,full,0,0.5,2", help="`full` and margins in seconds, in this order")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--variant", default="amber2")
    options = parser.parse_args()
    record = options.cache / "whisper.json"
    done = json.loads(record.read_text()) if record.exists() else {}
    contexts = options.contexts.split(",")
    extract(options, FULL, "logmel")  # the text, and what is slow when it is done first
    for context in contexts:
        if context not in done:
            done[context] = extract(options, context, str(options.model))
            record.write_text(json.dumps(done, indent=1))
    for context in contexts:
        if "scores" not in done[context]:
            done[context]["scores"] = scores(options, sets(options.cache)[context])
            record.write_text(json.dumps(done, indent=1))
    every = sets(options.cache)
    layers = [f"cosine {n}" for n in every[FULL].spec.layers]
    rows = []
    for context, found in done.items():
        by_layer = [f"{value:.4f}" for value in cosines(every[context], every[FULL])]
        trained = [f"{uar:.3f} {nll:.3f}" for uar, nll in found["scores"].values()]
        rows.append([context, f"{found['seconds']:.1f}", f"{found['cpu']:.1f}", *by_layer, *trained])
    print_table(["context", "seconds", "CPU", *layers, *found["scores"]], rows)


if __name__ == "__main__":
    main()

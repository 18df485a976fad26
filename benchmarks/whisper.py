"""How much of Whisper's 30 s must be encoded: `features.context` full against trimmed, on a real corpus.

    amber extract --dataset table --root TABLE.csv --speech FOLDER --features CACHE [--set features.context=…]
    python benchmarks/whisper.py --model FOLDER --cache CACHE [--every 11] [--variant amber2 --pipeline P.yaml]

The first command is given once for each context, and precision (`--precision bf16`). The second times every n-th
recording of the corpus in one thread, in CPU seconds that other processes change little, and prints of each context
that is in the cache the cosine to the full features by layer, and UAR and NLL per vote of a logistic regression on the
corpus's folds (column `fold`) by choice of layers. With `--variant` the project's own heads are trained as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from study import print_table, score_runs

from amber.config_file import load
from amber.corpus import Corpus
from amber.evaluate.metrics.classification import confusion, uar
from amber.evaluate.metrics.distribution import cross_entropy
from amber.extract import audio
from amber.extract.batching import batches
from amber.extract.encoders import find, speech
from amber.features.catalog import find_corpus
from amber.features.spec import FeatureSpec
from amber.features.store import FeatureStore, feature_sets
from amber.labels import LabelSpace
from amber.machine import choose

FULL = "full"
LAYERS = "last,learned,mean,all"
Array = NDArray[Any]


def sets(cache: Path, corpus: Corpus) -> dict[str, FeatureStore]:
    """Return the complete sets of transformers on speech in a cache, by context and, but for fp32, precision."""
    found = {}
    for store in feature_sets(cache, corpus.name):
        spec = store.spec
        if spec.max_seconds and store.complete():
            context = FULL if spec.margin is None else f"{spec.margin:g} s"
            found[context if spec.precision == "fp32" else f"{context}, {spec.precision}"] = store
    return dict(sorted(found.items(), reverse=True))


def timed(model: Path, spec: FeatureSpec, paths: list[Path]) -> list[float]:
    """Return the CPU seconds per recording of reading, log-mel, the forward passes and the rest, in one thread."""
    info = find(str(model), "speech", margin=spec.margin)
    encoder: Any = info.load(choose("cpu", spec.precision))
    forward, whole = [0.0], speech.hidden_states

    def noted(*arguments: Any) -> Any:
        started = time.thread_time()
        found = whole(*arguments)
        forward[0] += time.thread_time() - started
        return found

    encoder.pooled([audio.read(paths[0], 16_000)])  # what is slow when it is done first
    speech.hidden_states = noted
    marks = [time.thread_time()]
    signals = [audio.read(path, 16_000) for path in paths]
    marks.append(time.thread_time())
    prepared = [encoder.prepare(signal) for signal in signals]
    marks.append(time.thread_time())
    for batch in batches([info.heard(len(signal)) for signal in signals], info.budget, info.padding):
        encoder.pooled([prepared[i] for i in batch])
    encoded = time.thread_time() - marks[-1]
    speech.hidden_states = whole
    each = [marks[1] - marks[0], marks[2] - marks[1], forward[0], encoded - forward[0]]
    return [seconds / len(paths) for seconds in each]


def regression(x: Array, counts: Array, folds: Array) -> str:
    """Return UAR and NLL of a logistic regression on features (N, D), trained on all other folds than the tested."""
    p, hard = np.zeros(counts.shape), counts.argmax(axis=1)
    for fold in np.unique(folds):
        rest = folds != fold
        z = (x - x[rest].mean(axis=0)) / (x[rest].std(axis=0) + 1e-6)
        z = z @ np.linalg.svd(z[rest], full_matrices=False)[2].T  # the same distances in fewer dimensions
        fitted = LogisticRegression(C=3 / x.shape[1], max_iter=300).fit(z[rest], hard[rest])
        p[~rest] = fitted.predict_proba(z[~rest])
    y = np.eye(counts.shape[1])[hard]
    return f"{uar(confusion(y, p)):.3f} {cross_entropy(p, counts).sum() / counts.sum():.3f}"


def heads(options: argparse.Namespace, store: FeatureStore) -> list[list[str]]:
    """Return UAR and NLL of a variant, by default and by choice of layers."""
    with tempfile.TemporaryDirectory() as runs:
        shared = ["--config", options.pipeline, "--features", options.cache, "--runs", runs, "--seeds", options.seeds]
        shared += ["--variants", options.variant, "--set", f"features.speech={store.location.name}"]
        command = [sys.executable, "-m", "amber.cli", "-q", "train", *shared]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        grid = ["--set", f"grid={{train.layer: [{LAYERS}]}}"]
        subprocess.run([*command, *grid], check=True, stdout=subprocess.DEVNULL)
        (experiment,) = Path(runs).iterdir()
        found = score_runs(experiment, {})
    return [[name, f"{of['uar']:.3f} {of['nll']:.3f}"] for name, of in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--pipeline", type=Path, default=Path("pipelines/emodb.yaml"))
    parser.add_argument("--every", type=int, default=11, help="which recordings are timed; of full, a seventh of them")
    parser.add_argument("--variant", help="trained on every context")
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = find_corpus(options.cache, None)
    stores = sets(options.cache, corpus)
    paths = [Path(corpus.root, name) for name in corpus.column("audio")[:: options.every]]
    rows = []
    for context, store in stores.items():
        of = timed(options.model, store.spec, paths[::7] if store.spec.margin is None else paths)
        rows.append([context, *(f"{1000 * value:.1f}" for value in (*of, sum(of)))])
    print_table(["ms a recording", "reading", "log-mel", "forward", "rest", "all"], rows)
    data = LabelSpace.resolve(load(options.pipeline).labels, corpus).label(corpus)
    folds = np.array(corpus.column("fold"))[data.rows]
    features = {context: store.every_layer()[data.rows].astype(np.float64) for context, store in stores.items()}
    full, rows = features[FULL], []
    for context, x in features.items():  # (N, L, D)
        cosines = ((x * full).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(full, axis=-1)).mean(axis=0)
        layers = {"last": x[:, -1], "mean": x.mean(axis=1), "all": x.reshape(len(x), -1)}
        scores = [regression(chosen, data.counts, folds) for chosen in layers.values()]
        rows.append([context, *(f"{value:.4f}" for value in cosines), *scores])
    print_table(["", *(f"cosine {n}" for n in stores[FULL].spec.layers), "last", "mean", "all"], rows)
    for context, store in stores.items() if options.variant else ():
        print_table([context, "UAR, NLL"], heads(options, store))


if __name__ == "__main__":
    main()

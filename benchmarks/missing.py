"""What `train.modality_dropout` does: the NLL of a test vote with voice and words, and with one of them missing.

    python benchmarks/missing.py [--regimes 3-raters,missing-text --corpora 3 --rates 0,0.1,0.3,0.5]
    python benchmarks/missing.py --cache cache/ --pipeline pipelines/emodb.yaml

Every model is asked three times for its fold's test part: with both modalities, with the voice alone, with the words
alone. The student answers, which sees zeros in the place of what is missing, whatever it was trained with; and of
`amber2`, its expert on what is there. Printed are means over folds, seeds and corpora, in nats.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from corpora import REGIMES
from numpy.typing import NDArray
from study import interval, print_table, synthetic

from amber import predictions
from amber.corpus import MODALITIES
from amber.evaluate.metrics.distribution import cross_entropy
from amber.features.catalog import find_corpus, find_set
from amber.train.saved import SavedModel

ASKED = {"both": MODALITIES, "voice alone": ("speech",), "words alone": ("text",)}
Scores = dict[tuple[str, str, str], float]  # variant with its rate, what was there, who answers


def train(cache: Path, rates: str, options: argparse.Namespace, runs: Path) -> Path:
    """Train the variants at every rate; return the experiment's folder."""
    command = [sys.executable, "-m", "amber.cli", "-q", "train", "--features", cache, "--runs", runs]
    command += ["--variants", options.variants, "--seeds", options.seeds]
    command += ["--set", f"grid={{train.modality_dropout: [{rates}]}}"]
    command += ["--config", options.pipeline] if options.pipeline else ["--set", "splits.scheme=column"]
    subprocess.run([*command, *(part for one in options.set for part in ("--set", one))], check=True)
    (experiment,) = (path for path in runs.iterdir() if path.is_dir())
    return experiment


def answers(model: SavedModel, features: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, str, NDArray[np.float64]]]:
    """Yield what was there, who answers, and the distributions (n, C)."""
    able = replace(model, modality_dropout=1.0)  # so that the student answers whatever it has learned
    for name, modalities in ASKED.items():
        found = able.predict({m: features[m] for m in modalities})
        yield name, "student", found["student"]
        if len(modalities) == 1 and modalities[0] in found:
            yield name, "expert", found[modalities[0]]


def scores(cache: Path, experiment: Path) -> Scores:
    """Return the NLL of a test vote by variant, what was there, and who answers; over all folds and seeds."""
    corpus = find_corpus(cache, None)
    row = {uid: place for place, uid in enumerate(corpus.ids)}
    stores = {m: find_set(cache, corpus, m, None) for m in MODALITIES}
    stored = {m: store.every_layer() for m, store in stores.items()}
    lost: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for path in sorted(experiment.glob(f"*/*/{predictions.FILE}")):
        of = predictions.read(path).of(part="test", head="student")
        rows = np.array([row[uid] for uid in of.keys["id"]])
        features = {m: values[rows] for m, values in stored.items()}
        for there, who, p in answers(SavedModel.read(path.parent / "model"), features):
            total = lost[path.parents[1].name, there, who]
            total[0] += float(cross_entropy(p, of.counts).sum())
            total[1] += float(of.counts.sum())
    return {key: nll / votes for key, (nll, votes) in lost.items()}


def report(found: list[Scores]) -> None:
    """Print the means over corpora, and how far each rate is from none where there are several corpora."""
    names = list(dict.fromkeys(name for name, _, _ in found[0]))
    columns = list(dict.fromkeys((there, who) for _, there, who in found[0]))
    rows = []
    for name in names:
        none = f"{name.partition(',')[0]},modality_dropout=0"
        cells = []
        for there, who in columns:
            values = np.array([one.get((name, there, who), np.nan) for one in found])
            cell = f"{values.mean():.4f}" if np.isfinite(values).all() else "–"
            if name != none and len(found) > 1 and np.isfinite(values).all():
                less = values - np.array([one[none, there, who] for one in found])
                low, high = interval(less)
                cell += f" ({less.mean():+.4f} [{low:+.4f}, {high:+.4f}])"
            cells.append(cell)
        rows.append([name, *cells])
    print_table(["", *(f"{there}: {who}" for there, who in columns)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regimes", default="small", help=f"of {', '.join(REGIMES)}; all: every one")
    parser.add_argument("--corpora", type=int, default=1, help="of each regime")
    parser.add_argument("--rates", default="0,0.3")
    parser.add_argument("--seeds", default="0", help="of the training")
    parser.add_argument("--variants", default="soft,amber2")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="of the configuration")
    parser.add_argument("--cache", type=Path, help="with one dataset, in place of synthetic corpora")
    parser.add_argument("--pipeline", type=Path, help="the configuration that goes with it")
    options = parser.parse_args()
    named = list(REGIMES) if options.regimes == "all" else options.regimes.split(",")
    for regime in [str(options.cache)] if options.cache else named:
        found = []
        for number in range(1 if options.cache else options.corpora):
            given = nullcontext(options.cache) if options.cache else synthetic((regime, number))
            with tempfile.TemporaryDirectory() as runs, given as cache:
                found.append(scores(cache, train(cache, options.rates, options, Path(runs))))
            print(f"{regime} {number + 1}", file=sys.stderr, flush=True)
        print(f"{regime}, {len(found)} {'corpus' if len(found) == 1 else 'corpora'}")
        report(found)


if __name__ == "__main__":
    main()

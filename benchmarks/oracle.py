"""Whether the oracle tells what the truth would score, from the votes alone.

    python benchmarks/oracle.py [--crema-d PATH/tabulatedVotes.csv]

Synthetic corpora of 6,000 utterances whose truth is known: what the oracle says less what the truth scores against the
votes, mean of a few corpora. Truths are drawn from one Dirichlet distribution; blends, with a main class and a rest;
the mean of two blends that agree in two thirds; half of them near one class; softmax of normal variables. In the last
rows every vote is given by one of 40 raters with a confusion of their own, three to six of them without replacement.

CREMA-D: a mixture is fitted to 3 votes of each clip, drawn from its 8 to 12. It predicts what the distribution of the
other votes scores against those 3, which can be measured: they are a sample of as many votes drawn from the truth. It
also predicts what the truth scores against the 3; beside that stands what a mixture fitted to all votes says of it.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amber.evaluate.metrics import METRICS, Mean
from amber.evaluate.statistics.estimates import Subset, estimate
from amber.evaluate.statistics.mixture import fit
from amber.evaluate.statistics.oracle import Oracle

Floats = NDArray[np.float64]
SHOWN = ("bc", "r2", "jsd", "tvd", "nll_per_vote", "soft_brier", "brier_corrected", "accuracy", "f1_weighted", "uar",
         "ece")  # fmt: skip
MEANS = [metric for metric in METRICS if isinstance(metric, Mean) and metric.of_halves]
DRAWS = 20  # of CREMA-D's truths
VOTES = {"3 votes": (3, 4), "3 to 6": (3, 7), "5 to 9": (5, 10)}


def blend(main: NDArray[np.int64], classes: int, rng: np.random.Generator) -> Floats:
    share = rng.beta(3.0, 1.2, size=len(main))[:, None]
    return share * np.eye(classes)[main] + (1 - share) * rng.dirichlet(np.full(classes, 0.35), size=len(main))


def blends(n: int, classes: int, rng: np.random.Generator) -> Floats:
    return blend(rng.integers(classes, size=n), classes, rng)


def two(n: int, classes: int, rng: np.random.Generator) -> Floats:
    voice = rng.integers(classes, size=n)
    words = np.where(rng.random(n) < 1 / 3, rng.integers(classes, size=n), voice)
    return (blend(voice, classes, rng) + blend(words, classes, rng)) / 2


def neutral(n: int, classes: int, rng: np.random.Generator) -> Floats:
    near = 0.8 * np.eye(classes)[[0] * n] + 0.2 * rng.dirichlet(np.full(classes, 0.5), size=n)
    return np.where(rng.random(n)[:, None] < 0.5, near, blends(n, classes, rng))


def normal(n: int, classes: int, rng: np.random.Generator) -> Floats:
    e = np.exp(2 * rng.normal(size=(n, classes)))
    return e / e.sum(axis=1, keepdims=True)


def dirichlet(n: int, classes: int, rng: np.random.Generator) -> Floats:
    return rng.dirichlet(np.full(classes, 0.7), size=n)


TRUTHS: dict[str, Callable[[int, int, np.random.Generator], Floats]] = {
    "Dirichlet": dirichlet,
    "blends": blends,
    "two blends": two,
    "half neutral": neutral,
    "softmax normal": normal,
}


def confused(truth: Floats, raters: NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
    """Return the truth of a rater at random, and the counts of raters who each confuse classes in their own way."""
    classes = truth.shape[1]
    confusion = 0.7 * np.eye(classes) + 0.3 * rng.dirichlet(np.full(classes, 0.5), size=(40, classes))
    counts = np.zeros(truth.shape, dtype=np.int64)
    for row, number in enumerate(raters):
        for rater in rng.choice(40, size=number, replace=False):
            counts[row, rng.choice(classes, p=truth[row] @ confusion[rater])] += 1
    return truth @ confusion.mean(axis=0), counts


def gaps(truth: Floats, counts: NDArray[np.int64]) -> list[float]:
    """Return what the oracle says less what the truth scores, by metric."""
    everything = Subset.everything(np.zeros(len(counts), dtype=np.int64))
    votes = counts.astype(float)
    said = Oracle.fit(votes, 10_000, seed=0).scores(votes, [everything])[0].figures
    own = estimate(truth[None], votes, [everything])[0].seeds
    return [said[metric].mean - float(own[metric][0]) for metric in SHOWN]


def synthetic(size: int, corpora: int) -> None:
    print(f"{'':40}" + " ".join(f"{m[:9]:>9}" for m in SHOWN))
    worst: dict[str, list[float]] = {}
    cases = [(name, c, v, False) for c in (4, 8) for v in VOTES for name in TRUTHS]
    cases += [(name, 4, "3 to 6", True) for name in TRUTHS]
    for name, classes, votes, differ in cases:
        found = []
        for seed in range(corpora):
            rng = np.random.default_rng(seed)
            truth, raters = TRUTHS[name](size, classes, rng), rng.integers(*VOTES[votes], size=size)
            found.append(gaps(*(confused(truth, raters, rng) if differ else (truth, rng.multinomial(raters, truth)))))
        mean = np.mean(found, axis=0)
        worst.setdefault("raters differ" if differ else f"{classes} classes, {votes}", []).append(np.abs(mean))
        label = f"{name}, {classes} classes, {votes}{', raters' if differ else ''}"
        print(f"{label:40}" + " ".join(f"{value:9.3f}" for value in mean), flush=True)
    for label, rows in worst.items():
        print(f"{'largest: ' + label:40}" + " ".join(f"{value:9.3f}" for value in np.max(rows, axis=0)))


def crema_d(table: Path) -> None:
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[""].startswith("1")]
    counts = np.array([[int(row[label]) for label in "ADFHNS"] for row in rows])
    rng = np.random.default_rng(0)
    three = np.array([rng.multivariate_hypergeometric(row, 3) for row in counts])
    rest = counts - three
    kept = rest.sum(axis=1) >= 5
    three, rest = three[kept], rest[kept]
    number = rest.sum(axis=1)
    started = time.perf_counter()
    mixture = fit(three)
    took = time.perf_counter() - started
    truths = [mixture.posterior(three, rng) for _ in range(DRAWS)]
    every = three + rest
    of_all = fit(every)
    print(f"CREMA-D: {len(three)} clips, 3 votes against {number.mean():.1f} others on average; fitted in {took:.1f} s")
    print(f"{'':36}" + " ".join(f"{m.key[:9]:>9}" for m in MEANS))
    answers = {
        "the others, predicted from 3 votes": [rng.multinomial(number, t) / number[:, None] for t in truths],
        "the others, measured": [rest / number[:, None]],
        "the truth, predicted from 3 votes": truths,
        "the truth, predicted from all votes": [of_all.posterior(every, rng) for _ in range(DRAWS)],
    }
    for label, of in answers.items():
        scores = [np.mean([m.function(three / 3, q).mean() for q in of]) for m in MEANS]
        print(f"{label:36}" + " ".join(f"{value:9.3f}" for value in scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=6000)
    parser.add_argument("--corpora", type=int, default=3)
    parser.add_argument("--crema-d", type=Path, help="tabulatedVotes.csv of CREMA-D")
    options = parser.parse_args()
    synthetic(options.size, options.corpora)
    if options.crema_d:
        crema_d(options.crema_d)


if __name__ == "__main__":
    main()

"""How often a difference is called supported where there is none, and how often intervals hold the truth.

    python benchmarks/null.py [--runs runs/EXPERIMENT --variant soft]

Simulated: two variants that are equally good, over 10, 30 and 300 speakers and three seeds, whose effects on a metric
have a standard deviation of 0, .002 or .005; speakers differ in the gain they see by .02, utterances by .15. One
comparison alone, and a family of 60 (5 metrics, 4 scopes, 3 pairs of variants). Beside today's rule stands the former
one: p by speakers alone, Holm within a metric, every seed with the same sign.

Trained, with --runs: the seeds of one variant of a finished experiment are dealt into two halves, in every way; the
halves differ by nothing but chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from amber.evaluate.experiment import Experiment
from amber.evaluate.loading import load
from amber.evaluate.metrics import METRICS as EVERY
from amber.evaluate.results import Comparison
from amber.evaluate.runs import find_runs
from amber.evaluate.statistics.comparisons import compare, conclude, difference
from amber.evaluate.statistics.estimates import Estimates, Subset, estimate
from amber.evaluate.statistics.standard_error import StandardError, holm, of_speakers
from amber.evaluate.strata import TERCILES, ambiguity

SPEAKER, UTTERANCE = 0.02, 0.15  # standard deviations of what a speaker and an utterance add to a difference
PER_SPEAKER = 60  # utterances; a fourth of them in each scope but the first
METRICS = tuple(metric.key for metric in EVERY if metric.compared)
SCOPES, PAIRS = ("all", "low", "mid", "high"), 3


def simulated(speakers: int, std: float, seeds: int, rng: np.random.Generator) -> Iterator[tuple[Comparison, float]]:
    """Yield the comparisons of three null pairs, and the former rule's p (1 where seeds disagree).

    All three are against one reference, whose seeds they share; metrics of a pair are correlated by a half.
    """
    shape = (PAIRS, len(METRICS), len(SCOPES))
    common = rng.normal(size=(PAIRS, 1, 1, speakers))
    own = rng.normal(size=(PAIRS, len(METRICS), 1, speakers))
    gain = SPEAKER * (common + own) / np.sqrt(2)
    noise = UTTERANCE / np.sqrt(np.where(np.array(SCOPES) == "all", PER_SPEAKER, PER_SPEAKER / 4))
    gain = gain + noise[:, None] * rng.normal(size=(*shape, speakers))
    models = std * rng.normal(size=(PAIRS + 1, len(METRICS), 1, seeds))  # what a training adds to a metric
    for pair, metric, scope in np.ndindex(shape):
        by_speaker = gain[pair, metric, scope]
        reference = Estimates({"m": models[-1, metric, 0]}, {"m": np.full(speakers, models[-1, metric, 0].mean())}, {})
        left_out = (by_speaker.sum() - by_speaker) / (speakers - 1) + models[pair, metric, 0].mean()
        variant = Estimates({"m": by_speaker.mean() + models[pair, metric, 0]}, {"m": left_out}, {})
        found = difference(variant, reference, "m", paired=True)
        alone = StandardError((of_speakers(left_out - reference.left_out["m"]),))
        each = variant.seeds["m"] - reference.seeds["m"]
        agree = bool((each > 0).all() or (each < 0).all())
        yield (
            Comparison(
                variant=f"v{pair}",
                reference="r",
                scope="ambiguity" if scope else "all",
                level=SCOPES[scope],
                metric=METRICS[metric],
                n=PER_SPEAKER * speakers,
                **dict(found),
            ),
            alone.p(found.difference) if agree else 1.0,
        )


def former(metrics: list[str], p: list[float]) -> np.ndarray:
    """Return what the former rule supported, given its p-values (1 where seeds disagree): Holm within a metric."""
    supported = np.zeros(len(p), dtype=bool)
    for metric in set(metrics):
        rows = np.flatnonzero(np.array(metrics) == metric)
        supported[rows] = holm(np.array(p)[rows]) < 0.05
    return supported


def study(replicates: int, seeds: int) -> None:
    print(f"simulated, {seeds} seeds, {replicates} replicates; percent (simulation error at 5 %: "
          f"± {100 * 1.96 * np.sqrt(0.05 * 0.95 / replicates):.1f})")  # fmt: skip
    print(f"{'speakers':>8} {'seed SD':>8} | {'coverage':>8} {'one false':>9} {'family':>7} | former: one, family")
    for speakers in (10, 30, 300):
        for std in (0.0, 0.002, 0.005):
            rng = np.random.default_rng(speakers)
            counts = np.zeros(5)
            for _ in range(replicates):
                comparisons, p = (list(column) for column in zip(*simulated(speakers, std, seeds, rng), strict=True))
                low, high = comparisons[0].ci
                metrics = [c.metric for c in comparisons]
                one = conclude(comparisons[:1])[0].supported
                family = any(c.supported for c in conclude(comparisons))
                counts += low <= 0 <= high, one, family, p[0] < 0.05, former(metrics, p).any()
            share = 100 * counts / replicates
            print(f"{speakers:8} {std:8.3f} | {share[0]:8.1f} {share[1]:9.1f} {share[2]:7.1f} | "
                  f"{share[3]:11.1f} {share[4]:7.1f}")  # fmt: skip


def halves(experiment: Experiment, variant: str) -> Iterator[Experiment]:
    """Yield experiments of two variants, `ce` and `soft` by name: halves of the seeds of one variant."""
    students = experiment.students(variant)
    count = len(students)
    for one in combinations(range(count), count // 2):
        other = [s for s in range(count) if s not in one][: count // 2]
        if count % 2 == 0 and 0 not in one:
            continue  # the same halves the other way round
        parts = {"ce": list(one), "soft": other}
        yield replace(
            experiment,
            heads={name: {"student": students[rows]} for name, rows in parts.items()},
            seeds=parts,
        )


def trained(folder: Path, variant: str) -> None:
    experiment = load(folder.name, find_runs(folder), None, lambda *_: None)
    levels = ambiguity(experiment.y)
    subsets = [Subset.everything(experiment.clusters)]
    subsets += [
        Subset.of("ambiguity", level, rows, experiment.clusters)
        for level in TERCILES
        if len(rows := np.flatnonzero(levels == level))
    ]
    counts, number = np.zeros(4), 0
    for pair in halves(experiment, variant):
        comparisons, p = [], []
        soft, ce = (estimate(pair.students(name), pair.counts, subsets) for name in ("soft", "ce"))
        for subset, a, b in zip(subsets, soft, ce, strict=True):
            for c in compare(pair, subset, {"soft": a, "ce": b}):
                each = a.seeds[c.metric] - b.seeds[c.metric].mean()
                agree = (each > 0).all() or (each < 0).all()
                alone = StandardError((of_speakers(a.left_out[c.metric] - b.left_out[c.metric]),))
                comparisons.append(c)
                p.append(alone.p(c.difference) if agree and c.n >= 30 else 1.0)
        overall = [c.p < 0.05 for c in comparisons if c.scope == "all"]
        before = [q < 0.05 for c, q in zip(comparisons, p, strict=True) if c.scope == "all"]
        family = any(c.supported for c in conclude(comparisons))
        counts += np.mean(overall), family, np.mean(before), former([c.metric for c in comparisons], p).any()
        number += 1
    share = 100 * counts / max(number, 1)
    print(f"trained, {variant} of {folder.name}: {number} pairs of halves of {len(experiment.seeds[variant])} seeds, "
          f"{experiment.clusters.max() + 1} speakers, {len(levels)} utterances; percent")  # fmt: skip
    print(f"  one overall comparison false {share[0]:.1f}, any of {len(comparisons)} supported {share[1]:.1f}; "
          f"former rule {share[2]:.1f}, {share[3]:.1f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, help="a finished experiment with six or more seeds of a variant")
    parser.add_argument("--variant", default="soft")
    options = parser.parse_args()
    if options.runs:
        trained(options.runs, options.variant)
    else:
        study(options.replicates, options.seeds)


if __name__ == "__main__":
    main()

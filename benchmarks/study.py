"""Which defaults are good: variants of `amber train` and their rivals on many corpora, by what they say on test parts.

    python benchmarks/study.py [--regimes small,wide|all --corpora 10 --seeds 0,1 --set train.lr=1e-3 --out study.jsonl]
    python benchmarks/study.py --cache cache/ --pipeline pipelines/emodb.yaml

The corpora are synthetic (`benchmarks/corpora.py`), or one that is in a cache. All models train on the same folds.
A key of `train` or `objective` that is set reaches the variants alone: rivals need not train again for other settings.
With `--out` what is in the file already is not done again, and a study that was stopped goes on.

Printed are means over seeds, then over corpora: NLL of a vote in nats, UAR, accuracy and, where the truth is known, KL
from the truth to the prediction in thousandths of a nat. The summary sets each variant's NLL against the best rival's:
that of the lowest mean in the regime. Pairs of variants are compared corpus by corpus, with t intervals of 95 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from corpora import REGIMES, bring_in, make
from numpy.typing import NDArray
from scipy.special import rel_entr
from scipy.stats import t as student_t

from amber import predictions
from amber.evaluate.metrics.classification import accuracy, confusion, uar
from amber.evaluate.metrics.distribution import EPSILON, cross_entropy
from amber.features.catalog import find_corpus
from amber.predictions import Predictions

Scores = dict[str, float | None]  # of a variant on a corpus, by `METRICS`; None where there is no truth or no conflict
Corpus = tuple[str, int]  # regime and number
Results = dict[Corpus, dict[str, Scores]]  # by corpus and variant

METRICS = {
    "nll": "NLL",
    "uar": "UAR",
    "accuracy": "accuracy",
    "kl": "KL",
    "kl_conflict": "conflict",
    "kl_others": "others",
}
VARIANTS = "ce,soft,amber2,amber2-prior"
RIVALS = "logistic,svm,mlp,ridge"
PAIRS = (
    ("amber2-prior", "soft"),
    ("amber2-prior", "soft + temperature"),
    ("amber2", "soft"),
    ("amber2-prior", "amber2"),
)
CALIBRATED = "student-calibrated"  # the head of temperature-scaled predictions
OF_HEADS = ("train.", "objective.")  # sections that rivals don't share with variants


def score(found: Predictions, conflict: Mapping[str, bool]) -> Scores:
    """Score one seed's test predictions of all folds; `conflict` says of ids whether voice and words disagree."""
    votes, table = found.counts.sum(axis=1), confusion(found.y, found.p)
    scores: Scores = dict.fromkeys(METRICS)
    scores["nll"] = float(cross_entropy(found.p, found.counts).sum() / votes.sum())
    scores["uar"], scores["accuracy"] = float(uar(table)), float(accuracy(table))
    if found.truth is not None:
        kl = 1000 * rel_entr(found.truth, np.maximum(found.p, EPSILON)).sum(axis=1)
        scores["kl"] = float(kl.mean())
        disagree = np.array([conflict.get(name, False) for name in found.keys["id"]])
        if disagree.any():
            scores["kl_conflict"], scores["kl_others"] = float(kl[disagree].mean()), float(kl[~disagree].mean())
    return scores


def mean(scores: Sequence[Scores]) -> Scores:
    """Return the mean by metric, None where any has none."""
    each = {metric: [s[metric] for s in scores] for metric in METRICS}
    return {metric: None if None in values else float(np.mean(values)) for metric, values in each.items()}


def score_runs(folder: Path, conflict: Mapping[str, bool]) -> dict[str, Scores]:
    """Score an experiment's variants, and what a temperature makes of them where runs hold that: means over seeds."""
    found: dict[str, Scores] = {}
    for variant in sorted({path.parents[1] for path in folder.rglob(predictions.FILE)}):
        runs = [predictions.read(path) for path in sorted(variant.glob(f"*/{predictions.FILE}"))]
        rows = predictions.concatenate(runs).of(part="test")
        for head, suffix in ((predictions.STUDENT, ""), (CALIBRATED, " + temperature")):
            of_head = rows.of(head=head)
            of_seed = [str(name).rpartition("-")[2] for name in of_head.keys["run"]]
            seeds = [score(of_head.where(np.array(of_seed) == seed), conflict) for seed in sorted(set(of_seed))]
            if seeds:
                found[str(variant.relative_to(folder)) + suffix] = mean(seeds)
    return found


@dataclass(frozen=True)
class Group:
    """Models that train with the same arguments of `amber train`."""

    models: list[str]
    arguments: list[str]


class Log:
    """What was done, a line for each corpus and group of models; kept in a file, if there is one."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lines = [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []

    def of(self, corpus: Corpus, arguments: list[str]) -> list[dict[str, Any]]:
        """Return the lines of a corpus and of groups that trained with these arguments."""
        key = [*corpus, arguments]
        return [line for line in self.lines if [line["regime"], line["corpus"], line["arguments"]] == key]

    def todo(self, corpus: Corpus, group: Group) -> list[str]:
        """Return the models of a group that have not trained on a corpus."""
        done = {model for line in self.of(corpus, group.arguments) for model in line["models"]}
        return [model for model in group.models if model not in done]

    def scores(self, corpus: Corpus, groups: Sequence[Group]) -> dict[str, Scores]:
        """Return the scores of the groups' models on a corpus, in their order; grids and temperatures add to names."""
        found: dict[str, Scores] = {}
        for group in groups:
            of_all = {name: of for line in self.of(corpus, group.arguments) for name, of in line["scores"].items()}
            for model in group.models:
                found |= {
                    name: of
                    for name, of in of_all.items()
                    if name == model or name.startswith((f"{model} ", f"{model},"))
                }
        return found

    def add(self, corpus: Corpus, group: Group, scores: dict[str, Scores], seconds: float) -> None:
        """Add a line."""
        about = {"regime": corpus[0], "corpus": corpus[1], "models": group.models, "arguments": group.arguments}
        line = {**about, "scores": scores, "seconds": round(seconds, 1)}
        self.lines.append(line)
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")


@contextmanager
def synthetic(corpus: Corpus) -> Iterator[Path]:
    """Give a cache with a synthetic corpus; no two regimes share a seed."""
    regime, number = corpus
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, REGIMES[regime], seed=1000 * list(REGIMES).index(regime) + number)
        yield bring_in(folder, regime)


def conflicts(cache: Path) -> dict[str, bool]:
    """Return of which utterances a corpus says that voice and words disagree, or not; empty where it doesn't say."""
    corpus = find_corpus(cache, None)
    if "conflict" not in corpus.columns():
        return {}
    return {name: value == "yes" for name, value in zip(corpus.ids, corpus.column("conflict"), strict=True)}


def train(cache: Path, group: Group) -> dict[str, Scores]:
    """Train a group of models on a cache and return their scores."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "amber.cli", "-q", "train", "--features", cache, "--runs", runs]
        models = ["--variants", ",".join(group.models)]
        subprocess.run([*command, *models, *group.arguments], check=True, stdout=subprocess.DEVNULL)
        (experiment,) = Path(runs).iterdir()
        return score_runs(experiment, conflicts(cache))


def work(corpus: Corpus, cache: Path | None, groups: Sequence[Group], log: Log) -> None:
    """Train what has not trained on a corpus: one in a cache, or a synthetic one, which is written first."""
    todo = [Group(models, group.arguments) for group in groups if (models := log.todo(corpus, group))]
    if not todo:
        return
    with nullcontext(cache) if cache else synthetic(corpus) as place:
        for group in todo:
            started = time.perf_counter()
            log.add(corpus, group, train(place, group), time.perf_counter() - started)


def average(results: Results, regime: str) -> dict[str, Scores]:
    """Return the means over a regime's corpora, by variant; of the variants that all of them have."""
    corpora = [scores for (name, _), scores in results.items() if name == regime]
    return {v: mean([scores[v] for scores in corpora]) for v in corpora[0] if all(v in scores for scores in corpora)}


def best_rival(scores: Mapping[str, Scores], rivals: Sequence[str]) -> str | None:
    """Return the rival of the lowest NLL, if any is there."""
    return min((rival for rival in rivals if rival in scores), key=lambda rival: scores[rival]["nll"], default=None)


def differences(results: Results, pair: tuple[str, str], metric: str, relative: bool = False) -> NDArray[np.float64]:
    """Return first less second variant of each corpus that has both; `relative`: in percent of the second."""
    a, b = pair
    both = [(of[a][metric], of[b][metric]) for of in results.values() if a in of and b in of]
    known = [(x, y) for x, y in both if x is not None and y is not None]
    return np.array([100 * (x - y) / y if relative else x - y for x, y in known])


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the t interval of 95 % of the mean of two values or more."""
    half = student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def judged(values: NDArray[np.float64], unit: str) -> str:
    """Say a mean difference, its interval, the largest of the differences and how many are below zero."""
    if not len(values):
        return "–"
    if len(values) == 1:
        return f"{values[0]:+.1f}{unit}"
    low, high = interval(values)
    below = f"{(values < 0).sum()}/{len(values)}"
    return f"{values.mean():+.1f}{unit} [{low:+.1f}, {high:+.1f}], most {values.max():+.1f}, {below}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(first.strip().ljust(widths[0]), *rest, sep="  ")
    print(flush=True)


def show(value: float | None, metric: str) -> str:
    return "–" if value is None else f"{value:.1f}" if metric.startswith("kl") else f"{value:.4f}"


def report(results: Results, rivals: Sequence[str]) -> None:
    """Print a table for each regime, the summary and the pairs."""
    regimes = list(dict.fromkeys(regime for regime, _ in results))
    by_regime = {regime: average(results, regime) for regime in regimes}
    for regime, of in by_regime.items():
        corpora = sum(name == regime for name, _ in results)
        print(f"{regime}, {corpora} {'corpus' if corpora == 1 else 'corpora'}")
        rows = [[variant, *(show(scores[metric], metric) for metric in METRICS)] for variant, scores in of.items()]
        print_table(["", *METRICS.values()], rows)
    report_summary(by_regime, rivals)
    report_pairs(results, regimes)


def report_summary(by_regime: Mapping[str, Mapping[str, Scores]], rivals: Sequence[str]) -> None:
    """Print by how much each variant's NLL is above the best rival's in each regime."""
    above, names = against(by_regime, rivals)
    variants = list(dict.fromkeys(variant for of in above.values() for variant in of))
    if not variants:
        return
    rows = [
        [regime, names[regime], show(by_regime[regime][names[regime]]["nll"], "nll"),
         *(f"{of[v]:+.4f}" if v in of else "–" for v in variants)]
        for regime, of in above.items()
    ]  # fmt: skip
    summaries: dict[str, Callable[[list[float]], float]] = {
        "mean of regimes": lambda x: sum(x) / len(x),
        "largest": max,
    }
    for name, function in summaries.items():
        rows.append(
            [name, "", "", *(f"{function([of[v] for of in above.values() if v in of]):+.4f}" for v in variants)]
        )
    print("NLL less the best rival's")
    print_table(["", "best rival", "its NLL", *variants], rows)


def against(
    by_regime: Mapping[str, Mapping[str, Scores]], rivals: Sequence[str]
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Return by regime what each variant's NLL is above the best rival's, and which rival that is."""
    names = {regime: name for regime, of in by_regime.items() if (name := best_rival(of, rivals))}
    above = {
        regime: {
            v: s["nll"] - by_regime[regime][name]["nll"]
            for v, s in by_regime[regime].items()
            if v.removesuffix(" + temperature") not in rivals
        }
        for regime, name in names.items()
    }
    return above, names


def report_pairs(results: Results, regimes: Sequence[str]) -> None:
    """Print how pairs of variants differ in KL to the truth, by regime and over all corpora."""
    for pair in PAIRS:
        rows = []
        for scope in (*regimes, "all") if len(regimes) > 1 else regimes:
            within = {corpus: of for corpus, of in results.items() if scope in ("all", corpus[0])}
            if len(differences(within, pair, "kl")):
                overall, conflict = (judged(differences(within, pair, m), "") for m in ("kl", "kl_conflict"))
                others = judged(differences(within, pair, "kl_others", relative=True), " %")
                rows.append([scope, overall, conflict, others])
        if rows:
            print(f"{pair[0]} less {pair[1]}: KL in thousandths, of the others in percent; in how many corpora below 0")
            print_table(["", "overall", "conflict", "others"], rows)


def groups_of(options: argparse.Namespace) -> tuple[Group, Group]:
    """Return the variants and the rivals."""
    own = [override for override in options.set if override.startswith(OF_HEADS)]
    shared = [override for override in options.set if override not in own]
    scheme = [] if options.cache else ["splits.scheme=column"]
    arguments = ["--seeds", options.seeds, *(["--config", str(options.pipeline)] if options.pipeline else [])]

    def group(names: str, overrides: list[str]) -> Group:
        models = [name for name in names.split(",") if name]
        return Group(models, [*arguments, *(part for override in overrides for part in ("--set", override))])

    return group(options.variants, [*scheme, *shared, *own]), group(options.rivals, [*scheme, *shared])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regimes", default="small", help=f"of {', '.join(REGIMES)}; all: every one")
    parser.add_argument("--corpora", type=int, default=1, help="of each regime")
    parser.add_argument("--seeds", default="0,1", help="of the training")
    parser.add_argument("--variants", default=VARIANTS)
    parser.add_argument("--rivals", default=RIVALS)
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="of the configuration")
    parser.add_argument("--cache", type=Path, help="with one dataset, in place of synthetic corpora")
    parser.add_argument("--pipeline", type=Path, help="the configuration that goes with it")
    parser.add_argument("--out", type=Path, help="file of results, to which new ones are added")
    options = parser.parse_args()
    named = list(REGIMES) if options.regimes == "all" else options.regimes.split(",")
    regimes = [str(options.cache)] if options.cache else named
    unknown = [] if options.cache else [name for name in regimes if name not in REGIMES]
    if unknown:
        parser.error(f"--regimes: unknown {', '.join(unknown)}; known: {', '.join(REGIMES)}")
    log, groups = Log(options.out), groups_of(options)
    corpora = [(regime, number) for number in range(1 if options.cache else options.corpora) for regime in regimes]
    for place, corpus in enumerate(corpora, start=1):
        started = time.perf_counter()
        work(corpus, options.cache, groups, log)
        said = ", ".join(f"{name} {show(of['nll'], 'nll')}" for name, of in log.scores(corpus, groups).items())
        seconds = time.perf_counter() - started
        print(f"{place}/{len(corpora)} {corpus[0]} {corpus[1]}, {seconds:.0f} s: {said}", file=sys.stderr, flush=True)
    report({corpus: log.scores(corpus, groups) for corpus in corpora}, groups[1].models)


if __name__ == "__main__":
    main()

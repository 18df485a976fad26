"""Reading an experiment: its finished runs, whether they can be compared, and their predictions by utterance."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from amber import done
from amber import predictions as contract
from amber.arrays import Floats
from amber.console import Advance
from amber.errors import UserError, abbreviate
from amber.labels import distribution
from amber.predictions import STUDENT, Predictions

from .aggregate import clusters

THREADS = 2  # that check files
TOLERANCE = 1e-3  # by which a distribution's sum may differ from 1
IDENTITY = ("dataset", "variant", "fold", "seed")
SHARED = ("dataset", "labels", "splits")  # what runs must have in common to be put into one table
_FIRST = ("ce", "soft")  # the variants that the others are measured against come first


@dataclass(frozen=True)
class FoundRun:
    """A finished run on disk: its folder, its key, its resolved configuration, and the name its variant is shown by.

    `digest` is of all of its files, which `vouched` runs are known to have been finished with.
    """

    folder: Path
    key: str
    config: dict[str, Any]
    variant: str
    digest: str = ""
    vouched: bool = True

    @property
    def seed(self) -> int:
        """Return the run's seed."""
        return int(self.config["seed"])

    @property
    def fold(self) -> int:
        """Return the fold's number."""
        return int(self.config["fold"])

    def cache(self) -> Path | None:
        """Return the cache that the run read, where that is on this machine."""
        recorded = _json(self.folder / "env.json").get("cache")
        return Path(recorded) if isinstance(recorded, str) and Path(recorded).is_dir() else None

    def looks(self) -> list[dict[str, float]]:
        """Return what the run recorded of each look at dev."""
        path = self.folder / "metrics.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines if line.strip()]
        except (OSError, ValueError, RecursionError):
            raise _damaged(path) from None

    def model(self) -> dict[str, Any]:
        """Return the model's description; empty where the model was not kept."""
        path = self.folder / "model" / "config.json"
        return _json(path) if path.is_file() else {}


@dataclass(frozen=True)
class Experiment:
    """Finished runs and what they predict for the N test utterances, which are in the order of their ids.

    `counts`, `truth` (N, C), `folds` (N,) (the fold that tests an utterance). `heads[variant][head]` (S, N, C) holds
    one array per seed, in the order of `seeds[variant]`, and `weights[variant][head]` (S, N) how far the objective
    trusts an expert, for experts that guide. `priors[fold]` (C,) is the mean rater distribution of its training part.
    """

    name: str
    runs: list[FoundRun]
    classes: tuple[str, ...]
    ids: NDArray[np.object_]
    speakers: NDArray[np.object_]
    counts: Floats
    folds: NDArray[np.int64]
    truth: Floats | None
    priors: dict[int, Floats]
    seeds: dict[str, list[int]]
    heads: dict[str, dict[str, Floats]]
    weights: dict[str, dict[str, Floats]]
    left_out: list[str] = field(default_factory=list)  # heads that only some runs of a variant have

    @cached_property
    def y(self) -> Floats:
        """Return the raters' distributions, (N, C)."""
        return distribution(self.counts)

    @cached_property
    def votes(self) -> Floats:
        """Return the number of votes on each utterance, (N,)."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def config(self) -> dict[str, Any]:
        """Return what all runs share."""
        return {name: self.runs[0].config[name] for name in SHARED}

    @property
    def variants(self) -> list[str]:
        """Return the variants' names, those first which the others are measured against."""
        return list(self.heads)

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        """Return the number of each utterance's speaker, (N,)."""
        return clusters(self.speakers)

    def students(self, variant: str) -> Floats:
        """Return a variant's predictions, (S, N, C)."""
        return self.heads[variant][STUDENT]

    def mean(self, variant: str, head: str = STUDENT) -> Floats:
        """Return the predictions of a head averaged over seeds, (N, C)."""
        return np.asarray(self.heads[variant][head].mean(axis=0))

    def experts(self) -> tuple[str, Floats, Floats] | None:
        """Return where the speech and text experts' predictions come from, and both averaged over seeds, (N, C).

        From `amber2` if it has both, else the first variant that has, else the variants `speech` and `text`.
        """
        for variant in sorted(self.variants, key=lambda v: base(v) != "amber2"):
            if {"speech", "text"} <= set(self.heads[variant]):
                return variant, self.mean(variant, "speech"), self.mean(variant, "text")
        alone = {base(variant): variant for variant in reversed(self.variants)}
        if {"speech", "text"} <= set(alone):
            return "speech and text", self.mean(alone["speech"]), self.mean(alone["text"])
        return None


def base(variant: str) -> str:
    """Return a variant's own name, without the experiment that stands before it where several are side by side."""
    return variant.rpartition("/")[2]


def find_runs(folder: Path) -> list[FoundRun]:
    """Return the finished runs of an experiment.

    Raises
    ------
    UserError
        If there are none, one is not as it was finished, or they differ in dataset, labels or splits.

    """
    if not folder.is_dir():
        raise UserError(f"--runs {folder}: no such folder")
    paths = sorted(folder.glob(f"*/fold*-seed*/{done.FILE}"))
    # Reading the files takes longest, and hashing them lets other threads go on.
    with ThreadPoolExecutor(THREADS) as pool:
        checked = list(pool.map(lambda path: _check(folder, path.parent), paths))
    damaged = [what for _, faults in checked for what in faults]
    if damaged:
        raise UserError(
            f"{folder}: {len(damaged)} files of finished runs are not what was written: {abbreviate(damaged, 3)}\n"
            "put them back, or train these runs again: the same `amber train` does them, and only them"
        )
    found = [_found(folder, path.parent, sealed) for path, (sealed, _) in zip(paths, checked, strict=True) if sealed]
    if not found:
        near = sorted(path.parents[2].name for path in folder.parent.glob(f"*/*/fold*-seed*/{done.FILE}"))
        hint = f"; there are {abbreviate(dict.fromkeys(near))}" if near else ""
        raise UserError(f"--runs {folder}: no finished runs there{hint}")
    for run in found:
        for name in differences(run, found[0]):
            raise UserError(
                f"{folder}: {run.folder.relative_to(folder)} and {found[0].folder.relative_to(folder)} differ in "
                f"{name}, so they can't stand in one table\ntrain them again or under another experiment name"
            )
    return sorted(found, key=_order)


def _check(folder: Path, of: Path) -> tuple[done.Done | None, list[str]]:
    """Return what vouches for a run, and what of it is not as it was finished."""
    name = of.relative_to(folder)
    try:
        sealed = done.read(of)
    except (OSError, UserError) as error:
        return None, [f"{name}: {str(error).splitlines()[0].removeprefix(f'{of}/')}"]
    return sealed, [f"{name}/{what}" for what in sealed.faults(of)]


def _found(folder: Path, of: Path, sealed: done.Done) -> FoundRun:
    path = of / "config.yaml"
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506
        name = f"{config['variant']}/fold{config['fold']:d}-seed{config['seed']:d}"
        complete = all(key in config for key in SHARED)
    except (OSError, ValueError, TypeError, LookupError, yaml.YAMLError, RecursionError):
        raise _damaged(path) from None
    if not complete:
        raise _damaged(path)
    if of != folder / name:
        raise UserError(f"{of}: holds the run {name} (its config.yaml says so); move it back, or train it again")
    return FoundRun(of, sealed.key, config, str(config["variant"]), sealed.digest, sealed.vouched)


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise _damaged(path) from None
    if not isinstance(data, dict):
        raise _damaged(path)
    return data


def _damaged(path: Path) -> UserError:
    return UserError(f"{path}: damaged or missing; put it back, or train the run again with `amber train`")


def differences(one: FoundRun, other: FoundRun) -> list[str]:
    """Return what keeps two runs out of one table."""
    return [name for name in SHARED if one.config[name] != other.config[name]]


def side_by_side(experiments: Sequence[tuple[str, list[FoundRun]]]) -> list[FoundRun]:
    """Put the runs of several experiments together: variant `soft` of experiment `a` is then called `a/soft`."""
    named = [replace(run, variant=f"{name}/{run.variant}") for name, runs in experiments for run in runs]
    return sorted(named, key=_order)


def read(name: str, runs: list[FoundRun], advance: Advance) -> Experiment:
    """Read the predictions of runs.

    Raises
    ------
    UserError
        If folds of one variant and seed test the same utterance twice, or variants test different utterances, or
        against different votes.

    """
    table = _Table()
    for run in runs:
        table.add(run, contract.read(run.folder / contract.FILE))
        advance(1, run.variant)
    table.check(name)
    return table.experiment(name, runs)


def _refuse_strange(run: FoundRun, predictions: Predictions) -> None:
    """Refuse predictions of another run, and such as are no distributions: no head is left out for them."""
    path = run.folder / contract.FILE
    name = contract.run_name(*(run.config[key] if key != "dataset" else run.config[key]["name"] for key in IDENTITY))
    others = predictions.keys["run"][predictions.keys["run"] != name]
    if len(others):
        raise UserError(f"{path}: holds predictions of another run, {others[0]}; train the run again")
    for what, values in (("p", predictions.p), ("n", predictions.counts)):
        whole = np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1)
        total = values.sum(axis=1)
        wrong = np.flatnonzero(~(whole & (np.abs(total - 1) <= TOLERANCE if what == "p" else total > 0)))
        if len(wrong):
            head, uid = predictions.keys["head"][wrong[0]], predictions.keys["id"][wrong[0]]
            raise UserError(
                f"{path}: {what} of {len(wrong)} rows is no distribution, first of {head} on {uid}; train the run again"
            )


class _Table:
    """Gathers predictions by utterance: a row for each id, in the order of their first appearance."""

    def __init__(self) -> None:
        self.row: dict[str, int] = {}
        self.facts: list[tuple[Any, ...]] = []  # by row: speaker, fold, counts, truth
        self.classes: tuple[str, ...] = ()
        self.priors: dict[int, Floats] = {}
        # (variant, seed) -> head -> pieces of (rows, predictions, weights)
        self.left_out: list[str] = []
        self.pieces: dict[tuple[str, int], dict[str, list[tuple[NDArray[np.int64], Floats, Floats]]]] = {}

    def add(self, run: FoundRun, predictions: Predictions) -> None:
        self.classes = self.classes or predictions.classes
        if predictions.classes != self.classes:
            raise UserError(f"{run.folder}: its classes are {predictions.classes}, those of others {self.classes}")
        _refuse_strange(run, predictions)
        part, heads = predictions.keys["part"], predictions.keys["head"]
        pieces = self.pieces.setdefault((run.variant, run.seed), defaultdict(list))
        for head in dict.fromkeys(heads.tolist()):
            chosen = np.flatnonzero((heads == head) & (part == "test"))
            pieces[head].append(
                (self._rows(run, predictions, chosen), predictions.p[chosen], predictions.weight[chosen])
            )
        if predictions.prior is not None:
            self.priors.setdefault(run.fold, predictions.prior)

    def _rows(self, run: FoundRun, predictions: Predictions, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        ids = predictions.keys["id"][chosen].tolist()
        for place, uid in zip(chosen.tolist(), ids, strict=True):
            if uid not in self.row:
                self.row[uid] = len(self.facts)
                truth = predictions.truth[place] if predictions.truth is not None else None
                self.facts.append((predictions.keys["speaker"][place], run.fold, predictions.counts[place], truth))
        rows = np.array([self.row[uid] for uid in ids], dtype=np.int64)
        known = np.array([self.facts[row][2] for row in rows.tolist()]).reshape(-1, len(self.classes))
        wrong = np.flatnonzero(np.abs(known - predictions.counts[chosen]).max(axis=1, initial=0.0) > 1e-9)
        if len(wrong):
            raise UserError(f"{run.folder}: the votes on {ids[wrong[0]]} are not those that other runs saw")
        return rows

    def check(self, name: str) -> None:
        short = []
        for (variant, seed), heads in self.pieces.items():
            where = f"{variant} seed {seed}"
            count = np.bincount(np.concatenate([rows for rows, _, _ in heads[STUDENT]]), minlength=len(self.row))
            if count.max(initial=0) > 1:
                raise UserError(f"{name}: {where}: an utterance is tested in two folds")
            if count.sum() < len(self.row):
                short.append(f"{where} ({int(count.sum())} of {len(self.row)})")
        if short:
            raise UserError(
                f"{name}: not the same test utterances in every variant and seed: {abbreviate(short)}\n"
                "finish the missing folds with `amber train`, or move the incomplete runs away"
            )

    def experiment(self, name: str, runs: list[FoundRun]) -> Experiment:
        ids = np.array(list(self.row), dtype=object)
        order = np.argsort(ids.astype(str), kind="stable")
        speakers, folds, counts, truths = zip(*self.facts, strict=True)
        truth = None if any(t is None for t in truths) else np.array(truths)[order]
        seeds: dict[str, list[int]] = defaultdict(list)
        for variant, seed in self.pieces:
            seeds[variant].append(seed)
        found = {variant: self._heads(variant, seeds[variant], order) for variant in seeds}
        return Experiment(
            name=name,
            runs=runs,
            classes=self.classes,
            ids=ids[order],
            speakers=np.array(speakers, dtype=object)[order],
            counts=np.array(counts)[order],
            folds=np.array(folds, dtype=np.int64)[order],
            truth=truth,
            priors=self.priors,
            seeds=dict(seeds),
            heads={variant: of[0] for variant, of in found.items()},
            weights={variant: of[1] for variant, of in found.items()},
            left_out=self.left_out,
        )

    def _heads(
        self, variant: str, seeds: list[int], order: NDArray[np.int64]
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Return the heads that every run of a variant has, the student first, (S, N, C) each, and weights (S, N)."""
        found: dict[str, Floats] = {}
        weights: dict[str, Floats] = {}
        names = list(dict.fromkeys(head for seed in seeds for head in self.pieces[variant, seed]))
        for head in sorted(names, key=lambda name: name != STUDENT):
            stacked = np.full((len(seeds), len(self.row), len(self.classes)), np.nan)
            weight = np.full(stacked.shape[:2], np.nan)
            for place, seed in enumerate(seeds):
                for rows, p, w in self.pieces[variant, seed].get(head, []):
                    stacked[place, rows], weight[place, rows] = p, w
            if np.isnan(stacked).any():
                self.left_out.append(f"{variant}: head {head}: not in all of its runs")
            else:
                found[head] = stacked[:, order]
                if not np.isnan(weight).any():
                    weights[head] = weight[:, order]
        return found, weights


# libyaml's safe loader, where there is one: hundreds of small files are read.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _order(run: FoundRun) -> tuple[Any, ...]:
    name = base(run.variant)
    rank = _FIRST.index(name) if name in _FIRST else len(_FIRST)
    return rank, name, run.variant, run.seed, run.fold

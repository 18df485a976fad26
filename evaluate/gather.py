"""Reading an experiment: its finished runs, whether they can be compared, and their predictions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from amber import predictions as contract
from amber.errors import UserError, some
from amber.predictions import Predictions, concatenate

SHARED = ("dataset", "labels", "splits")  # what runs must have in common to be put into one table


@dataclass(frozen=True)
class FoundRun:
    """A finished run on disk: its folder, its key and its resolved configuration."""

    folder: Path
    key: str
    config: dict[str, Any]

    @property
    def variant(self) -> str:
        """Return the variant's name."""
        return str(self.config["variant"])

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
        recorded = json.loads((self.folder / "env.json").read_text(encoding="utf-8")).get("cache")
        return Path(recorded) if recorded and Path(recorded).is_dir() else None


@dataclass(frozen=True)
class Experiment:
    """The finished runs of an experiment, and the dev and test predictions of each variant and seed, folds joined."""

    folder: Path
    runs: list[FoundRun]
    predictions: dict[str, dict[int, Predictions]]

    @property
    def config(self) -> dict[str, Any]:
        """Return what all runs share."""
        return {name: self.runs[0].config[name] for name in SHARED}

    @property
    def variants(self) -> list[str]:
        """Return the variants' names: `ce` and `soft` first, which the others are measured against."""
        return list(self.predictions)


def find_runs(folder: Path) -> list[FoundRun]:
    """Return the finished runs of an experiment.

    Raises
    ------
    UserError
        If there are none, or they differ in dataset, labels or splits.

    """
    found = []
    for done in sorted(folder.glob("*/fold*-seed*/DONE")):
        config = yaml.safe_load((done.parent / "config.yaml").read_text(encoding="utf-8"))
        found.append(FoundRun(done.parent, done.read_text(encoding="utf-8").strip(), config))
    if not found:
        near = sorted(path.parents[2].name for path in folder.parent.glob("*/*/fold*-seed*/DONE"))
        hint = f"; there are {some(dict.fromkeys(near))}" if near else ""
        raise UserError(f"--runs {folder}: no finished runs there{hint}")
    for run in found:
        for name in SHARED:
            if run.config[name] != found[0].config[name]:
                raise UserError(
                    f"{folder}: {run.folder.relative_to(folder)} and {found[0].folder.relative_to(folder)} differ in "
                    f"{name}, so they can't stand in one table\ntrain them again or under another experiment name"
                )
    return sorted(found, key=lambda run: (_rank(run.variant), run.variant, run.seed, run.fold))


def read(folder: Path, runs: list[FoundRun]) -> Experiment:
    """Read the predictions of runs.

    Raises
    ------
    UserError
        If folds of one variant and seed test the same utterance twice, or variants test different utterances.

    """
    parts: dict[str, dict[int, list[Predictions]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        parts[run.variant][run.seed].append(contract.read(run.folder / contract.FILE))
    joined = {variant: {seed: concatenate(p) for seed, p in seeds.items()} for variant, seeds in parts.items()}
    tested: dict[str, frozenset[str]] = {}
    for where, predictions in _each(joined):
        ids = predictions.of(part="test", head=contract.STUDENT).keys["id"].tolist()
        tested[where] = frozenset(ids)
        if len(tested[where]) < len(ids):
            raise UserError(f"{folder}: {where}: an utterance is tested in two folds")
    most = max(tested.values(), key=len)
    short = [f"{where} ({len(ids)} of {len(most)})" for where, ids in tested.items() if ids != most]
    if short:
        raise UserError(
            f"{folder}: not the same test utterances in every variant and seed: {some(short)}\n"
            "finish the missing folds with `amber train`, or move the incomplete runs away"
        )
    return Experiment(folder, runs, joined)


def _each(joined: dict[str, dict[int, Predictions]]) -> Iterator[tuple[str, Predictions]]:
    for variant, seeds in joined.items():
        for seed, predictions in seeds.items():
            yield f"{variant} seed {seed}", predictions


def _rank(variant: str) -> int:
    order = ("ce", "soft")
    return order.index(variant) if variant in order else len(order)


def mean_prediction(by_seed: dict[int, Predictions], head: str) -> Predictions:
    """Return the test predictions of one head averaged over seeds, utterances in the order of their ids."""
    ordered = []
    for predictions in by_seed.values():
        rows = predictions.of(part="test", head=head)
        ordered.append(rows.where(np.argsort(rows.keys["id"].astype(str), kind="stable").astype(np.int64)))
    first = ordered[0]
    mean = np.mean([rows.p for rows in ordered], axis=0)
    return Predictions(first.classes, first.keys, first.y, mean, first.truth)

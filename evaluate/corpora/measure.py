"""The matrix of corpora: what models that were trained on one score on another, from the experiments of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amber.console import Console
from amber.errors import UserError
from amber.location import absolute, reaching

from ..experiment import Experiment, FinishedRun
from ..loading import load
from ..results import Estimate
from ..runs import find_runs
from ..statistics.estimates import Subset, estimate

SHOWN = ("nll_per_vote", "bc", "accuracy", "uar")


@dataclass(frozen=True)
class Cell:
    """A variant's figures by metric: models trained on one corpus, on the n test utterances of another."""

    variant: str
    trained: str
    tested: str
    n: int
    figures: dict[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """Return the cell as plain data."""
        figures = {key: figure.model_dump(mode="json") for key, figure in self.figures.items()}
        return {**self.__dict__, "figures": figures}


def matrix(folders: Sequence[Path], console: Console) -> tuple[list[Cell], list[list[FinishedRun]]]:
    """Score every variant of experiments, of which each tests on one corpus.

    Returns
    -------
    tuple
        The cells, and the runs of each experiment.

    Raises
    ------
    UserError
        If there are no finished runs, two experiments are the same cell, or they test on one corpus with other classes
        or votes.

    """
    found: dict[tuple[str, str, str], Cell] = {}
    first: dict[str, tuple[Path, Experiment]] = {}  # that tests on a corpus
    of_each = []
    for folder in folders:
        with reaching(folder):
            runs = find_runs(folder)
            with console.progress(f"read {folder.name}", len(runs)) as advance:
                experiment = load(absolute(folder).name, runs, None, advance)
        of_each.append(runs)
        trained, tested = _corpora(runs[0])
        _refuse_other_targets(tested, first.setdefault(tested, (folder, experiment)), (folder, experiment))
        everything = Subset.everything(experiment.clusters)
        for variant in experiment.variants:
            (estimates,) = estimate(experiment.students(variant), experiment.counts, [everything])
            if (variant, trained, tested) in found:
                raise UserError(f"{folder}: {variant}, trained on {trained}, tested on {tested}: is in two experiments")
            figures = {key: estimates.of(key) for key in SHOWN}
            found[variant, trained, tested] = Cell(variant, trained, tested, len(experiment.ids), figures)
    return list(found.values()), of_each


def _refuse_other_targets(corpus: str, one: tuple[Path, Experiment], other: tuple[Path, Experiment]) -> None:
    """Refuse two experiments on a corpus whose classes, or votes on the same utterances, are not the same."""
    (first, a), (second, b) = one, other
    what = "classes" if set(a.classes) != set(b.classes) else ""
    if not what:
        _, of_a, of_b = np.intersect1d(a.ids, b.ids, assume_unique=True, return_indices=True)
        order = [b.classes.index(name) for name in a.classes]
        what = "" if np.allclose(a.counts[of_a], b.counts[of_b][:, order]) else "votes on the same utterances"
    if what:
        raise UserError(
            f"{second}: tests on {corpus} as {first} does, but with other {what}: their figures are about different "
            "targets\ntrain both under the same labels, or leave one of them out"
        )


def _corpora(run: FinishedRun) -> tuple[str, str]:
    """Return which corpus a run learned from, and which it is tested on."""
    tested = str(run.config["dataset"]["name"])
    trained = run.config["splits"].get("trained_on", {}).get("dataset", {}).get("name", tested)
    return str(trained), tested

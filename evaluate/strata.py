"""Strata: divisions of the utterances, by fixed edges where these mean the same on every corpus, else by terciles.

To add one, add it to `STRATA`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amber.arrays import Floats

from .experiment import Experiment
from .metrics.distribution import normalised_entropy

Levels = NDArray[np.object_]  # the level of every utterance, (N,)

SMALL = 30  # a stratum with fewer utterances is flagged


@dataclass(frozen=True)
class StratumKind:
    """A division of the utterances.

    Parameters
    ----------
    name
        Its name in `metrics.json` and in the report.
    levels
        The names of its levels, in order; none where they are those that occur (`levels_of`).
    meaning
        What it divides by, in a sentence.
    function
        Returns the level of every utterance, (N,); None where it is not known.

    """

    name: str
    levels: tuple[str, ...]
    meaning: str
    function: Callable[[Experiment], Levels | None]


def divide(experiment: Experiment) -> dict[str, Levels]:
    """Return the level of every utterance in each stratum that is known, (N,) by name."""
    found = {kind.name: kind.function(experiment) for kind in STRATA}
    return {name: levels for name, levels in found.items() if levels is not None}


def by_name() -> dict[str, StratumKind]:
    """Return every stratum by its name."""
    return {kind.name: kind for kind in STRATA}


def levels_of(name: str, levels: Levels) -> tuple[str, ...]:
    """Return the names of a stratum's levels, in order, given the level of every utterance, (N,)."""
    return by_name()[name].levels or tuple(sorted(set(levels.tolist())))


def ambiguity(y: Floats) -> Levels:
    """Return low, mid or high: normalised entropy of y (N, C) up to 1/3, up to 2/3, above."""
    # The tolerance keeps an entropy of exactly an edge, such as two of eight classes, on the lower side.
    return cut(normalised_entropy(y) - 1e-9, (1 / 3, 2 / 3), TERCILES)


def agreement(y: Floats) -> Levels:
    """Return whether the raters were unanimous, had a majority, a plurality only, or a tie, for y (N, C)."""
    top = np.sort(y, axis=1)
    tie = top[:, -1] - top[:, -2] < 1e-9
    level = np.select([top[:, -1] >= 1 - 1e-9, tie, top[:, -1] > 0.5 + 1e-9], [0, 3, 1], default=2)
    return np.asarray(np.array(AGREEMENT, dtype=object)[level])


def conflict(divergence: Floats) -> Levels:
    """Return the tercile of the divergence between two experts, (N,): low, mid or high.

    Utterances are ranked, so the terciles have equal sizes but for ties, which stay together.
    """
    edges = np.quantile(divergence, [1 / 3, 2 / 3])
    return np.asarray(np.array(TERCILES, dtype=object)[np.digitize(divergence, edges, right=True)])


def votes(number: Floats) -> Levels:
    """Return the group of the number of votes (N,)."""
    return cut(number, (2.5, 3.5, 5.5), VOTES)


def duration(seconds: Floats) -> Levels:
    """Return the group of the duration in seconds (N,)."""
    return cut(seconds, (2.0, 4.0, 8.0), DURATIONS)


def corpus(experiment: Experiment) -> Levels | None:
    """Return the corpus of every utterance, (N,), which its id begins with in a joint set; None where there is one."""
    if "corpora" not in experiment.config["dataset"]:
        return None
    return np.array([uid.split("/", 1)[0] for uid in experiment.ids.tolist()], dtype=object)


def cut(values: Floats, edges: tuple[float, ...], levels: tuple[str, ...]) -> Levels:
    """Return the level of every value, (N,); a value on an edge belongs to the level above it."""
    return np.asarray(np.array(levels, dtype=object)[np.digitize(values, edges)])


TERCILES = ("low", "mid", "high")
AGREEMENT = ("unanimous", "majority", "plurality", "tie")
VOTES = ("1 to 2", "3", "4 to 5", "6 or more")
DURATIONS = ("under 2 s", "2 to 4 s", "4 to 8 s", "8 s or more")

STRATA: tuple[StratumKind, ...] = (
    StratumKind(
        "ambiguity",
        TERCILES,
        "Normalised entropy of the rater distribution: low up to 1/3, mid up to 2/3, high above.",
        lambda experiment: ambiguity(experiment.y),
    ),
    StratumKind(
        "agreement",
        AGREEMENT,
        "Share of the votes on the class with the most: all, more than half, less, or two classes share it.",
        lambda experiment: agreement(experiment.y),
    ),
    StratumKind(
        "conflict",
        TERCILES,
        "Terciles of the Jensen-Shannon divergence between the speech and the text expert.",
        lambda experiment: conflict(experiment.conflict) if experiment.conflict is not None else None,
    ),
    StratumKind(
        "votes",
        VOTES,
        "Number of votes on an utterance within the classes.",
        lambda experiment: votes(experiment.counts.sum(axis=1)),
    ),
    StratumKind(
        "duration",
        DURATIONS,
        "Length of the utterance.",
        lambda experiment: None if np.isnan(experiment.info.seconds).any() else duration(experiment.info.seconds),
    ),
    StratumKind("corpus", (), "Corpus of a joint training set.", corpus),
)

"""An experiment in memory: its finished runs, and what they predict for the test utterances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber.arrays import Floats, Integers
from amber.errors import UserError
from amber.labels import distribution
from amber.location import locate
from amber.predictions import STUDENT
from amber.run_config import OF_EXPERIMENT, damaged

from .metrics.distribution import jsd, normalised_entropy
from .results import Import

CALIBRATED = "student-calibrated"  # a temperature-scaled copy of the student, where training wrote one
TEMPERATURE = "soft + temperature"  # the variant that this copy of `soft` is shown as
OF_VARIANTS = "ensemble of variants"
UNKNOWN = 1000  # groups, at most, of utterances whose speaker is not known


@dataclass(frozen=True)
class FinishedRun:
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
    def utterances(self) -> dict[str, Any]:
        """Return which utterances its variant uses and how many; empty of runs that did not record it."""
        found = self.config.get("utterances", {})
        return found if isinstance(found, dict) else {}

    @property
    def seed(self) -> int:
        """Return the run's seed."""
        return int(self.config["seed"])

    @property
    def fold(self) -> int:
        """Return the fold's number."""
        return int(self.config["fold"])

    def cache(self) -> Path | None:
        """Return the cache that the run read, where it can be reached from this machine."""
        recorded = read_json(self.folder / "env.json").get("cache")
        try:
            cache = locate(recorded) if isinstance(recorded, str) else None
        except UserError:
            return None
        return cache if cache is not None and cache.is_dir() else None

    def checks(self) -> list[dict[str, float]]:
        """Return what the run recorded at each check on dev."""
        path = self.folder / "metrics.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines if line.strip()]
        except (OSError, ValueError, RecursionError):
            raise damaged(path) from None

    def model(self) -> dict[str, Any]:
        """Return the model's description; empty where the model was not kept."""
        path = self.folder / "model" / "config.json"
        return read_json(path) if path.is_file() else {}

    def leading_candidate(self) -> dict[str, Any]:
        """Return the candidate that weighs most in the run's student; empty where the model was not kept."""
        return max(self.model().get("candidates", []), key=_student_weight, default={})


@dataclass(frozen=True)
class OfVariants:
    """The ensemble of variants: predictions for the N test utterances, (N, C), and each variant's mean weight."""

    p: Floats
    weights: dict[str, float]


@dataclass(frozen=True)
class UtteranceInfo:
    """What the corpus tells of the N test utterances: transcripts, audio files, their spans, durations in seconds.

    `text` and `audio` are None where there is none, `seconds` (N,) is NaN where it is unknown.
    """

    text: list[str | None]
    audio: list[Path | None]
    span: list[tuple[float | None, float | None]]
    seconds: Floats

    def take(self, rows: Integers) -> UtteranceInfo:
        """Return the information on the utterances of the given rows (n,)."""
        text, audio, span = ([of[row] for row in rows] for of in (self.text, self.audio, self.span))
        return UtteranceInfo(text, audio, span, self.seconds[rows])

    @classmethod
    def unknown(cls, n: int) -> UtteranceInfo:
        """Return the information on n utterances of which nothing is known."""
        return cls([None] * n, [None] * n, [(None, None)] * n, np.full(n, np.nan))


@dataclass(frozen=True)
class Experiment:
    """Finished runs and what they predict for the N test utterances, which are in the order of their ids.

    `counts`, `truth` (N, C), `folds` (N,) (the fold that tests an utterance). `heads[variant][head]` (S, N, C) holds
    one array per seed, in the order of `seeds[variant]`, and `weights[variant][head]` (S, N) the weight that the
    objective gives an expert, for experts that guide. `priors[fold]` (C,) is the mean rater distribution of its
    training part.
    """

    name: str
    runs: list[FinishedRun]
    classes: tuple[str, ...]
    ids: NDArray[np.object_]
    speakers: NDArray[np.object_]
    counts: Floats
    folds: Integers
    truth: Floats | None
    priors: dict[int, Floats]
    seeds: dict[str, list[int]]
    heads: dict[str, dict[str, Floats]]
    weights: dict[str, dict[str, Floats]]
    info: UtteranceInfo
    left_out: list[str] = field(default_factory=list)  # heads that only some runs of a variant have
    own: dict[str, Experiment] = field(default_factory=dict)  # by variant, all that it tests, where variants differ
    of_variants: OfVariants | None = None
    imports: list[Import] = field(default_factory=list)  # variants that were read from tables

    def take(self, rows: Integers) -> Experiment:
        """Return the experiment on the utterances of the given rows (n,), in their order."""
        if np.array_equal(rows, np.arange(len(self.ids))):
            return self
        return replace(
            self,
            ids=self.ids[rows],
            speakers=self.speakers[rows],
            counts=self.counts[rows],
            folds=self.folds[rows],
            truth=self.truth[rows] if self.truth is not None else None,
            heads={variant: {name: p[:, rows] for name, p in of.items()} for variant, of in self.heads.items()},
            weights={variant: {name: w[:, rows] for name, w in of.items()} for variant, of in self.weights.items()},
            info=self.info.take(rows),
            of_variants=replace(self.of_variants, p=self.of_variants.p[rows]) if self.of_variants else None,
        )

    @cached_property
    def y(self) -> Floats:
        """Return the raters' distributions, (N, C)."""
        return distribution(self.counts)

    @cached_property
    def entropy(self) -> Floats:
        """Return the normalised entropy of the raters' distributions, (N,)."""
        return normalised_entropy(self.y)

    @cached_property
    def conflict(self) -> Floats | None:
        """Return the divergence between the speech and the text expert, (N,); None where there are no two experts."""
        experts = self.experts()
        return jsd(experts[1], experts[2]) if experts else None

    @property
    def config(self) -> dict[str, Any]:
        """Return what all runs share."""
        return {name: self.runs[0].config[name] for name in OF_EXPERIMENT}

    @property
    def variants(self) -> list[str]:
        """Return the variants' names, those first which the others are measured against."""
        return list(self.heads)

    @cached_property
    def clusters(self) -> Integers:
        """Return the number of each utterance's speaker, (N,)."""
        return clusters(self.speakers)

    def students(self, variant: str) -> Floats:
        """Return a variant's predictions, (S, N, C)."""
        return self.heads[variant][STUDENT]

    def mean(self, variant: str, head: str = STUDENT) -> Floats:
        """Return the predictions of a head averaged over seeds, (N, C)."""
        return np.asarray(self.heads[variant][head].mean(axis=0))

    def ensembles(self) -> dict[str, Floats]:
        """Return the mean over seeds of every variant whose seeds differ, and the ensemble of variants, (1, N, C)."""
        over_seeds = {
            f"{variant} ensemble": self.mean(variant)[None]
            for variant in self.variants
            if np.ptp(self.students(variant), axis=0).any()
        }
        return over_seeds | ({OF_VARIANTS: self.of_variants.p[None]} if self.of_variants else {})

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


def clusters(speakers: NDArray[np.object_]) -> Integers:
    """Number what varies as one: the speaker, or the utterance itself where its speaker is unknown, (N,).

    More than `UNKNOWN` utterances of unknown speakers are dealt in turn to as many groups, which bounds the work of a
    jackknife and costs no more than some of its degrees of freedom.
    """
    known = np.array([speaker is not None for speaker in speakers], dtype=bool)
    dealt = (np.cumsum(~known) - 1) % UNKNOWN
    names = [f"speaker {s}" if k else f"unknown {d}" for s, k, d in zip(speakers, known, dealt, strict=True)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file of a run.

    Raises
    ------
    UserError
        If it can't be read.

    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise damaged(path) from None
    if not isinstance(data, dict):
        raise damaged(path)
    return data


def _student_weight(candidate: Mapping[str, Any]) -> float:
    """Return a candidate's weight in the student, which may be the pool of several heads."""
    student = candidate["weights"][STUDENT]
    return float(sum(student.values()) if isinstance(student, Mapping) else student)

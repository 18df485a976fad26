"""The matrix of runs: variants x folds x seeds, and what makes one run the same as another."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from amber.config import Config, ModelName, Objective, Training, VariantOptions, validated
from amber.errors import UserError, nearest, some

_UNGUIDED = {"modality": 0.0, "experts": 0.0}

# What each variant changes; everything else is what the configuration says.
BUILT_IN: dict[str, VariantOptions] = {
    "ce": VariantOptions(objective={**_UNGUIDED, "target": "hard", "divergence": "kl"}),
    "soft": VariantOptions(objective=_UNGUIDED),
    "modality": VariantOptions(objective={"target": "hard"}),
    "amber2": VariantOptions(),
    "amber2-uniform": VariantOptions(objective={"weighting": "uniform"}),
    "amber2-js": VariantOptions(objective={"divergence": "js"}),
    "amber2-speech": VariantOptions(objective={"student": "speech"}),
    "amber2-text": VariantOptions(objective={"student": "text"}),
    "speech": VariantOptions(objective={**_UNGUIDED, "student": "speech"}),
    "text": VariantOptions(objective={**_UNGUIDED, "student": "text"}),
    "amber2-dirichlet": VariantOptions(objective={"target": "dirichlet"}),
    "uniform": VariantOptions(model="uniform", objective=_UNGUIDED),
    "prior": VariantOptions(model="prior", objective=_UNGUIDED),
    "logistic": VariantOptions(model="logistic", objective=_UNGUIDED),
    "svm": VariantOptions(model="svm", objective=_UNGUIDED),
    "mlp": VariantOptions(model="mlp", objective=_UNGUIDED),
    "ridge": VariantOptions(model="ridge", objective=_UNGUIDED),
}

LAYERED = ("heads", "uniform", "prior")  # models to which every level and layer choice is alike; rivals read vectors


@dataclass(frozen=True)
class Variant:
    """A named objective and training, everything resolved, and the model that learns: heads or one of their rivals."""

    name: str
    objective: Objective
    training: Training
    model: ModelName = "heads"

    @property
    def heads(self) -> tuple[str, ...]:
        """Return the heads that train: the student, and its experts if anything asks for them.

        A rival stands in the student's place: it reads what that head would read.
        """
        objective = self.objective
        if self.model != "heads" or (objective.modality == 0 and objective.experts == 0):
            return (objective.student,)
        return ("speech", "text", "fusion")


@dataclass(frozen=True)
class Run:
    """One training run; `fold` is the fold's number."""

    variant: Variant
    fold: int
    seed: int

    @property
    def path(self) -> str:
        """Return the run's folder below the experiment's."""
        return f"{self.variant.name}/fold{self.fold}-seed{self.seed}"


def variants(config: Config) -> list[Variant]:
    """Resolve the variants that a configuration names, times its grid.

    Raises
    ------
    UserError
        For an unknown variant, a circle of bases, or a key or value that does not fit.

    """
    found = []
    for name in config.train.variants:
        model, objective, training = _changes(name, config.variants, ())
        for point in _grid(config.grid):
            full = name + "".join(f",{key.rpartition('.')[2]}={_written(value)}" for key, value in point.items())
            merged = {"objective": dict(objective), "train": dict(training)}
            for key, value in point.items():
                section, _, field = key.partition(".")
                merged[section][field] = value
            found.append(_variant(full, model, merged, config))
    names = [variant.name for variant in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"train.variants: {some(sorted(twice))} would be run twice")
    return found


def runs(config: Config, folds: Iterable[int]) -> list[Run]:
    """Return every run of a configuration, fold by fold."""
    return [
        Run(variant, fold, seed)
        for fold in folds
        for variant in variants(config)
        for seed in sorted(config.train.seeds)
    ]


def chosen_folds(config: Config, numbers: Iterable[int]) -> list[int]:
    """Return the folds that `train.folds` asks for, of those there are."""
    there = sorted(numbers)
    if config.train.folds == "all":
        return there
    missing = sorted(set(config.train.folds) - set(there))
    if missing:
        raise UserError(
            f"train.folds: there is no fold {some(map(str, missing))}; there are {some(map(str, there), 99)}"
        )
    return sorted(set(config.train.folds))


def run_key(run: Run, context: Mapping[str, Any]) -> str:
    """Return a hash of everything that a run's result depends on; `context` is what all runs share."""
    parts = {
        "model": run.variant.model,
        "objective": run.variant.objective.model_dump(mode="json"),
        "train": run.variant.training.model_dump(mode="json"),
        "fold": run.fold,
        "seed": run.seed,
        **context,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _variant(name: str, model: ModelName, changes: Mapping[str, dict[str, Any]], config: Config) -> Variant:
    shared = {key: value for key, value in config.train.model_dump().items() if key in Training.model_fields}
    objective = {**config.objective.model_dump(), **changes["objective"]}
    where = f"variant {name}"
    training = validated(Training, {**shared, **changes["train"]}, f"{where}: train")
    layers = training.layer.values() if isinstance(training.layer, dict) else [training.layer]
    if model not in LAYERED and "learned" in layers:
        raise UserError(f"{where}: {model} can't learn layers; set train.layer to last or mean")
    return Variant(name, validated(Objective, objective, f"{where}: objective"), training, model)


def _changes(
    name: str, own: Mapping[str, VariantOptions], above: tuple[str, ...]
) -> tuple[ModelName, dict[str, Any], dict[str, Any]]:
    """Return a variant's model and what it changes of objective and training, its bases' changes first."""
    if name in above:
        raise UserError(f"variants: {' -> '.join((*above, name))} is a circle of bases")
    known = {**BUILT_IN, **own}
    if name not in known:
        where = f"variants.{above[-1]}.base" if above else "train.variants"
        raise UserError(f"{where}: unknown variant {name!r}{nearest(name, known)}; known: {some(known, 20)}")
    if not all(character.isalnum() or character in "-_." for character in name) or name.startswith("."):
        raise UserError(f"variants: {name!r}: use letters, digits, - _ and . in a variant's name")
    variant = known[name]
    if not variant.base:
        return variant.model or "heads", dict(variant.objective), dict(variant.train)
    model, objective, training = _changes(variant.base, own, (*above, name))
    return variant.model or model, {**objective, **variant.objective}, {**training, **variant.train}


def _grid(grid: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    for key in grid:
        section, _, field = key.partition(".")
        fields = {"objective": Objective.model_fields, "train": Training.model_fields}.get(section, {})
        if field not in fields:
            known = [f"objective.{f}" for f in Objective.model_fields] + [f"train.{f}" for f in Training.model_fields]
            raise UserError(f"grid: unknown key {key!r}{nearest(key, known)}; give objective.… or train.…")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _written(value: Any) -> str:
    return str(value).replace("/", "-")

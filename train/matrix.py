"""The matrix of runs: variants x folds x seeds, and what makes one run the same as another."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from amber.config import Config, HeadName, Layer, ModelName, Objective, Training, VariantOptions
from amber.config_file import validated
from amber.corpus import MODALITIES, Modality
from amber.errors import UserError, abbreviate, nearest

from .candidates import layer_choices, layer_of
from .head_names import HEADS, inputs_of
from .streams import run_seed

RIVALS: tuple[ModelName, ...] = ("uniform", "prior", "logistic", "svm", "mlp", "ridge")  # see `rivals.py`

_ALONE = {"modality_weight": 0.0, "experts_weight": 0.0}  # the student learns without experts
_SIDE_BY_SIDE = {"modality_weight": 0.0, "experts_weight": 1.0}  # all heads learn from the raters, none from another

# What defines each variant; everything else is what the configuration says. Neither `--set` nor a grid changes these.
_SOFT = {"target": "soft", "student": "fusion"}
_RIVAL = {**_ALONE, **_SOFT}
BUILT_IN: dict[str, VariantOptions] = {
    "ce": VariantOptions(objective={**_ALONE, "target": "hard", "student": "fusion", "divergence": "kl"}),
    "soft": VariantOptions(objective={**_ALONE, **_SOFT}),
    "modality": VariantOptions(objective={"target": "hard", "student": "fusion"}),
    "amber2": VariantOptions(objective=_SOFT),
    "amber2-uniform": VariantOptions(objective={**_SOFT, "weighting": "uniform"}),
    "amber2-js": VariantOptions(objective={**_SOFT, "divergence": "js"}),
    "amber2-speech": VariantOptions(objective={**_SOFT, "student": "speech"}),
    "amber2-text": VariantOptions(objective={**_SOFT, "student": "text"}),
    "amber2-dirichlet": VariantOptions(objective={**_SOFT, "target": "dirichlet"}),
    "amber2-prior": VariantOptions(model="cross-fit", objective={**_SIDE_BY_SIDE, **_SOFT}),
    "pool": VariantOptions(model="pool", objective={**_SIDE_BY_SIDE, **_SOFT}),
    "speech": VariantOptions(objective={**_ALONE, **_SOFT, "student": "speech"}),
    "text": VariantOptions(objective={**_ALONE, **_SOFT, "student": "text"}),
    **{name: VariantOptions(model=name, objective=_RIVAL) for name in RIVALS},
}

# Keys of `train` that came after schema 6 of runs, and their defaults.
LATER: dict[str, Any] = {"modality_dropout": 0.0, "votes": None, "share": 1.0, "draw": 0, "balance": "none"}

TRAINED = ("heads", "pool", "cross-fit", "experts")  # models that are heads; the others are rivals (`rivals.py`)
LONGEST_NAME = 255  # bytes of a folder's name, on every common file system
CONSTANT = ("uniform", "prior")  # models whose answer is always the same
LAYERED = (*TRAINED, *CONSTANT)  # to which every level and layer choice is alike; other rivals read vectors


@dataclass(frozen=True)
class Variant:
    """A named objective and training, everything resolved, and the model that learns.

    `model` is `heads`: the student with the experts that its objective asks for; `pool`: the student is the geometric
    pool of all heads; `cross-fit`: the student learns from the raters and from experts' out-of-fold predictions
    (`prior.py`), `experts` being those; or one of the rivals.
    """

    name: str
    objective: Objective
    training: Training
    model: ModelName | Literal["experts"] = "heads"

    @property
    def heads(self) -> tuple[HeadName, ...]:
        """Return the heads that train: the student, and its experts if anything asks for them.

        A rival stands in the student's place: it reads what that head would read.
        """
        student = self.objective.student
        if self.model not in TRAINED or (self.objective.modality_weight == 0 and self.objective.experts_weight == 0):
            return (student,)
        return HEADS

    @property
    def reads(self) -> tuple[Modality, ...]:
        """Return the modalities that it reads, speech first; none if its answer is always the same."""
        return () if self.model in CONSTANT else tuple(inputs_of(self.heads))

    @property
    def scored(self) -> tuple[HeadName, ...]:
        """Return the heads whose score on dev says which step is best."""
        return self.heads if self.model in ("pool", "experts") else (self.objective.student,)

    @property
    def leading(self) -> str:
        """Return whose predictions are the student's: the student head's, or those of the `pool` of all heads."""
        return "pool" if self.model == "pool" else self.objective.student

    @property
    def experts(self) -> Variant:
        """Return the variant of the experts that are fitted out of fold: all heads, the student's own among them."""
        return replace(self, model="experts")


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

    @property
    def stream_seed(self) -> int:
        """Return the seed of the run's random streams."""
        return run_seed(self.seed, self.fold)


def variants(config: Config) -> list[Variant]:
    """Resolve the variants that a configuration names, times its grid.

    What a variant's own definition says stands above the grid, the grid above the configuration's sections. Grid
    points that differ in nothing that a variant goes by are one, called by the name without the keys of no effect.

    Raises
    ------
    UserError
        For an unknown variant, a circle of bases, a key or value that does not fit, or a name too long for a folder.

    """
    found: dict[str, Variant] = {}
    for name in config.train.variants:
        model, objective, training = _changes(name, config.variants, ())
        fixed = {"objective": objective, "train": training}
        points: dict[str, Variant] = {}
        for point in _grid(config.grid):
            variant = _at(point, name, model, fixed, config)
            read = {key: value for key, value in point.items() if key not in _idle(variant)}
            variant = _at(read, name, model, fixed, config)
            _check_length(variant.name)
            points[variant.name] = variant
        twice = sorted(set(points) & set(found))
        if twice:
            raise UserError(f"train.variants: {abbreviate(twice)} would be run twice")
        found |= points
    return list(found.values())


def without_effect(config: Config) -> list[str]:
    """Say what the configuration asks for and has no effect on a variant."""
    said = []
    found, unread = variants(config), _changed(config)
    for name in config.train.variants:
        _, objective, training = _changes(name, config.variants, ())
        fixed = {"objective": objective, "train": training}
        without = [key for key in config.grid if _fixes(fixed, key)]
        of_name = [variant for variant in found if variant.name.partition(",")[0] == name]
        without += [key for key in config.grid if key not in without and all(key in _idle(v) for v in of_name)]
        if without:
            said.append(
                f"{abbreviate(without)} has no effect on {name}: points of the grid that differ in nothing else are one"
            )
        ignored = [
            f"{section}.{key}"
            for section, changes in fixed.items()
            for key in sorted(getattr(config, section).model_fields_set & set(changes))
            if changes[key] != getattr(getattr(config, section), key)
        ]
        unread -= {key for key in unread if _fixes(fixed, key)}
        if ignored:
            said.append(f"{abbreviate(ignored)} has no effect on {name}, which fixes it; define a variant of your own")
    unread = {key for key in unread if all(key in _idle(variant) for variant in found)}
    if unread:
        said.append(f"{abbreviate(sorted(unread))} has no effect on any variant here")
    return said


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
            f"train.folds: there is no fold {abbreviate(map(str, missing))}; "
            f"there are {abbreviate(map(str, there), 99)}"
        )
    return sorted(set(config.train.folds))


def run_key(run: Run, context: Mapping[str, Any]) -> str:
    """Return a hash of everything that a run's result depends on; `context` is what all runs share."""
    parts = {
        "model": run.variant.model,
        "objective": run.variant.objective.model_dump(mode="json"),
        "train": keyed(run.variant.training),
        "fold": run.fold,
        "seed": run.seed,
        **context,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def keyed(training: Training) -> dict[str, Any]:
    """Return a training as it is hashed: without later keys where they are at their defaults, as if they were not."""
    values = training.model_dump(mode="json")
    return {key: value for key, value in values.items() if key not in LATER or value != LATER[key]}


def _at(
    point: Mapping[str, Any], name: str, model: ModelName, fixed: Mapping[str, dict[str, Any]], config: Config
) -> Variant:
    """Return a variant at a point of the grid, called by what the point changes."""
    free = {key: value for key, value in point.items() if not _fixes(fixed, key)}
    full = name + "".join(f",{key.rpartition('.')[2]}={_written(value)}" for key, value in free.items())
    return _variant(full, model, {section: {**_of(free, section), **fixed[section]} for section in fixed}, config)


def _variant(name: str, model: ModelName, changes: Mapping[str, dict[str, Any]], config: Config) -> Variant:
    shared = {key: value for key, value in config.train.model_dump().items() if key in Training.model_fields}
    objective = {**config.objective.model_dump(), **changes["objective"]}
    where = f"variant {name}"
    training = validated(Training, {**shared, **changes["train"]}, f"{where}: train")
    if model not in LAYERED and "learned" in _layers(training):
        raise UserError(f"{where}: {model} can't learn layers; set train.layer to all, last or mean")
    resolved = validated(Objective, objective, f"{where}: objective")
    if model == "heads" and resolved.modality_weight > 0 and resolved.experts_weight == 0:
        raise UserError(
            f"{where}: objective.experts_weight is 0: its student would be guided by experts that never learn"
        )
    if model in TRAINED and resolved.rater_weight == 0 and resolved.modality_weight == 0:
        raise UserError(
            f"{where}: objective.rater_weight is 0, and its student has no guidance: it would learn nothing\n"
            "leave the key out, or train variants with guidance alone, such as `amber2`"
        )
    if config.objective.modality_weight == 0 and "modality_weight" not in changes["objective"]:
        raise UserError(f"{where}: objective.modality_weight is 0, which leaves no guidance; train `soft` instead")
    return Variant(name, resolved, training, model)


def _check_length(name: str) -> None:
    size = len(name.encode())
    if size > LONGEST_NAME:
        raise UserError(
            f"variant {name[:80]}…: its folder's name would have {size} bytes, of {LONGEST_NAME} at most\n"
            "give long values names of your own: variants: {NAME: {base: VARIANT, train: {candidates: …}}}"
        )


def _layers(training: Training) -> set[Layer]:
    """Return every layer choice of a training's candidates, of either modality."""
    choices = [choice for options in training.candidates for choice in layer_choices(options, training)]
    return {layer_of(choice, modality) for choice in choices for modality in MODALITIES}


def _changes(
    name: str, own: Mapping[str, VariantOptions], above: tuple[str, ...]
) -> tuple[ModelName, dict[str, Any], dict[str, Any]]:
    """Return a variant's model and what it changes of objective and training, its bases' changes first."""
    if name in above:
        raise UserError(f"variants: {' -> '.join((*above, name))} is a circle of bases")
    known = {**BUILT_IN, **own}
    if name not in known:
        where = f"variants.{above[-1]}.base" if above else "train.variants"
        raise UserError(f"{where}: unknown variant {name!r}{nearest(name, known)}; known: {abbreviate(known, 20)}")
    if not all(character.isalnum() or character in "-_." for character in name) or name.startswith("."):
        raise UserError(f"variants: {name!r}: use letters, digits, - _ and . in a variant's name")
    variant = known[name]
    if not variant.base:
        return variant.model or "heads", dict(variant.objective), dict(variant.train)
    model, objective, training = _changes(variant.base, own, (*above, name))
    return variant.model or model, {**objective, **variant.objective}, {**training, **variant.train}


def _idle(variant: Variant) -> set[str]:
    """Return the keys that could stand in a grid and on which a variant's training does not depend."""
    draw = set() if variant.training.votes or variant.training.share < 1 else {"train.draw"}
    if variant.model not in TRAINED:
        read = {"objective.target", "objective.student", "train.candidates", "train.layer", "train.calibrate"}
        read |= {"train.votes", "train.share", "train.draw"} - draw
        every = [f"objective.{key}" for key in Objective.model_fields] + [
            f"train.{key}" for key in Training.model_fields
        ]
        return set(every) - read
    idle = draw | (set() if variant.objective.modality_weight else {"objective.temperature", "objective.weighting"})
    idle |= set() if "fusion" in variant.heads else {"train.modality_dropout"}
    return idle if variant.objective.target == "dirichlet" else idle | {"objective.concentration"}


def _changed(config: Config) -> set[str]:
    """Return the keys that could stand in a grid and that a configuration sets to other than their defaults."""
    return {
        f"{name}.{key}"
        for name, section in (("objective", config.objective), ("train", config.train))
        for key in section.model_fields_set
        if getattr(section, key) != type(section).model_fields[key].default
    }


def _fixes(fixed: Mapping[str, Mapping[str, Any]], key: str) -> bool:
    section, _, field = key.partition(".")
    return field in fixed[section]


def _of(point: Mapping[str, Any], section: str) -> dict[str, Any]:
    return {key.removeprefix(f"{section}."): value for key, value in point.items() if key.startswith(f"{section}.")}


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

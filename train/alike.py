"""Checks that several corpora can be put to the same models: one set of classes, features made in one way."""

from __future__ import annotations

from amber.config import LabelOptions
from amber.corpus import Corpus, Modality
from amber.errors import UserError, abbreviate
from amber.features.spec import FeatureSpec
from amber.labels import OTHER, LabelSpace

WHOSE = {"corpus", "release", "inputs", "size"}  # fields of a spec that say whose features they are, not what


def space_of(own: LabelSpace, options: LabelOptions, corpus: Corpus, where: str) -> LabelSpace:
    """Return the label space of another corpus, in the order of the models' classes.

    Raises
    ------
    UserError
        If its classes are not those of `own`, or it has a smoothing of its own; `where` is the section that maps them.

    """
    if "smoothing" in options.model_fields_set and options.smoothing != own.options.smoothing:
        raise UserError(
            f"{where}.smoothing has no effect: labels.smoothing is that of all training targets\n"
            f"set labels.smoothing, and leave {where}.smoothing out"
        )
    space = LabelSpace.resolve(options, corpus)
    if set(space.classes) != set(own.classes):
        raise UserError(
            f"{where}: its classes are {abbreviate(space.classes, 9)}; the models' are {abbreviate(own.classes, 9)}\n"
            f"map its labels onto them with {where}.preset or {where}.classes"
        )
    if space.classes == own.classes:
        return space
    mapped = space.options.classes or {}
    ordered = {name: mapped[name] for name in own.classes if name != OTHER or name in mapped}
    return LabelSpace.resolve(space.options.model_copy(update={"classes": ordered, "preset": None}), corpus)


def refuse_different(where: str, own: FeatureSpec, other: FeatureSpec, modality: Modality) -> None:
    """Raise a `UserError` if two feature sets of a modality were made in different ways."""
    a, b = (spec.model_dump(mode="json", exclude=WHOSE) for spec in (own, other))
    differing = [f"{key} {b.get(key)}, not {a.get(key)}" for key in {**a, **b} if a.get(key) != b.get(key)]
    if differing:
        raise UserError(
            f"{where}: its {modality} features are not made like those of {own.corpus}: {abbreviate(differing, 3)}\n"
            "extract both with the same encoder and options"
        )

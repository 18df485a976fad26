"""Which utterances an experiment's variants use: those with every modality, or what each variant reads itself.

With `features.require: all` every variant learns from and is tested on the same utterances, those that have each
modality that any of the variants reads. With `read`, a variant uses all utterances that have what it reads itself. The
folds are the same for all variants either way: they divide the utterances that any of them uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from amber.config import NONE, FeatureOptions
from amber.corpus import MODALITIES, Modality
from amber.errors import UserError, abbreviate
from amber.splits import Fold

from .dataset import TrainingData
from .matrix import Variant

Modalities = tuple[Modality, ...]


@dataclass(frozen=True)
class Utterances:
    """Utterances that variants have in common, their folds by number, and the variants.

    `labelled` is how many utterances of the corpus have labels, whatever modalities they have.
    """

    data: TrainingData
    folds: dict[int, Fold]
    variants: tuple[Variant, ...]
    modalities: Modalities
    labelled: int

    def described(self, require: str) -> dict[str, Any]:
        """Return the choice and its counts as a run's `config.yaml` records them."""
        return {
            "require": require,
            "have": list(self.modalities),
            "labelled": self.labelled,
            "used": len(self.data.corpus),
        }

    def line(self) -> str:
        """Say how many utterances have what the variants read."""
        what = f"have {' and '.join(self.modalities)}" if self.modalities else "have labels"
        return f"{len(self.data.corpus)} of {self.labelled} labelled utterances {what}"


def used(everyone: TrainingData, variants: Sequence[Variant], require: str) -> TrainingData:
    """Return the utterances that any of the variants uses, of all labelled ones; folds are made of these."""
    if require == "all":
        return everyone.having(_read_by(variants, everyone))
    any_of = np.any([everyone.has(variant.reads) for variant in variants], axis=0)
    if not any_of.any():
        return everyone.having(_read_by(variants, everyone))  # which says so
    unread = {"nothing that a variant reads": int(np.sum(~any_of))}
    return replace(everyone.take(np.flatnonzero(any_of)), left_out={**everyone.left_out, **unread})


def divide(
    data: TrainingData, folds: Mapping[int, Fold], variants: Sequence[Variant], require: str, labelled: int
) -> list[Utterances]:
    """Divide the utterances that are used (`used`) and their folds by what variants use of them."""
    if require == "all":
        return [Utterances(data, dict(folds), tuple(variants), _read_by(variants, data), labelled)]
    by_reads: dict[Modalities, list[Variant]] = {}
    for variant in variants:
        by_reads.setdefault(variant.reads, []).append(variant)
    return [
        Utterances(_own(data, reads), {n: _within(fold, data, reads) for n, fold in folds.items()},
                   tuple(own), reads, labelled)
        for reads, own in by_reads.items()
    ]  # fmt: skip


def lines(parts: Sequence[Utterances]) -> Iterator[str]:
    """Say which utterances variants use, where modalities decide it."""
    if len(parts) > 1:
        for one in parts:
            yield f"{', '.join(variant.name for variant in one.variants)}: {one.line()}"
        yield "variants use different utterances (features.require=read); those that all of them test are compared"
    elif len(parts[0].data.corpus) < parts[0].labelled:
        yield f"{parts[0].line()}: these are used, by every variant alike"


def refuse_unread(options: FeatureOptions, variants: Sequence[Variant]) -> None:
    """Refuse variants that read a modality that the experiment is said to have none of (`features.text: none`)."""
    absent = [modality for modality in MODALITIES if getattr(options, modality) == NONE]
    refused = {m: [v.name for v in variants if m in v.reads] for m in absent}
    for modality, names in refused.items():
        if names:
            other = "text" if modality == "speech" else "speech"
            raise UserError(
                f"features.{modality} is none, and {abbreviate(names, 6)} read {modality}\n"
                f"train what reads none: --variants {other},prior, or a variant of your own with "
                f"objective.student: {other}"
            )


def _read_by(variants: Sequence[Variant], data: TrainingData) -> Modalities:
    return tuple(modality for modality in data.stores if any(modality in variant.reads for variant in variants))


def _own(data: TrainingData, reads: Modalities) -> TrainingData:
    return data.having(reads).of(reads)


def _within(fold: Fold, data: TrainingData, reads: Modalities) -> Fold:
    """Return a fold of those utterances that have some modalities, in rows among these.

    Raises
    ------
    UserError
        If one of its parts is then empty.

    """
    there = data.has(reads)
    row_of = np.cumsum(there) - 1
    parts = {name: row_of[rows[there[rows]]] for name, rows in fold.parts().items()}
    empty = [name for name, rows in parts.items() if not len(rows)]
    if empty:
        raise UserError(
            f"fold {fold.number} ({fold.name}): none of its {empty[0]} utterances has {' and '.join(reads)}\n"
            "leave out the variants that read it, or use the utterances with all: --set features.require=all"
        )
    return replace(fold, train=parts["train"], dev=parts["dev"], test=parts["test"])

"""Models to predict with: one run's, all runs of a variant as an ensemble, or an exported bundle of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amber import done, run_config
from amber.arrays import Floats
from amber.corpus import Modality
from amber.errors import UserError, abbreviate, nearest
from amber.features.spec import FeatureSpec
from amber.location import locate
from amber.train.saved import Features, SavedModel

from . import bundle, hub

MODEL = "model"  # a run's folder with its model


@dataclass(frozen=True)
class Model:
    """An ensemble of saved models that read the same features: the mean of their distributions (one is the plain case).

    `name` says where it comes from.
    """

    name: str
    members: tuple[SavedModel, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the classes in order."""
        classes: tuple[str, ...] = self.members[0].classes
        return classes

    @property
    def specs(self) -> Mapping[Modality, FeatureSpec]:
        """Return what the features of each modality are."""
        specs: Mapping[Modality, FeatureSpec] = self.members[0].specs
        return specs

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Return the modalities that the model can read."""
        return tuple(self.specs)

    @property
    def experts(self) -> tuple[str, ...]:
        """Return the names of the experts beside the student."""
        first = self.members[0]
        return tuple(head for head in first.heads if head != first.student or first.kind == "pool")

    def answers(self, modalities: Collection[Modality]) -> bool:
        """Return whether there is an answer where these modalities are there."""
        return all(member.answering(modalities) for member in self.members)

    def predict(self, features: Mapping[Modality, Features]) -> dict[str, Floats]:
        """Return the mean distributions of n utterances by head, (n, C) each, as `SavedModel.predict` does."""
        found = [member.predict(features) for member in self.members]
        return {head: np.mean([one[head] for one in found], axis=0) for head in found[0]}


def load(where: str | Path, variant: str | None = None) -> Model:
    """Load a model from a bundle, a run's folder, or an experiment's folder.

    Parameters
    ----------
    where
        The folder, on object storage too, or `hf://OWNER/NAME[@REVISION]`: a bundle on the hub.
    variant
        Which variant of an experiment; where absent, `amber2` if it is there, else the only one.

    Raises
    ------
    UserError
        If there is no model there, the variant is not known, or a file is not as it was written.

    """
    if hub.named(str(where)):
        return _of_bundle(str(where), hub.fetch(str(where)))
    path = locate(where)
    if not path.is_dir():
        raise UserError(f"--model {path}: no such folder")
    if (path / bundle.FILE).is_file():
        return _of_bundle(path.name, path)
    if (path / done.FILE).is_file():
        return of_folders(f"{path.parent.name}/{path.name}", _whole([path]))
    return _of_experiment(path, variant)


def runs_of(experiment: Path, variant: str | None) -> list[Path]:
    """Return the folders of the finished runs of a variant.

    Raises
    ------
    UserError
        If there are none, or several variants and none is named.

    """
    found = sorted({path.parents[1].name for path in experiment.glob(f"*/fold*-seed*/{done.FILE}")})
    if not found:
        raise UserError(f"--model {experiment}: neither a bundle, a run nor an experiment with finished runs")
    chosen = variant or ("amber2" if "amber2" in found else found[0] if len(found) == 1 else None)
    if chosen is None:
        raise UserError(f"--model {experiment}: say which variant with --variant; there are {abbreviate(found, 20)}")
    if chosen not in found:
        raise UserError(
            f"--variant {chosen}: not in {experiment}{nearest(chosen, found)}; there are {abbreviate(found, 20)}"
        )
    return sorted(path.parent for path in experiment.glob(f"{chosen}/fold*-seed*/{done.FILE}"))


def _of_bundle(name: str, path: Path) -> Model:
    return of_folders(name, [path / member for member in bundle.read(path).members])


def _of_experiment(path: Path, variant: str | None) -> Model:
    runs = runs_of(path, variant)
    return of_folders(f"{path.name}/{runs[0].parent.name}", _whole(runs))


def _whole(runs: Sequence[Path]) -> list[Path]:
    """Return the model folders of a variant's runs.

    Raises
    ------
    UserError
        If a file of a run is not as it was written, or runs differ in anything but fold and seed.

    """
    for run in runs:
        done.refuse_damaged(run)
    configs = {run: run_config.read(run) for run in runs}
    run_config.refuse_different(configs, run_config.OF_VARIANT, "they can't answer together")
    return [run / MODEL for run in runs]


def of_folders(name: str, folders: Sequence[Path]) -> Model:
    """Load the models in some folders as one.

    Raises
    ------
    UserError
        If one can't be read, or they do not read and say the same.

    """
    members = tuple(SavedModel.read(folder) for folder in folders)
    first = members[0]
    for member, folder in zip(members, folders, strict=True):
        same = (member.classes, member.heads, member.student) == (first.classes, first.heads, first.student)
        if not same or _read_alike(member) != _read_alike(first):
            raise UserError(f"{folder}: its classes, heads or features are not those of {folders[0]}")
    return Model(name, members)


def _read_alike(member: SavedModel) -> list[tuple[object, ...]]:
    """Return what features must have in common to be read by one model: everything but whose they are."""
    return [(m, *_encoding(spec)) for m, spec in member.specs.items()]


def _encoding(spec: FeatureSpec) -> tuple[object, ...]:
    which = (spec.encoder, spec.revision, spec.layers, spec.level, spec.pooling)
    return (*which, spec.max_seconds, spec.margin, spec.text_instruction, spec.text_context, spec.dtype, spec.precision)

"""What training reads: features joined to votes by utterance id, and each fold's standardised tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amber import corpus as contract
from amber.config import FeatureOptions
from amber.corpus import Corpus, Modality
from amber.errors import UserError, some
from amber.labels import LabelSpace, distribution
from amber.location import locate
from amber.store import FeatureStore, feature_sets
from amber.unit import Status

LayerChoice = Any  # "last", "mean" or a layer's number
Matrix = NDArray[np.float32]
SMALLEST_DEVIATION = 1e-6  # a feature that varies less is constant, and is left unscaled


@dataclass(frozen=True)
class Data:
    """The experiment's utterances: n rows of the corpus with counts, and their rows in each feature set."""

    corpus: Corpus
    space: LabelSpace
    counts: NDArray[np.float64]  # (n, C)
    truth: NDArray[np.float64] | None  # (n, C)
    stores: Mapping[Modality, FeatureStore]
    rows: Mapping[Modality, NDArray[np.int64]]  # (n,) into the store
    left_out: Mapping[str, int]

    @property
    def y(self) -> NDArray[np.float64]:
        """Return the raters' distributions, (n, C)."""
        return distribution(self.counts)

    def inputs(self, modality: Modality, layer: LayerChoice) -> Matrix:
        """Read the chosen layer of one modality: float32 (n, D) in the order of the utterances."""
        matrix: Matrix = _read_layer(self.stores[modality], layer)[self.rows[modality]].astype(np.float32)
        return matrix


@dataclass(frozen=True)
class Scaling:
    """A modality's mean and deviation, (D,), over the training part only."""

    mean: Matrix
    deviation: Matrix

    @classmethod
    def fit(cls, features: Matrix) -> Scaling:
        """Estimate the scaling from training features (n, D)."""
        deviation = features.std(axis=0, dtype=np.float64)
        deviation[deviation < SMALLEST_DEVIATION] = 1.0
        return cls(features.mean(axis=0, dtype=np.float64).astype(np.float32), deviation.astype(np.float32))

    def apply(self, features: Matrix) -> Matrix:
        """Standardise features (n, D)."""
        return np.asarray((features - self.mean) / self.deviation, dtype=np.float32)


@dataclass(frozen=True)
class Part:
    """One part of a fold on the device: `inputs` (n, D) by modality and targets `y` (n, C)."""

    inputs: Mapping[Modality, Tensor]
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


def find_corpus(cache: str, dataset: str | None) -> Corpus:
    """Read the utterances of a dataset in a cache; the only dataset there where none is named.

    Raises
    ------
    UserError
        If the cache does not exist, holds no such dataset, or holds several and none is named.

    """
    there = sorted(path.parent.name for path in locate(cache).glob(f"*/{contract.FILE}"))
    if not there:
        raise UserError(f"--features {cache}: no dataset there; run `amber extract` first")
    if dataset is None and len(there) > 1:
        raise UserError(f"--features {cache}: holds {some(there)}; say which with --dataset")
    name = dataset or there[0]
    if name not in there:
        raise UserError(f"--features {cache}: no dataset {name!r} there; it holds {some(there)}")
    return Corpus.read(locate(cache) / name / contract.FILE)


def find_stores(
    options: FeatureOptions, corpus: Corpus, modalities: Collection[Modality]
) -> dict[Modality, FeatureStore]:
    """Choose the feature set of each modality: the only one there is, or the one that the options name.

    Raises
    ------
    UserError
        If there is none, several fit, or the one that fits is not complete; the message lists what there is.

    """
    return {modality: _find_store(options, corpus, modality) for modality in modalities}


def _find_store(options: FeatureOptions, corpus: Corpus, modality: Modality) -> FeatureStore:
    wanted = corpus.input_hash(modality)
    every = [s for s in feature_sets(locate(options.cache), corpus.name) if s.spec.modality == modality]
    current = [s for s in every if s.spec.inputs == wanted]
    asked = getattr(options, modality) if modality in options.model_fields_set else None
    if asked and (len(current) > 1 or not any(s.is_named(asked) for s in current)):
        current = [s for s in current if s.is_named(asked)]
    listed = some((s.location.name for s in every), 9) or "none"
    where = f"{options.cache} holds for {corpus.name}, {modality}: {listed}"
    if not current:
        named = f"{asked} " if asked else ""
        if all(value is None for value in corpus.column("audio" if modality == "speech" else "text")):
            what, other = ("audio", "text") if modality == "speech" else ("transcripts", "speech")
            raise UserError(f"features: {corpus.name} has no {what}; train what needs none: --variants {other}")
        raise UserError(
            f"features: no {named}{modality} features of the present utterances; run `amber extract`\n{where}"
        )
    if len(current) > 1:
        raise UserError(f"features: several {modality} sets; say which with --set features.{modality}=NAME\n{where}")
    if not current[0].complete():
        raise UserError(f"features: {current[0].location.name} is not complete; run `amber extract` again")
    return current[0]


def join(corpus: Corpus, space: LabelSpace, stores: Mapping[Modality, FeatureStore]) -> Data:
    """Choose the experiment's utterances and join them to their features, by id.

    Utterances without usable features in one of the modalities are left out and counted.
    """
    labelled = space.label(corpus)
    ids = [corpus.ids[row] for row in labelled.rows]
    keep = np.ones(len(ids), dtype=bool)
    left_out = dict(labelled.left_out)
    rows: dict[Modality, NDArray[np.int64]] = {}
    for modality, store in stores.items():
        place = {uid: row for row, uid in enumerate(store.ids())}
        rows[modality] = np.array([place.get(uid, -1) for uid in ids], dtype=np.int64)
        usable = np.isin(store.status(), (Status.OK, Status.TRUNCATED))
        there = (rows[modality] >= 0) & usable[rows[modality]]
        left_out[f"no {modality} features"] = int(np.sum(keep & ~there))
        keep &= there
    if not keep.any():
        raise UserError(
            f"features: none of the {len(ids)} labelled utterances of {corpus.name} has all of its features"
        )
    chosen = np.flatnonzero(keep)
    return Data(
        corpus=corpus.take(labelled.rows[chosen]),
        space=space,
        counts=labelled.counts[chosen],
        truth=labelled.truth[chosen] if labelled.truth is not None else None,
        stores=stores,
        rows={modality: where[chosen] for modality, where in rows.items()},
        left_out=left_out,
    )


def layer_of(choice: Any, modality: Modality) -> LayerChoice:
    """Return a training's layer choice for one modality."""
    return choice.get(modality, "last") if isinstance(choice, dict) else choice


def _read_layer(store: FeatureStore, choice: LayerChoice) -> NDArray[Any]:
    layers = store.spec.layers
    if choice == "mean":
        return store.mean_of_layers()
    if choice == "last":
        return store.layer(len(layers) - 1)
    if choice not in layers:
        listed = some(map(str, layers), 30)
        raise UserError(f"train.layer: {store.location.name} holds the layers {listed}, asked for {choice}")
    return store.layer(layers.index(choice))


def standardised(
    inputs: Mapping[Modality, Matrix], train: NDArray[np.int64]
) -> tuple[dict[Modality, Matrix], dict[Modality, Scaling]]:
    """Standardise all rows by the mean and deviation of the training rows."""
    scalings = {modality: Scaling.fit(matrix[train]) for modality, matrix in inputs.items()}
    return {modality: scalings[modality].apply(matrix) for modality, matrix in inputs.items()}, scalings


def part(
    inputs: Mapping[Modality, Matrix], y: NDArray[np.float64], rows: Sequence[int] | NDArray[np.int64], device: str
) -> Part:
    """Put one part of a fold on a device."""
    tensors = {modality: torch.from_numpy(matrix[rows]).to(device) for modality, matrix in inputs.items()}
    return Part(tensors, torch.from_numpy(y[rows]).float().to(device))

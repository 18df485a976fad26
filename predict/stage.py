"""The prediction stage: recordings and texts -> features, as extraction makes them -> a model's distributions.

Features go through the stage that made those the model was trained on: unit by unit, with batches, failures by name and
workers. So a prediction equals what the pipeline stored for the same utterance, and a killed run goes on from the
features that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from amber.arrays import Floats, Integers
from amber.cluster import Cluster
from amber.config import Config
from amber.config_file import validated
from amber.console import Console
from amber.corpus import MODALITIES, Corpus, Modality
from amber.errors import UserError
from amber.extract import stage as extraction
from amber.features.spec import FeatureSpec
from amber.features.store import FeatureStore
from amber.features.unit import USABLE, Unit
from amber.location import remove_folder
from amber.train.saved import Features

from .model import Model
from .rows import Prediction, of_arrays

BUILT_IN = ("logmel", "egemaps", "minilm")
ROWS = 2048  # utterances that are scored at once
LOCAL_HASH = 16  # digits of the hash that stands for the revision of a model in a local folder


@dataclass(frozen=True)
class Options:
    """How features are made: encoders by modality where the model's own are elsewhere, the device, the processes."""

    encoders: Mapping[Modality, str] = field(default_factory=dict)
    device: str = "auto"
    cluster: Cluster = field(default_factory=Cluster)


def run(model: Model, corpus: Corpus, cache: Path, options: Options, console: Console) -> list[Prediction]:
    """Predict the utterances of a corpus, in its order.

    Parameters
    ----------
    model
        The model.
    corpus
        Recordings, texts or both.
    cache
        Where features are kept; what is there already is not made again.
    options
        How features are made.
    console
        Where progress goes.

    Raises
    ------
    UserError
        If the model's encoders can't be had, or the corpus has nothing that the model reads.

    """
    asked = [m for m in model.modalities if any(value is not None for value in corpus.column(_COLUMN[m]))]
    if not model.answers(asked):
        given = " and ".join(asked) or "nothing"
        raise UserError(f"{model.name} reads {' and '.join(model.modalities)}; there is {given} to read")
    stores = {m: _extracted(model.specs[m], m, corpus, cache, options, console) for m in asked}
    found: list[Prediction] = []
    with console.progress("predict", len(corpus)) as advance:
        for start in range(0, len(corpus), ROWS):
            rows = range(start, min(start + ROWS, len(corpus)))
            found += _scored(model, corpus, stores, rows)
            advance(len(rows))
    return found


_COLUMN = {"speech": "audio", "text": "text"}
_OPTION = {"speech": "speech", "text": "text-encoder"}


def _extracted(
    spec: FeatureSpec, modality: Modality, corpus: Corpus, cache: Path, options: Options, console: Console
) -> FeatureStore:
    """Extract one modality as a spec says."""
    features = {
        modality: _encoder(spec, modality, options),
        "level": spec.level,
        "layers": ",".join(map(str, spec.layers)),
        "dtype": spec.dtype,
        "precision": spec.precision,
        "device": options.device,
        "max_failures": 1.0,  # a failure is a row with its error
        **({"max_seconds": spec.max_seconds} if spec.max_seconds else {}),
        **({"pooling": "last"} if spec.pooling == "last" else {}),
        "text_instruction": spec.text_instruction,
        "text_context": spec.text_context,
        **({"context": "full"} if spec.margin is None else {"context": "trimmed", "margin": spec.margin}),
    }
    config = validated(Config, {"features": features}, "--model")
    (work,) = extraction.survey(config, corpus, [modality])
    for name in ("encoder", "revision", "layers", "dim", "precision"):
        found, wanted = getattr(work.spec, name), getattr(spec, name)
        if found != wanted:
            raise UserError(
                f"{modality} encoder {spec.encoder}: the model was trained on {name} {wanted}, here it is {found}\n"
                f"give the encoder that it was trained on with --{modality}"
            )
    outcome = extraction.extract(work, corpus, cache / corpus.name, console, options.cluster)
    return FeatureStore.open(outcome.location)


def _encoder(spec: FeatureSpec, modality: Modality, options: Options) -> str:
    """Return how to ask for the encoder of a spec."""
    given = options.encoders.get(modality)
    if given:
        return given
    if spec.encoder in BUILT_IN:
        return spec.encoder
    if len(spec.revision) == LOCAL_HASH:
        raise UserError(
            f"the {modality} encoder {spec.encoder} is a local folder: say where with --{_OPTION[modality]}"
        )
    return f"{spec.encoder}@{spec.revision}"


def _scored(model: Model, corpus: Corpus, stores: Mapping[Modality, FeatureStore], rows: range) -> list[Prediction]:
    """Predict some rows: those with both modalities by all heads, the others by what they have."""
    usable = {m: np.isin(store.status()[rows.start : rows.stop], USABLE) for m, store in stores.items()}
    features = {m: _read(store, rows) for m, store in stores.items()}
    reasons = {m: store.errors() for m, store in stores.items()}
    heads: dict[str, Floats] = {}
    for modalities in (MODALITIES, *((modality,) for modality in MODALITIES)):
        if not set(modalities) <= stores.keys() or not model.answers(modalities):
            continue
        chosen = np.ones(len(rows), dtype=bool)
        for modality in stores:
            chosen &= usable[modality] == (modality in modalities)
        places = np.flatnonzero(chosen)
        if not len(places):
            continue
        read = {m: _taken(features[m], places) for m in modalities}
        for head, p in model.predict(read).items():
            heads.setdefault(head, np.full((len(rows), len(model.classes)), np.nan))[places] = p
    there = [tuple(m for m in MODALITIES if m in usable and usable[m][place]) for place in range(len(rows))]
    ids = corpus.ids[rows.start : rows.stop]
    return of_arrays(ids, model.classes, heads, there, [_error(uid, reasons) for uid in ids])


def _read(store: FeatureStore, rows: range) -> Features:
    """Return the stored features of some rows: (n, L, D) of level *pooled*, n arrays (T, L, D) of level *frames*."""
    size = store.spec.unit_rows
    units = range(rows.start // size, -(-rows.stop // size))
    found = [store.read_unit(number) for number in units]
    first = rows.start - units.start * size
    if store.spec.level == "pooled":
        return np.concatenate([unit.features for unit in found])[first : first + len(rows)]
    frames = [one for unit in found for one in np.split(unit.features, _ends(unit))]
    return frames[first : first + len(rows)]


def _ends(unit: Unit) -> Integers:
    assert unit.lengths is not None  # noqa: S101 (units of frames have them)
    return np.cumsum(unit.lengths)[:-1]


def _taken(features: Features, places: Integers) -> Features:
    return features[places] if isinstance(features, np.ndarray) else [features[place] for place in places]


def _error(uid: str, errors: Mapping[Modality, Mapping[str, str]]) -> str | None:
    """Say why modalities of an utterance could not be read; None if there is nothing to say."""
    return "; ".join(f"{modality}: {of[uid]}" for modality, of in errors.items() if uid in of) or None


def remove(cache: Path) -> None:
    """Remove the features that were kept while a prediction could still be interrupted."""
    if cache.is_dir():
        remove_folder(cache)

"""What a feature cache holds, whether it is sound, and what of it nobody needs.

A feature set is *current* if it is of the utterances that lie beside it now, *aside* if it is of their words by someone
else, human or machine, which can be had again (`corpus.transcripts`), *stale* if it is of other utterances, *half* if a
run was killed while laying it out, and *unreadable* if its metadata are damaged or another version wrote it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from amber.config import Config
from amber.corpus import FILE, Corpus, Modality
from amber.errors import RunFailure, UserError, abbreviate
from amber.features import recordings
from amber.features.spec import FeatureSpec
from amber.features.store import FeatureStore, NoLayoutError, feature_sets, is_being_written, set_folders, writing
from amber.features.unit import Status
from amber.location import is_local, remove_folder

State = Literal["current", "aside", "stale", "half", "unreadable"]
Words = Callable[[Path, Corpus], Mapping[str, str]]  # whose the words are that a dataset can have, by hash of inputs
JUST_NOW = 3600.0  # seconds: on object storage nothing but its age tells that a set is not being written
_NOT_IN_SPEC = ("schema_version", "corpus", "size")  # said elsewhere in a listing


@dataclass(frozen=True)
class Entry:
    """One feature set of a cache."""

    path: Path
    state: State
    trouble: str  # why it can't be opened, or is not current
    store: FeatureStore | None = None

    @property
    def bytes(self) -> int:
        """Return its size on disk."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def may_be_in_work(self) -> bool:
        """Return whether another process writes the set, or may do so.

        On a local disk a lock tells; elsewhere, that it is not complete and something was written within the hour.
        """
        if is_local(self.path):
            return is_being_written(self.path)
        if self.store and self.store.complete():
            return False
        written = [file.stat().st_mtime for file in self.path.rglob("*") if file.is_file()]
        return time.time() - max(written, default=0.0) < JUST_NOW

    def counts(self) -> dict[str, int]:
        """Return how many utterances have each status; nothing where that can't be read."""
        try:
            found = self.store.status() if self.store else None
        except RunFailure:
            found = None
        return {} if found is None else {status.name.lower(): int(np.sum(found == status)) for status in Status}

    def as_json(self) -> dict[str, Any]:
        """Return what is known of it as plain data."""
        about: dict[str, Any] = {"name": self.path.name, "state": self.state, "bytes": self.bytes}
        if not self.store:
            return {**about, "trouble": self.trouble}
        spec = self.store.spec.model_dump(mode="json")
        committed = self.store.committed()
        units = {"units": len(committed), "committed": int(committed.sum())}
        return {**about, **{k: v for k, v in spec.items() if k not in _NOT_IN_SPEC}, **units, "counts": self.counts()}


@dataclass(frozen=True)
class Dataset:
    """One dataset's folder in a cache; `trouble` says why there is no corpus."""

    name: str
    corpus: Corpus | None
    trouble: str
    entries: list[Entry]

    def as_json(self) -> dict[str, Any]:
        """Return what is known of it as plain data."""
        corpus = self.corpus
        about = (
            {"utterances": len(corpus), "release": corpus.release, "synthetic": corpus.synthetic}
            if corpus
            else {"utterances": None, "trouble": self.trouble}
        )
        return {"dataset": self.name, **about, "features": [entry.as_json() for entry in self.entries]}


def no_words(folder: Path, corpus: Corpus) -> Mapping[str, str]:
    """Say that a dataset can have no words but those in force."""
    return {}


def survey(cache: Path, dataset: str | None = None, words: Words = no_words) -> list[Dataset]:
    """Look at every dataset of a cache, or at one; `words` says what words are not in force and can be.

    Raises
    ------
    UserError
        If there is no such cache, or no such dataset in it.

    """
    if not cache.is_dir():
        raise UserError(f"--features {cache}: no such cache")
    folders = [path for path in sorted(cache.iterdir()) if path.is_dir()]
    names = [path.name for path in folders if (path / FILE).exists() or set_folders(cache, path.name)]
    if dataset is not None and dataset not in names:
        raise UserError(f"--features {cache}: no dataset {dataset!r} there; it holds {abbreviate(names) or 'none'}")
    return [_look_at(cache, name, words) for name in names if dataset in (None, name)]


def find_corpus(cache: Path, dataset: str | None) -> Corpus:
    """Return the utterances of a dataset in a cache; of the only one there where none is named.

    Raises
    ------
    UserError
        If there is no such dataset, there are several and none is named, or its utterances can't be read or are those
        of a dataset by another name.

    """
    there = sorted(path.parent.name for path in cache.glob(f"*/{FILE}"))
    if not there:
        raise UserError(f"--features {cache}: no dataset there; run `amber extract` first")
    if dataset is None and len(there) > 1:
        raise UserError(f"--features {cache}: holds {abbreviate(there)}; say which with --dataset")
    name = dataset or there[0]
    if name not in there:
        raise UserError(f"--features {cache}: no dataset {name!r} there; it holds {abbreviate(there)}")
    corpus = Corpus.read(cache / name / FILE)
    if corpus.name != name:
        raise UserError(_misnamed(cache / name, corpus))
    return corpus


def read_corpus(folder: Path) -> tuple[Corpus | None, str]:
    """Return the utterances in a dataset's folder, or None and why they can't be read."""
    try:
        return Corpus.read(folder / FILE), ""
    except UserError as error:
        return None, str(error)
    except OSError as error:
        return None, f"{folder / FILE}: can't be read: {error}"


def _misnamed(folder: Path, corpus: Corpus) -> str:
    """Say that a dataset's folder was renamed or copied: features are looked for under the dataset's own name."""
    return (
        f"{folder}: the folder is called {folder.name} and holds the dataset {corpus.name}\n"
        "rename it back, or, if it is a copy, move it out of the cache"
    )


def _look_at(cache: Path, name: str, words: Words) -> Dataset:
    corpus, trouble = read_corpus(cache / name)
    if corpus and corpus.name != name:
        trouble, corpus = _misnamed(cache / name, corpus), None
    whose = words(cache / name, corpus) if corpus else {}
    return Dataset(name, corpus, trouble, [_entry(path, corpus, whose) for path in set_folders(cache, name)])


def _entry(path: Path, corpus: Corpus | None, words: Mapping[str, str]) -> Entry:
    try:
        store = FeatureStore.open(path)
        store.check_layout()
    except NoLayoutError:
        if (path / "zarr.json").exists() and (path / "commits" / "c").exists():
            return Entry(path, "unreadable", "its zarr.json holds no spec, but there are features; see `amber extract`")
        return Entry(path, "half", "was never laid out whole")
    except (UserError, RunFailure) as error:
        return Entry(path, "unreadable", str(error))
    if corpus and store.spec.is_of(corpus):
        return Entry(path, "current", recordings.replaced(store.stamps(), corpus), store)
    if store.spec.modality == "text" and store.spec.inputs in words:
        return Entry(path, "aside", f"of words that are not in force: {words[store.spec.inputs]}", store)
    return Entry(path, "stale", "of other utterances than the present ones", store)


def unneeded(datasets: Sequence[Dataset], pipelines: Collection[Config]) -> list[Entry]:
    """Return the feature sets that no pipeline names; without pipelines, those of other utterances than the present.

    A pipeline names the current sets of its encoder, whatever their layers and precision; where it says no encoder,
    as training without `features.speech` does, it names every current one. A set that can't be read, a set whose
    utterances can't, one of words that can be in force again, and one that may be being written is never returned.
    """
    found = []
    for dataset in datasets:
        for entry in dataset.entries:
            outdated = entry.state == "half" or (entry.state == "stale" and dataset.corpus is not None)
            unnamed = entry.state == "current" and bool(pipelines)
            listed = outdated or (unnamed and not any(_names(p, dataset.name, entry) for p in pipelines))
            if listed and not entry.may_be_in_work():
                found.append(entry)
    return found


def _names(pipeline: Config, dataset: str, entry: Entry) -> bool:
    store = entry.store
    if not store or (pipeline.corpus.name or pipeline.corpus.dataset) != dataset:
        return False
    modality, options = store.spec.modality, pipeline.features
    return modality not in options.model_fields_set or store.is_named(getattr(options, modality))


def delete(cache: Path, entry: Entry) -> None:
    """Delete one feature set.

    Raises
    ------
    UserError
        If its folder lies outside the cache (a link leads there).

    """
    if is_local(cache) and (not entry.path.resolve().is_relative_to(cache.resolve()) or entry.path.is_symlink()):
        raise UserError(f"{entry.path}: a link out of the cache; not deleted")
    with writing(entry.path.parent, entry.path.name):
        # Without its metadata it is no feature set: a deletion that is cut short leaves nothing to be believed.
        (entry.path / "zarr.json").unlink(missing_ok=True)
        remove_folder(entry.path)


def modalities(cache: Path, corpus: Corpus) -> set[Modality]:
    """Return the modalities that have features of the present utterances."""
    specs = [store.spec for store in feature_sets(cache, corpus.name)]
    return {spec.modality for spec in specs if spec.is_of(corpus)}


def find_set(
    cache: Path, corpus: Corpus, modality: Modality, asked: str | None, preferred: Mapping[str, object] | None = None
) -> FeatureStore:
    """Return the feature set of a modality that is of the present utterances.

    Parameters
    ----------
    cache
        The feature cache.
    corpus
        The utterances of one of its datasets.
    modality
        Which modality.
    asked
        An encoder or the name of a set; None: the only set there is.
    preferred
        Values of the spec, such as `level`, preferred where there are several sets of an encoder; there may also be
        none with them.

    Raises
    ------
    UserError
        If none fits, several do, or the one that fits is not complete; the message lists what there is.

    """
    every = [store for store in feature_sets(cache, corpus.name) if store.spec.modality == modality]
    current = [store for store in every if store.spec.is_of(corpus)]
    fitting = [store for store in current if asked is None or store.is_named(asked)]
    for name, value in (preferred or {}).items():
        fitting = [store for store in fitting if getattr(store.spec, name) == value] or fitting
    where = f"{cache} holds for {corpus.name}, {modality}: {abbreviate((s.location.name for s in every), 9) or 'none'}"
    if not fitting:
        named = f"{asked} " if asked else ""
        raise UserError(
            f"features: no {named}{modality} features of the present utterances; run `amber extract`\n{where}"
        )
    if len(fitting) > 1:
        raise UserError(
            f"features: several {modality} sets; say which with --{modality} NAME or features.{modality}\n{where}"
        )
    if not fitting[0].complete():
        raise UserError(f"features: {fitting[0].location.name} is not complete; run `amber extract` again")
    return fitting[0]


def pick_layers(choice: str | int, spec: FeatureSpec) -> tuple[int, ...]:
    """Return the numbers of the stored layers that a layer choice reads.

    Raises
    ------
    UserError
        If the set does not hold the layer asked for.

    """
    held = spec.layers
    if choice in ("mean", "all", "learned"):
        return held
    if choice == "last":
        return held[-1:]
    if choice not in held:
        listed = abbreviate(map(str, held), 30)
        raise UserError(f"layer {choice}: {spec.name} holds the layers {listed}; or say last, mean or all")
    return (int(choice),)

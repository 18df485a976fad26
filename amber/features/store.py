"""Contract 2: feature sets in Zarr, written unit by unit.

A feature set is defined by its `FeatureSpec`: its folder's name contains a hash of the spec, its Zarr attributes hold
all of it. Utterances are divided into units of consecutive rows. A unit owns whole chunks of every array and is
written by one process; it is done once its checksum stands in `commits`, which is written last.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from amber.arrays import Integers
from amber.corpus import MODALITIES
from amber.errors import RunFailure, UserError
from amber.features.layout import FORMAT, array_layouts, create_arrays
from amber.features.reader import FeatureReader, NoLayoutError
from amber.features.spec import FeatureSpec
from amber.features.unit import Status, Unit
from amber.location import is_local
from amber.lock import held, is_held

__all__ = ["FeatureStore", "NoLayoutError", "feature_sets", "is_being_written", "set_folders", "writing"]

_UPGRADING = "upgrading"  # the attribute that holds the commits of a set of format 1 while it is upgraded


class FeatureStore(FeatureReader):
    """A feature set that is written: use `create` within `writing`."""

    @classmethod
    def create(
        cls, folder: Path, spec: FeatureSpec, ids: Sequence[str], stamps: Integers | None = None
    ) -> FeatureStore:
        """Create the set in a dataset's cache folder, or open what an earlier run left there.

        Parameters
        ----------
        folder, spec, ids
            The dataset's folder, what the set is, and the ids of its utterances.
        stamps
            Stamps of the recordings as they are now, (N, 3), for a set of format 1, which has none.

        Raises
        ------
        UserError
            If a set of that name holds another spec or other ids.

        """
        location = folder / spec.name
        _remove_partial_writes(location)
        try:
            store = cls.open(location)
        except NoLayoutError:  # the spec is written last
            return cls(location, create_arrays(location, spec, ids), spec)
        store.check(spec)
        if store.format != FORMAT:
            store = store._upgraded(ids, stamps)
        if store._ids_or(ids) != tuple(ids):
            raise UserError(f"{location}: holds other utterances than the corpus; move it away and extract again")
        return store

    def check(self, spec: FeatureSpec) -> None:
        """Raise a UserError that names the differences if the set has another spec."""
        pairs = [(key, here, getattr(spec, key)) for key, here in self.spec]
        differing = [f"{key}: {here!r} here, {there!r} wanted" for key, here, there in pairs if here != there]
        if differing:
            raise UserError(f"{self.location}: holds other features than asked for\n" + "; ".join(differing))

    def commit(self, number: int, unit: Unit) -> None:
        """Write one unit, then its commit.

        Raises
        ------
        ValueError
            If the shapes are not the unit's, or a feature is not finite in the set's dtype.

        """
        n, vector = len(self.unit(number)), (len(self.spec.layers), self.spec.dim)
        rows = n if unit.lengths is None else int(unit.lengths.sum())
        level = "pooled" if unit.lengths is None else "frames"
        shapes = (level, unit.features.shape, unit.status.shape, len(unit.errors))
        if shapes != (self.spec.level, (rows, *vector), (n,), n) or rows > self.spec.unit_room:
            raise ValueError(f"unit {number} is {self.spec.level} of {n} utterances {vector}, got {shapes}")
        stored = replace(unit, features=np.ascontiguousarray(unit.features, dtype=self.spec.dtype))
        if not np.isfinite(stored.features).all():
            raise ValueError(f"unit {number} holds features that are not finite in {self.spec.dtype}")
        here, arrays = self._slice(number), self._arrays
        if stored.lengths is None:
            arrays["pooled"][here] = stored.features
        else:
            start = number * self.spec.unit_room
            self._write_frames(start, stored.features)
            ends = start + np.cumsum(stored.lengths)
            arrays["spans"][here] = np.stack([ends - stored.lengths, ends], axis=1)
        if stored.stamps is not None:
            arrays["stamps"][here] = stored.stamps
        arrays["status"][here] = stored.status
        arrays["errors"][here] = np.array(stored.errors, dtype=object)
        arrays["commits"][number] = stored.checksum

    def write_stamps(self, stamps: Integers, numbers: Sequence[int]) -> None:
        """Write the stamps of some units, out of those of all utterances (N, 3)."""
        for number in numbers:
            self._arrays["stamps"][self._slice(number)] = stamps[self._slice(number)]

    def units_of(self, rows: Integers) -> list[int]:
        """Return the units that contain some rows (n,)."""
        return sorted(set((rows // self.spec.unit_rows).tolist()))

    def take_back(self, numbers: Sequence[int]) -> None:
        """Take back the commits of units, so that they are done again."""
        for number in numbers:
            self._arrays["commits"][number] = 0

    def take_back_failed(self) -> None:
        """Take back the commits of units with failed utterances."""
        self.take_back(self.units_of(np.flatnonzero(self.status() == Status.FAILED)))

    def _write_frames(self, start: int, features: NDArray[Any]) -> None:
        """Write frames (T, L, D) from row `start` on; the last chunk is filled up with NaN."""
        whole = len(features) - len(features) % self.spec.chunk_frames
        if whole:
            self._arrays["frames"][start : start + whole] = features[:whole]
        if whole < len(features):
            # Zarr would read a chunk before writing a part of it.
            last = np.full((self.spec.chunk_frames, *features.shape[1:]), np.nan, dtype=features.dtype)
            last[: len(features) - whole] = features[whole:]
            self._arrays["frames"][start + whole : start + whole + len(last)] = last

    def _ids_or(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the stored ids. Damaged ones are first replaced by `ids`, of which the spec has a hash."""
        try:
            return self.ids()
        except RunFailure:
            self._arrays["ids"][:] = np.array(ids, dtype=object)
            return self.ids()

    def _upgraded(self, ids: Sequence[str], stamps: Integers | None) -> Self:
        """Upgrade a set of format 1, with the `stamps` (N, 3) of its recordings.

        An attribute keeps the commits meanwhile, so that an interrupted upgrade can be repeated.
        """
        group = self._arrays.group
        kept: Any = group.attrs.get(_UPGRADING)
        if not isinstance(kept, dict):
            kept = {"commits": [self._commit(number) for number in range(self.spec.units)], "errors": self._reasons()}
            group.attrs.update({_UPGRADING: kept})
        layouts = array_layouts(self.spec)
        written = {
            "ids": np.array(ids, dtype=object),
            "errors": np.array(kept["errors"], dtype=object),
            "commits": np.array(kept["commits"], dtype=np.uint64),
        }
        if "stamps" in layouts and stamps is not None:
            written["stamps"] = stamps
        for name, values in written.items():
            layouts[name].create(group, name, overwrite=True)[:] = values
        group.attrs.put({"spec": self.spec.model_dump(mode="json"), "format": FORMAT})
        return self.open(self.location)

    def _reasons(self) -> list[str]:
        """Return all of `errors`; empty texts for a unit whose chunk can't be read (its checksum will fail)."""
        found = [""] * self.spec.size
        for number in range(self.spec.units):
            with suppress(RunFailure):
                found[self._slice(number)] = self._arrays.read("errors", self._slice(number)).tolist()
        return found


def set_folders(cache: Path, dataset: str) -> list[Path]:
    """Return the folders of a dataset's feature sets in a cache, by name, whatever their state."""
    return [path for path in sorted((cache / dataset).glob("*.zarr")) if path.name.startswith(MODALITIES)]


def feature_sets(cache: Path, dataset: str) -> list[FeatureStore]:
    """Return every feature set of a dataset in a cache, by name, without those whose arrays were never all created.

    Raises
    ------
    RunFailure
        If the metadata of one do not follow from its spec.

    """
    found = []
    for path in set_folders(cache, dataset):
        try:
            store = FeatureStore.open(path)
        except UserError:
            continue
        store.check_layout()
        found.append(store)
    return found


def writing(folder: Path, name: str) -> AbstractContextManager[None]:
    """Hold the lock on a feature set of a dataset's folder while it is written."""
    return held(folder, _lock(name), f"it writes {name}", "wait until it has ended, then run the same command again")


def is_being_written(location: Path) -> bool:
    """Return whether a process holds the lock on a feature set."""
    return is_held(location.parent, _lock(location.name))


def _lock(name: str) -> str:
    return name.removesuffix(".zarr")


def _remove_partial_writes(location: Path) -> None:
    """Remove the partial files of a killed process: Zarr writes beside a chunk, then renames."""
    for partial in location.rglob("*.partial") if is_local(location) and location.is_dir() else ():
        partial.unlink(missing_ok=True)

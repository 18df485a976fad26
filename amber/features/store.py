"""Contract 2: feature sets in Zarr, written unit by unit and believed only where committed.

A feature set is its `FeatureSpec`: the name of its folder carries a hash of it, the whole of it lies in the Zarr
attributes. Utterances are divided into units of consecutive rows; a unit owns whole chunks of every array, is
written by one process, and counts as done once its checksum stands in `commits`, which is written last.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from amber.corpus import MODALITIES
from amber.errors import RunFailure, UserError
from amber.features import chunks
from amber.features.layout import FORMAT, arrays, lay_out
from amber.features.spec import SCHEMA_VERSION, FeatureSpec, slug
from amber.features.unit import Status, Unit
from amber.location import is_local
from amber.lock import held, is_held

_BAD_CHUNK = (ValueError, RuntimeError)  # what codecs raise for bytes that are not what was written
_BAD_METADATA = (ValueError, KeyError, TypeError)  # what Zarr raises for a `zarr.json` that is not
# A chunk is copied while the processor still holds it: twice as fast from a local disk as many chunks at a time.
_READING = {"async.concurrency": 2, "codec_pipeline.batch_size": 1}
_UPGRADING = "upgrading"  # the attribute that holds the commits of a set of format 1 while it is upgraded
_MEND = "`amber cache verify` names the damage, `amber extract` repairs it"


class NoLayoutError(UserError):
    """There is no feature set at a place, or a run was killed while laying it out."""


class FeatureStore:
    """One feature set: `pooled` (N, L, D) or `frames` (T, L, D) with `spans` (N, 2), `status` (N,), `errors` (N,).

    All in the order of `ids` (N,). Use `create` to write and `open` to read.
    """

    def __init__(self, location: Path, group: zarr.Group, spec: FeatureSpec, format_: int = FORMAT) -> None:
        self.location = location
        self.spec = spec
        self._group = group
        self.format = format_
        self._layout = {n: a for n, a in arrays(spec).items() if n != "stamps" or self.format == FORMAT}
        self._arrays: dict[str, zarr.Array[Any]] = {}  # opened so far: opening reads a file

    @classmethod
    def create(
        cls, folder: Path, spec: FeatureSpec, ids: Sequence[str], stamps: NDArray[np.int64] | None = None
    ) -> FeatureStore:
        """Create the set in a dataset's cache folder, or go on with what an earlier run left there.

        Call it, and write, within `writing`.

        Parameters
        ----------
        folder, spec, ids
            The dataset's folder, what the set is, and the ids of its utterances.
        stamps
            Of the recordings as they are now, (N, 3): taken for those of a set of format 1, which has none.

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
            return cls(location, lay_out(location, spec, ids), spec)
        store.check(spec)
        if store.format != FORMAT:
            store = store._upgraded(ids, stamps)
        if store._ids_or(ids) != tuple(ids):
            raise UserError(f"{location}: holds other utterances than the corpus; move it away and extract again")
        return store

    @classmethod
    def open(cls, location: Path) -> FeatureStore:
        """Open a set.

        Raises
        ------
        NoLayoutError
            If there is no complete layout at that place; it is a `UserError`.
        UserError
            If this version can't read it.
        RunFailure
            If its metadata are damaged.

        """
        try:
            group = zarr.open_group(store=str(location), mode="r+", zarr_format=3)
        except FileNotFoundError:
            raise NoLayoutError(f"{location}: no feature set there") from None
        except _BAD_METADATA as error:
            raise _damaged_metadata(location) from error
        raw = group.attrs.get("spec")
        if raw is None:
            raise NoLayoutError(f"{location}: not a complete feature set; run `amber extract` again")
        known = isinstance(raw, dict) and raw.get("schema_version") == SCHEMA_VERSION
        format_: Any = group.attrs.get("format", 1)
        if not known or format_ not in (1, FORMAT):
            raise UserError(f"{location}: written by another version of amber; extract again into a new cache")
        try:
            return cls(location, group, FeatureSpec.model_validate(raw), format_)
        except ValueError as error:
            raise _damaged_metadata(location) from error

    def check(self, spec: FeatureSpec) -> None:
        """Refuse another spec than this set's, and name what differs."""
        here, there = self.spec.model_dump(), spec.model_dump()
        differing = [f"{key}: {here[key]!r} here, {there[key]!r} wanted" for key in here if here[key] != there[key]]
        if differing:
            raise UserError(f"{self.location}: holds other features than asked for\n" + "; ".join(differing))

    def check_layout(self) -> None:
        """Raise a `RunFailure` if metadata are not what the spec asks for, or the spec is not what the name says.

        Then no unit can be judged.
        """
        if self.location.name != self.spec.name:
            raise RunFailure(
                f"{self.location}: its folder's name is not that of its spec, {self.spec.name}: it was renamed, or its "
                "metadata are damaged; rename it back, or move it out of the cache and run `amber extract` again"
            )
        for name, wanted in self._layout.items():
            array = self._array(name)
            checked = wanted.is_checked(array) or self.format != FORMAT
            if not wanted.is_metadata_of(array) or not checked:
                raise _damaged_metadata(f"{self.location}/{name}")

    def is_named(self, asked: str) -> bool:
        """Return whether the set is meant by its folder's name, its encoder's name or the encoder's folder."""
        return asked in (self.location.name, self.spec.encoder) or slug(asked) == slug(self.spec.encoder)

    def ids(self) -> tuple[str, ...]:
        """Return the utterance ids, in row order."""
        return tuple(str(name) for name in self._read("ids"))

    def _upgraded(self, ids: Sequence[str], stamps: NDArray[np.int64] | None) -> FeatureStore:
        """Bring a set of format 1 to the present format; the commits are kept aside, should this be cut short."""
        kept: Any = self._group.attrs.get(_UPGRADING)
        if not isinstance(kept, dict):
            kept = {"commits": [self._commit(number) for number in range(self.spec.units)], "errors": self._reasons()}
            self._group.attrs.update({_UPGRADING: kept})
        layout = arrays(self.spec)
        written = {
            "ids": np.array(ids, dtype=object),
            "errors": np.array(kept["errors"], dtype=object),
            "commits": np.array(kept["commits"], dtype=np.uint64),
        }
        if "stamps" in layout and stamps is not None:
            written["stamps"] = stamps
        for name, values in written.items():
            layout[name].create(self._group, name, overwrite=True)[:] = values
        self._group.attrs.put({"spec": self.spec.model_dump(mode="json"), "format": FORMAT})
        return FeatureStore.open(self.location)

    def _reasons(self) -> list[str]:
        """Return all of `errors`; nothing where that can't be read, which the unit's commit tells."""
        found = [""] * self.spec.size
        for number in range(self.spec.units):
            with suppress(RunFailure):
                found[self._slice(number)] = self._read("errors", self._slice(number)).tolist()
        return found

    def content(self) -> str:
        """Return a hash of what the set holds: of its commits, each of which is a checksum of a unit's data."""
        return hashlib.sha256(self._read("commits").astype("<u8").tobytes()).hexdigest()[:16]

    def stamps(self) -> NDArray[np.int64] | None:
        """Return the stamps of the recordings, (N, 3), as they were read; None where none were kept.

        Those of units that are not committed, or whose chunk is not there or damaged, are -1.
        """
        if not self.is_stamped:
            return None
        committed = self.committed()
        with suppress(RunFailure):
            if committed.all():
                return self._read("stamps")
        found = np.full((self.spec.size, 3), -1, dtype=np.int64)
        for number in np.flatnonzero(committed).tolist():
            with suppress(RunFailure):
                found[self._slice(number)] = self._read("stamps", self._slice(number))
        return found

    @property
    def is_stamped(self) -> bool:
        """Return whether the set has stamps of recordings."""
        return "stamps" in self._layout

    def has_stamps(self, number: int) -> bool:
        """Return whether the stamps of a unit can be read."""
        try:
            self._read("stamps", self._slice(number))
        except RunFailure:
            return False
        return True

    def write_stamps(self, stamps: NDArray[np.int64], numbers: Sequence[int]) -> None:
        """Write the stamps of some units anew, out of those of all utterances (N, 3)."""
        for number in numbers:
            self._array("stamps")[self._slice(number)] = stamps[self._slice(number)]

    def units_of(self, rows: NDArray[np.int64]) -> list[int]:
        """Return the units that some rows are in."""
        return sorted(set((rows // self.spec.unit_rows).tolist()))

    def take_back(self, numbers: Sequence[int]) -> None:
        """Take back the commits of units, so that they are done again."""
        for number in numbers:
            self._array("commits")[number] = 0

    def unit(self, number: int) -> range:
        """Return the rows of a unit."""
        rows = self.spec.unit_rows
        return range(number * rows, min((number + 1) * rows, self.spec.size))

    def _ids_or(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the ids; where they are damaged write `ids`, which the spec has a hash of, in their place."""
        try:
            return self.ids()
        except RunFailure:
            self._array("ids")[:] = np.array(ids, dtype=object)
            return self.ids()

    def _slice(self, number: int) -> slice:
        rows = self.unit(number)
        return slice(rows.start, rows.stop)

    def committed(self) -> NDArray[np.bool_]:
        """Return which units are committed, (U,); one whose commit can't be read is not."""
        try:
            return np.asarray(self._read("commits") != 0)
        except RunFailure:
            return np.array([self._commit(number) != 0 for number in range(self.spec.units)])

    def complete(self) -> bool:
        """Return whether every unit is committed."""
        return bool(self.committed().all())

    def status(self) -> NDArray[np.uint8]:
        """Return the `Status` of every utterance, (N,); absent where its unit is not committed."""
        committed = self.committed()
        if committed.all():
            return self._read("status")
        found = np.full(self.spec.size, Status.ABSENT, dtype=np.uint8)
        for number in np.flatnonzero(committed).tolist():
            found[self._slice(number)] = self._read("status", self._slice(number))
        return found

    def errors(self) -> dict[str, str]:
        """Return why utterances failed, by id."""
        failed = np.flatnonzero(self.status() == Status.FAILED)
        if not len(failed):
            return {}
        ids, rows = self.ids(), self.spec.unit_rows
        reasons = {number: self._read("errors", self._slice(number)) for number in set((failed // rows).tolist())}
        return {ids[row]: str(reasons[row // rows][row % rows]) for row in failed.tolist()}

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
        here = self._slice(number)
        if stored.lengths is None:
            self._array("pooled")[here] = stored.features
        else:
            start = number * self.spec.unit_room
            self._write_frames(start, stored.features)
            ends = start + np.cumsum(stored.lengths)
            self._array("spans")[here] = np.stack([ends - stored.lengths, ends], axis=1)
        if stored.stamps is not None:
            self._array("stamps")[here] = stored.stamps
        self._array("status")[here] = stored.status
        self._array("errors")[here] = np.array(stored.errors, dtype=object)
        self._array("commits")[number] = stored.checksum

    def _write_frames(self, start: int, features: NDArray[Any]) -> None:
        """Write frames from `start` on, the last chunk filled up: of one written in part the rest would be read."""
        whole = len(features) - len(features) % self.spec.chunk_frames
        if whole:
            self._array("frames")[start : start + whole] = features[:whole]
        if whole < len(features):
            last = np.full((self.spec.chunk_frames, *features.shape[1:]), np.nan, dtype=features.dtype)
            last[: len(features) - whole] = features[whole:]
            self._array("frames")[start + whole : start + whole + len(last)] = last

    def read_unit(self, number: int) -> Unit:
        """Read a committed unit and hold it against its commit.

        Raises
        ------
        RunFailure
            If the data are not what was committed, or could never have been; the message names the chunk if it can.

        """
        here = self._slice(number)
        status = self._read("status", here, f"/c/{number}")
        errors = [str(reason) for reason in self._read("errors", here, f"/c/{number}")]
        if self.spec.level == "pooled":
            unit = Unit(self._features(here.start, here.stop - here.start), status, errors)
        else:
            lengths = self._lengths(number, self._read("spans", here, f"/c/{number}/0"))
            unit = Unit(self._features(number * self.spec.unit_room, int(lengths.sum())), status, errors, lengths)
        trouble = unit.trouble(self._commit(number))
        if trouble:
            raise RunFailure(f"{self.location}: unit {number}: {trouble}")
        return unit

    def stream(self, numbers: Sequence[int]) -> Iterator[Unit]:
        """Read the frames of units in the order asked for, the next one while the last is being used.

        Features are there until the next unit is asked for: their memory is used again. Every chunk is held against
        its own checksum, not the whole against the commit as `read_unit` does.

        Raises
        ------
        RunFailure
            If a chunk's content is not what was written.

        """
        spans, status = self.spans(), self.status()
        lengths = {number: self._lengths(number, spans[self._slice(number)]) for number in numbers}
        most = max((int(n.sum()) for n in lengths.values()), default=0)
        shape = (most, len(self.spec.layers), self.spec.dim)
        buffers = itertools.cycle([np.empty(shape, dtype=self.spec.dtype) for _ in range(2)])

        def frames(number: int, buffer: NDArray[Any]) -> Unit:
            n = lengths[number]
            features = buffer[: n.sum()]
            self._fill(features, number * self.spec.unit_room)
            return Unit(features, status[self._slice(number)], [""] * len(n), n)

        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as executor:
            waiting: Future[Unit] | None = None
            for number in numbers:
                unit = waiting.result() if waiting else None
                waiting = executor.submit(frames, number, next(buffers))
                if unit:
                    yield unit
            if waiting:
                yield waiting.result()

    def spans(self) -> NDArray[np.int64]:
        """Return where each utterance's frames lie in `frames`, (N, 2); of level *frames* only."""
        return self._read("spans")

    def _lengths(self, number: int, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many frames each utterance of a unit has, (n,), by its spans (n, 2)."""
        lengths = spans[:, 1] - spans[:, 0]
        start = number * self.spec.unit_room
        if (lengths < 0).any() or (spans[:, 0] != start + np.cumsum(lengths) - lengths).any():
            raise RunFailure(f"{self.location}: unit {number}: its spans do not follow one another")
        return np.asarray(lengths, dtype=np.int64)

    def _features(self, start: int, count: int) -> NDArray[Any]:
        """Read `count` rows of `pooled` or `frames`, the first of which begins a chunk."""
        found = np.empty((count, len(self.spec.layers), self.spec.dim), dtype=self.spec.dtype)
        self._fill(found, start)
        return found

    def _fill(self, out: NDArray[Any], start: int) -> None:
        """Read rows of `pooled` or `frames` into `out`."""
        name = self.spec.level
        if not is_local(self.location):
            out[:] = self._read(name, slice(start, start + len(out)))
            return
        try:
            chunks.read(self.location / name, start, out, self._array(name).chunks[0])
        except chunks.ChunkError as error:
            raise RunFailure(f"{self.location}/{name}/{error}; {_MEND}") from error

    def drop_damaged(self, advance: Callable[[], object] = lambda: None) -> dict[int, str]:
        """Read every committed unit, calling `advance` after each, and take back the commits of damaged ones.

        Whoever writes the set does these again as if they had never been there.

        Returns
        -------
        dict
            What is wrong with each unit that is no longer committed.

        Raises
        ------
        RunFailure
            If the metadata are damaged; then nothing is taken back.

        """
        self.check_layout()
        found = {}
        for number in np.flatnonzero(self.committed()).tolist():
            try:
                self.read_unit(number)
            except RunFailure as failure:
                self._array("commits")[number] = 0
                found[number] = str(failure)
            advance()
        return found

    def drop_failed(self) -> None:
        """Take back the commits of units that hold utterances which failed, so that they are done again."""
        self.take_back(self.units_of(np.flatnonzero(self.status() == Status.FAILED)))

    def every_layer(self) -> NDArray[Any]:
        """Read `pooled`, (N, L, D), in the set's dtype; rows without features are zero.

        Raises
        ------
        RunFailure
            If a chunk's content is not what was written. So do `layer` and `mean_of_layers`.

        """
        return self._features(0, self.spec.size)

    def layer(self, index: int) -> NDArray[Any]:
        """Read one stored layer of `pooled`, (N, D), in the set's dtype."""
        return self._by_unit(self.spec.dtype, lambda part: part[:, index])

    def mean_of_layers(self) -> NDArray[np.float32]:
        """Read the mean of `pooled` over the stored layers, (N, D)."""
        return self._by_unit("float32", lambda part: part.astype(np.float32).mean(axis=1))

    def pieces(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read `pooled` unit by unit: the first row of each, and its features (n, L, D)."""
        for rows in map(self.unit, range(self.spec.units)):
            yield rows.start, self._features(rows.start, len(rows))

    def _by_unit(self, dtype: str, choose: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        """Read `pooled` unit by unit, and keep of each (n, L, D) the (n, D) that `choose` makes of it."""
        if len(self.spec.layers) == 1:
            return choose(self.every_layer())
        found = np.empty((self.spec.size, self.spec.dim), dtype=dtype)
        for start, features in self.pieces():
            found[start : start + len(features)] = choose(features)
        return found

    def _commit(self, number: int) -> int:
        try:
            return int(self._array("commits")[number])  # type: ignore[arg-type]
        except _BAD_CHUNK:
            return 0

    def _array(self, name: str) -> zarr.Array[Any]:
        if name not in self._arrays:
            try:
                array = self._group[name]
            except _BAD_METADATA as error:
                raise _damaged_metadata(f"{self.location}/{name}") from error
            assert isinstance(array, zarr.Array)  # noqa: S101 (the layout is ours)
            self._arrays[name] = array
        return self._arrays[name]

    def _read(self, name: str, selection: Any = slice(None), chunk: str = "") -> NDArray[Any]:
        array = self._array(name)
        where, mend = f"{self.location}/{name}{chunk}", "" if chunk else f"; {_MEND}"
        try:
            with zarr.config.set(_READING):
                found = np.asarray(array[selection])
        except _BAD_CHUNK as error:
            raise RunFailure(f"{where}: a chunk is damaged ({error}){mend}") from error
        if self._layout[name].is_lost(found):
            raise RunFailure(f"{where}: a chunk is missing{mend}")
        return found


def set_folders(cache: Path, dataset: str) -> list[Path]:
    """Return the folders of a dataset's feature sets in a cache, by name, whatever state they are in."""
    return [path for path in sorted((cache / dataset).glob("*.zarr")) if path.name.startswith(MODALITIES)]


def feature_sets(cache: Path, dataset: str) -> list[FeatureStore]:
    """Return every feature set of a dataset in a cache, by name; half laid-out ones are left out.

    Raises
    ------
    RunFailure
        If the metadata of one are not what its spec asks for.

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


def _damaged_metadata(location: Path | str) -> RunFailure:
    return RunFailure(
        f"{location}/zarr.json can't be used: it is damaged, or another process is just writing it\n"
        "if none is, move the feature set out of the cache and run `amber extract` again"
    )


def _remove_partial_writes(location: Path) -> None:
    """Remove what a killed process was just writing: Zarr writes beside the chunk, then renames."""
    for partial in location.rglob("*.partial") if is_local(location) and location.is_dir() else ():
        partial.unlink(missing_ok=True)

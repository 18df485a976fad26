"""Reading a feature set: which units are done, what became of each utterance, and the features themselves."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from amber.ahead import ahead
from amber.arrays import Floats32, Integers, Mask
from amber.errors import RunFailure, UserError
from amber.features.layout import FORMAT, array_layouts
from amber.features.spec import SCHEMA_VERSION, FeatureSpec, slug
from amber.features.unit import Status, Unit
from amber.features.zarr_arrays import BAD_CHUNK, BAD_METADATA, ZarrArrays, damaged_metadata
from amber.names import model_name

PIECE_BYTES = 8 << 20  # read at once by `pieces`: enough rows for a matrix product at full speed, and little memory


class NoLayoutError(UserError):
    """There is no feature set at a place, or a run was killed while creating its arrays."""


class FeatureReader:
    """One feature set: `pooled` (N, L, D) or `frames` (T, L, D) with `spans` (N, 2), `status` (N,), `errors` (N,).

    All are in the order of `ids` (N,). Every method that reads raises a `RunFailure` if a chunk is damaged or missing,
    unless it says otherwise. Use `open`.
    """

    def __init__(self, location: Path, group: zarr.Group, spec: FeatureSpec, format_: int = FORMAT) -> None:
        self.location = location
        self.spec = spec
        self.format = format_
        layouts = {name: a for name, a in array_layouts(spec).items() if name != "stamps" or format_ == FORMAT}
        self._arrays = ZarrArrays(location, group, layouts)

    @classmethod
    def open(cls, location: Path) -> Self:
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
        except BAD_METADATA as error:
            raise damaged_metadata(location) from error
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
            raise damaged_metadata(location) from error

    def check_layout(self) -> None:
        """Raise a `RunFailure` if the folder's name or the arrays' metadata do not follow from the spec.

        Then no unit can be judged.
        """
        if self.location.name != self.spec.name:
            raise RunFailure(
                f"{self.location}: its folder's name is not that of its spec, {self.spec.name}: it was renamed, or its "
                "metadata are damaged; rename it back, or move it out of the cache and run `amber extract` again"
            )
        self._arrays.check_metadata(checksums=self.format == FORMAT)

    def is_named(self, asked: str) -> bool:
        """Return whether `asked` is the name of the set's folder, of its encoder, or the encoder's folder."""
        names = {slug(asked), slug(model_name(asked))}
        return asked in (self.location.name, self.spec.encoder) or slug(self.spec.encoder) in names

    def ids(self) -> tuple[str, ...]:
        """Return the utterance ids, in row order."""
        return tuple(str(name) for name in self._arrays.read("ids"))

    def content(self) -> str:
        """Return a hash of the set's commits, and so of its data: each commit is the checksum of a unit."""
        return hashlib.sha256(self._arrays.read("commits").astype("<u8").tobytes()).hexdigest()[:16]

    def unit(self, number: int) -> range:
        """Return the rows of a unit."""
        rows = self.spec.unit_rows
        return range(number * rows, min((number + 1) * rows, self.spec.size))

    def committed(self) -> Mask:
        """Return which units are committed, (U,); one whose commit can't be read is not."""
        try:
            return np.asarray(self._arrays.read("commits") != 0)
        except RunFailure:
            return np.array([self._commit(number) != 0 for number in range(self.spec.units)])

    def complete(self) -> bool:
        """Return whether every unit is committed."""
        return bool(self.committed().all())

    def status(self) -> NDArray[np.uint8]:
        """Return the `Status` of every utterance, (N,); absent where its unit is not committed."""
        committed = self.committed()
        if committed.all():
            return self._arrays.read("status")
        found = np.full(self.spec.size, Status.ABSENT, dtype=np.uint8)
        for number in np.flatnonzero(committed).tolist():
            found[self._slice(number)] = self._arrays.read("status", self._slice(number))
        return found

    def counts(self) -> dict[str, int]:
        """Return the number of utterances of each status, by its lower-case name."""
        counts = np.bincount(self.status(), minlength=len(Status))
        return {status.name.lower(): int(counts[status]) for status in Status}

    def errors(self) -> dict[str, str]:
        """Return why utterances failed, by id."""
        failed = np.flatnonzero(self.status() == Status.FAILED)
        if not len(failed):
            return {}
        ids, rows = self.ids(), self.spec.unit_rows
        reasons = {n: self._arrays.read("errors", self._slice(n)) for n in set((failed // rows).tolist())}
        return {ids[row]: str(reasons[row // rows][row % rows]) for row in failed.tolist()}

    @property
    def is_stamped(self) -> bool:
        """Return whether the set has stamps of recordings."""
        return "stamps" in self._arrays.layouts

    def has_stamps(self, number: int) -> bool:
        """Return whether the stamps of a unit can be read."""
        try:
            self._arrays.read("stamps", self._slice(number))
        except RunFailure:
            return False
        return True

    def stamps(self) -> Integers | None:
        """Return the stamps of the recordings when they were read, (N, 3); None if the set has none.

        They are -1 in units that are not committed, or whose chunk of stamps is damaged or missing.
        """
        if not self.is_stamped:
            return None
        committed = self.committed()
        with suppress(RunFailure):
            if committed.all():
                return self._arrays.read("stamps")
        found = np.full((self.spec.size, 3), -1, dtype=np.int64)
        for number in np.flatnonzero(committed).tolist():
            with suppress(RunFailure):
                found[self._slice(number)] = self._arrays.read("stamps", self._slice(number))
        return found

    def read_unit(self, number: int) -> Unit:
        """Read a committed unit and check it against its commit.

        Raises
        ------
        RunFailure
            If the data are not what was committed; the message names the chunk where it is known.

        """
        here = self._slice(number)
        status = self._arrays.read("status", here, f"/c/{number}")
        errors = [str(reason) for reason in self._arrays.read("errors", here, f"/c/{number}")]
        if self.spec.level == "pooled":
            unit = Unit(self._features(here.start, here.stop - here.start), status, errors)
        else:
            lengths = self._lengths(number, self._arrays.read("spans", here, f"/c/{number}/0"))
            unit = Unit(self._features(number * self.spec.unit_room, int(lengths.sum())), status, errors, lengths)
        trouble = unit.trouble(self._commit(number))
        if trouble:
            raise RunFailure(f"{self.location}: unit {number}: {trouble}")
        return unit

    def stream(self, numbers: Sequence[int]) -> Iterator[Unit]:
        """Read the frames of units in the order given, each while its predecessor is in use.

        A unit's features are overwritten once the next but one is read: use them before asking for the next unit. Every
        chunk is checked against its own checksum, but not the unit against its commit as in `read_unit`.
        """
        spans, status = self.spans(), self.status()
        lengths = {number: self._lengths(number, spans[self._slice(number)]) for number in numbers}
        most = max((int(n.sum()) for n in lengths.values()), default=0)
        shape = (most, len(self.spec.layers), self.spec.dim)
        buffers = itertools.cycle([np.empty(shape, dtype=self.spec.dtype) for _ in range(2)])

        def frames(number: int) -> Unit:
            n = lengths[number]
            features = next(buffers)[: n.sum()]
            self._arrays.read_into("frames", features, number * self.spec.unit_room)
            return Unit(features, status[self._slice(number)], [""] * len(n), n)

        yield from ahead(frames, numbers)

    def spans(self) -> Integers:
        """Return each utterance's first and last (exclusive) row of `frames`, (N, 2); of level *frames* only."""
        return self._arrays.read("spans")

    def every_layer(self) -> NDArray[Any]:
        """Return `pooled`, (N, L, D), in the set's dtype; rows without features are zero."""
        return self._features(0, self.spec.size)

    def layer(self, index: int) -> NDArray[Any]:
        """Return one stored layer of `pooled`, (N, D), in the set's dtype."""
        return self._by_piece(self.spec.dtype, lambda part: part[:, index])

    def mean_of_layers(self) -> Floats32:
        """Return the mean of `pooled` over the stored layers, (N, D)."""
        import torch  # late, as most commands need no tensors; it takes the mean on all cores, NumPy on one

        return self._by_piece("float32", lambda part: torch.from_numpy(part).float().mean(dim=1).numpy())

    def pieces(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the first row and the features (n, L, D) of pieces of `pooled`: whole units, in order."""
        rows = max(1, PIECE_BYTES // (self.spec.unit_rows * self.spec.vector_bytes)) * self.spec.unit_rows
        starts = range(0, self.spec.size, rows)
        features = ahead(lambda start: self._features(start, min(rows, self.spec.size - start)), starts)
        yield from zip(starts, features, strict=True)

    def _by_piece(self, dtype: str, choose: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        """Return `choose`, from (n, L, D) to (n, D), of every piece of `pooled`, (N, D)."""
        if len(self.spec.layers) == 1:
            return choose(self.every_layer())
        found = np.empty((self.spec.size, self.spec.dim), dtype=dtype)
        for start, features in self.pieces():
            found[start : start + len(features)] = choose(features)
        return found

    def _features(self, start: int, count: int) -> NDArray[Any]:
        """Return `count` rows of `pooled` or `frames` from the first row of a chunk, (count, L, D)."""
        found = np.empty((count, len(self.spec.layers), self.spec.dim), dtype=self.spec.dtype)
        self._arrays.read_into(self.spec.level, found, start)
        return found

    def _lengths(self, number: int, spans: Integers) -> Integers:
        """Return the number of frames of each utterance of a unit, (n,), from its spans (n, 2)."""
        lengths = spans[:, 1] - spans[:, 0]
        start = number * self.spec.unit_room
        if (lengths < 0).any() or (spans[:, 0] != start + np.cumsum(lengths) - lengths).any():
            raise RunFailure(f"{self.location}: unit {number}: its spans do not follow one another")
        return np.asarray(lengths, dtype=np.int64)

    def _commit(self, number: int) -> int:
        """Return the commit of a unit; 0, not committed, if it can't be read."""
        try:
            return int(self._arrays["commits"][number])  # type: ignore[arg-type]
        except BAD_CHUNK:
            return 0

    def _slice(self, number: int) -> slice:
        rows = self.unit(number)
        return slice(rows.start, rows.stop)

"""Inputs of level *frames*: read unit by unit in shuffled blocks, kept in memory where they fit.

The order of a fold's epoch is drawn from the fold and the epoch alone. So one stream serves all runs of a group, a run
sees the same batches alone and in company, and frames in memory give the numbers that streamed ones give.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from amber.console import Advance, ignore
from amber.corpus import Modality
from amber.features.store import FeatureStore

from .attention import Padded
from .batches import Batch, PooledSplit, Sampler
from .scaling import Scaling, Sums
from .streams import FRAMES_ORDER, generator

BLOCK_UNITS = 8  # units among whose utterances a block shuffles; so many are in memory at a time
VECTORS = 32  # pooled utterances that take as long to score as one of frames

Frames = NDArray[Any]


class FrameReader:
    """The frames of one modality in one layer, or in the mean of several; `rows` (n,) are the utterances' in the store.

    With `keep` they are read once, else whenever they are asked for. `advance` reports how far a reading of all is.
    """

    def __init__(
        self,
        store: FeatureStore,
        rows: NDArray[np.int64],
        layers: Sequence[int],
        keep: bool,
        advance: Advance = ignore,
    ) -> None:
        self.units, self.places = rows // store.spec.unit_rows, rows % store.spec.unit_rows  # (n,)
        self._store, self._layers, self._advance = store, list(layers), advance
        self._kept: dict[int, list[Frames]] = {}
        if keep:
            numbers = np.unique(self.units).tolist()
            self._kept = dict(self._numbered("reading", numbers))

    def read(self, numbers: Sequence[int]) -> Iterator[list[Frames]]:
        """Yield, unit by unit, the frames (T, D) of each of its utterances."""
        return (self._kept[number] for number in numbers) if self._kept else self._streamed(numbers)

    def _numbered(self, what: str, numbers: Sequence[int]) -> Iterator[tuple[int, list[Frames]]]:
        """Read units with their numbers, and report progress."""
        for done, (number, unit) in enumerate(zip(numbers, self.read(numbers), strict=True), 1):
            self._advance(0, f"{what} {self._store.spec.modality} frames, unit {done} of {len(numbers)}")
            yield number, unit

    def _streamed(self, numbers: Sequence[int]) -> Iterator[list[Frames]]:
        for unit in self._store.stream(numbers):
            assert unit.lengths is not None  # noqa: S101 (only sets of level *frames* are read here)
            chosen = unit.features[:, self._layers]  # (T, l, D), a copy: the stream uses its memory again
            one = chosen[:, 0] if len(self._layers) == 1 else chosen.mean(axis=1, dtype=np.float32)
            yield np.split(one, np.cumsum(unit.lengths)[:-1])

    def scaling(self, train: NDArray[np.int64]) -> Scaling:
        """Return the scaling by mean and standard deviation (D,) over all frames of the training rows (m,)."""
        numbers = np.unique(self.units[train])
        sums = Sums()
        for number, unit in self._numbered("scaling", numbers.tolist()):
            members = train[self.units[train] == number]
            sums.add(
                torch.from_numpy(np.concatenate([unit[place] for place in self.places[members]]).astype(np.float64))
            )
        return Scaling(*sums.mean_and_std())


@dataclass(frozen=True)
class ScaledFrames:
    """A modality's frames with the scaling of one fold."""

    reader: FrameReader
    scaling: Scaling

    @property
    def dim(self) -> int:
        """Return D."""
        return len(self.scaling.mean)

    def padded(self, items: Sequence[Frames], device: torch.device) -> Padded:
        """Scale the frames (T, D) of utterances, and pad them to the longest."""
        return padded(items, self.scaling, device)


@dataclass(frozen=True)
class FramesSplit:
    """A split of which at least one modality is frames; `pooled` has the others, if any, and the votes."""

    pooled: PooledSplit
    frames: Mapping[Modality, ScaledFrames]
    units: NDArray[np.int64]  # (m,)
    places: NDArray[np.int64]  # (m,) in the unit
    fold: int

    def __len__(self) -> int:
        return len(self.pooled)

    @property
    def inputs(self) -> Mapping[Modality, Tensor]:
        """Return the pooled inputs of all utterances, (n, D) or (n, L, D) by modality."""
        return self.pooled.inputs

    @property
    def rows(self) -> Tensor:
        """Return the rows of the utterances among all of the experiment, (m,)."""
        return self.pooled.rows

    @property
    def counts(self) -> Tensor:
        """Return the votes, (m, C)."""
        return self.pooled.counts

    @property
    def shapes(self) -> dict[Modality, tuple[int, ...]]:
        """Return the shape of an utterance by modality; of frames that of their statistics."""
        return self.pooled.shapes | {modality: (2 * frames.dim,) for modality, frames in self.frames.items()}

    @property
    def frame_dims(self) -> dict[Modality, int]:
        """Return D of the modalities that are frames."""
        return {modality: frames.dim for modality, frames in self.frames.items()}

    def stream(self, seed: int) -> int:
        """Return the number of the stream of batches: one for all seeds, as frames are read once for all runs."""
        return 0

    def sampler(self, size: int, orders: Sequence[torch.Generator]) -> Sampler:
        """Return what draws batches in one stream, shuffled by fold within blocks of shuffled units."""
        return _FramesSampler(self, size)

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Yield the places (B,) of batches and their inputs, without end.

        A block is divided evenly, so that no batch is a mere remainder.
        """
        for epoch in itertools.count():
            order = generator(self.fold, FRAMES_ORDER + epoch)
            numbers = _shuffled(np.unique(self.units), order)
            stream = self._read(numbers.tolist())
            for block in np.split(numbers, range(BLOCK_UNITS, len(numbers), BLOCK_UNITS)):
                held = dict(zip(block.tolist(), stream, strict=False))  # the stream goes on with the next block
                members = _shuffled(np.flatnonzero(np.isin(self.units, block)), order)
                for places in np.array_split(members, -(-len(members) // size)):
                    yield places, self._batch(places, held)

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield the inputs of all rows in their order; a slice never goes beyond a unit."""
        stretches = np.split(np.arange(len(self)), np.flatnonzero(np.diff(self.units)) + 1)
        numbers = [int(self.units[stretch[0]]) for stretch in stretches]
        for stretch, number, unit in zip(stretches, numbers, self._read(numbers), strict=True):
            for places in np.array_split(stretch, -(-len(stretch) * VECTORS // size)):
                if len(places):
                    yield self._batch(places, {number: unit})

    def _read(self, numbers: Sequence[int]) -> Iterator[dict[Modality, list[Frames]]]:
        streams = [frames.reader.read(numbers) for frames in self.frames.values()]
        return (dict(zip(self.frames, units, strict=True)) for units in zip(*streams, strict=True))

    def _batch(self, places: NDArray[np.int64], held: Mapping[int, Mapping[Modality, list[Frames]]]) -> Batch:
        """Return the inputs of some places (B,): pooled ones (1, B, D)."""
        device = self.rows.device
        batch: dict[Modality, Tensor | Padded] = dict(self.pooled.at(torch.from_numpy(places).to(device)[None]))
        for modality, frames in self.frames.items():
            items = [held[int(self.units[p])][modality][int(self.places[p])] for p in places]
            batch[modality] = frames.padded(items, device)
        return batch


class _FramesSampler:
    """Batches of frames, which all runs share: what a run sees does not depend on who trains beside it."""

    def __init__(self, split: FramesSplit, size: int) -> None:
        self._batches, self._device = split.batches(size), split.rows.device

    def draw(self) -> tuple[Tensor, Batch]:
        """Return places (1, B) in the split, and the inputs there."""
        places, batch = next(self._batches)
        return torch.from_numpy(places).to(self._device)[None], batch

    def keep(self, staying: Sequence[int]) -> None:
        """End no stream: there is one, for all runs."""


def padded(items: Sequence[Frames], scaling: Scaling, device: torch.device) -> Padded:
    """Scale the frames (T, D) of B utterances, and pad them to the longest: (B, T, D)."""
    lengths = [len(item) for item in items]
    flat = scaling.apply(np.concatenate(items))
    frames = pad_sequence(list(flat.split(lengths)), batch_first=True)  # type: ignore[no-untyped-call]
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Padded(frames.to(device), mask.to(device))


def _shuffled(values: NDArray[np.int64], order: torch.Generator) -> NDArray[np.int64]:
    places: NDArray[np.int64] = torch.randperm(len(values), generator=order).numpy()
    return values[places]

"""Each fold's scaled inputs, pooled or of frames, shared by the groups of runs that read them."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amber.config import Layer
from amber.console import Advance, ignore
from amber.corpus import MODALITIES, Modality
from amber.errors import UserError
from amber.splits import Fold

from .batches import FoldSplit, PooledSplit
from .candidates import Layers
from .dataset import TrainingData
from .frames import FrameReader, FramesSplit, ScaledFrames
from .scaling import Scaling, in_blocks

Scaled = Tensor | ScaledFrames
IN_MEMORY = 1 << 30  # bytes of a modality's layers that are read once for all folds


class Inputs:
    """The scaled inputs of folds by layer choice; groups that follow one another share them.

    With `keep`, up to `choices` of them (of a modality, a layer and a fold) stay in memory; else one candidate's at a
    time, and frames are streamed.
    """

    def __init__(
        self,
        data: TrainingData,
        folds: Mapping[int, Fold],
        device: str,
        keep: bool = True,
        choices: int = len(MODALITIES),
    ) -> None:
        self._data, self._folds, self._device, self._keep = data, folds, device, keep
        self._lock = Lock()  # of threads that want the same, one computes it
        self._advance: Advance = ignore  # of the thread that has the lock
        entries = choices if keep else len(MODALITIES)
        self._read = lru_cache(entries if keep else 0)(data.inputs)
        self._frames = lru_cache(entries)(self._reader)
        self._scaled = lru_cache(entries)(self._scale)
        self._choice: object = None  # the fold and layers in memory, where it is one at a time

    def of(
        self, fold: int, layers: Layers, advance: Advance = ignore
    ) -> tuple[dict[Modality, Scaled], dict[Modality, Scaling]]:
        """Return, by modality, all utterances' inputs scaled by the fold's training part, and the scaling.

        `layers` is a candidate's choice by modality. `advance` reports how far frames are read; an exception that it
        raises ends the reading.
        """
        with self._lock:
            self._advance = advance
            if not self._keep and self._choice != (fold, layers):
                self.clear()  # nothing is in memory but what is needed now
                self._choice = (fold, layers)
            found = {modality: self._scaled(modality, layer, fold) for modality, layer in layers}
        return {m: inputs for m, (inputs, _) in found.items()}, {m: scaling for m, (_, scaling) in found.items()}

    def clear(self) -> None:
        """Free all inputs; they are read again when they are asked for."""
        for cached in (self._read, self._frames, self._scaled):
            cached.cache_clear()
        gc.collect()  # cycles may hold what was cleared: PyTorch's first optimiser leaves one
        self._choice = None

    def _reader(self, modality: Modality, layer: Layer) -> FrameReader:
        store = self._data.stores[modality]
        chosen = [store.spec.layers.index(number) for number in self._data.layers(modality, layer)]
        return FrameReader(store, self._data.rows[modality], chosen, self._keep, self._report)

    def _report(self, n: int = 1, note: str = "") -> None:
        self._advance(n, note)

    def _scale(self, modality: Modality, layer: Layer, fold: int) -> tuple[Scaled, Scaling]:
        train = self._folds[fold].train
        if self._data.is_frames(modality):
            reader = self._frames(modality, layer)
            scaling = reader.scaling(train)
            return ScaledFrames(reader, scaling), scaling
        raw = self._raw(modality, layer)
        blocks = partial(self._data.blocks, modality) if raw is None else in_blocks(raw)
        scaling = Scaling.fit(blocks, train, side_by_side=layer == "all")
        # A mean is as large as what it becomes: where nothing else reads it, it is scaled in its place.
        own = torch.from_numpy(raw) if raw is not None and layer == "mean" and not self._keep else None
        return scaling.apply_all(blocks, len(self._data.corpus), own).to(self._device), scaling

    def _raw(self, modality: Modality, layer: Layer) -> NDArray[Any] | None:
        """Return a layer choice before it is scaled; None for layers side by side that are read piece by piece."""
        if layer != "all":
            return self._read(modality, layer)
        if self._keep and self._data.size(modality, "learned") <= IN_MEMORY:
            return self._read(modality, "learned")
        return None


def split(
    inputs: Mapping[Modality, Scaled],
    counts: NDArray[np.float64],
    rows: NDArray[np.int64],
    device: str,
    fold: int,
    corpora: NDArray[np.int64] | None = None,
) -> FoldSplit:
    """Return one split of a fold: rows (m,) of the utterances, whose votes are `counts` (n, C).

    `corpora` (n,) are those that batches of pooled inputs draw from in equal shares.

    Raises
    ------
    UserError
        If two modalities are frames and their sets do not hold the same utterances in the same order.

    """
    pooled = {modality: x for modality, x in inputs.items() if isinstance(x, Tensor)}
    frames = {modality: x for modality, x in inputs.items() if isinstance(x, ScaledFrames)}
    where, votes = torch.from_numpy(rows).to(device), torch.from_numpy(counts[rows]).float().to(device)
    of_pooled = PooledSplit(
        pooled, where, votes, torch.from_numpy(corpora[rows]).to(device) if corpora is not None else None
    )
    if not frames:
        return of_pooled
    reader, *others = (x.reader for x in frames.values())
    if not all(np.array_equal(o.units, reader.units) and np.array_equal(o.places, reader.places) for o in others):
        raise UserError("features: the frames of speech and text are of other utterances; extract both again")
    return FramesSplit(of_pooled, frames, reader.units[rows], reader.places[rows], fold)

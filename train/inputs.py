"""Each fold's scaled inputs, pooled or of frames, shared by the groups of runs that read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amber.corpus import MODALITIES, Modality
from amber.errors import UserError
from amber.splits import Fold

from .data import Data, LayerChoice, Part, Scaling, layer_of
from .frames import FrameReader, FramesPart, ScaledFrames, Tell

Scaled = Tensor | ScaledFrames


class Inputs:
    """The scaled inputs of one fold and layer choice at a time; groups that follow one another share them.

    With `keep` frames are in memory, and else streamed.
    """

    def __init__(self, data: Data, folds: Mapping[int, Fold], device: str, keep: bool = True) -> None:
        self._data, self._folds, self._device, self._keep = data, folds, device, keep
        self._lock = Lock()  # of threads that want the same, one computes it
        self._tell: Tell = lambda note: None  # of the thread that has the lock
        # One entry a modality, so that nothing is in memory but what is needed now.
        self._read = lru_cache(len(MODALITIES))(data.inputs)
        self._frames = lru_cache(len(MODALITIES))(self._reader)
        self._scaled = lru_cache(len(MODALITIES))(self._scale)

    def of(
        self, fold: int, modalities: Iterable[Modality], layer: LayerChoice, tell: Tell = lambda note: None
    ) -> tuple[dict[Modality, Scaled], dict[Modality, Scaling]]:
        """Return, by modality, all utterances' inputs scaled by the fold's training part, and the scaling.

        `layer` is a training's choice, for all modalities or by modality. `tell` hears how far frames are read; what
        it raises ends the reading.
        """
        with self._lock:
            self._tell = tell
            found = {modality: self._scaled(modality, layer_of(layer, modality), fold) for modality in modalities}
        return {m: inputs for m, (inputs, _) in found.items()}, {m: scaling for m, (_, scaling) in found.items()}

    def _reader(self, modality: Modality, layer: LayerChoice) -> FrameReader:
        store = self._data.stores[modality]
        chosen = [store.spec.layers.index(number) for number in self._data.layers(modality, layer)]
        return FrameReader(store, self._data.rows[modality], chosen, self._keep, lambda note: self._tell(note))

    def _scale(self, modality: Modality, layer: LayerChoice, fold: int) -> tuple[Scaled, Scaling]:
        train = self._folds[fold].train
        if self._data.is_frames(modality):
            reader = self._frames(modality, layer)
            scaling = reader.scaling(train)
            return ScaledFrames(reader, scaling), scaling
        features = self._read(modality, layer)
        scaling = Scaling.fit(features, train)
        return scaling.apply(features).to(self._device), scaling


def part(
    inputs: Mapping[Modality, Scaled], counts: NDArray[np.float64], rows: NDArray[np.int64], device: str, fold: int
) -> Part:
    """Return one part of a fold: rows of the utterances, whose votes are `counts` (n, C).

    Raises
    ------
    UserError
        If two modalities are frames and their sets do not hold the same utterances in the same order.

    """
    pooled = {modality: x for modality, x in inputs.items() if isinstance(x, Tensor)}
    frames = {modality: x for modality, x in inputs.items() if isinstance(x, ScaledFrames)}
    where, votes = torch.from_numpy(rows).to(device), torch.from_numpy(counts[rows]).float().to(device)
    if not frames:
        return Part(pooled, where, votes)
    reader, *others = (x.reader for x in frames.values())
    if not all(np.array_equal(o.units, reader.units) and np.array_equal(o.places, reader.places) for o in others):
        raise UserError("features: the frames of speech and text are of other utterances; extract both again")
    return FramesPart(pooled, where, votes, frames, reader.units[rows], reader.places[rows], fold)

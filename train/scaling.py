"""How pooled features are scaled: standardised by the training part, normalised, and reduced where they are wide.

Each vector of D is standardised feature by feature, then normalised to mean 0 and standard deviation 1: a layer
normalisation without parameters (Ba et al., 2016). Layers side by side (`all`) are scaled layer by layer and
concatenated. Above `WIDEST` dimensions they are projected to the leading principal subspace of the training part, in
a random orthonormal basis of it: lengths and angles stay, so an L2 penalty means what it meant, and every coordinate
carries about as much as every other, which an optimiser that goes by coordinates wants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import layer_norm

from amber.arrays import Float32s

Blocks = Callable[[], Iterator[tuple[NDArray[np.int64], NDArray[Any]]]]  # rows (b,), features (b, ..., D)

SMALLEST = 1e-6  # a feature whose standard deviation is less is constant, and is left unscaled
BLOCK_VALUES = 1 << 22  # features that are scaled at once: what else has to be in memory beside them
WIDEST = 1024  # dimensions that layers side by side have at most; wider ones are reduced
SAMPLE = 2048  # training utterances, at most, whose principal subspace it is


class Sums:
    """Sums over blocks of features (b, ..., D), from which follow their mean and standard deviation."""

    def __init__(self) -> None:
        self._count = 0
        self._shift = self._total = self._squares = torch.zeros(0)

    def add(self, block: Tensor) -> None:
        """Add a block (b, ..., D), which is changed: single precision serves within one, double across them."""
        if not self._count:  # or the squares would lose what varies little
            self._shift = block.mean(dim=0)
            self._total = self._squares = torch.zeros(block.shape[1:], dtype=torch.float64)
        block -= self._shift
        self._count += len(block)
        self._total, self._squares = self._total + block.sum(dim=0), self._squares + block.square_().sum(dim=0)

    def mean_and_std(self) -> tuple[Float32s, Float32s]:
        """Return mean and standard deviation, (..., D) each; that of a constant feature is 1."""
        mean, square = self._total / self._count, self._squares / self._count
        std = (square - mean.square()).clamp_min(0).sqrt()
        std[std < SMALLEST] = 1.0
        return (self._shift + mean).float().numpy(), std.float().numpy()


@dataclass(frozen=True)
class Scaling:
    """A modality's mean and standard deviation over the training part, (D,) or (L, D), and perhaps a projection.

    `projection` (L * D, K) is for layers side by side; an empty one, (0, 0), only puts them side by side.
    """

    mean: Float32s
    std: Float32s
    projection: Float32s | None = None

    @classmethod
    def fit(cls, blocks: Blocks, train: NDArray[np.int64], side_by_side: bool = False) -> Scaling:
        """Estimate the scaling from the training rows of features (n, D) or (n, L, D), read block by block.

        Parameters
        ----------
        blocks
            Reads all features.
        train
            The rows of the training part.
        side_by_side
            Whether layers (n, L, D) become one vector.

        """
        inside = np.zeros(int(train.max()) + 1, dtype=np.int8)
        inside[train] = 1
        inside[np.random.default_rng(0).permutation(train)[:SAMPLE]] += side_by_side
        sums, sample = Sums(), []
        for rows, features in blocks():
            part = np.where(rows < len(inside), inside[np.minimum(rows, len(inside) - 1)], 0)
            if not part.any():
                continue
            sums.add(_float32(features if part.all() else features[part > 0]))
            sample.append(features[part > 1])
        scaling = cls(*sums.mean_and_std())
        if not side_by_side:
            return scaling
        width = reduced_width(scaling.mean.size, len(train))
        if width == scaling.mean.size:
            return replace(scaling, projection=np.zeros((0, 0), dtype=np.float32))
        return replace(scaling, projection=_subspace(scaling.apply(np.concatenate(sample)).flatten(1), width))

    @property
    def width(self) -> int:
        """Return the dimension of a scaled vector."""
        if self.projection is None:
            return int(self.mean.shape[-1])
        return int(self.projection.shape[1] or self.mean.size)

    def apply(self, features: NDArray[Any]) -> Tensor:
        """Scale features (n, D) or (n, L, D); with a projection, (n, L, D) to (n, K)."""
        block = _float32(features)
        block.sub_(torch.from_numpy(self.mean)).div_(torch.from_numpy(self.std))
        scaled = layer_norm(block, block.shape[-1:])
        if self.projection is None:
            return scaled
        flat = scaled.flatten(1)
        return flat @ torch.from_numpy(self.projection) if self.projection.size else flat

    def apply_all(self, blocks: Blocks, size: int, into: Tensor | None = None) -> Tensor:
        """Scale `size` utterances, read block by block; (n, D), (n, L, D) or (n, K).

        `into` takes them, and may be what the blocks are read from.
        """
        shape = self.mean.shape if self.projection is None else (self.width,)
        scaled = torch.empty(size, *shape) if into is None else into
        for rows, features in blocks():
            scaled[torch.from_numpy(rows)] = self.apply(features)
        return scaled


def reduced_width(width: int, utterances: int) -> int:
    """Return how many dimensions layers side by side are reduced to, where a training part has so many utterances."""
    return width if width <= WIDEST else min(WIDEST, utterances)


def in_blocks(features: NDArray[Any]) -> Blocks:
    """Return what reads features in memory, (n, ...), block by block."""
    step = max(1, BLOCK_VALUES // int(np.prod(features.shape[1:])))

    def blocks() -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        for start in range(0, len(features), step):
            yield np.arange(start, min(start + step, len(features))), features[start : start + step]

    return blocks


def _float32(features: NDArray[Any]) -> Tensor:
    """Return a copy in single precision: PyTorch converts on all cores, NumPy on one."""
    return torch.tensor(features, dtype=torch.float32)


def _subspace(x: Tensor, width: int) -> Float32s:
    """Return an orthonormal basis (D, K) of the principal subspace of x (m, D), turned at random."""
    centred = (x - x.mean(dim=0)).double()
    values, vectors = torch.linalg.eigh(centred @ centred.T)  # of the Gram matrix (m, m): m is less than D
    width = max(1, min(width, int((values > values[-1] * 1e-10).sum())))
    smallest = torch.finfo(values.dtype).tiny  # where nothing varies, what is left is one direction of length 0
    basis = centred.T @ (vectors[:, -width:] / values[-width:].clamp_min(smallest).sqrt())  # (D, K)
    draws = torch.randn(width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(draws)[0]
    return np.ascontiguousarray((basis @ turn).float().numpy())

"""What a model makes of a batch, piece by piece, and the two forms in which it is kept: pooled, and frame by frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Piece:
    """Frames of one item of a batch: the item's number, the first frame's place in it, and a (T, D) tensor a layer."""

    item: int
    start: int
    states: list[torch.Tensor]


def pool(pieces: Iterable[Piece], size: int) -> NDArray[np.float32]:
    """Return the mean over all frames of each of `size` items, (B, L, D)."""
    sums: dict[int, torch.Tensor] = {}
    counts = [0] * size
    for piece in pieces:
        total = torch.stack([states.sum(dim=0, dtype=torch.float32) for states in piece.states])  # (L, D)
        sums[piece.item] = sums[piece.item] + total if piece.item in sums else total
        counts[piece.item] += len(piece.states[0])
    means = torch.stack([sums[item] / counts[item] for item in range(size)])  # (B, L, D)
    return np.asarray(means.cpu().numpy(), dtype=np.float32)


def join(pieces: Iterable[Piece], size: int) -> list[NDArray[np.float32]]:
    """Return the frames of each of `size` items in the order of time, each (T, L, D)."""
    found: list[dict[int, NDArray[np.float32]]] = [{} for _ in range(size)]
    for piece in pieces:
        found[piece.item][piece.start] = torch.stack(piece.states, dim=1).float().cpu().numpy()
    return [np.concatenate([parts[start] for start in sorted(parts)]) for parts in found]

"""Consecutive frames that a model returns for an item of a batch, averaged per item or joined in order of time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from amber.arrays import Floats32

Features = Floats32 | torch.Tensor  # what is on a GPU may still be computed there


@dataclass(frozen=True)
class FrameSpan:
    """Consecutive frames of one item of a batch.

    `item` is the item's place in the batch, `start` the place of the first frame in the item, and `states` holds one
    tensor (T, D) per layer.
    """

    item: int
    start: int
    states: list[torch.Tensor]


def pool(spans: Iterable[FrameSpan], size: int) -> Features:
    """Return the mean over all frames of each of `size` items, (B, L, D)."""
    sums: dict[int, torch.Tensor] = {}
    counts = [0] * size
    for span in spans:
        total = torch.stack([states.sum(dim=0, dtype=torch.float32) for states in span.states])  # (L, D)
        sums[span.item] = sums[span.item] + total if span.item in sums else total
        counts[span.item] += len(span.states[0])
    return _features(torch.stack([sums[item] / counts[item] for item in range(size)]))


def join(spans: Iterable[FrameSpan], size: int) -> list[Features]:
    """Return the frames of each of `size` items in order of time, (T, L, D) per item."""
    found: list[dict[int, torch.Tensor]] = [{} for _ in range(size)]
    for span in spans:
        found[span.item][span.start] = torch.stack(span.states, dim=1).float()
    return [_features(torch.cat([parts[start] for start in sorted(parts)])) for parts in found]


def _features(tensor: torch.Tensor) -> Features:
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def on_processor(features: Features) -> Floats32:
    """Return features as an array, once they are computed."""
    return features.cpu().numpy() if isinstance(features, torch.Tensor) else features

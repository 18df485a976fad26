"""How much memory the features of an experiment take, and whether that is too much."""

from __future__ import annotations

from collections.abc import Sequence

from amber.config import Layer
from amber.corpus import Modality
from amber.errors import UserError

from .context import candidates_of
from .dataset import TrainingData
from .frames import BLOCK_UNITS
from .matrix import LAYERED, Run, Variant


def memory_needed(data: TrainingData, every: Sequence[Variant], allowed: float) -> tuple[float, bool]:
    """Return how many GB a fold's features take, and whether that is one layer choice at a time for want of memory.

    Frames are then streamed.

    Raises
    ------
    UserError
        If a layer is not there, or the pooled features of one choice alone take more than allowed.

    """
    together: dict[tuple[Modality, Layer], float] = {}
    at_a_time = 0.0
    for variant in every:
        for candidate in candidates_of(Run(variant, 0, 0), data):
            sizes = {choice: data.size(*choice) / 1e9 for choice in candidate.layers}
            frames = {choice for choice in sizes if data.is_frames(choice[0])}
            if frames and variant.model not in LAYERED:
                raise UserError(f"variant {variant.name}: {variant.model} reads pooled features, not frames")
            pooled = sum(size for choice, size in sizes.items() if choice not in frames)
            if pooled > allowed:
                layers = ", ".join(f"{modality} {layer}" for modality, layer in candidate.layers)
                where = f"train.layer: {layers} of {data.corpus.name}"
                raise UserError(
                    f"{where} takes {pooled:.1f} GB, train.memory allows {allowed:g}\n"
                    "choose one layer or their mean, extract fewer layers, or raise it with --set train.memory=GB"
                )
            blocks = sum(sizes[c] * min(1.0, BLOCK_UNITS / data.stores[c[0]].spec.units) for c in frames)
            together |= sizes
            at_a_time = max(at_a_time, pooled + blocks)
    needed = sum(together.values())
    return (needed, False) if needed <= allowed else (at_a_time, True)

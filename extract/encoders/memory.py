"""Batches and memory: what does not fit is done in halves; a GPU's batches are as large as its memory allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    from . import EncoderInfo

LETTERS = 512  # characters of a text of the trial
T = TypeVar("T")
S = TypeVar("S")

SHARE = (
    0.6  # of the free memory of a GPU that a batch may take: it grows faster than its length where attention is long
)


def in_halves(call: Callable[[Sequence[T]], list[S]], items: Sequence[T]) -> list[S]:
    """Return what `call` makes of items; if they exhaust the memory together, half by half, until they fit.

    Raises
    ------
    torch.OutOfMemoryError
        If a single item does not fit.

    """
    try:
        return call(items)
    except torch.OutOfMemoryError:
        if len(items) == 1:
            raise
    # Outside of the handler, whose traceback would hold on to the tensors of the failed attempt.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(items) // 2
    return [*in_halves(call, items[:half]), *in_halves(call, items[half:])]


def trial(info: EncoderInfo) -> list[Any]:
    """Return a batch of an encoder's budget on a CPU, of noise or of letters."""
    if info.sample_rate:
        return [np.random.default_rng(0).normal(0, 0.1, info.budget).astype(np.float32)]
    return ["a " * (LETTERS // 2)] * (info.budget // LETTERS)


def fitting_budget(encode: Callable[[], object], size: int, device: str) -> int:
    """Return the size of a batch that fits into the free memory of a GPU, at least `size`, by a trial.

    `encode` encodes a batch of `size`, `device` is the GPU's name.
    """
    encode()  # what is allocated once, as the workspaces of libraries, is not of the batch
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    encode()
    torch.cuda.synchronize(device)
    free, _ = torch.cuda.mem_get_info(device)
    return scaled(size, torch.cuda.max_memory_allocated(device) - before, free)


def scaled(size: int, used: int, free: int) -> int:
    """Return the size of a batch that takes `SHARE` of `free` bytes, if one of `size` took `used`; at least `size`."""
    return max(size, int(size * SHARE * free / used)) if used > 0 else size

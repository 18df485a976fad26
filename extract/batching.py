"""Batches of similar length, filled to a budget, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amber.arrays import Integers


def batches(lengths: Sequence[int], budget: int, padding: float = 0.05) -> list[Integers]:
    """Group items, longest first, so that items x longest item stays within a budget.

    Parameters
    ----------
    lengths
        Length of each item (samples or tokens).
    budget
        Most that a batch may come to, padding included. An item above it gets a batch of its own.
    padding
        Most of a batch that may be padding, as a share of it; 1 for any.

    Returns
    -------
    list of ndarray
        Indices of the items of each batch; every item is in one batch.

    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    found: list[list[int]] = []
    held = 0  # what the last batch holds, without padding
    for index in order:
        size = lengths[found[-1][0]] * (len(found[-1]) + 1) if found else 0
        if found and size <= budget and held + lengths[index] >= (1 - padding) * size:
            found[-1].append(index)
            held += lengths[index]
        else:
            found.append([index])
            held = lengths[index]
    return [np.array(batch, dtype=np.int64) for batch in found]

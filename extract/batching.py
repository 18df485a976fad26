"""Batches of items of similar length, filled to a budget, with little padding."""

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
        Largest size of a batch, padding included. A longer item gets a batch of its own.
    padding
        Largest share of a batch that may be padding; 1 for any.

    Returns
    -------
    list of ndarray
        Indices of the items of each batch; every item is in one batch.

    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    found: list[list[int]] = []
    held = 0  # length of the last batch without padding
    for index in order:
        size = lengths[found[-1][0]] * (len(found[-1]) + 1) if found else 0
        if found and size <= budget and held + lengths[index] >= (1 - padding) * size:
            found[-1].append(index)
            held += lengths[index]
        else:
            found.append([index])
            held = lengths[index]
    return [np.array(batch, dtype=np.int64) for batch in found]

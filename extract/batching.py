"""Batches of similar length, filled to a budget, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def batches(lengths: Sequence[int], budget: int) -> list[NDArray[np.int64]]:
    """Group items, longest first, so that items x longest item stays within a budget.

    Parameters
    ----------
    lengths
        Length of each item (samples or tokens).
    budget
        Most that a batch may come to, padding included. An item above it gets a batch of its own.

    Returns
    -------
    list of ndarray
        Indices of the items of each batch; every item is in one batch.

    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    found: list[list[int]] = []
    for index in order:
        longest = lengths[found[-1][0]] if found else 0
        if found and longest * (len(found[-1]) + 1) <= budget:
            found[-1].append(int(index))
        else:
            found.append([int(index)])
    return [np.array(batch, dtype=np.int64) for batch in found]

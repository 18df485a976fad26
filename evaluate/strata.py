"""Dividing utterances by how ambiguous they are, with fixed edges, so that strata mean the same on every corpus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .distributions import normalised_entropy

EDGES = (1 / 3, 2 / 3)
AMBIGUITY = ("low", "mid", "high")
AGREEMENT = ("unanimous", "majority", "plurality", "tie")


def ambiguity(y: NDArray[np.float64]) -> NDArray[np.object_]:
    """Return low, mid or high per utterance: normalised entropy of y up to 1/3, up to 2/3, above."""
    # The tolerance keeps an entropy of exactly an edge, such as two of eight classes, on the lower side.
    return np.asarray(np.array(AMBIGUITY, dtype=object)[np.digitize(normalised_entropy(y) - 1e-9, EDGES)])


def agreement(y: NDArray[np.float64]) -> NDArray[np.object_]:
    """Return, per utterance, whether the raters were unanimous, had a majority, a plurality only, or a tie."""
    top = np.sort(y, axis=1)
    tie = top[:, -1] - top[:, -2] < 1e-9
    level = np.select([top[:, -1] >= 1 - 1e-9, tie, top[:, -1] > 0.5 + 1e-9], [0, 3, 1], default=2)
    return np.asarray(np.array(AGREEMENT, dtype=object)[level])


STRATA = {"ambiguity": (AMBIGUITY, ambiguity), "agreement": (AGREEMENT, agreement)}

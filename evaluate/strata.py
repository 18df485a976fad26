"""Dividing utterances into strata: by fixed edges where they mean the same on every corpus, else by terciles.

Each function returns a level by utterance, (N,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .distributions import jsd, normalised_entropy

Floats = NDArray[np.float64]
Levels = NDArray[np.object_]

SMALL = 30  # a stratum with fewer utterances is flagged
ORDER = {
    "ambiguity": ("low", "mid", "high"),
    "agreement": ("unanimous", "majority", "plurality", "tie"),
    "conflict": ("low", "mid", "high"),
    "votes": ("1 to 2", "3", "4 to 5", "6 or more"),
    "duration": ("under 2 s", "2 to 4 s", "4 to 8 s", "8 s or more"),
}
MEANING = {
    "ambiguity": "Normalised entropy of the rater distribution: low up to 1/3, mid up to 2/3, high above.",
    "agreement": "Share of the votes on the class with the most: all, more than half, less, or two classes share it.",
    "conflict": "Terciles of the Jensen-Shannon divergence between the speech and the text expert.",
    "votes": "Number of votes on an utterance within the classes.",
    "duration": "Length of the utterance.",
}
_EDGES = {"ambiguity": (1 / 3, 2 / 3), "votes": (2.5, 3.5, 5.5), "duration": (2.0, 4.0, 8.0)}


def ambiguity(y: Floats) -> Levels:
    """Return low, mid or high: normalised entropy of y (N, C) up to 1/3, up to 2/3, above."""
    # The tolerance keeps an entropy of exactly an edge, such as two of eight classes, on the lower side.
    return _cut("ambiguity", normalised_entropy(y) - 1e-9)


def agreement(y: Floats) -> Levels:
    """Return whether the raters were unanimous, had a majority, a plurality only, or a tie, for y (N, C)."""
    top = np.sort(y, axis=1)
    tie = top[:, -1] - top[:, -2] < 1e-9
    level = np.select([top[:, -1] >= 1 - 1e-9, tie, top[:, -1] > 0.5 + 1e-9], [0, 3, 1], default=2)
    return np.asarray(np.array(ORDER["agreement"], dtype=object)[level])


def conflict(speech: Floats, text: Floats) -> Levels:
    """Return the tercile of the divergence between two experts' predictions (N, C): low, mid or high.

    Utterances are ranked, so the terciles have equal sizes but for ties, which stay together.
    """
    divergence = jsd(speech, text)
    edges = np.quantile(divergence, [1 / 3, 2 / 3])
    return np.asarray(np.array(ORDER["conflict"], dtype=object)[np.digitize(divergence, edges, right=True)])


def votes(number: Floats) -> Levels:
    """Return the group of the number of votes (N,)."""
    return _cut("votes", number)


def duration(seconds: Floats) -> Levels:
    """Return the group of the duration in seconds (N,)."""
    return _cut("duration", seconds)


def _cut(name: str, value: Floats) -> Levels:
    return np.asarray(np.array(ORDER[name], dtype=object)[np.digitize(value, _EDGES[name])])

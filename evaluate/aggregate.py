"""From utterances to figures: sums by speaker that add up over folds, divided once.

Every metric here is a function of sums, so that resampling speakers is a matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import classification
from .calibration import BINS, entropy_error, gaps
from .distributions import per_utterance

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

UNKNOWN = 1000  # groups, at most, of utterances whose speaker is not known


@dataclass(frozen=True)
class Sums:
    """Sums over the utterances of each of G groups (speakers).

    `totals` (G, K) of the K metrics `names` that are means over utterances, `utterances` (G,), `confusion` (G, C, C),
    and `gaps` (G, 1 + C, BINS), confidence less correctness by bin, as in `calibration.gaps`.
    """

    names: tuple[str, ...]
    totals: Floats
    utterances: Floats
    confusion: Floats
    gaps: Floats

    def figures(self, weights: Floats) -> dict[str, Floats]:
        """Return every metric for weights (..., G) of the groups; all ones give the plain figure."""
        count = weights @ self.utterances  # (...)
        means = (weights @ self.totals) / count[..., None]  # (..., K)
        found = {name: means[..., k] for k, name in enumerate(self.names)}
        table = _weighted(weights, self.confusion)
        found |= {name: metric(table) for name, metric in classification.METRICS.items()}
        error = np.abs(_weighted(weights, self.gaps)).sum(axis=-1) / count[..., None]  # (..., 1 + C)
        return found | {"ece": error[..., 0], "ece_classwise": error[..., 1:].mean(axis=-1)}

    def plain(self) -> dict[str, float]:
        """Return every metric over all groups."""
        return {name: float(value) for name, value in self.figures(np.ones(len(self.utterances))).items()}


def values(y: Floats, p: Floats, votes: Floats) -> dict[str, Floats]:
    """Return every metric that is a mean over utterances, (N,) by name, for y, p (N, C) and numbers of votes (N,)."""
    return {**per_utterance(y, p, votes), "entropy_mae": entropy_error(y, p)}


def sums(y: Floats, p: Floats, votes: Floats, group: Rows, size: int) -> Sums:
    """Add up utterances by group.

    Parameters
    ----------
    y, p, votes
        Targets and predictions (N, C), numbers of votes (N,).
    group
        The group of each utterance, (N,), from 0 to `size` - 1.
    size
        The number of groups.

    """
    found = values(y, p, votes)
    classes = y.shape[1]
    cells = (group * classes + y.argmax(axis=1)) * classes + p.argmax(axis=1)
    bins, gap = gaps(y, p)  # (N, 1 + C)
    places = (group[:, None] * (1 + classes) + np.arange(1 + classes)) * BINS + bins
    by_bin = np.bincount(places.ravel(), gap.ravel(), minlength=size * (1 + classes) * BINS)
    return Sums(
        names=tuple(found),
        totals=np.stack([np.bincount(group, v, minlength=size) for v in found.values()], axis=1),
        utterances=np.bincount(group, minlength=size).astype(np.float64),
        confusion=np.bincount(cells, minlength=size * classes**2).astype(np.float64).reshape(size, classes, classes),
        gaps=by_bin.astype(np.float64).reshape(size, -1, BINS),
    )


def clusters(speakers: NDArray[np.object_]) -> Rows:
    """Number what is resampled as one: the speaker, or the utterance itself where its speaker is unknown, (N,).

    More than `UNKNOWN` utterances of unknown speakers are dealt in turn to as many groups, which bounds the memory of
    a bootstrap and costs no more than some of its degrees of freedom.
    """
    known = np.array([speaker is not None for speaker in speakers], dtype=bool)
    dealt = (np.cumsum(~known) - 1) % UNKNOWN
    names = [f"speaker {s}" if k else f"unknown {d}" for s, k, d in zip(speakers, known, dealt, strict=True)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _weighted(weights: Floats, stacked: Floats) -> Floats:
    """Add up (G, ...) with weights (..., G)."""
    flat = weights @ stacked.reshape(len(stacked), -1)
    return flat.reshape(*weights.shape[:-1], *stacked.shape[1:])

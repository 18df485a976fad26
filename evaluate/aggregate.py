"""From utterances to figures: sums by speaker that add up over folds, divided once.

Every metric here is a function of sums over utterances. So a speaker is left out by subtraction.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from . import classification, corrected
from .calibration import BINS, entropy_error, gaps
from .distributions import METRICS, cross_entropy, per_utterance

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Sums = Mapping[str, Floats]  # by name, (G, ...) over G speakers, or (...) over all

MEANS = (*METRICS, "vote_nll", "entropy_mae")  # what is a mean over utterances
UNKNOWN = 1000  # groups, at most, of utterances whose speaker is not known


def values(y: Floats, p: Floats, votes: Floats) -> dict[str, Floats]:
    """Return every metric that is a mean over utterances, (N,) by name, for y, p (N, C) and numbers of votes (N,)."""
    return {**per_utterance(y, p, votes), "entropy_mae": entropy_error(y, p)}


def terms(y: Floats, p: Floats, votes: Floats) -> dict[str, Floats]:
    """Return what the figures are sums of, by utterance, (N, ...) by name.

    Parameters
    ----------
    y, p, votes
        Targets and predictions (N, C), numbers of votes (N,).

    """
    return {
        **values(y, p, votes),
        "utterances": np.ones(len(y)),
        "votes": votes,
        "cross_entropy": cross_entropy(y, p, votes),
        **corrected.terms(y, p, votes),
    }


def sums(of: Mapping[str, Floats], y: Floats, p: Floats, group: Rows, size: int) -> Sums:
    """Add up `terms` and count cells by group, (G, ...).

    Parameters
    ----------
    of
        The `terms` of the utterances.
    y, p
        Targets and predictions (N, C).
    group
        The group of each utterance, (N,), from 0 to `size` - 1.
    size
        The number of groups G.

    """
    classes = y.shape[1]
    cells = (group * classes + y.argmax(axis=1)) * classes + p.argmax(axis=1)
    bins, gap = gaps(y, p)  # (N, 1 + C)
    places = (group[:, None] * (1 + classes) + np.arange(1 + classes)) * BINS + bins
    return {
        **{name: _by_group(value, group, size) for name, value in of.items()},
        "confusion": _counted(cells, None, (size, classes, classes)),
        "gaps": _counted(places.ravel(), gap.ravel(), (size, 1 + classes, BINS)),
    }


def whole(by_group: Sums) -> Sums:
    """Add up all groups: (G, ...) -> (...)."""
    return {name: value.sum(axis=0) for name, value in by_group.items()}


def left_out(by_group: Sums) -> Sums:
    """Add up all groups but one, for each of them: (G, ...) -> (G, ...), (0, ...) where there is one group only."""
    return {name: value.sum(axis=0) - value[: len(value) if len(value) > 1 else 0] for name, value in by_group.items()}


def figures(of: Sums) -> dict[str, Floats]:
    """Return every metric of sums (...), NaN where it is undefined."""
    count = of["utterances"]
    error = np.abs(of["gaps"]).sum(axis=-1) / count[..., None]  # (..., 1 + C)
    return {
        **{name: of[name] / count for name in MEANS if name in of},
        "nll_per_vote": of["cross_entropy"] / of["votes"],
        "brier_corrected": corrected.brier_corrected(of),
        "r2_pooled": corrected.r2_pooled(of),
        **{name: metric(of["confusion"]) for name, metric in classification.METRICS.items()},
        "ece": error[..., 0],
        "ece_classwise": error[..., 1:].mean(axis=-1),
    }


def clusters(speakers: NDArray[np.object_]) -> Rows:
    """Number what varies as one: the speaker, or the utterance itself where its speaker is unknown, (N,).

    More than `UNKNOWN` utterances of unknown speakers are dealt in turn to as many groups, which bounds the work of a
    jackknife and costs no more than some of its degrees of freedom.
    """
    known = np.array([speaker is not None for speaker in speakers], dtype=bool)
    dealt = (np.cumsum(~known) - 1) % UNKNOWN
    names = [f"speaker {s}" if k else f"unknown {d}" for s, k, d in zip(speakers, known, dealt, strict=True)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _by_group(value: Floats, group: Rows, size: int) -> Floats:
    """Add up rows (N, ...) by group, (G, ...)."""
    if value.ndim == 1:
        return np.bincount(group, value, minlength=size).astype(np.float64)
    return np.stack([np.bincount(group, column, minlength=size) for column in value.T], axis=1)


def _counted(cells: Rows, weights: Floats | None, shape: tuple[int, ...]) -> Floats:
    """Count numbered cells of an array of that shape, or add up weights in them."""
    return np.bincount(cells, weights, minlength=int(np.prod(shape))).astype(np.float64).reshape(shape)

"""From utterances to figures: sums by speaker that add up over folds, divided once; intervals by resampling speakers.

Every metric is a function of sums, so a bootstrap over speakers is one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amber.predictions import Predictions

from . import classification
from .distributions import per_utterance

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """Sums over the utterances of each of S speakers: `totals` (S, K) of K distribution metrics, and counts.

    `utterances` is (S,), `confusion` (S, C, C), in the order of `speakers`.
    """

    speakers: tuple[str, ...]
    names: tuple[str, ...]
    totals: Floats
    utterances: Floats
    confusion: Floats

    def figures(self, weights: Floats) -> dict[str, Floats]:
        """Return every metric for weights (..., S) of the speakers; all ones give the plain figure."""
        shape = self.confusion.shape[1:]
        count = weights @ self.utterances  # (...)
        means = (weights @ self.totals) / np.maximum(count, 1e-300)[..., None]  # (..., K)
        table = (weights @ self.confusion.reshape(len(self.speakers), -1)).reshape(*weights.shape[:-1], *shape)
        found = {name: means[..., k] for k, name in enumerate(self.names)}
        return found | {name: metric(table) for name, metric in classification.METRICS.items()}


def sums(predictions: Predictions, speakers: tuple[str, ...]) -> Sums:
    """Add up the metrics of utterances by speaker, for the given speakers in order."""
    values = per_utterance(predictions.y, predictions.p, predictions.keys["n_votes"].astype(np.float64))
    place = {speaker: i for i, speaker in enumerate(speakers)}
    of = np.array([place[speaker] for speaker in clusters(predictions)], dtype=np.int64)
    classes, size = len(predictions.classes), len(speakers)
    totals = np.stack([np.bincount(of, v, minlength=size) for v in values.values()], axis=1).astype(np.float64)
    table = np.zeros((size, classes, classes))
    np.add.at(table, (of, predictions.y.argmax(axis=1), predictions.p.argmax(axis=1)), 1.0)
    return Sums(speakers, tuple(values), totals, np.bincount(of, minlength=size).astype(np.float64), table)


def clusters(predictions: Predictions) -> list[str]:
    """Return what is resampled as one: the speaker, or the utterance itself where its speaker is unknown."""
    pairs = zip(predictions.keys["speaker"], predictions.keys["id"], strict=True)
    return [f"speaker {speaker}" if speaker is not None else f"utterance {uid}" for speaker, uid in pairs]


def summary(by_seed: list[Sums], resamples: int, seed: int) -> dict[str, dict[str, float | list[float]]]:
    """Summarise a variant: each metric's mean and deviation over seeds, and a 95 % interval over speakers.

    Parameters
    ----------
    by_seed
        The variant's sums, one entry a seed, over the same speakers.
    resamples, seed
        Of the bootstrap (percentile interval; in each resample the figure is the mean over seeds).

    Returns
    -------
    dict
        `mean`, `std` (sample deviation over seeds, 0 for one seed) and `ci` [low, high] by metric.

    """
    plain = [s.figures(np.ones(len(s.speakers))) for s in by_seed]
    weights = speaker_weights(len(by_seed[0].speakers), resamples, seed)
    drawn = [s.figures(weights) for s in by_seed]
    found: dict[str, dict[str, float | list[float]]] = {}
    for name in plain[0]:
        values = np.array([float(figures[name]) for figures in plain])
        low, high = np.quantile(np.mean([figures[name] for figures in drawn], axis=0), [0.025, 0.975])
        deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        found[name] = {"mean": float(values.mean()), "std": deviation, "ci": [float(low), float(high)]}
    return found


def speaker_weights(speakers: int, resamples: int, seed: int) -> Floats:
    """Return how often each speaker is drawn in each resample, (resamples, speakers)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples).astype(np.float64)

"""What a run sees of the votes: those of a few raters, on a share of the utterances, drawn without replacement.

Training and dev are drawn alike; the test part keeps all of its votes. In one draw, the raters and the utterances of a
smaller point are among those of a larger one, so that points differ in what was added and in nothing else. An utterance
that has fewer raters than are asked for keeps all it has. Features cost no votes: their scaling is that of the whole
training part.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np

from amber.arrays import Floats, Integers
from amber.config import Training
from amber.corpus import Votes
from amber.splits import Fold

from .dataset import TrainingData

RATERS, UTTERANCES = 0, 1  # random streams of a draw


class Subsampler:
    """Draws from the votes of an experiment."""

    def __init__(self, data: TrainingData) -> None:
        self._data = data
        self._counts = lru_cache(maxsize=4)(self._drawn)

    def data(self, training: Training, fold: Fold) -> TrainingData:
        """Return the data with the votes that a run sees in a fold's training part and dev."""
        if training.votes is None:
            return self._data
        counts, rows = self._data.counts.copy(), np.concatenate([fold.train, fold.dev])
        counts[rows] = self._counts(training.votes, training.draw)[rows]
        return replace(self._data, counts=counts)

    def fold(self, training: Training, fold: Fold) -> Fold:
        """Return the fold with the utterances of training and dev that a run sees."""
        if training.share == 1:
            return fold
        order = np.random.default_rng([training.draw, UTTERANCES]).random(len(self._data.corpus))

        def chosen(rows: Integers) -> Integers:
            kept = max(1, round(training.share * len(rows)))
            return np.sort(rows[np.argsort(order[rows], kind="stable")[:kept]])

        return replace(fold, train=chosen(fold.train), dev=chosen(fold.dev))

    @cached_property
    def _votes(self) -> Votes:
        """Return the votes that count: each names one of the classes."""
        votes = self._data.corpus.votes()
        return votes.only(self._data.space.inside(votes))

    def _drawn(self, number: int, draw: int) -> Floats:
        """Return the counts (n, C) of up to `number` raters of each utterance."""
        votes = self._votes
        order = np.random.default_rng([draw, RATERS]).random(len(votes.utterance))
        by_utterance = np.lexsort((order, votes.utterance))
        first = np.searchsorted(votes.utterance[by_utterance], np.arange(votes.size))
        rank = np.empty(len(order), dtype=np.int64)
        rank[by_utterance] = np.arange(len(order)) - first[votes.utterance[by_utterance]]
        return self._data.space.count(votes.only(rank < number)).inside

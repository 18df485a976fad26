"""What gives figures a scale: answers that need no model, the oracle, and raters against raters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber.config import EvaluateOptions

from . import oracle, raters
from .baselines import baselines
from .corrected import repeated
from .gather import Experiment
from .judge import Scope, judge
from .oracle import Oracle
from .uncertainty import Error, of_speakers

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Baselines' predictions (N, C), the oracle, and every utterance's split-half scores.

    `scores` (n, K) and `tables` (n, C, C) are those of the utterances that can be `halved` (N,), in their order.
    """

    baselines: dict[str, Floats]
    oracle: Oracle
    halved: NDArray[np.bool_]
    scores: Floats
    tables: Floats

    @classmethod
    def of(cls, experiment: Experiment, options: EvaluateOptions) -> Scale:
        """Compute the baselines, consult the oracle and split the votes."""
        y, votes = experiment.y, experiment.votes
        halved = repeated(y, votes)
        return cls(
            baselines(y, experiment.folds, experiment.priors),
            oracle.consult(y, votes, options.resamples, options.seed),
            halved,
            *raters.split_half(y[halved], votes[halved]),
        )

    def figures(self, experiment: Experiment, scope: Scope) -> dict[str, Any]:
        """Return the figures of all three on a scope."""
        y, votes = experiment.y, experiment.votes
        return {
            "baselines": {name: judge(p[None], y, votes, scope).figures() for name, p in self.baselines.items()},
            "oracle": self.oracle.figures(y, votes, scope),
            "raters": self._raters(scope),
        }

    def _raters(self, scope: Scope) -> dict[str, Any]:
        """Return what split votes score; with intervals over speakers for what is a mean over utterances."""
        there = self.halved[scope.rows]
        found: dict[str, Any] = {"n": int(there.sum()), "left_out": int((~there).sum()), "figures": {}}
        if not there.any():
            return found
        part = scope.only(there)
        place = (np.cumsum(self.halved) - 1)[part.rows]
        columns = [*self.scores[place].T, np.ones(len(place))]
        sums = np.stack([np.bincount(part.group, column) for column in columns])  # (K + 1, G)
        names = raters.names(self.tables.shape[-1])
        for name, mean in raters.figures(self.scores[place], self.tables[place]).items():
            found["figures"][name] = {"mean": mean}
            if name in names:
                found["figures"][name]["ci"] = None
                if part.speakers > 1:
                    rest = sums.sum(axis=1, keepdims=True) - sums
                    left_out = rest[names.index(name)] / rest[-1]
                    found["figures"][name]["ci"] = Error((of_speakers(left_out),)).interval(mean)
        return found

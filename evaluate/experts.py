"""How far the objective trusts each expert with an utterance, as runs recorded it, and learned layer weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from amber.arrays import Floats
from amber.predictions import STUDENT

from .gather import Experiment, FoundRun


def trust(experiment: Experiment) -> dict[str, dict[str, Floats]]:
    """Return each expert's weight on every test utterance, averaged over seeds, (N,): variant -> expert -> weights."""
    return {
        variant: {expert: of.mean(axis=0) for expert, of in weights.items()}
        for variant, weights in experiment.weights.items()
        if weights
    }


def leading_candidate(run: FoundRun) -> int | None:
    """Return the number of the candidate that weighs most in a run's student; None where the model was not kept."""
    weights = {one["number"]: _of_student(one["weights"]) for one in run.model().get("candidates", [])}
    return max(weights, key=lambda number: weights[number]) if weights else None


def layer_weights(experiment: Experiment) -> dict[str, dict[str, dict[str, float]]]:
    """Return learned layer weights averaged over runs, where there are: variant -> modality -> layer -> weight.

    Of a run, those of the candidate that weighs most in its student.
    """
    gathered: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run in experiment.runs:
        leading = leading_candidate(run)
        found: Mapping[str, Any] = next(
            (one for one in run.model().get("candidates", []) if one["number"] == leading), {}
        )
        for modality, weights in (found.get("layer_weights") or {}).items():
            for layer, weight in weights.items():
                gathered[run.variant][modality][str(layer)].append(float(weight))
    return {
        variant: {
            modality: {layer: float(np.mean(values)) for layer, values in layers.items()}
            for modality, layers in modalities.items()
        }
        for variant, modalities in gathered.items()
    }


def _of_student(weights: Mapping[str, Any]) -> float:
    """Return a candidate's weight in the student, which may be the pool of several heads."""
    student = weights[STUDENT]
    return float(sum(student.values()) if isinstance(student, Mapping) else student)

"""How far the objective trusts each expert with an utterance, recomputed from predictions, and learned layer weights.

    w_m = softmax over experts m of ( -D(y, p_m) / temperature )

with the divergence, weighting and temperature of a run's own configuration (docs/paper.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr, softmax, xlogy

from amber.predictions import STUDENT

from . import distributions
from .gather import Experiment, FoundRun

Floats = NDArray[np.float64]

EXPERTS = ("speech", "text", "fusion")
_FLOOR = 1e-6  # of target probabilities under reverse-kl, as in training


def _kl(y: Floats, p: Floats) -> Floats:
    return np.asarray(rel_entr(y, np.maximum(p, distributions.EPSILON)).sum(axis=-1))


# In nats, as training computes them; y and p are (..., C).
DIVERGENCES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "kl": _kl,
    "reverse-kl": lambda y, p: _kl(p, np.maximum(y, _FLOOR)),
    "js": lambda y, p: (_kl(y, (y + p) / 2) + _kl(p, (y + p) / 2)) / 2,
    "bhattacharyya": lambda y, p: -np.log(np.maximum(np.sqrt(y * p).sum(axis=-1), distributions.EPSILON)),
    "hellinger": lambda y, p: 1 - np.sqrt(y * p).sum(axis=-1),
}


def expert_weights(y: Floats, experts: Floats, objective: Mapping[str, Any]) -> Floats:
    """Return the weights of M experts, (M, N), summing to one over M.

    Parameters
    ----------
    y
        Rater distributions (N, C).
    experts
        Predictions (M, N, C).
    objective
        `weighting`, `divergence` and `temperature` of the run.

    """
    if objective["weighting"] == "uniform":
        return np.full(experts.shape[:2], 1 / len(experts))
    if objective["weighting"] == "confidence":
        penalty = -xlogy(experts, experts).sum(axis=-1)
    else:
        penalty = DIVERGENCES[objective["divergence"]](np.broadcast_to(y, experts.shape), experts)
    return np.asarray(softmax(-penalty / objective["temperature"], axis=0))


def trust(experiment: Experiment) -> dict[str, dict[str, Floats]]:
    """Return each expert's weight on every test utterance, averaged over seeds, (N,): variant -> expert -> weights."""
    objectives = {run.variant: run.config["objective"] for run in experiment.runs}
    found: dict[str, dict[str, Floats]] = {}
    for variant, heads in experiment.heads.items():
        names = [name for name in EXPERTS if name in heads]
        if len(names) < 2 or not objectives[variant]["modality"]:  # nobody learns from its experts by these weights
            continue
        stacked = np.stack([heads[name] for name in names])  # (M, S, N, C)
        by_seed = [expert_weights(experiment.y, stacked[:, s], objectives[variant]) for s in range(stacked.shape[1])]
        found[variant] = dict(zip(names, np.mean(by_seed, axis=0), strict=True))
    return found


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


def _of_student(weights: Mapping[str, float]) -> float:
    """Return a candidate's weight in the student, which may be the pool of several heads."""
    return sum(weight for head, weight in weights.items() if head.startswith(STUDENT))

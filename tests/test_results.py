"""What a run's files hold: the weights of experts, against an independent implementation of the paper's formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import rel_entr, softmax

from amber.config import Objective, Training
from amber.train.matrix import Run, Variant
from amber.train.results import expert_weights_of

RNG = np.random.default_rng(0)
Y = RNG.multinomial(5, [0.4, 0.3, 0.2, 0.1], size=300) / 5
P = {head: RNG.dirichlet(np.ones(4), size=300) for head in ("fusion", "speech", "text")}
CLEAR = np.maximum(Y, 1e-6)  # the floor of targets under the reverse divergence
DISTANCES = {
    "kl": lambda p: rel_entr(Y, p).sum(axis=1),
    "reverse-kl": lambda p: rel_entr(p, CLEAR).sum(axis=1),
    "js": lambda p: (rel_entr(Y, (Y + p) / 2) + rel_entr(p, (Y + p) / 2)).sum(axis=1) / 2,
    "bhattacharyya": lambda p: -np.log(np.sqrt(Y * p).sum(axis=1)),
    "hellinger": lambda p: ((np.sqrt(Y) - np.sqrt(p)) ** 2).sum(axis=1) / 2,
}


def run(**objective: object) -> Run:
    return Run(Variant("amber2", Objective.model_validate(objective), Training()), 1, 0)


@pytest.mark.parametrize("divergence", DISTANCES)
def test_experts_are_weighted_by_how_well_they_read_the_raters(divergence: str) -> None:
    found = expert_weights_of(run(divergence=divergence, temperature=0.3), Y, P)
    distances = np.stack([DISTANCES[divergence](P[head]) for head in ("speech", "text")])
    expected = softmax(-distances / 0.3, axis=0)
    assert list(found) == ["speech", "text"]
    np.testing.assert_allclose([found["speech"], found["text"]], expected, atol=1e-9)


def test_other_weightings_and_other_students() -> None:
    np.testing.assert_allclose(expert_weights_of(run(weighting="uniform"), Y, P)["text"], 0.5)
    entropy = np.stack([-(P[head] * np.log(P[head])).sum(axis=1) for head in ("fusion", "text")])
    found = expert_weights_of(run(weighting="confidence", student="speech"), Y, P)
    np.testing.assert_allclose([found["fusion"], found["text"]], softmax(-entropy / 0.5, axis=0), atol=1e-9)


def test_without_guidance_there_are_no_weights() -> None:
    assert not expert_weights_of(run(modality_weight=0.0), Y, P)
    assert not expert_weights_of(run(), Y, {"fusion": P["fusion"]})

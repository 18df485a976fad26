"""Temperature scaling: finds the temperature that was put in, and leaves the order of classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from amber.train.calibration import RANGE, fit_temperature, scaled

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(size=(4000, 4)) * 2
TRUTH = softmax(LOGITS, axis=1)
VOTES = GENERATOR.multinomial(5, TRUTH).astype(float)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    sharpened = softmax(LOGITS * temperature, axis=1)
    found = fit_temperature(VOTES, sharpened)
    assert found == pytest.approx(temperature, rel=0.03)
    np.testing.assert_allclose(scaled(sharpened, temperature), TRUTH, atol=1e-9)


def test_no_other_temperature_is_likelier() -> None:
    p = softmax(LOGITS * 1.7, axis=1)

    def nll(temperature: float) -> float:
        return -float((VOTES * np.log(scaled(p, temperature))).sum())

    best = fit_temperature(VOTES, p)
    assert all(nll(best) <= nll(t) for t in np.geomspace(0.1, 10, 41))


def test_doubt_holds_the_temperature_to_one_as_that_many_utterances_would() -> None:
    p, n = softmax(LOGITS * 3, axis=1), len(VOTES)
    found = [fit_temperature(VOTES, p, doubt) for doubt in (0, n / 100, n, 1000 * n)]
    assert found == sorted(found, reverse=True)
    assert found[1] == pytest.approx(found[0], rel=0.05)
    assert found[3] == pytest.approx(1, abs=0.01)

    def loss(temperature: float) -> float:  # in nats per vote, where doubt is the number of utterances
        nll = -float((VOTES * np.log(scaled(p, temperature))).sum() / VOTES.sum())
        return nll + float(np.log(temperature)) ** 2 / 2

    assert all(loss(found[2]) <= loss(t) for t in found[2] * np.geomspace(0.1, 10, 401))


@pytest.mark.parametrize("utterances", [5, 200])
@pytest.mark.parametrize("votes", [0.5, 20.0])
@pytest.mark.parametrize("temperature", [0.8, 1.5])
def test_doubt_in_closed_form(utterances: int, votes: float, temperature: float) -> None:
    """Of two classes with log-odds z, which a temperature of 1/b multiplies by b, and doubt d, on n utterances.

    A share s of the votes for the first class is most likely where z (s - sigmoid(b z)) = d log(b) / (b n), however
    many votes an utterance has and whichever has more.
    """
    z, b, doubt = np.log(4), 1 / temperature, 1.0
    first = expit(b * z) + doubt * np.log(b) / (b * z * utterances)
    counts = votes * np.arange(1, utterances + 1)[:, None] * [first, 1 - first]
    found = fit_temperature(counts, np.tile([0.8, 0.2], (utterances, 1)), doubt)
    assert found == pytest.approx(temperature, abs=1e-3)


def test_classes_keep_their_order_and_certain_predictions_stay_finite() -> None:
    p = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    for temperature in RANGE:
        found = scaled(p, temperature)
        assert np.isfinite(found).all()
        assert (np.argsort(found, kind="stable") == np.argsort(p, kind="stable")).all()
    assert np.isfinite(fit_temperature(np.array([[0.0, 2.0, 1.0], [1.0, 1.0, 1.0]]), p))

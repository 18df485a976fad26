"""The geometric pool and its weights: closed forms, a search on a grid, and no single model that is better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax

from amber.opinion_pool import SMALLEST, best, fit_weights, pool

Floats = np.ndarray
MANY = 200  # times as many utterances: the penalty towards equal weights is next to nothing beside them


def drawn(models: int, seed: int, n: int = 60, classes: int = 4, scale: float = 2.0) -> tuple[Floats, Floats]:
    """Return K models that are each right to some extent, and votes."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, classes))
    noise = rng.normal(size=(models, n, classes)) * rng.uniform(0.2, 2, size=(models, 1, 1))
    log_p = log_softmax(scale * (truth * rng.uniform(0, 1.5, size=(models, 1, 1)) + noise), axis=-1)
    votes = rng.integers(1, 8, size=n)
    return log_p, np.array([rng.multinomial(v, softmax(t)) for v, t in zip(votes, truth, strict=True)]).astype(float)


def nll(log_q: Floats, counts: Floats) -> float:
    return float(-(counts * log_q).sum() / counts.sum())


def repeated(log_p: Floats, counts: Floats, times: int) -> tuple[Floats, Floats]:
    """Return so many times as many utterances, each as before."""
    return np.tile(log_p, (1, times, 1)), np.tile(counts, (times, 1))


def penalised(log_p: Floats, counts: Floats, weights: Floats) -> float:
    """Return what weights that sum to one minimise, in nats per vote: of n utterances, K/2 |w - 1/K|² / n is added."""
    size = len(weights)
    return nll(pool(log_p, weights), counts) + size / 2 * float(np.square(weights - 1 / size).sum()) / len(counts)


def test_the_pool_by_hand() -> None:
    p = np.array([[[0.5, 0.3, 0.2]], [[0.1, 0.1, 0.8]]])
    expected = p[0] ** 0.25 * p[1] ** 0.75
    np.testing.assert_allclose(np.exp(pool(np.log(p), np.array([0.25, 0.75]))), expected / expected.sum())


def test_the_pool_of_linear_heads_is_a_linear_head() -> None:
    rng = np.random.default_rng(0)
    x, heads, weights = rng.normal(size=(10, 5)), rng.normal(size=(3, 5, 4)), rng.dirichlet(np.ones(3))
    together = pool(log_softmax(np.einsum("nd,kdc->knc", x, heads), axis=-1), weights)
    one = log_softmax(x @ np.tensordot(weights, heads, axes=1), axis=-1)
    np.testing.assert_allclose(together, one, atol=1e-12)


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(0, 10_000), st.floats(0.1, 5.0))
def test_no_model_and_not_their_mean_is_better_on_the_votes_and_the_penalty(
    models: int, seed: int, scale: float
) -> None:
    log_p, counts = drawn(models, seed, scale=scale)
    weights = fit_weights(log_p, counts)
    assert weights.shape == (models,)
    assert weights.sum() == pytest.approx(1)
    assert ((weights == 0) | (weights >= SMALLEST)).all()
    for other in (*np.eye(models), np.full(models, 1 / models)):
        assert penalised(log_p, counts, weights) <= penalised(log_p, counts, other) + 1e-5
    # With many utterances, on the votes alone, but for a penalty of all weight on one of (K - 1)/2.
    log_q = pool(log_p, fit_weights(*repeated(log_p, counts, MANY)))
    allowed = (models - 1) / 2 / (MANY * len(counts)) + 1e-5
    for one in log_p:
        assert nll(log_q, counts) <= nll(one, counts) + allowed


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("times", [1, 3])
def test_the_weights_of_two_models_are_the_best_on_a_grid(seed: int, times: int) -> None:
    log_p, counts = repeated(*drawn(2, seed, n=8, scale=0.3), times)
    grid = np.linspace(0, 1, 2001)
    both = [np.array([share, 1 - share]) for share in grid]
    expected = grid[np.argmin([penalised(log_p, counts, one) for one in both])]
    alone = grid[np.argmin([nll(pool(log_p, one), counts) for one in both])]
    assert 0.005 < abs(expected - 0.5) < abs(alone - 0.5) - 0.02  # between equal weights and the votes' own
    np.testing.assert_allclose(fit_weights(log_p, counts), [expected, 1 - expected], atol=2e-3)


@pytest.mark.parametrize("utterances", [2, 10, 100])
@pytest.mark.parametrize("votes", [0.5, 10.0])
@pytest.mark.parametrize("lead", [-0.5, 0.2, 0.6])
def test_the_penalty_in_closed_form(utterances: int, votes: float, lead: float) -> None:
    """Of two models with opposite log-odds z and -z and weights (1 ± u)/2 the pool has log-odds u z.

    The penalty is u²/2 for one vote of each of n utterances, so a share s of the votes for the first class is most
    likely where z (s - sigmoid(u z)) = u / n, however many votes an utterance has and whichever has more.
    """
    z = np.log(9)
    log_p = np.log(np.tile([[[0.9, 0.1]], [[0.1, 0.9]]], (1, utterances, 1)))
    first = expit(lead * z) + lead / z / utterances
    counts = votes * np.arange(1, utterances + 1)[:, None] * [first, 1 - first]
    np.testing.assert_allclose(fit_weights(log_p, counts), [(1 + lead) / 2, (1 - lead) / 2], atol=1e-3)


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(0, 10_000), st.sampled_from([0.05, 20.0]))
def test_more_votes_of_the_same_utterances_change_nothing(models: int, seed: int, times: float) -> None:
    log_p, counts = drawn(models, seed, n=10)
    np.testing.assert_allclose(fit_weights(log_p, times * counts), fit_weights(log_p, counts), atol=2e-3)


def test_few_utterances_leave_the_weights_near_equal_ones_and_many_find_the_best() -> None:
    """A dozen models, one of them better than the others."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20, 3))
    noise = rng.normal(size=(12, 20, 3))
    noise[4] *= 0.05
    log_p = log_softmax(truth + noise / 2, axis=-1)
    p = softmax(truth, axis=-1)
    found = [fit_weights(*repeated(log_p, p, times)) for times in (1, 5, 25, 125, 1000)]
    furthest = [float(np.abs(weights - 1 / 12).max()) for weights in found]
    assert furthest == sorted(furthest)
    assert furthest[0] < 0.5 / 12
    assert found[-1][4] > 0.9
    assert furthest[1] < furthest[-1] / 2


@settings(max_examples=30)
@given(st.lists(st.floats(0.05, 1.0), min_size=2, max_size=4), st.integers(0, 10_000))
def test_the_weights_under_which_the_votes_were_made_are_found(given_: list[float], seed: int) -> None:
    """Votes of very many utterances that are the pool's own probabilities: it alone is the most likely."""
    weights = np.array(given_) / sum(given_)
    log_p, _ = drawn(len(weights), seed)
    rng = np.random.default_rng(seed)
    counts = np.exp(pool(log_p, weights)) * rng.integers(1, 8, size=(log_p.shape[1], 1))
    np.testing.assert_allclose(fit_weights(*repeated(log_p, counts, MANY)), weights, atol=0.01)


@settings(max_examples=30)
@given(st.lists(st.floats(0.1, 1.0), min_size=1, max_size=4), st.integers(0, 10_000), st.sampled_from([0.01, 1, 1e5]))
def test_weights_of_other_evidence_are_found_whatever_their_sum(given_: list[float], seed: int, times: float) -> None:
    """And however many votes there are: these weights carry no penalty."""
    weights = np.array(given_)
    log_p, _ = drawn(len(weights), seed, scale=0.7)
    rng = np.random.default_rng(seed)
    counts = times * np.exp(pool(log_p, weights)) * rng.integers(1, 8, size=(log_p.shape[1], 1))
    np.testing.assert_allclose(fit_weights(log_p, counts, sum_to_one=False), weights, atol=0.03)


@pytest.mark.parametrize("models", [1, 2])
def test_no_weight_is_above_one_where_more_would_be_more_likely(models: int) -> None:
    """Votes that are surer than all models together."""
    halves = np.random.default_rng(0).normal(size=(models, 200, 3))
    counts = 4 * softmax(2 * halves.sum(axis=0), axis=-1)
    weights = fit_weights(log_softmax(halves, axis=-1), counts, sum_to_one=False)
    np.testing.assert_allclose(weights, np.ones(models), atol=1e-6)
    assert (weights <= 1).all()


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 10_000), st.floats(0.1, 3.0))
def test_without_the_sum_nothing_is_less_likely(models: int, seed: int, scale: float) -> None:
    log_p, counts = drawn(models, seed, scale=scale)
    free, bound = (fit_weights(log_p, counts, sum_to_one=one) for one in (False, True))
    assert ((free >= 0) & (free <= 1)).all()
    assert nll(pool(log_p, free), counts) <= nll(pool(log_p, bound), counts) + 1e-5


def test_independent_evidence_adds_up() -> None:
    """Two models that each hear another half of what there is to know: the product is right, the mean too unsure."""
    halves = np.random.default_rng(0).normal(size=(2, 3000, 3))
    counts = 4 * softmax(halves.sum(axis=0), axis=-1)
    log_p = log_softmax(halves, axis=-1)
    np.testing.assert_allclose(fit_weights(log_p, counts, sum_to_one=False), [1, 1], atol=0.01)
    np.testing.assert_allclose(fit_weights(log_p, counts), [0.5, 0.5], atol=0.03)


def test_a_temperature_in_closed_form() -> None:
    """Beside a uniform model, whose share is what a temperature does, a model that is too sure by a factor of 4."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 3))
    log_p = np.stack([log_softmax(4 * logits, axis=-1), np.full((50, 3), -np.log(3))])
    found = fit_weights(*repeated(log_p, softmax(logits, axis=-1), MANY))
    np.testing.assert_allclose(found, [0.25, 0.75], atol=1e-3)


def test_a_model_that_knows_nothing_has_no_weight() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4000, 3))
    log_p = np.stack([log_softmax(truth, axis=-1), log_softmax(rng.normal(size=truth.shape), axis=-1)])
    counts = np.array([rng.multinomial(5, softmax(t)) for t in truth]).astype(float)
    assert fit_weights(log_p, counts)[1] < 0.03
    # And one that is wrong none at all.
    wrong = np.stack([log_p[0], log_softmax(-truth, axis=-1)])
    assert fit_weights(wrong, counts).tolist() == [1, 0]


def test_one_model_alone_and_models_that_are_the_same() -> None:
    log_p, counts = drawn(1, 0)
    assert fit_weights(log_p, counts).tolist() == best(log_p, counts).tolist() == [1]
    same = np.repeat(log_p, 3, axis=0)
    weights = fit_weights(same, counts)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(pool(same, weights), log_p[0], atol=1e-9)


def test_an_utterance_counts_by_its_votes() -> None:
    """Two models, each right on one of two utterances: who has the votes has the weight."""
    log_p = np.log([[[0.9, 0.1], [0.9, 0.1]], [[0.1, 0.9], [0.1, 0.9]]])
    counts = (np.array([[votes, 0], [0, 1]]) for votes in (1.0, 9.0))
    even, uneven = (fit_weights(*repeated(log_p, of, 50 * MANY)) for of in counts)
    np.testing.assert_allclose(even, [0.5, 0.5], atol=1e-3)
    # The pool is the same on both, and as likely as can be where it says 0.9.
    np.testing.assert_allclose(np.exp(pool(log_p, uneven))[0], [0.9, 0.1], atol=1e-3)


def test_the_best_is_the_likeliest_model_and_the_first_where_they_tie() -> None:
    log_p, counts = drawn(4, 3)
    chosen = best(log_p, counts)
    assert sorted(chosen) == [0, 0, 0, 1]
    assert int(chosen.argmax()) == int(np.argmin([nll(one, counts) for one in log_p]))
    assert best(np.repeat(log_p[:1], 3, axis=0), counts).tolist() == [1, 0, 0]

"""The geometric pool and its weights: closed forms, a search on a grid, and no single model that is better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax

from amber.train.opinion import SMALLEST, best, fit_weights, pool

Floats = np.ndarray
MANY = 1e5  # times as many votes: the penalty towards equal weights is nothing beside them


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


def penalised(log_p: Floats, counts: Floats, weights: Floats) -> float:
    """Return what weights that sum to one minimise, in nats: all votes, and K/2 |w - 1/K|²."""
    size = len(weights)
    return nll(pool(log_p, weights), counts) * counts.sum() + size / 2 * float(np.square(weights - 1 / size).sum())


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


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10_000), st.floats(0.1, 5.0))
def test_no_model_and_not_their_mean_is_better_on_the_votes_and_the_penalty(
    models: int, seed: int, scale: float
) -> None:
    log_p, counts = drawn(models, seed, scale=scale)
    weights = fit_weights(log_p, counts)
    assert weights.shape == (models,)
    assert weights.sum() == pytest.approx(1)
    assert ((weights == 0) | (weights >= SMALLEST)).all()
    allowed = 1e-5 * counts.sum()
    for other in (*np.eye(models), np.full(models, 1 / models)):
        assert penalised(log_p, counts, weights) <= penalised(log_p, counts, other) + allowed
    # With many votes, on the votes alone.
    log_q = pool(log_p, fit_weights(log_p, MANY * counts))
    for one in log_p:
        assert nll(log_q, counts) <= nll(one, counts) + 2e-5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("times", [0.02, 0.1])
def test_the_weights_of_two_models_are_the_best_on_a_grid(seed: int, times: float) -> None:
    log_p, counts = drawn(2, seed, n=8)
    grid = np.linspace(0, 1, 2001)
    both = [np.array([share, 1 - share]) for share in grid]
    expected = grid[np.argmin([penalised(log_p, times * counts, one) for one in both])]
    alone = grid[np.argmin([nll(pool(log_p, one), counts) for one in both])]
    assert 0.005 < abs(expected - 0.5) < abs(alone - 0.5) - 0.02  # between equal weights and the votes' own
    np.testing.assert_allclose(fit_weights(log_p, times * counts), [expected, 1 - expected], atol=2e-3)


@pytest.mark.parametrize("votes", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("lead", [-0.5, 0.2, 0.6])
def test_the_penalty_in_closed_form(votes: float, lead: float) -> None:
    """Of two models with opposite log-odds z and -z and weights (1 ± u)/2 the pool has log-odds u z.

    The penalty is u²/2, so n of N votes for the first class are most likely where z (n - N sigmoid(u z)) = u.
    """
    z = np.log(9)
    log_p = np.log([[[0.9, 0.1]], [[0.1, 0.9]]])
    first = votes * expit(lead * z) + lead / z
    found = fit_weights(log_p, np.array([[first, votes - first]]))
    np.testing.assert_allclose(found, [(1 + lead) / 2, (1 - lead) / 2], atol=1e-3)


def test_few_votes_leave_the_weights_near_equal_ones_and_many_find_the_best() -> None:
    """A dozen models, one of them better than the others."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20, 3))
    noise = rng.normal(size=(12, 20, 3))
    noise[4] *= 0.05
    log_p = log_softmax(truth + noise, axis=-1)
    p = softmax(truth, axis=-1)
    furthest = [float(np.abs(fit_weights(log_p, times * p) - 1 / 12).max()) for times in (0.01, 0.1, 1, 10, MANY)]
    assert furthest == sorted(furthest)
    assert furthest[0] < 0.1 / 12
    assert fit_weights(log_p, MANY * p)[4] > 0.9
    assert furthest[2] < furthest[4] / 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.05, 1.0), min_size=2, max_size=4), st.integers(0, 10_000))
def test_the_weights_under_which_the_votes_were_made_are_found(given_: list[float], seed: int) -> None:
    """Very many votes that are the pool's own probabilities: it alone is the most likely."""
    weights = np.array(given_) / sum(given_)
    log_p, _ = drawn(len(weights), seed)
    rng = np.random.default_rng(seed)
    counts = MANY * np.exp(pool(log_p, weights)) * rng.integers(1, 8, size=(log_p.shape[1], 1))
    np.testing.assert_allclose(fit_weights(log_p, counts), weights, atol=0.01)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 1.0), min_size=1, max_size=4), st.integers(0, 10_000), st.sampled_from([0.01, 1, MANY]))
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


@settings(max_examples=30, deadline=None)
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
    np.testing.assert_allclose(fit_weights(log_p, MANY * softmax(logits, axis=-1)), [0.25, 0.75], atol=1e-3)


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
    even, uneven = (fit_weights(log_p, MANY * np.array([[votes, 0], [0, 1]])) for votes in (1.0, 9.0))
    np.testing.assert_allclose(even, [0.5, 0.5], atol=1e-3)
    # The pool is the same on both, and as likely as can be where it says 0.9.
    np.testing.assert_allclose(np.exp(pool(log_p, uneven))[0], [0.9, 0.1], atol=1e-3)


def test_the_best_is_the_likeliest_model_and_the_first_where_they_tie() -> None:
    log_p, counts = drawn(4, 3)
    chosen = best(log_p, counts)
    assert sorted(chosen) == [0, 0, 0, 1]
    assert int(chosen.argmax()) == int(np.argmin([nll(one, counts) for one in log_p]))
    assert best(np.repeat(log_p[:1], 3, axis=0), counts).tolist() == [1, 0, 0]

"""Guidance as a prior: folds that keep speakers apart, what experts are worth, and what the student learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import dirichlet_multinomial

from amber.config import Objective
from amber.opinion_pool import fit_weights, pool
from amber.panel import WORTH, worth
from amber.train.objective import GroupLoss
from amber.train.prior import FOLDS, TRUST, fit_prior, speaker_folds
from amber.train.targets import MemberVotes

SPEAKERS = st.lists(st.none() | st.sampled_from("abcdefghijkl"), min_size=1, max_size=120)


@settings(max_examples=100)
@given(SPEAKERS, st.integers(2, 6))
def test_folds_keep_speakers_apart_and_are_balanced(speakers: list[str | None], folds: int) -> None:
    found = speaker_folds(speakers, folds)
    names = [s if s is not None else i for i, s in enumerate(speakers)]
    of = {name: {int(fold) for n, fold in zip(names, found, strict=True) if n == name} for name in names}
    assert all(len(where) == 1 for where in of.values())
    # As many folds as asked for, or as speakers.
    sizes = np.bincount(found)
    assert len(sizes) == min(folds, len(of))
    assert (sizes > 0).all()
    # The speaker with the fewest utterances came last into its fold, which was then the smallest.
    for fold in range(len(sizes)):
        fewest = min(names.count(name) for name, where in of.items() if where == {fold})
        assert sizes[fold] - fewest <= sizes.min()


def test_the_speakers_with_most_utterances_are_divided_first() -> None:
    sizes = {"a": 30, "b": 1, "c": 30, "d": 2, "e": 28, "f": 1}
    speakers = [name for name, size in sizes.items() for _ in range(size)]
    found = speaker_folds(speakers, folds=3)
    assert sorted(np.bincount(found)) == [30, 31, 31]


def test_utterances_of_unknown_speakers_are_apart_and_a_name_is_not_taken_for_one() -> None:
    assert sorted(np.bincount(speaker_folds([None] * 10))) == [2] * FOLDS
    assert len(set(speaker_folds(["unknown 0", None, "1", None], folds=4).tolist())) == 4


def simulated(raters: float, seed: int, n: int = 4000, votes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(4), size=n)
    own = np.array([rng.dirichlet(raters * one) for one in p])
    return p, np.array([rng.multinomial(votes, one) for one in own]).astype(float)


@pytest.mark.parametrize("raters", [0.5, 2.0, 8.0, 30.0])
def test_what_experts_are_worth_is_found(raters: float) -> None:
    assert worth(*simulated(raters, seed=int(raters))) == pytest.approx(raters, rel=0.15)


def test_what_experts_are_worth_is_most_likely_by_scipy_s_likelihood() -> None:
    p, counts = simulated(3.0, seed=1, n=300)
    found = worth(p, counts)

    def likelihood(raters: float) -> float:
        return float(dirichlet_multinomial.logpmf(counts.astype(int), raters * p, counts.sum(axis=1).astype(int)).sum())

    assert likelihood(found) >= max(likelihood(found * 0.98), likelihood(found * 1.02))


def test_numbers_of_raters_may_differ_and_votes_may_be_fractions() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), size=4000)
    counts = np.array([rng.multinomial(rng.integers(1, 12), rng.dirichlet(6 * one)) for one in p]).astype(float)
    assert worth(p, counts) == pytest.approx(6.0, rel=0.15)
    assert np.isfinite(worth(p, counts / 2))


def test_one_vote_each_says_nothing_of_the_worth() -> None:
    p, counts = simulated(5.0, seed=0, n=50, votes=1)
    assert worth(p, counts) == 1.0


def test_experts_that_say_all_and_experts_that_say_nothing_stay_within_the_range() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3) * 0.3, size=500)
    exact = np.array([rng.multinomial(20, one) for one in p]).astype(float)
    assert WORTH[1] * 0.5 < worth(p, exact) <= WORTH[1]
    # Raters who all agree, on something else each time.
    agreed = 20.0 * np.eye(3)[rng.integers(3, size=500)]
    assert WORTH[0] <= worth(np.full((500, 3), 1 / 3), agreed) < 0.2
    # A class that an expert rules out and raters choose does not break anything.
    assert np.isfinite(worth(np.tile([1.0, 0.0, 0.0], (500, 1)), exact))


def test_a_prior_is_the_experts_pool_and_its_worth() -> None:
    p, counts = simulated(4.0, seed=2, n=500)
    rng = np.random.default_rng(0)
    log_p = np.log(np.stack([p, rng.dirichlet(np.ones(4), size=500)]))
    made = fit_prior(log_p, counts)
    np.testing.assert_allclose(made.weights, fit_weights(log_p, counts, sum_to_one=False))
    np.testing.assert_allclose(made.p, np.exp(pool(log_p, made.weights)))
    assert made.raters == TRUST * worth(made.p, counts)
    np.testing.assert_allclose(made.votes.sum(axis=1), made.raters)


COUNTS = torch.tensor([[3.0, 0.0, 0.0], [9.0, 0.0, 0.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
EXPERTS = np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.7, 0.2, 0.1]])


def loss_of(counts: torch.Tensor) -> GroupLoss:
    """Return the objective of R members without guidance, for votes (R, B, C)."""
    return GroupLoss([Objective(modality_weight=0.0)] * len(counts), counts.sum(dim=2).mean(dim=1, keepdim=True))


def target(counts: torch.Tensor, pseudo: torch.Tensor | None) -> np.ndarray:
    """Return what a student of the given votes (R, B, C) learns: what its gradient draws it to."""
    logits = torch.zeros_like(counts, requires_grad=True)
    log_p = {"fusion": logits.log_softmax(dim=-1)}
    loss_of(counts)(log_p, counts, pseudo).sum().backward()
    assert logits.grad is not None
    return np.asarray(1 / counts.shape[-1] - logits.grad)  # of a cross-entropy: softmax - target


def test_the_student_learns_the_posterior_mean_of_its_own_utterance_and_run() -> None:
    votes = torch.from_numpy(np.stack([2.0 * EXPERTS, 6.0 * EXPERTS[::-1]]))
    pseudo = MemberVotes(votes, torch.tensor([1, 0, 1]))
    places = torch.tensor([[2, 0], [1, 1], [0, 1]])  # of three members, two utterances each
    found = target(COUNTS[places], pseudo.at(places))
    for member, (run, of_member) in enumerate(zip([1, 0, 1], places.tolist(), strict=True)):
        for i, place in enumerate(of_member):
            n, total = COUNTS[place].numpy(), float(COUNTS[place].sum())
            raters, p = [(2.0, EXPERTS), (6.0, EXPERTS[::-1])][run]
            np.testing.assert_allclose(found[member, i], (n + raters * p[place]) / (total + raters), atol=1e-6)
    # Members that stay keep theirs.
    left = pseudo.of([2, 1])
    torch.testing.assert_close(left.at(places[[2, 1]]), pseudo.at(places)[[2, 1]])


def test_three_raters_lean_on_the_prior_more_than_nine() -> None:
    pseudo = torch.from_numpy(3.0 * EXPERTS)[None]
    found = target(COUNTS[None], pseudo)[0]
    y = target(COUNTS[None], None)[0]
    np.testing.assert_allclose(y, COUNTS / COUNTS.sum(dim=1, keepdim=True), atol=1e-6)
    # The way from the votes to the experts: κ / (N + κ).
    way = (found - y)[:2, 0] / (EXPERTS - y)[:2, 0]
    np.testing.assert_allclose(way, [3 / 6, 3 / 12], atol=1e-6)


def test_experts_and_dev_learn_and_see_the_votes_alone() -> None:
    """The prior is in the student's target, not in its experts'."""
    logits = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    log_p = {"speech": logits.log_softmax(dim=-1), "fusion": torch.zeros(1, 3, 3).double().log_softmax(dim=-1)}
    pseudo = torch.from_numpy(3.0 * EXPERTS)[None]
    loss_of(COUNTS[None])(log_p, COUNTS[None], pseudo).sum().backward()
    assert logits.grad is not None
    np.testing.assert_allclose(1 / 3 - logits.grad[0], COUNTS / COUNTS.sum(dim=1, keepdim=True), atol=1e-6)

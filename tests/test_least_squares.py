"""Ridge regressions among the candidates: against scikit-learn's, against fits without an utterance, and in a group."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.linear_model import Ridge
from tiny_runs import DEV, LAYERS, TRAIN, Candidate, changed, data, fitted, predicted, run
from torch import Tensor

from amber.train import least_squares
from amber.train.batches import PooledSplit
from amber.train.least_squares import LENIENCE, PENALTIES, Design, Designs, Solution
from amber.train.member import Member
from amber.train.targets import MemberVotes

RIDGE = Candidate(LAYERS, hidden=0, dropout=0.0, weight_decay=0.0, ridge=True)
Floats = NDArray[np.float64]


def joined(part: PooledSplit) -> Floats:
    return np.concatenate([part.inputs[m][part.rows].double().numpy() for m in ("speech", "text")], axis=1)


def made(part: PooledSplit, shares: Floats, target: Floats, alpha: float) -> Solution:
    """Return the regression with a penalty that is given, and no factor."""
    design = Design(part, ("speech", "text"), torch.from_numpy(shares))
    solution = design.solve(torch.from_numpy(target))
    components, squares = design.components
    x, u, t = joined(part)[shares > 0], shares[shares > 0], target[shares > 0]
    centre = u @ t / u.sum()
    towards = components.numpy().T @ ((x - u @ x / u.sum()).T @ (u[:, None] * (t - centre)))
    slopes = torch.from_numpy(towards / (squares.numpy() + alpha)[:, None])
    return replace(solution, slopes=slopes, alpha=alpha, factor=1.0)


def weight_and_bias(of: Solution) -> tuple[Floats, Floats]:
    weight, bias = of.weight_and_bias()
    return weight.numpy(), bias.numpy()


def case(n: int, seed: int) -> tuple[PooledSplit, Floats, Floats]:
    rng, part = np.random.default_rng(seed), data(n, seed)
    shares = rng.choice([0.0, 0.5, 1.0, 2.0], size=n)
    shares[:2] = 1.0
    return part, shares, rng.dirichlet(np.ones(3), size=n)


@settings(max_examples=40)
@given(st.sampled_from([4, 9, 40]), st.integers(0, 1000), st.floats(-2, 2))
def test_weights_are_those_of_scikit_learn_with_more_utterances_than_dimensions_or_fewer(
    n: int, seed: int, power: float
) -> None:
    part, shares, target = case(n, seed)
    weight, bias = weight_and_bias(made(part, shares, target, 10**power))
    other = Ridge(alpha=10**power, solver="cholesky").fit(joined(part), target, sample_weight=shares)
    np.testing.assert_allclose(weight, other.coef_.T, atol=1e-4)
    np.testing.assert_allclose(bias, other.intercept_, atol=1e-4)


@settings(max_examples=40)
@given(st.sampled_from([5, 9, 30]), st.integers(0, 1000), st.floats(-1, 2))
def test_leaving_one_out_is_what_a_fit_without_it_says(n: int, seed: int, power: float) -> None:
    part, shares, target = case(n, seed)
    solution = made(part, shares, target, 10**power)
    of = torch.arange(len(solution.design.places))
    coordinates = solution.design.on_components(of)
    leverage = solution.design.leverage(of, coordinates, [10**power])[:, 0]
    left_out = solution.left_out(of, coordinates, leverage).numpy()
    x = joined(part)
    for row, place in enumerate(np.flatnonzero(shares)):
        without = shares.copy()
        without[place] = 0
        other = Ridge(alpha=10**power, solver="cholesky").fit(x, target, sample_weight=without)
        np.testing.assert_allclose(left_out[row], other.predict(x[[place]])[0], atol=2e-3)


def test_alpha_and_the_factor_follow_from_a_leave_one_out_by_hand() -> None:
    part, x = TRAIN, joined(TRAIN)
    target = (part.counts / part.counts.sum(dim=1, keepdim=True)).double()
    solution = Design(part, ("speech", "text"), torch.ones(len(part))).solve(target)
    y = target.numpy()
    total = float(((x - x.mean(axis=0)) ** 2).sum())

    def likeliest(alpha: float) -> tuple[float, float, float]:
        scores = np.stack(
            [
                Ridge(alpha=alpha).fit(np.delete(x, i, axis=0), np.delete(y, i, axis=0)).predict(x[[i]])[0]
                for i in range(len(x))
            ]
        )
        return min((-float((y * log_softmax(f * scores, axis=1)).sum()), alpha, f) for f in np.geomspace(0.5, 50, 400))

    _, best, _ = min(likeliest(share * total) for share in PENALTIES)
    _, alpha, factor = likeliest(LENIENCE * best)
    assert solution.alpha == pytest.approx(alpha, rel=1e-4)
    assert solution.factor == pytest.approx(factor, rel=0.02)


def test_a_head_says_the_softmax_of_the_scores_and_learns_the_same_alone_and_in_company() -> None:
    runs = [run(0, "amber2"), run(1, "amber2"), changed(run(0, "amber2"), modality_weight=2.0)]
    group = [Member(one, RIDGE) for one in runs]
    together = fitted(*group)
    for member, one in zip(group, together, strict=True):
        (alone,) = fitted(member)
        assert alone.records == one.records
        for name, value in one.state.items():
            torch.testing.assert_close(alone.state[name], value)
    # The seed draws nothing, the objective does something.
    first, second, other = (one.state["heads.fusion.weight1.speech"] for one in together)
    torch.testing.assert_close(first, second)
    assert not torch.allclose(first, other)
    state = together[0].state
    parts = [DEV.inputs[m] @ state[f"heads.fusion.weight1.{m}"] for m in ("speech", "text")]
    expected = (sum(parts) + state["heads.fusion.bias1"]).softmax(dim=1)  # type: ignore[union-attr]
    torch.testing.assert_close(predicted(group[0], together[0]), expected)
    assert together[0].records[0]["dev_nll"] < np.log(3)


def test_groups_that_share_designs_learn_what_they_learn_alone() -> None:
    shared: Designs = {}
    half = torch.arange(len(TRAIN)) % 2 > 0
    corpora = torch.arange(len(TRAIN)) // 5 % 3 // 2  # the second has a third of the utterances
    cases = [
        (Member(run(0, "amber2"), RIDGE), TRAIN, 3),  # fusion, speech, text
        (Member(run(1, "soft"), RIDGE), TRAIN, 3),
        (Member(run(0, "soft"), replace(RIDGE, reads="text")), TRAIN, 3),
        (Member(run(0, "amber2"), RIDGE, half), TRAIN, 3),  # of a subset: shared with none
        (Member(run(0, "amber2"), RIDGE), replace(TRAIN, corpora=corpora), 6),  # other weights
        (Member(run(0, "soft"), RIDGE), replace(TRAIN, rows=TRAIN.rows.flip(0)), 7),  # other utterances
    ]
    for member, train, known in cases:
        (alone,), (sharing,) = fitted(member, train=train), fitted(member, train=train, designs=shared)
        assert sharing.records == alone.records
        assert len(shared) == known
        for name, value in alone.state.items():
            assert torch.equal(sharing.state[name], value)


def test_what_is_not_learned_from_changes_nothing() -> None:
    subset = torch.arange(len(TRAIN)) % 3 > 0
    other = TRAIN.counts.clone()
    other[~subset] = other[~subset].roll(1, dims=1)
    member = Member(run(0, "amber2"), RIDGE, subset)
    (before,), (after,) = fitted(member), fitted(member, train=replace(TRAIN, counts=other))
    (whole,), (changed_,) = (
        fitted(replace(member, subset=None)),
        fitted(replace(member, subset=None), train=replace(TRAIN, counts=other)),
    )
    for name, value in before.state.items():
        torch.testing.assert_close(after.state[name], value)
    assert not torch.allclose(whole.state["heads.fusion.bias1"], changed_.state["heads.fusion.bias1"])


def guided(y: Tensor, weight: float) -> Tensor:
    """What a student learns, from its experts' predictions, each fitted without the utterance, by scikit-learn."""
    log_p = []
    for modality in ("speech", "text"):
        design = Design(TRAIN, (modality,), torch.ones(len(TRAIN)))
        solution = design.solve(y)
        x = TRAIN.inputs[modality].double().numpy()
        rows = [
            Ridge(alpha=solution.alpha).fit(np.delete(x, i, axis=0), np.delete(y.numpy(), i, axis=0)).predict(x[[i]])[0]
            for i in range(len(x))
        ]
        log_p.append(log_softmax(solution.factor * np.stack(rows), axis=1))
    experts, known = np.stack(log_p), np.maximum(y.numpy(), 1e-30)
    divergence = (y.numpy() * (np.log(known) - experts)).sum(axis=-1)  # (M, n)
    trust = softmax(-divergence / 0.5, axis=0)
    return (y + weight * torch.from_numpy((trust[..., None] * np.exp(experts)).sum(axis=0))) / (1 + weight)


def test_a_guided_student_learns_the_mean_of_raters_and_of_experts_that_have_not_seen_them() -> None:
    y = (TRAIN.counts / TRAIN.counts.sum(dim=1, keepdim=True)).double()
    (one,) = fitted(Member(run(0, "amber2"), RIDGE))
    expected = Design(TRAIN, ("speech", "text"), torch.ones(len(TRAIN))).solve(guided(y, 0.5))
    assert one.records[0]["alpha_fusion"] == pytest.approx(expected.alpha, rel=1e-4)
    weight = torch.cat([one.state[f"heads.fusion.weight1.{m}"] for m in ("speech", "text")]).double()
    torch.testing.assert_close(weight, expected.weight_and_bias()[0], atol=1e-3, rtol=1e-3)


def test_pseudo_votes_stand_beside_the_raters_in_what_the_student_learns_alone() -> None:
    extra = torch.rand(len(TRAIN), 3) * 3
    prior = MemberVotes.same(extra, 1)
    member = Member(run(0, "amber2-prior"), RIDGE)
    (one,) = fitted(member, prior=prior)
    (summed,) = fitted(member, train=replace(TRAIN, counts=TRAIN.counts + extra))
    (without,) = fitted(member)
    for name, value in one.state.items():
        torch.testing.assert_close(value, (summed if ".fusion." in name else without).state[name])


def test_corpora_that_count_alike_do_whatever_their_size() -> None:
    """Twice the utterances of one corpus are half the weight of each: nothing changes but how many vote on alpha."""
    first, second = data(40, 1), data(60, 2)
    inputs = {m: torch.cat([first.inputs[m], second.inputs[m]]) for m in first.inputs}
    corpora = torch.tensor([0] * 40 + [1] * 60)
    once = PooledSplit(inputs, torch.arange(100), torch.cat([first.counts, second.counts]), corpora)
    assert once.shares().tolist() == pytest.approx([100 / 80] * 40 + [100 / 120] * 60)
    assert data(30).shares().tolist() == [1.0] * 30


def test_a_head_on_one_modality_has_no_weights_of_the_other() -> None:
    member = Member(run(0, "soft"), replace(RIDGE, reads="text"))
    (one,) = fitted(member)
    assert not one.state["heads.fusion.weight1.speech"].any()
    assert one.state["heads.fusion.weight1.text"].abs().max() > 0.01


def test_of_a_large_corpus_utterances_that_are_evenly_spread_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    member = Member(run(0, "amber2"), RIDGE)
    third = replace(TRAIN, rows=TRAIN.rows[::3], counts=TRAIN.counts[::3])
    (expected,) = fitted(member, train=third)
    monkeypatch.setattr(least_squares, "LARGEST", len(TRAIN) // 3 + 1)
    (one,) = fitted(member)
    for name, value in one.state.items():
        torch.testing.assert_close(value, expected.state[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_utterances_gives_finite_probabilities(n: int) -> None:
    member = Member(run(0, "amber2"), RIDGE)
    (one,) = fitted(member, train=data(n))
    assert torch.isfinite(predicted(member, one)).all()


def test_of_no_utterances_nothing_is_learned() -> None:
    """The experts of a training part with one speaker have none to learn from."""
    member = Member(run(0, "amber2"), RIDGE, torch.zeros(len(TRAIN), dtype=torch.bool))
    (one,) = fitted(member)
    assert one.records[0]["dev_nll"] == pytest.approx(np.log(3))


def test_inputs_that_are_all_alike_and_votes_that_are_all_alike_give_what_there_is() -> None:
    same = {m: torch.ones_like(x) for m, x in TRAIN.inputs.items()}
    member = Member(run(0, "soft"), RIDGE)
    (one,) = fitted(member, train=replace(TRAIN, inputs=same))
    spread = predicted(member, one, replace(DEV, inputs={m: torch.ones_like(x) for m, x in DEV.inputs.items()}))
    share = (TRAIN.counts / TRAIN.counts.sum(dim=1, keepdim=True)).mean(dim=0)
    torch.testing.assert_close(spread, share.expand_as(spread), atol=0.02, rtol=0.0)
    alike = torch.tensor([4.0, 0.0, 0.0]).expand_as(TRAIN.counts)
    (certain,) = fitted(member, train=replace(TRAIN, counts=alike))
    assert (predicted(member, certain)[:, 0] > 0.99).all()

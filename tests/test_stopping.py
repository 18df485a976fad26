"""Which evaluation of a run is its best, when it ends, and when it has diverged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_runs import (
    DEV,
    LINEAR,
    LOOKS,
    PERCEPTRON,
    TRAIN,
    batches,
    fitted,
    predicted,
    run,
    scores,
)

from amber.errors import RunFailure
from amber.train.batches import PooledSplit
from amber.train.group_heads import predict
from amber.train.head_names import HEADS
from amber.train.member import Member, MemberState, TrainedMember


def test_the_best_state_is_kept_and_dev_figures_are_over_all_of_dev() -> None:
    one = run(0)
    (found,) = fitted(one)
    p = predicted(one, found)
    nll = -float((p.log() * DEV.counts).sum() / DEV.counts.sum())
    assert nll == pytest.approx(min(scores(found, "dev_nll")), abs=1e-6)
    bc = float((p * DEV.counts / 4).sqrt().sum(dim=1).mean())
    assert bc == pytest.approx(found.records[found.best - 1]["dev_bc"], abs=1e-6)
    assert len(found.records) in (found.best + 3, LOOKS)
    assert scores(found, "step") == [5 * n for n in range(1, len(found.records) + 1)]


def best_by(found: TrainedMember, score: str, lowest: bool) -> int:
    values = scores(found, score)
    return values.index(min(values) if lowest else max(values)) + 1


@pytest.mark.parametrize(
    ("stop", "score", "lowest"),
    [("nll", "dev_nll", True), ("bc", "dev_bc", False), ("loss", "dev_loss", True)],
)
def test_the_stopping_rule_says_which_look_is_best(stop: str, score: str, lowest: bool) -> None:
    (found,) = fitted(run(0, stop=stop))
    assert found.best == best_by(found, score, lowest)
    assert len(found.records) in (found.best + 3, LOOKS)


def test_the_stopping_rule_is_the_votes_likelihood_for_hard_targets_too_and_accuracy_breaks_ties_by_loss() -> None:
    (found,) = fitted(run(0, "ce"))
    assert found.best == best_by(found, "dev_nll", True)
    (found,) = fitted(run(0, "ce", stop="accuracy"))
    both = [(record["dev_accuracy"], -record["dev_loss"]) for record in found.records]
    assert found.best == both.index(max(both)) + 1
    assert len({accuracy for accuracy, _ in both}) < len(both)


@pytest.mark.parametrize("variant", ["pool", "amber2-prior"])
def test_experts_that_predict_count_in_what_is_best(variant: str) -> None:
    """Of a pool, and of what is pooled into a prior, the mean over all heads; else the student's."""
    one = run(0, variant)
    if variant == "amber2-prior":
        one = replace(one, variant=one.variant.experts)
    (found,) = fitted(one)
    p = [predicted(one, found, head=head) for head in HEADS]
    nll = [-float((q.log() * DEV.counts).sum() / DEV.counts.sum()) for q in p]
    assert np.mean(nll) == pytest.approx(min(scores(found, "dev_nll")), abs=1e-6)
    assert set(predict([Member(one, PERCEPTRON)], [found], DEV)) == set(HEADS)


def broken(value: float) -> PooledSplit:
    """Return the training part with one utterance whose features are not finite."""
    inputs = {m: x.clone() for m, x in TRAIN.inputs.items()}
    inputs["speech"][17, 2] = value
    return PooledSplit(inputs, TRAIN.rows, TRAIN.counts)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_look_that_is_not_finite_is_never_the_best(value: float) -> None:
    """An utterance that breaks everything comes when its turn comes: what was learned before it stands."""
    seed = next(s for s in range(50) if 17 not in next(batches(TRAIN, 64, s * 1009 + 1)))
    one = run(seed, batch_size=64, every=1, steps=12, patience=12, averaging=0.0)
    (found,) = fitted(one, train=broken(value))
    finite = [bool(np.isfinite(nll)) for nll in scores(found, "dev_nll")]
    assert finite[0]
    assert not finite[-1]
    assert finite[found.best - 1]
    assert all(torch.isfinite(value).all() for value in found.state.values())
    assert torch.isfinite(predicted(one, found)).all()


@pytest.mark.parametrize("stop", ["nll", "bc", "accuracy", "loss"])
def test_a_run_without_a_finite_look_fails_by_name(stop: str) -> None:
    """Whatever the score: an accuracy is a number even where nothing is."""
    one = run(4, batch_size=150, stop=stop)
    with pytest.raises(RunFailure, match=r"amber2/fold1-seed4: diverged(.|\n)*train\.lr, which is 0\.03"):
        fitted(one, train=broken(float("nan")))


def test_a_learning_rate_far_too_high_fails_by_name() -> None:
    with pytest.raises(RunFailure, match=r"amber2/fold1-seed2: diverged(.|\n)*lower train\.lr, which is 1e\+30"):
        fitted(run(2, lr=1e30))


def test_finite_scores_that_are_absurd_are_a_failure_too() -> None:
    """A linear head at a huge learning rate has finite scores, of millions of nats."""
    with pytest.raises(RunFailure, match=r"soft/fold1-seed2: diverged(.|\n)*lower train\.lr, which is 1e\+08"):
        fitted(Member(run(2, "soft", lr=1e8), LINEAR))


def test_patience_counts_from_the_last_gain_that_is_worth_waiting_for() -> None:
    """And the best state is the best all the same."""
    plain = Member(run(0, "soft", lr=0.003, patience=3, gain=0.0), LINEAR)
    waiting = Member(run(0, "soft", lr=0.003, patience=3, gain=0.06), LINEAR)
    (long,), (short,) = fitted(plain), fitted(waiting)
    nll = scores(long, "dev_nll")
    assert nll == sorted(nll, reverse=True)  # it improves at every look
    # By hand: looks since the score by which it was last better by the gain.
    last, since, looks = float("inf"), 0, 0
    for value in nll:
        looks, since = looks + 1, since + 1
        if value < last - 0.06:
            last, since = value, 0
        if since == 3:
            break
    assert len(short.records) == looks < len(long.records) == LOOKS
    assert short.best == looks


def looked(stop: str, looks: Iterable[tuple[float, float, float]], patience: int = 3) -> tuple[MemberState, int]:
    """Return a member's state, and after how many evaluations, by score, loss and likelihood, it has finished."""
    state = MemberState(0, Member(run(0, stop=stop, patience=patience, gain=0.01), LINEAR), "cpu")
    for number, (score, loss, nll) in enumerate(looks, 1):
        state.improves({"dev_nll": nll, "dev_loss": loss, f"dev_{stop}": score})
        if state.finished:
            return state, number
    return state, 0


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("stop", ["accuracy", "bc"])
@pytest.mark.parametrize("broken", [(NAN, 1.0), (1.0, NAN), (NAN, NAN), (INF, 1.0), (1.0, INF)], ids=str)
def test_a_look_that_is_not_finite_is_not_waited_for(stop: str, broken: tuple[float, float]) -> None:
    """However good its score: an accuracy rises by chance where nothing is a number."""
    rising = [(0.5, 1.0, 1.0), *((0.6 + 0.1 * i, *broken) for i in range(4))]
    state, finished = looked(stop, rising)
    assert (finished, state.best) == (4, 1)
    # With finite values they are waited for.
    assert looked(stop, [(score, 1.0, 1.0) for score, *_ in rising])[1] == 0


def test_a_finite_look_is_compared_with_the_last_finite_one_and_waited_for() -> None:
    """The looks between them count as looks without a gain, no more."""
    good, better, broken = (0.5, 1.0, 1.0), (0.6, 1.0, 1.0), (0.9, NAN, NAN)
    state, finished = looked("accuracy", [good, broken, broken, better, broken, broken])
    assert (finished, state.best) == (0, 4)
    state, finished = looked("accuracy", [good, broken, broken, better, broken, broken, broken])
    assert (finished, state.best) == (7, 4)
    state, finished = looked("accuracy", [broken, broken, broken, good])
    assert (finished, state.best) == (3, 0)

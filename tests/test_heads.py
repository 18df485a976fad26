"""The heads: linear ones, perceptrons and mixtures, what they read, their penalties and their size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax
from tiny_runs import (
    ALONE,
    CLASSES,
    DEV,
    DIMS,
    LAYERS,
    LINEAR,
    MIXTURE,
    OF_PERCEPTRONS,
    PERCEPTRON,
    QUIET,
    TRAIN,
    assert_same,
    fitted,
    predicted,
    run,
    scores,
)

from amber.corpus import Modality
from amber.train.batches import PooledSplit
from amber.train.candidates import Candidate
from amber.train.context import GROUP_BYTES, largest_group
from amber.train.group_heads import predict
from amber.train.head_names import HEADS
from amber.train.heads import Head, Heads, Mixture, State, product
from amber.train.member import Member, TrainedMember


def said(hidden: int, states: list[State]) -> dict[str, np.ndarray]:
    """Return what mixtures (R) with given weights say of dev, (R, n, C) by head."""
    group = [Member(run(seed), replace(MIXTURE, hidden=hidden)) for seed in range(len(states))]
    made = [TrainedMember(member.run, state, [], 0) for member, state in zip(group, states, strict=True)]
    return {head: log_p.exp().double().numpy() for head, log_p in predict(group, made, DEV).items()}


def states(hidden: int) -> list[State]:
    """Return the weights of two runs' mixtures as they start."""
    heads = Heads(HEADS, DIMS, hidden, CLASSES, [3, 4], mixture=True)
    return [heads.state_of(r) for r in range(2)]


@pytest.mark.parametrize("hidden", [0, 7])
def test_a_mixture_is_the_sum_of_what_its_experts_say_by_the_gate_s_shares(hidden: int) -> None:
    """Computed apart, in NumPy and one run at a time."""
    of = torch.Generator().manual_seed(0)
    drawn = [{name: 0.3 * torch.randn(value.shape, generator=of) for name, value in s.items()} for s in states(hidden)]
    found = said(hidden, drawn)["fusion"]
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
    x = {m: DEV.inputs[m].double().numpy() for m in DIMS}
    for p, state in zip(found, drawn, strict=True):
        w = {name.removeprefix("heads.fusion."): value.double().numpy() for name, value in state.items()}
        shares = softmax(10 * w["gate_bias"] + sum(x[m] @ w[f"gate.{m}"] for m in DIMS), axis=1)
        assert shares.min() < 0.1 < 0.9 < shares.max()
        expected = np.zeros_like(p)
        for place, modality in enumerate(DIMS):
            expert = f"experts.{modality}"
            h = x[modality] @ w[f"{expert}.weight1.{modality}"] + w[f"{expert}.bias1"]
            if hidden:
                h = (h * (1 + erf(h / np.sqrt(2))) / 2) @ w[f"{expert}.weight2"] + w[f"{expert}.bias2"]
            expected += shares[:, place, None] * softmax(h, axis=1)
        np.testing.assert_allclose(p, expected, atol=1e-5)


@pytest.mark.parametrize("hidden", [0, 7])
def test_a_mixture_starts_uniform_and_undecided(hidden: int) -> None:
    start = states(hidden)
    for p in said(hidden, start).values():
        np.testing.assert_allclose(p, 1 / CLASSES, atol=1e-6)
    gates = [value for state in start for name, value in state.items() if "gate" in name]
    assert len(gates) == 2 * 3
    assert not any(bool(value.any()) for value in gates)


def test_a_mixture_s_hidden_units_are_dropped_too() -> None:
    one = run(0, "soft")
    (dropped,) = fitted(Member(one, OF_PERCEPTRONS))
    (quiet,) = fitted(Member(one, replace(OF_PERCEPTRONS, dropout=0.0)))
    assert abs(dropped.records[0]["train_loss"] - quiet.records[0]["train_loss"]) > 1e-3


@pytest.mark.parametrize("reads", ["speech", "text"])
@pytest.mark.parametrize("kind", [LINEAR, QUIET], ids=["linear", "perceptron"])
def test_a_student_that_reads_one_modality_says_nothing_of_the_other(kind: Candidate, reads: Modality) -> None:
    member = Member(run(3, "soft"), replace(kind, reads=reads))
    (found,) = fitted(member)
    other = next(modality for modality in DIMS if modality != reads)
    changed_part = replace(DEV, inputs={**DEV.inputs, other: torch.zeros_like(DEV.inputs[other])})
    assert torch.equal(predicted(member, found), predicted(member, found, changed_part))
    assert not found.state[f"heads.fusion.weight1.{other}"].any()
    learned = min(scores(found, "dev_nll"))
    assert learned < 0.95 * np.log(CLASSES)  # and it has learned something
    assert scores(fitted(Member(run(3, reads), kind))[0], "dev_nll")[-1] == pytest.approx(learned, abs=0.02)


@pytest.mark.parametrize("kind", [LINEAR, PERCEPTRON], ids=["linear", "perceptron"])
def test_what_reads_one_modality_learns_beside_others_what_it_learns_alone(kind: Candidate) -> None:
    group = [Member(run(3, "amber2"), replace(kind, reads=reads)) for reads in (None, "speech", "text", None, "text")]
    for member, together in zip(group, fitted(*group), strict=True):
        assert_same(fitted(member)[0], together)


def test_a_head_of_one_modality_is_never_a_mixture() -> None:
    plain, mixed = (Heads(HEADS, DIMS, 7, CLASSES, [3], mixture=mixture) for mixture in (False, True))
    assert {name: type(head) for name, head in mixed.heads.items()} == {"speech": Head, "text": Head, "fusion": Mixture}
    assert {type(head) for head in plain.heads.values()} == {Head}
    for name in ("speech", "text"):
        for one, other in zip(plain.heads[name].parameters(), mixed.heads[name].parameters(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("hidden", [0, 7])
def test_every_weight_has_a_penalty_no_bias_has_and_a_gate_s_counts_ten_times(hidden: int) -> None:
    heads = Heads(HEADS, DIMS, hidden, CLASSES, [3], mixture=True)
    names = {id(parameter): name for name, parameter in heads.named_parameters()}
    found = {names[id(parameter)]: factor for parameter, factor in heads.penalised}
    assert len(found) == len(heads.penalised)
    assert set(found) == {name for name in names.values() if "bias" not in name}
    assert {name for name, factor in found.items() if factor == 10} == {
        "heads.fusion.gate.speech",
        "heads.fusion.gate.text",
    }
    assert set(found.values()) == {1, 10}


def either(n: int, seed: int) -> tuple[PooledSplit, float]:
    """Return utterances whose votes are an even mixture of what voice and words say, and the votes' entropy.

    Each says one of three classes, almost surely, or nothing.
    """
    rng = np.random.default_rng(seed)
    says = np.vstack([0.94 * np.eye(3) + 0.02, np.full((1, 3), 1 / 3)])
    voice, words = rng.integers(4, size=(2, n))
    p = (says[voice] + says[words]) / 2
    made = {m: torch.from_numpy(3 * np.eye(4)[x][:, :3]).float() for m, x in (("speech", voice), ("text", words))}
    part = PooledSplit(made, torch.arange(n), torch.from_numpy(8 * p).float())  # type: ignore[arg-type]
    return part, -float((p * np.log(p)).sum(axis=1).mean())


def test_a_mixture_learns_that_raters_go_by_the_voice_or_by_the_words_and_a_linear_head_can_not() -> None:
    (train, _), (dev, entropy) = either(300, 0), either(200, 1)
    lost = {}
    for candidate in (LINEAR, MIXTURE):
        member = Member(run(0, "soft", steps=400, every=20, patience=20), replace(candidate, weight_decay=0.001))
        (found,) = fitted(member, train=train, dev=dev)
        lost[candidate.mixture] = min(scores(found, "dev_nll")) - entropy  # of what can't be known
    assert 0 < lost[True] < 0.002
    assert lost[False] > 0.015


@pytest.mark.parametrize("mixture", [False, True])
@pytest.mark.parametrize("hidden", [0, 16])
def test_the_penalty_is_on_weights_and_not_on_biases(hidden: int, mixture: bool) -> None:
    """Under a huge penalty nothing is left but the biases, which give the mean of the targets."""
    member = Member(
        run(0, "soft", steps=800, every=800, averaging=8.0),
        Candidate(LAYERS, hidden, dropout=0.0, weight_decay=100.0, mixture=mixture),
    )
    (found,) = fitted(member)
    mean = (TRAIN.counts / TRAIN.counts.sum(dim=1, keepdim=True)).mean(dim=0)
    assert float((mean - 1 / CLASSES).abs().max()) > 0.03
    np.testing.assert_allclose(predicted(member, found), mean.expand(len(DEV), -1), atol=1e-2)


@pytest.mark.parametrize("linear", [LINEAR, MIXTURE, ALONE], ids=["linear", "mixture", "one modality"])
def test_groups_have_a_size(linear: Candidate) -> None:
    dims: dict[Modality, int] = {"speech": 768, "text": 768}
    wide, narrow = replace(linear, hidden=256), replace(linear, hidden=16)
    size = largest_group(HEADS, dims, wide, 4, "cpu")
    assert 1 <= size < largest_group(("fusion",), dims, narrow, 4, "cpu")
    assert size < largest_group(HEADS, dims, linear, 4, "cpu")
    for candidate in (linear, wide):
        size = largest_group(HEADS, dims, candidate, 4, "cpu")
        seeds = list(range(min(size, 200)))
        reads = [linear.reads] * len(seeds)
        heads = Heads(HEADS, dims, candidate.hidden, 4, seeds, mixture=linear.mixture, reads=reads)
        of_one = sum(p.numel() for p in heads.parameters()) // min(size, 200)
        assert 4 * 4 * of_one * size <= GROUP_BYTES["cpu"] < 4 * 4 * of_one * (size + 1)
    huge: dict[Modality, int] = {"speech": 10**7, "text": 10**7}
    assert largest_group(HEADS, huge, replace(linear, hidden=4), 4, "cpu") == 1


@pytest.mark.parametrize("width", [1, 8, 70])
@pytest.mark.parametrize("streams", [[2, 2, 2], [3, 1, 2], [6], [1] * 6])
def test_every_run_multiplies_its_own_stream_by_its_own_weights(width: int, streams: list[int]) -> None:
    random = torch.Generator().manual_seed(width)
    x = torch.randn(len(streams), 5, 8, generator=random)
    weight = torch.randn(6, width, 8, generator=random, requires_grad=True)
    slope = torch.randn(6, width, 5, generator=random)
    of_run = [place for place, number in enumerate(streams) for _ in range(number)]
    product(x, weight, streams).backward(slope)
    assert weight.grad is not None
    for run_, stream in enumerate(of_run):
        torch.testing.assert_close(product(x, weight, streams)[run_], weight[run_] @ x[stream].T)
        torch.testing.assert_close(weight.grad[run_], slope[run_] @ x[stream])

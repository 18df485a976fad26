"""Training side by side: a run learns what it would learn alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import (
    CLASSES,
    DEV,
    DIMS,
    LINEAR,
    PERCEPTRON,
    QUIET,
    TRAIN,
    assert_same,
    changed,
    every_kind,
    fitted,
    members,
    predicted,
    run,
    scores,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from amber.train.batches import PooledSplit
from amber.train.candidates import Candidate
from amber.train.context import group_key
from amber.train.fit import fit
from amber.train.head_names import INPUTS
from amber.train.heads import Heads
from amber.train.member import Member
from amber.train.streams import DROPOUT, dropout_mask, generator
from amber.train.targets import MemberVotes


@every_kind
def test_a_run_learns_the_same_alone_and_in_company(candidate: Candidate) -> None:
    group = members(*(run(seed) for seed in range(5)), candidate=candidate)
    together = fitted(*group)
    # Early stopping has runs leave at different looks, which is part of what is tested.
    assert len({len(f.records) for f in together}) > 1
    for one, found in zip(group, together, strict=True):
        assert_same(fitted(one)[0], found)


@every_kind
def test_members_that_differ_in_their_penalty_learn_what_each_learns_alone(candidate: Candidate) -> None:
    """Also beside one without a penalty, and when one has left."""
    penalties = (0.0, 3.0, 0.1, 0.01)
    group = [Member(run(seed), replace(candidate, weight_decay=p)) for seed in (0, 1) for p in penalties]
    together = fitted(*group)
    assert len({len(f.records) for f in together}) > 1
    for member, found in zip(group, together, strict=True):
        assert_same(fitted(member)[0], found)
    name = f"heads.fusion.{'experts.speech.' if candidate.mixture else ''}weight1.speech"
    first = [f.state[name].norm() for f in together[:2]]
    assert float(first[1]) < 0.8 * float(first[0])


@every_kind
def test_as_many_steps_without_a_dev_part_give_what_was_best_with_one(candidate: Candidate) -> None:
    """`amber export --final` trains so; members of one group end at different steps."""
    group = [Member(run(s), replace(candidate, weight_decay=w)) for s, w in enumerate((0.0, 3.0, 0.1, 0.01))]
    known = fitted(*group)
    steps = [int(one.records[one.best - 1]["step"]) for one in known]
    assert len(set(steps)) > 1
    again = [replace(member, steps=n) for member, n in zip(group, steps, strict=True)]
    for one, other, n in zip(known, fit(again, TRAIN, None, lambda: None), steps, strict=True):
        assert other.records[-1]["step"] == n
        for name, value in one.state.items():
            torch.testing.assert_close(other.state[name], value, atol=1e-5, rtol=1e-5)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    first, again, other = fitted(run(1))[0], fitted(run(1))[0], fitted(run(2))[0]
    assert first.records == again.records
    assert all(torch.equal(first.state[name], again.state[name]) for name in first.state)
    assert first.records != other.records


def test_a_student_starts_from_the_same_weights_whichever_experts_it_has() -> None:
    for mixture in (False, True):
        alone = Heads(("fusion",), DIMS, 16, CLASSES, [7], mixture=mixture)
        among = Heads(tuple(INPUTS), DIMS, 16, CLASSES, [3, 7], mixture=mixture).state_dict()
        drawn = 0
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(value[0], among[name][1])
            drawn += bool(value.any())
        assert drawn >= 2  # the first layer's, of each modality


def test_dropout_drops_the_stated_share_and_differs_between_runs() -> None:
    mask = dropout_mask(0.3, 50, 401, [generator(s, DROPOUT) for s in (0, 1)])
    assert mask.shape == (2, 401, 50)
    assert float((mask == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert float(mask.mean()) == pytest.approx(1, abs=0.02)
    assert not torch.equal(mask[0], mask[1])


def test_streams_of_one_seed_and_of_neighbouring_seeds_differ() -> None:
    draws = {float(torch.rand(1, generator=generator(seed, stream))) for seed in range(20) for stream in (0, 1, 100)}
    assert len(draws) == 60


@pytest.mark.parametrize(("seed", "objective"), [(0, {"modality_weight": 0.0}), (1, {"rater_dropout": 0.4})])
def test_an_objective_s_numbers_are_each_run_s_own(seed: int, objective: dict[str, float]) -> None:
    plain, other = run(seed), changed(run(seed), **objective)
    assert group_key(plain) == group_key(other)
    both = fitted(plain, other)
    for one, of in zip(both, (plain, other), strict=True):
        assert one.records[-1]["dev_bc"] == pytest.approx(fitted(of)[0].records[-1]["dev_bc"], abs=1e-5)
    assert both[0].records != both[1].records


def test_dirichlet_targets_learn_as_soft_ones_do_where_raters_are_independent() -> None:
    """With the same number of votes everywhere and a high concentration, the likelihood is the cross-entropy."""
    quiet = run(2, "soft")
    (soft,), (votes,) = (
        fitted(Member(quiet, QUIET)),
        fitted(Member(changed(quiet, target="dirichlet", concentration=1e6), QUIET)),
    )
    assert scores(votes, "dev_nll") == pytest.approx(scores(soft, "dev_nll"), abs=2e-3)
    (few,) = fitted(Member(changed(quiet, target="dirichlet", concentration=1.0), QUIET))
    assert few.records[-1]["dev_nll"] != pytest.approx(soft.records[-1]["dev_nll"], abs=1e-2)


def other_votes(part: PooledSplit, rows: Tensor, inputs: bool = True) -> PooledSplit:
    """Return a part in which votes, and inputs, of some rows are others'."""
    counts, made = part.counts.clone(), {m: x.clone() for m, x in part.inputs.items()}
    counts[rows] = counts[rows].roll(1, dims=1)
    for x in made.values():
        x[part.rows[rows]] *= -3 if inputs else 1
    return PooledSplit(made, part.rows, counts)  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["soft", "amber2"])
def test_a_member_with_a_subset_learns_from_nothing_else(variant: str) -> None:
    inside = torch.rand(len(TRAIN), generator=torch.Generator().manual_seed(0)) < 0.6
    outside = other_votes(TRAIN, (~inside).nonzero().flatten())
    here, there = Member(run(0, variant), PERCEPTRON, inside), Member(run(0, variant), PERCEPTRON, ~inside)
    everywhere = Member(run(0, variant), PERCEPTRON, torch.ones(len(TRAIN), dtype=torch.bool))
    (found,), (again,) = fitted(here), fitted(here, train=outside)
    # Nothing that it learns from has changed, and something of the others' has.
    assert found.records == again.records
    assert all(torch.equal(value, again.state[name]) for name, value in found.state.items())
    assert fitted(there)[0].records != fitted(there, train=outside)[0].records
    # In company it is what it is alone; with all of the part it is what it is without a subset.
    together = fitted(here, there, everywhere)
    assert_same(found, together[0])
    assert_same(fitted(run(0, variant))[0], together[2])


def test_an_utterance_of_a_subset_weighs_as_much_as_the_others_of_its_batch() -> None:
    """On one batch with all utterances, a subset is that part alone."""
    inside = torch.arange(len(TRAIN)) < 70
    alone = PooledSplit(TRAIN.inputs, TRAIN.rows[:70], TRAIN.counts[:70])
    one = run(0, "soft", batch_size=150)
    (found,) = fitted(Member(one, LINEAR, inside))
    (expected,) = fitted(Member(one, LINEAR), train=alone)
    assert_same(expected, found)


def test_votes_that_stand_beside_the_raters_are_learned_as_theirs() -> None:
    """(n + κ p̃) / (N + κ) is what a run without a prior learns from n + κ p̃ votes; each member its own run's."""
    rng = np.random.default_rng(5)
    votes = torch.from_numpy(rng.dirichlet(np.ones(CLASSES), size=(2, len(TRAIN))) * [[[2.0]], [[9.0]]]).float()
    group = [Member(run(seed, "soft"), PERCEPTRON) for seed in range(5)]
    of = torch.tensor([1, 0, 1, 1, 0])
    found = fitted(*group, prior=MemberVotes(votes, of))
    assert len({len(f.records) for f in found}) > 1  # some leave, the others keep their own
    for member, one, place in zip(group, found, of.tolist(), strict=True):
        assert_same(fitted(member, train=PooledSplit(TRAIN.inputs, TRAIN.rows, TRAIN.counts + votes[place]))[0], one)


@pytest.mark.parametrize("variant", ["soft", "amber2-dirichlet"])
def test_members_that_see_other_votes_learn_what_each_learns_alone(variant: str) -> None:
    """Of the training part and of dev; members of one seed read one stream of batches all the same."""
    rng = np.random.default_rng(6)
    more = [torch.from_numpy(rng.multinomial(n, np.ones(CLASSES) / CLASSES, (3, len(part)))).float()
            for n, part in ((2, TRAIN), (3, DEV))]  # fmt: skip
    seen_train, seen_dev = (part.counts + of for part, of in zip((TRAIN, DEV), more, strict=True))
    group = [Member(run(seed, variant), LINEAR) for seed in (0, 1) for _ in range(3)]
    of = torch.tensor([0, 1, 2, 2, 0, 1])
    found = fitted(*group, votes=(MemberVotes(seen_train, of), MemberVotes(seen_dev, of)))
    assert len({len(f.records) for f in found}) > 1  # some leave, the others keep their own
    for member, one, place in zip(group, found, of.tolist(), strict=True):
        train = PooledSplit(TRAIN.inputs, TRAIN.rows, seen_train[place])
        dev = PooledSplit(DEV.inputs, DEV.rows, seen_dev[place])
        assert_same(fitted(member, train=train, dev=dev)[0], one)


def test_a_learned_mixture_finds_the_layer_that_says_something() -> None:
    noise = torch.randn(150, 3, 6, generator=torch.Generator().manual_seed(0))
    layered = {"speech": noise.clone(), "text": TRAIN.inputs["text"]}
    layered["speech"][:, 1] = TRAIN.inputs["speech"]
    part = PooledSplit(layered, TRAIN.rows, TRAIN.counts)  # type: ignore[arg-type]
    runs = [run(seed, "speech", steps=150, patience=30, lr=0.05) for seed in (0, 1)]
    together = fitted(*runs, train=part, dev=part)
    for one in together:
        weights = one.state["mix.speech"].softmax(dim=0)
        assert weights.shape == (3,)
        assert int(weights.argmax()) == 1
        assert float(weights[1]) > 0.5
    alone = fitted(runs[1], train=part, dev=part)[0]
    torch.testing.assert_close(alone.state["mix.speech"], together[1].state["mix.speech"], atol=1e-4, rtol=1e-4)
    # The mixture is part of what predicts.
    p = predicted(runs[1], alone, part, "speech")
    bc = float((p * part.counts / 4).sqrt().sum(dim=1).mean())
    assert bc == pytest.approx(alone.records[alone.best - 1]["dev_bc"], abs=1e-5)


class Fetches(TorchDispatchMode):
    """Counts values that are brought to the host, for which a GPU would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("objective", [{}, {"target": "dirichlet"}, {"rater_dropout": 0.3}], ids=str)
def test_no_step_waits_for_the_device(objective: dict[str, Any]) -> None:
    counts = []
    for every in (5, 20):  # two looks after few steps, and after many
        with Fetches() as fetches:
            fitted(changed(run(0, steps=2 * every, every=every), **objective))
        counts.append(fetches.count)
    assert counts[0] == counts[1]

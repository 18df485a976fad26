"""Training side by side: a run learns what it would learn alone, and what a plain PyTorch loop learns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from amber.config import Training, load
from amber.corpus import Modality
from amber.errors import RunFailure
from amber.train.batches import PooledSplit
from amber.train.candidates import Candidate
from amber.train.context import GROUP_BYTES, group_key, largest_group
from amber.train.fit import AVERAGED, fit, predict
from amber.train.head_names import HEADS, INPUTS
from amber.train.heads import Head, Heads, Mixture
from amber.train.matrix import Run, Variant, variants
from amber.train.member import Member, MemberState, State, TrainedMember
from amber.train.streams import DROPOUT, ORDER, dropout_mask, generator
from amber.train.targets import MemberVotes

CLASSES = 3
LAYERS = (("speech", "last"), ("text", "last"))
PERCEPTRON = Candidate(LAYERS, hidden=16, dropout=0.5, weight_decay=0.01)
QUIET = replace(PERCEPTRON, dropout=0.0)
LINEAR = Candidate(LAYERS, hidden=0, dropout=0.0, weight_decay=0.05)
MIXTURE = replace(LINEAR, mixture=True)
OF_PERCEPTRONS = replace(PERCEPTRON, mixture=True)
ALONE = replace(LINEAR, reads="speech")
KINDS = {
    "perceptron": PERCEPTRON,
    "linear": LINEAR,
    "mixture": MIXTURE,
    "mixture of perceptrons": OF_PERCEPTRONS,
    "one modality": ALONE,
}
every_kind = pytest.mark.parametrize("candidate", KINDS.values(), ids=KINDS)
DIMS: dict[Modality, int] = {"speech": 6, "text": 5}


def data(n: int = 150, seed: int = 0) -> PooledSplit:
    rng = np.random.default_rng(seed)
    y = rng.dirichlet(np.ones(CLASSES) * 0.4, size=n)
    maps = np.random.default_rng(99)
    inputs = {m: y @ maps.normal(size=(CLASSES, d)) + rng.normal(size=(n, d)) for m, d in (("speech", 6), ("text", 5))}
    tensors = {m: torch.from_numpy(x).float() for m, x in inputs.items()}
    return PooledSplit(tensors, torch.arange(n), torch.from_numpy(4 * y).float())  # type: ignore[arg-type]


TRAIN, DEV = data(), data(60, 1)
LOOKS = 12


def run(seed: int, variant: str = "amber2", **training: object) -> Run:
    """Return a run that looks at dev every five steps, twelve times at most, and is patient for three looks."""
    quick = {"steps": 60, "every": 5, "patience": 3, "batch_size": 32, "lr": 0.03, "warmup": 5, "averaging": 2.0}
    base = next(v for v in variants(load(None, [f"train.variants=[{variant}]"])))
    made = Training(**{**quick, **training})  # type: ignore[arg-type]
    return Run(Variant(base.name, base.objective, made, base.model), fold=1, seed=seed)


def members(*runs: Run, candidate: Candidate = PERCEPTRON) -> list[Member]:
    return [Member(one, candidate) for one in runs]


def fitted(
    *group: Run | Member,
    train: PooledSplit = TRAIN,
    dev: PooledSplit = DEV,
    prior: MemberVotes | None = None,
    votes: tuple[MemberVotes, MemberVotes] | None = None,
) -> list[TrainedMember]:
    made = [one if isinstance(one, Member) else Member(one, PERCEPTRON) for one in group]
    return fit(made, train, dev, lambda: None, prior=prior, votes=votes)


def predicted(one: Run | Member, of: TrainedMember, part: PooledSplit = DEV, head: str = "fusion") -> Tensor:
    member = one if isinstance(one, Member) else Member(one, PERCEPTRON)
    return predict([member], [of], part)[head][0].exp()


def scores(of: TrainedMember, name: str) -> list[float]:
    return [record[name] for record in of.records]


def assert_same(one: TrainedMember, other: TrainedMember) -> None:
    """Two runs that differ by the order of additions alone."""
    assert one.best == other.best
    assert scores(one, "dev_nll") == pytest.approx(scores(other, "dev_nll"), abs=1e-5)
    for name, value in one.state.items():
        torch.testing.assert_close(value, other.state[name], atol=1e-4, rtol=1e-4)


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


def batches(part: PooledSplit, size: int, seed: int) -> Iterator[Tensor]:
    """Every utterance once in a random order, then again: what is left of an order begins the next batch."""
    order, left = generator(seed, ORDER), torch.empty(0, dtype=torch.int64)
    while True:
        while len(left) >= size:
            yield left[:size]
            left = left[size:]
        left = torch.cat([left, torch.randperm(len(part), generator=order)])


def plain_perceptron(of: Member) -> nn.Sequential:
    """A head as anyone would write it, from the same initialisation."""
    start = Heads(("fusion",), DIMS, of.candidate.hidden, CLASSES, [of.seed]).heads["fusion"]
    model = nn.Sequential(nn.Linear(11, 16), nn.GELU(), nn.Linear(16, CLASSES))
    first = torch.cat([start.weight1["speech"], start.weight1["text"]], dim=1)
    with torch.no_grad():
        for layer, weight, bias in ((model[0], first, start.bias1), (model[2], start.weight2, start.bias2)):
            layer.weight.copy_(weight[0].T)
            layer.bias.copy_(bias[0, 0])
    return model


class PlainMixture(nn.Module):
    """A mixture of two linear heads as anyone would write it. The gate's bias counts ten times: Adam is slow."""

    def __init__(self) -> None:
        super().__init__()
        self.voice, self.words = nn.Linear(6, CLASSES), nn.Linear(5, CLASSES)
        self.gate = nn.Linear(11, 2)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        shares = (x @ self.gate.weight.T + 10 * self.gate.bias).softmax(dim=1)
        voice, words = self.voice(x[:, :6]).softmax(dim=1), self.words(x[:, 6:]).softmax(dim=1)
        return (shares[:, :1] * voice + shares[:, 1:] * words).log()


def plain_loop(of: Run, model: nn.Module, penalties: dict[str, float], targets: Tensor, steps: int) -> nn.Module:
    """A training loop as anyone would write it, with batches in the same order.

    Penalties are by the beginning of a weight's name. Returns the model with the weights of every fourth step, averaged
    once they are all there.
    """
    seed, training = of.seed * 1009 + of.fold, of.variant.training
    groups: list[dict[str, Any]] = [{"params": [p for name, p in model.named_parameters() if name.endswith("bias")]}]
    for start, penalty in penalties.items():
        of_it = [p for name, p in model.named_parameters() if name.startswith(start) and name.endswith("weight")]
        groups.append({"params": of_it, "weight_decay": penalty})
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    optimizer = torch.optim.Adam(groups, lr=training.lr)
    x = torch.cat([TRAIN.inputs["speech"], TRAIN.inputs["text"]], dim=1)
    history = []
    for step, rows in zip(range(1, steps + 1), batches(TRAIN, 32, seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = training.lr * min(1, step / training.warmup)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), targets[rows]).backward()
        optimizer.step()
        if step % AVERAGED == 1:
            history.append([p.detach().clone() for p in model.parameters()])
    share = torch.tensor([t * (t + 1.0) for t in range(1, len(history) + 1)])  # averaging 2: about the square
    with torch.no_grad():
        for place, parameter in enumerate(model.parameters()):
            stacked = torch.stack([weights[place] for weights in history])
            parameter.copy_(torch.tensordot(share / share.sum(), stacked, dims=1))
    return model.eval()


def test_cross_entropy_is_what_a_plain_loop_learns() -> None:
    """Warm-up, batches, penalty, Adam and the average of the weights: what predicts, and what dev was scored with."""
    one = Member(run(3, "ce", steps=30), QUIET)
    (found,) = fitted(one)
    model = plain_loop(
        one.run, plain_perceptron(one), {"": QUIET.weight_decay}, TRAIN.counts.argmax(dim=1), 5 * found.best
    )
    assert_predicts(one, found, model)


def test_a_mixture_is_what_a_plain_loop_learns() -> None:
    """With ten times the penalty on what its gate reads, and none on biases."""
    one = Member(run(3, "soft", steps=60, patience=12), replace(MIXTURE, weight_decay=0.01))
    (found,) = fitted(one)
    y = TRAIN.counts / TRAIN.counts.sum(dim=1, keepdim=True)
    model = plain_loop(one.run, PlainMixture(), {"voice": 0.01, "words": 0.01, "gate": 0.1}, y, 5 * found.best)
    assert_predicts(one, found, model)
    # The gate's penalty is seen in what comes out.
    other = plain_loop(one.run, PlainMixture(), {"": 0.01}, y, 5 * found.best)
    assert float((outputs(other) - outputs(model)).abs().max()) > 0.01


def outputs(model: nn.Module) -> Tensor:
    """Return the probabilities of a plain model on dev."""
    return model(torch.cat([DEV.inputs["speech"], DEV.inputs["text"]], dim=1)).softmax(dim=-1).detach()


def assert_predicts(one: Member, found: TrainedMember, model: nn.Module) -> None:
    """What was fitted predicts as a plain model does, and that is what its look at dev scored."""
    expected = outputs(model)
    torch.testing.assert_close(predicted(one, found), expected, atol=1e-4, rtol=1e-3)
    nll = -float((expected.log() * DEV.counts).sum() / DEV.counts.sum())
    assert found.records[found.best - 1]["dev_nll"] == pytest.approx(nll, abs=1e-4)


def said(hidden: int, states: list[State]) -> dict[str, np.ndarray]:
    """Return what mixtures (R) with given weights say of dev, (R, n, C) by head."""
    group = [Member(run(seed), replace(MIXTURE, hidden=hidden)) for seed in range(len(states))]
    made = [TrainedMember(member.run, state, [], 0) for member, state in zip(group, states, strict=True)]
    return {head: log_p.exp().double().numpy() for head, log_p in predict(group, made, DEV).items()}


def states(hidden: int) -> list[State]:
    """Return the weights of two runs' mixtures as they start."""
    heads = Heads(HEADS, DIMS, hidden, CLASSES, [3, 4], mixture=True)
    return [{name: value[r].detach() for name, value in heads.state_dict().items()} for r in range(2)]


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
    assert f"heads.fusion.weight1.{other}" not in found.state
    learned = min(scores(found, "dev_nll"))
    assert learned < 0.95 * np.log(CLASSES)  # and it has learned something
    assert scores(fitted(Member(run(3, reads), kind))[0], "dev_nll")[-1] == pytest.approx(learned, abs=0.02)


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


def logistic(of: PooledSplit, penalty: float) -> LogisticRegression:
    """scikit-learn's on a row for each class that an utterance may be, weighted: mean loss + penalty |W|² / 2."""
    y = (of.counts / of.counts.sum(dim=1, keepdim=True)).double().numpy()
    utterance, label = np.nonzero(y)
    model = LogisticRegression(C=1 / (penalty * len(of)), tol=1e-9, max_iter=5000)
    return model.fit(inputs_of(of)[utterance], label, sample_weight=y[utterance, label])


def inputs_of(part: PooledSplit) -> np.ndarray:
    return np.asarray(torch.cat([part.inputs["speech"], part.inputs["text"]], dim=1).double())


@pytest.mark.parametrize("batch", [32, 150])
def test_a_linear_head_is_penalised_logistic_regression(batch: int) -> None:
    penalties = (0.3, 0.03)
    # One look, at the end, so that dev chooses nothing.
    one = run(0, "soft", batch_size=batch, steps=1500, every=1500, averaging=8.0)
    group = [Member(one, replace(LINEAR, weight_decay=penalty)) for penalty in penalties]
    for member, found, penalty in zip(group, fitted(*group), penalties, strict=True):
        expected = logistic(TRAIN, penalty).predict_proba(inputs_of(DEV))
        np.testing.assert_allclose(predicted(member, found), expected, atol=1e-2)
    # The two differ by more than what is allowed here.
    far = [logistic(TRAIN, penalty).predict_proba(inputs_of(DEV)) for penalty in penalties]
    assert np.abs(far[0] - far[1]).max() > 0.1


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


def test_dropout_drops_the_stated_share_and_differs_between_runs() -> None:
    mask = dropout_mask(0.3, 50, 401, [generator(s, DROPOUT) for s in (0, 1)])
    assert mask.shape == (2, 50, 401)
    assert float((mask == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert float(mask.mean()) == pytest.approx(1, abs=0.02)
    assert not torch.equal(mask[0], mask[1])


def test_streams_of_one_seed_and_of_neighbouring_seeds_differ() -> None:
    draws = {float(torch.rand(1, generator=generator(seed, stream))) for seed in range(20) for stream in (0, 1, 100)}
    assert len(draws) == 60


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


def changed(of: Run, **objective: object) -> Run:
    variant = of.variant
    return Run(Variant("changed", variant.objective.model_copy(update=objective), variant.training), of.fold, of.seed)


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


@pytest.mark.parametrize("linear", [LINEAR, MIXTURE, ALONE], ids=["linear", "mixture", "one modality"])
def test_groups_have_a_size(linear: Candidate) -> None:
    dims: dict[Modality, int] = {"speech": 768, "text": 768}
    wide, narrow = replace(linear, hidden=256), replace(linear, hidden=16)
    size = largest_group(HEADS, dims, wide, 4, "cpu")
    assert 1 <= size < largest_group(("fusion",), dims, narrow, 4, "cpu")
    assert size < largest_group(HEADS, dims, linear, 4, "cpu")
    for candidate in (linear, wide):
        size = largest_group(HEADS, dims, candidate, 4, "cpu")
        seeds, kind = list(range(min(size, 200))), {"mixture": linear.mixture, "reads": linear.reads}
        heads = Heads(HEADS, dims, candidate.hidden, 4, seeds, **kind)  # type: ignore[arg-type]
        of_one = sum(p.numel() for p in heads.parameters()) // min(size, 200)
        assert 4 * 4 * of_one * size <= GROUP_BYTES["cpu"] < 4 * 4 * of_one * (size + 1)
    huge: dict[Modality, int] = {"speech": 10**7, "text": 10**7}
    assert largest_group(HEADS, huge, replace(linear, hidden=4), 4, "cpu") == 1

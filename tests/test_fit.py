"""Training side by side: a run learns what it would learn alone, and what a plain PyTorch loop learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from amber.config import Training, load
from amber.train.data import Part
from amber.train.fit import DROPOUT, GROUP_BYTES, ORDER, Fitted, fit, group_key, largest_group, predict
from amber.train.heads import INPUTS, Heads, dropout_mask, generator
from amber.train.matrix import Run, Variant, variants

CLASSES = 3


def data(n: int = 150, seed: int = 0) -> Part:
    rng = np.random.default_rng(seed)
    y = rng.dirichlet(np.ones(CLASSES) * 0.4, size=n)
    maps = np.random.default_rng(99)
    inputs = {m: y @ maps.normal(size=(CLASSES, d)) + rng.normal(size=(n, d)) for m, d in (("speech", 6), ("text", 5))}
    tensors = {m: torch.from_numpy(x).float() for m, x in inputs.items()}
    return Part(tensors, torch.arange(n), torch.from_numpy(4 * y).float())  # type: ignore[arg-type]


TRAIN, DEV = data(), data(60, 1)


def run(seed: int, variant: str = "amber2", **training: object) -> Run:
    chosen = {"hidden": 16, "epochs": 12, "patience": 4, "batch_size": 32, "lr": 0.01, **training}
    base = next(v for v in variants(load(None, [f"train.variants=[{variant}]"])))
    return Run(Variant(base.name, base.objective, Training(**chosen)), fold=1, seed=seed)  # type: ignore[arg-type]


def fitted(*runs: Run) -> list[Fitted]:
    return fit(runs, TRAIN, DEV, "cpu", lambda: None)


def test_a_run_learns_the_same_alone_and_in_company() -> None:
    together = fitted(*[run(seed) for seed in range(4)])
    # Early stopping has runs leave at different epochs, which is part of what is tested.
    assert len({len(f.epochs) for f in together}) > 1
    for seed, one in enumerate(together):
        (alone,) = fitted(run(seed))
        assert alone.best == one.best
        assert [e["dev_bc"] for e in alone.epochs] == pytest.approx([e["dev_bc"] for e in one.epochs], abs=1e-5)
        for name, value in alone.state.items():
            torch.testing.assert_close(value, one.state[name], atol=1e-4, rtol=1e-4)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    first, again, other = fitted(run(1))[0], fitted(run(1))[0], fitted(run(2))[0]
    assert first.epochs == again.epochs
    assert all(torch.equal(first.state[name], again.state[name]) for name in first.state)
    assert first.epochs != other.epochs


def test_a_student_starts_from_the_same_weights_whichever_experts_it_has() -> None:
    dims = {"speech": 6, "text": 5}
    alone = Heads(("fusion",), dims, 16, CLASSES, [7])  # type: ignore[arg-type]
    among = Heads(tuple(INPUTS), dims, 16, CLASSES, [3, 7])  # type: ignore[arg-type]
    for modality, weight in alone.heads["fusion"].weight1.items():
        torch.testing.assert_close(weight[0], among.heads["fusion"].weight1[modality][1])


def plain_loop(of: Run, epochs: int) -> nn.Sequential:
    """The cross-entropy baseline as anyone would write it, from the same initialisation and in the same order."""
    seed = of.seed * 1009 + of.fold
    start = Heads(("fusion",), {"speech": 6, "text": 5}, 16, CLASSES, [seed]).heads["fusion"]
    model = nn.Sequential(nn.Linear(11, 16), nn.GELU(), nn.Linear(16, CLASSES))
    first = torch.cat([start.weight1["speech"], start.weight1["text"]], dim=1)
    with torch.no_grad():
        for layer, weight, bias in ((model[0], first, start.bias1), (model[2], start.weight2, start.bias2)):
            layer.weight.copy_(weight[0].T)
            layer.bias.copy_(bias[0, 0])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)
    x = torch.cat([TRAIN.inputs["speech"], TRAIN.inputs["text"]], dim=1)
    order = generator(seed, ORDER)
    for _ in range(epochs):
        for rows in torch.randperm(len(TRAIN), generator=order).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), TRAIN.counts[rows].argmax(dim=1)).backward()
            optimizer.step()
    return model.eval()


def test_cross_entropy_is_what_a_plain_loop_learns() -> None:
    one = run(3, "ce", dropout=0.0, epochs=3, patience=3)
    (found,) = fitted(one)
    model = plain_loop(one, epochs=found.best)
    p = predict([found], DEV)["fusion"][0]
    x = torch.cat([DEV.inputs["speech"], DEV.inputs["text"]], dim=1)
    torch.testing.assert_close(p, model(x).softmax(dim=-1).detach(), atol=1e-4, rtol=1e-3)


def test_the_best_state_is_kept_and_dev_figures_are_over_all_of_dev() -> None:
    one = run(0)
    (found,) = fitted(one)
    p = predict([found], DEV)["fusion"][0]
    nll = -float((p.log() * DEV.counts).sum() / DEV.counts.sum())
    assert nll == pytest.approx(min(e["dev_nll"] for e in found.epochs), abs=1e-6)
    bc = float((p * DEV.counts / 4).sqrt().sum(dim=1).mean())
    assert bc == pytest.approx(found.epochs[found.best - 1]["dev_bc"], abs=1e-6)
    assert len(found.epochs) in (found.best + 4, 12)


def test_dropout_drops_the_stated_share_and_differs_between_runs() -> None:
    mask = dropout_mask(0.3, 50, 401, [generator(s, DROPOUT) for s in (0, 1)])
    assert mask.shape == (2, 50, 401)
    assert float((mask == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert float(mask.mean()) == pytest.approx(1, abs=0.02)
    assert not torch.equal(mask[0], mask[1])


def test_streams_of_one_seed_and_of_neighbouring_seeds_differ() -> None:
    draws = {float(torch.rand(1, generator=generator(seed, stream))) for seed in range(20) for stream in (0, 1, 100)}
    assert len(draws) == 60


def best_by(found: Fitted, score: str, lowest: bool) -> int:
    values = [epoch[score] for epoch in found.epochs]
    return values.index(min(values) if lowest else max(values)) + 1


@pytest.mark.parametrize(
    ("stop", "score", "lowest"),
    [("nll", "dev_nll", True), ("bc", "dev_bc", False), ("loss", "dev_loss", True)],
)
def test_the_stopping_rule_says_which_epoch_is_best(stop: str, score: str, lowest: bool) -> None:
    (found,) = fitted(run(0, stop=stop))
    assert found.best == best_by(found, score, lowest)
    assert len(found.epochs) in (found.best + 4, 12)


def test_the_stopping_rule_of_hard_targets_is_accuracy_then_loss() -> None:
    (found,) = fitted(run(0, "ce"))
    scores = [(epoch["dev_accuracy"], -epoch["dev_loss"]) for epoch in found.epochs]
    assert found.best == scores.index(max(scores)) + 1
    assert fitted(run(0, "ce", stop="nll"))[0].best == best_by(fitted(run(0, "ce", stop="nll"))[0], "dev_nll", True)


def changed(of: Run, **objective: object) -> Run:
    variant = of.variant
    return Run(Variant("changed", variant.objective.model_copy(update=objective), variant.training), of.fold, of.seed)


@pytest.mark.parametrize(("seed", "objective"), [(0, {"modality": 0.0}), (1, {"rater_dropout": 0.4})])
def test_an_objective_s_numbers_are_each_run_s_own(seed: int, objective: dict[str, float]) -> None:
    plain, other = run(seed), changed(run(seed), **objective)
    assert group_key(plain) == group_key(other)
    both = fitted(plain, other)
    for one, of in zip(both, (plain, other), strict=True):
        assert one.epochs[-1]["dev_bc"] == pytest.approx(fitted(of)[0].epochs[-1]["dev_bc"], abs=1e-5)
    assert both[0].epochs != both[1].epochs


def test_dirichlet_targets_learn_as_soft_ones_do_where_raters_are_independent() -> None:
    """With the same number of votes everywhere and a high precision, the likelihood is the cross-entropy."""
    quiet = run(2, "soft", dropout=0.0)
    (soft,), (votes,) = fitted(quiet), fitted(changed(quiet, target="dirichlet", precision=1e6))
    assert [e["dev_nll"] for e in votes.epochs] == pytest.approx([e["dev_nll"] for e in soft.epochs], abs=2e-3)
    (few,) = fitted(changed(quiet, target="dirichlet", precision=1.0))
    assert few.epochs[-1]["dev_nll"] != pytest.approx(soft.epochs[-1]["dev_nll"], abs=1e-2)


def test_a_learned_mixture_finds_the_layer_that_says_something() -> None:
    noise = torch.randn(150, 3, 6, generator=torch.Generator().manual_seed(0))
    layered = {"speech": noise.clone(), "text": TRAIN.inputs["text"]}
    layered["speech"][:, 1] = TRAIN.inputs["speech"]
    part = Part(layered, TRAIN.rows, TRAIN.counts)  # type: ignore[arg-type]
    runs = [run(seed, "speech", epochs=30, patience=30, lr=0.05) for seed in (0, 1)]
    together = fit(runs, part, part, "cpu", lambda: None)
    for one in together:
        weights = one.state["mix.speech"].softmax(dim=0)
        assert weights.shape == (3,)
        assert int(weights.argmax()) == 1
        assert float(weights[1]) > 0.5
    alone = fit(runs[1:], part, part, "cpu", lambda: None)[0]
    torch.testing.assert_close(alone.state["mix.speech"], together[1].state["mix.speech"], atol=1e-4, rtol=1e-4)
    # The mixture is part of what predicts.
    p = predict([alone], part)["speech"][0]
    bc = float((p * part.counts / 4).sqrt().sum(dim=1).mean())
    assert bc == pytest.approx(alone.epochs[alone.best - 1]["dev_bc"], abs=1e-5)


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
    for batch_size in (75, 15):
        with Fetches() as fetches:
            fitted(changed(run(0, epochs=2, batch_size=batch_size), **objective))
        counts.append(fetches.count)
    assert counts[0] == counts[1]


def test_groups_have_a_size() -> None:
    dims = {"speech": 768, "text": 768}
    large, small = run(0, hidden=256), run(0, "ce", hidden=16)
    size = largest_group(large, dims, 4, "cpu")  # type: ignore[arg-type]
    assert 1 <= size < largest_group(small, dims, 4, "cpu")  # type: ignore[arg-type]
    heads = Heads(large.variant.heads, dims, 256, 4, list(range(size)))  # type: ignore[arg-type]
    assert 4 * 4 * sum(p.numel() for p in heads.parameters()) <= GROUP_BYTES["cpu"]
    assert largest_group(large, {"speech": 10**6, "text": 10**6}, 4, "cpu") == 1

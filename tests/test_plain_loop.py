"""Training against independent implementations: a plain PyTorch loop, and scikit-learn's logistic regression."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tiny_runs import (
    CLASSES,
    DEV,
    DIMS,
    LINEAR,
    MIXTURE,
    QUIET,
    TRAIN,
    batches,
    fitted,
    predicted,
    run,
)
from torch import Tensor, nn

from amber.train.batches import PooledSplit
from amber.train.fit import AVERAGED
from amber.train.heads import Heads
from amber.train.matrix import Run
from amber.train.member import Member, TrainedMember


def plain_perceptron(of: Member) -> nn.Sequential:
    """A head as anyone would write it, from the same initialisation."""
    start = Heads(("fusion",), DIMS, of.candidate.hidden, CLASSES, [of.seed]).heads["fusion"]
    model = nn.Sequential(nn.Linear(11, 16), nn.GELU(), nn.Linear(16, CLASSES))
    first = torch.cat([start.weight1["speech"], start.weight1["text"]], dim=2)
    with torch.no_grad():
        for layer, weight, bias in ((model[0], first, start.bias1), (model[2], start.weight2, start.bias2)):
            layer.weight.copy_(weight[0])
            layer.bias.copy_(bias[0, :, 0])
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

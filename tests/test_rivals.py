"""The baselines against scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from amber.config import load
from amber.errors import UserError
from amber.train import baselines
from amber.train.data import Part
from amber.train.matrix import Run, variants


def parts(classes: int = 3, n: int = 240) -> tuple[Part, Part]:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(4, rng.dirichlet(np.ones(classes) * 0.5, size=n)).astype(float)
    maps = [rng.normal(size=(classes, d)) for d in (5, 4)]
    made = [counts @ m + rng.normal(size=(n, m.shape[1])) * 3 for m in maps]
    inputs = {name: torch.from_numpy(x).float() for name, x in zip(("speech", "text"), made, strict=True)}
    votes = torch.from_numpy(counts).float()
    rows = torch.arange(n)
    return Part(inputs, rows[:160], votes[:160]), Part(inputs, rows[160:], votes[160:])  # type: ignore[arg-type]


def run(name: str, *overrides: str) -> Run:
    (variant,) = variants(load(None, [f"train.variants=[{name}]", *overrides]))
    return Run(variant, fold=1, seed=0)


def predictions(of: Run, train: Part, dev: Part) -> np.ndarray:
    fitted = baselines.fit([of], train, dev)
    return np.asarray(baselines.predict(fitted, dev)["fusion"][0].double())


def test_uniform_and_prior() -> None:
    train, dev = parts()
    np.testing.assert_allclose(predictions(run("uniform"), train, dev), 1 / 3, rtol=1e-6)
    y = train.counts / train.counts.sum(dim=1, keepdim=True)
    np.testing.assert_allclose(predictions(run("prior"), train, dev), np.tile(y.mean(dim=0), (80, 1)), rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_hard_logistic_regression_is_scikit_learn_s(classes: int) -> None:
    train, dev = parts(classes)
    x = np.concatenate([train.inputs[m] for m in ("speech", "text")], axis=1)  # type: ignore[index]
    model = LogisticRegression(max_iter=2000).fit(x[:160], train.counts.argmax(dim=1))
    found = predictions(run("hard", "variants.hard={base: logistic, objective: {target: hard}}"), train, dev)
    np.testing.assert_allclose(found, model.predict_proba(x[160:]), atol=1e-4)


def test_soft_logistic_regression_minimises_the_cross_entropy_with_vote_fractions() -> None:
    """No small step from the solution lowers the penalised loss that it is said to minimise."""
    train, dev = parts()
    (fitted,) = baselines.fit([run("logistic")], train, dev)
    x = torch.cat([train.inputs["speech"], train.inputs["text"]], dim=1)[:160].double()
    y = (train.counts / train.counts.sum(dim=1, keepdim=True)).double()
    weight, bias = (fitted.state[name].double().requires_grad_() for name in ("weight", "bias"))
    loss = -(y * (x @ weight + bias).log_softmax(dim=1)).sum() + (weight**2).sum() / 2
    for gradient in torch.autograd.grad(loss, (weight, bias)):
        assert float(gradient.abs().max()) < 5e-4 * float(loss.detach())


def test_a_class_that_training_never_saw_is_never_predicted_and_scores_stay_finite() -> None:
    train, dev = parts()
    unseen = Part(train.inputs, train.rows, torch.cat([train.counts[:, :2] + 1, torch.zeros(160, 1)], dim=1))
    for name in ("prior", "logistic"):
        (fitted,) = baselines.fit([run(name)], unseen, dev)
        assert all(np.isfinite(value) for value in fitted.epochs[0].values())
        assert float(baselines.predict([fitted], dev)["fusion"][0][:, 2].max()) == 0
        one_sided = Part(train.inputs, train.rows, torch.tensor([[2.0, 0.0, 0.0]]).expand(160, -1))
        (fitted,) = baselines.fit([run(name)], one_sided, dev)
        torch.testing.assert_close(baselines.predict([fitted], dev)["fusion"][0][:, 0], torch.ones(80))


def test_logistic_regression_can_t_learn_layers() -> None:
    with pytest.raises(UserError, match="can't learn layers"):
        run("logistic", "train.layer=learned")

"""The rivals against scikit-learn and closed forms, and how they are chosen."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC, LinearSVC

from amber.config_file import load
from amber.errors import UserError
from amber.train import linear, rivals
from amber.train.batches import PooledSplit
from amber.train.matrix import Run, variants
from amber.train.member import TrainedMember
from amber.train.streams import DROPOUT, generator

TUNED = ("logistic", "svm", "mlp", "ridge")
Floats = np.ndarray


def parts(classes: int = 3, n: int = 240, noise: float = 3.0) -> tuple[PooledSplit, PooledSplit]:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(4, rng.dirichlet(np.ones(classes) * 0.5, size=n)).astype(float)
    maps = [rng.normal(size=(classes, d)) for d in (5, 4)]
    made = [counts @ m + rng.normal(size=(n, m.shape[1])) * noise for m in maps]
    inputs = {name: torch.from_numpy(x).float() for name, x in zip(("speech", "text"), made, strict=True)}
    votes = torch.from_numpy(counts).float()
    rows, held = torch.arange(n), n // 3
    return PooledSplit(inputs, rows[held:], votes[held:]), PooledSplit(inputs, rows[:held], votes[:held])  # type: ignore[arg-type]


def run(name: str, *overrides: str, seed: int = 0) -> Run:
    (variant,) = variants(load(None, [f"train.variants=[{name}]", *overrides]))
    return Run(variant, fold=1, seed=seed)


def hard(model: str) -> Run:
    return run("hard", f"variants.hard={{base: {model}, objective: {{target: hard}}}}")


def x_of(part: PooledSplit) -> Floats:
    return np.asarray(torch.cat([part.inputs[m][part.rows] for m in ("speech", "text")], dim=1).double())


def y_of(part: PooledSplit) -> Floats:
    return np.asarray((part.counts / part.counts.sum(dim=1, keepdim=True)).double())


def rows_of(part: PooledSplit) -> tuple[Floats, Floats, Floats]:
    """Return what scikit-learn is given: a row for each class that an utterance may be, its class, its weight."""
    utterance, label = np.nonzero(y_of(part))
    return x_of(part)[utterance], label, y_of(part)[utterance, label]


def predicted(fitted: TrainedMember, part: PooledSplit) -> Floats:
    return np.asarray(rivals.predict([fitted], part)["fusion"][0].double())


def fit(of: Run, train: PooledSplit, dev: PooledSplit) -> tuple[TrainedMember, Floats]:
    (fitted,) = rivals.fit([of], train, dev)
    return fitted, predicted(fitted, dev)


def chosen(fitted: TrainedMember) -> dict[str, float]:
    return fitted.records[fitted.best - 1]


def test_uniform_and_prior() -> None:
    train, dev = parts()
    np.testing.assert_allclose(fit(run("uniform"), train, dev)[1], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(fit(run("prior"), train, dev)[1], np.tile(y_of(train).mean(axis=0), (80, 1)), rtol=1e-5)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "GRADIENT", 1e-7)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_is_scikit_learn_s(classes: int) -> None:
    train, dev = parts(classes)
    fitted, found = fit(run("logistic"), train, dev)
    strength = chosen(fitted)["C"] * (2 if classes == 2 else 1)
    x, label, share = rows_of(train)
    model = LogisticRegression(C=strength, tol=1e-9, max_iter=5000).fit(x, label, sample_weight=share)
    np.testing.assert_allclose(found, model.predict_proba(x_of(dev)), atol=1e-5)


@pytest.mark.usefixtures("exact")
def test_hard_targets_are_plurality_classes() -> None:
    train, dev = parts()
    fitted, found = fit(hard("logistic"), train, dev)
    model = LogisticRegression(C=chosen(fitted)["C"], tol=1e-9, max_iter=5000)
    model.fit(x_of(train), train.counts.argmax(dim=1).numpy())
    np.testing.assert_allclose(found, model.predict_proba(x_of(dev)), atol=1e-5)


@pytest.mark.usefixtures("exact")
def test_the_linear_svm_is_scikit_learn_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "KERNEL_ROWS", 0)
    train, dev = parts()
    fitted, found = fit(run("svm"), train, dev)
    x, label, share = rows_of(train)
    # An intercept that is scaled up is hardly penalised.
    model = LinearSVC(C=chosen(fitted)["C"], dual=False, intercept_scaling=1e3, tol=1e-9, max_iter=100_000)
    scores = model.fit(x, label, sample_weight=share).decision_function(x_of(dev))
    np.testing.assert_allclose(found, softmax(chosen(fitted)["factor"] * scores, axis=1), atol=1e-5)


@pytest.fixture
def kernel_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "_linear_svm", lambda *_: ())
    monkeypatch.setattr("sklearn.svm.SVC", partial(SVC, tol=1e-8))


@pytest.mark.usefixtures("kernel_only")
def test_the_kernel_svm_is_scikit_learn_s() -> None:
    train, dev = parts()
    fitted, found = fit(hard("svm"), train, dev)
    model = OneVsRestClassifier(SVC(C=chosen(fitted)["C"], gamma="scale", tol=1e-8))
    scores = model.fit(x_of(train), train.counts.argmax(dim=1).numpy()).decision_function(x_of(dev))
    np.testing.assert_allclose(found, softmax(chosen(fitted)["factor"] * scores, axis=1), atol=1e-5)
    assert set(fitted.state) == {"weight", "bias", "support", "gamma"}


@pytest.mark.usefixtures("kernel_only")
def test_the_kernel_svm_counts_an_utterance_as_one_of_each_class_by_its_weight() -> None:
    train, dev = parts()
    fitted, found = fit(run("svm"), train, dev)
    x, label, share = rows_of(train)
    gamma = chosen(fitted)["gamma"]
    scores = [
        SVC(C=chosen(fitted)["C"], gamma=gamma, tol=1e-8)
        .fit(x, label == c, sample_weight=share)
        .decision_function(x_of(dev))
        for c in range(3)
    ]
    np.testing.assert_allclose(found, softmax(chosen(fitted)["factor"] * np.stack(scores, axis=1), axis=1), atol=1e-5)


@pytest.mark.parametrize("wide", [False, True])
def test_ridge_regression_is_scikit_learn_s(wide: bool) -> None:
    train, dev = parts(n=240 if not wide else 12)
    fitted, found = fit(run("ridge"), train, dev)
    model = Ridge(alpha=chosen(fitted)["alpha"]).fit(x_of(train), y_of(train))
    np.testing.assert_allclose(found, softmax(chosen(fitted)["factor"] * model.predict(x_of(dev)), axis=1), atol=1e-5)


@pytest.mark.parametrize("seed", [20240131, 2**32 - 1])
def test_a_perceptron_starts_from_any_seed_of_a_configuration(seed: int) -> None:
    train, dev = parts(n=60)
    assert load(None, [f"train.seeds=[{seed}]"]).train.seeds == [seed]
    first, other = (fit(run("mlp", seed=one), train, dev)[1] for one in (seed, 0))
    assert np.isfinite(first).all()
    assert not np.array_equal(first, other)
    assert generator(run("soft", seed=seed).stream_seed, DROPOUT).device.type == "cpu"


def test_seeds_beyond_32_bits_are_refused() -> None:
    for key in ("train.seeds", "evaluate.seed"):
        with pytest.raises(UserError, match="less than 4294967296"):
            load(None, [f"{key}={[2**32] if key == 'train.seeds' else 2**32}"])


@pytest.mark.parametrize("classes", [2, 3])
def test_the_perceptron_predicts_as_scikit_learn_s(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first candidate that is made, one round of the first penalty, is scikit-learn's own model at that point."""
    made: list[MLPClassifier] = []

    class Kept(MLPClassifier):
        def partial_fit(self, *arguments: object, **options: object) -> MLPClassifier:
            made.append(self)
            return super().partial_fit(*arguments, **options)

    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", Kept)
    monkeypatch.setattr(rivals, "PENALTIES", (1e-2,))
    monkeypatch.setattr(rivals, "ROUNDS", 1)
    train, dev = parts(classes)
    found = fit(run("mlp"), train, dev)[1]
    np.testing.assert_allclose(found, made[0].predict_proba(x_of(dev).astype(np.float32)), atol=1e-5)


@pytest.mark.parametrize("loss", [linear.cross_entropy, linear.squared_hinge])
def test_gradients_are_those_of_differences(loss: linear.Loss) -> None:
    rng = np.random.default_rng(1)
    scores, y, step = rng.normal(size=(6, 3)), rng.dirichlet(np.ones(3), size=6), rng.normal(size=(6, 3)) * 1e-6
    slope = loss(scores, y)[1]
    difference = (loss(scores + step, y)[0] - loss(scores - step, y)[0]) / 2
    assert difference == pytest.approx(float(np.vdot(slope, step)), rel=1e-5)


@pytest.mark.usefixtures("exact")
def test_soft_logistic_regression_minimises_the_cross_entropy_with_vote_fractions() -> None:
    """No small step from the solution lowers the penalised loss that it is said to minimise."""
    train, dev = parts()
    fitted, _ = fit(run("logistic"), train, dev)
    x, y = torch.from_numpy(x_of(train)), torch.from_numpy(y_of(train))
    weight, bias = (fitted.state[name].double().requires_grad_() for name in ("weight", "bias"))
    loss = -(y * (x @ weight + bias).log_softmax(dim=1)).sum() + (weight**2).sum() / 2 / chosen(fitted)["C"]
    for gradient in torch.autograd.grad(loss, (weight, bias)):
        assert float(gradient.abs().max()) < 1e-4 * float(loss.detach())


@pytest.mark.parametrize("model", TUNED)
def test_what_is_chosen_is_best_on_dev_of_all_that_was_tried(model: str) -> None:
    train, dev = parts()
    fitted, found = fit(run(model), train, dev)
    nll = [record["dev_nll"] for record in fitted.records]
    assert nll.index(min(nll)) == fitted.best - 1
    counts = dev.counts.double().numpy()
    assert nll[fitted.best - 1] == pytest.approx(-(counts * np.log(found)).sum() / counts.sum(), abs=1e-5)
    assert [record["candidate"] for record in fitted.records] == list(range(1, len(nll) + 1))


@pytest.mark.parametrize("model", ["logistic", "ridge"])
def test_penalties_are_of_a_range_whose_ends_are_not_chosen(model: str) -> None:
    for noise in (1.0, 3.0, 10.0):
        train, dev = parts(noise=noise)
        fitted, _ = fit(run(model), train, dev)
        assert 1 < fitted.best < len(fitted.records)
        tried = [record.get("C") or 1 / record["alpha"] for record in fitted.records]
        np.testing.assert_allclose([b / a for a, b in pairwise(tried)], 10**0.5)


def test_a_path_ends_when_dev_has_got_worse_for_a_while() -> None:
    train, dev = parts()
    fitted, _ = fit(run("logistic"), train, dev)
    assert len(fitted.records) - fitted.best == rivals.PATIENCE < 2 * rivals.DECADES + 1 - fitted.best


def test_the_factor_of_scores_makes_the_dev_votes_most_likely() -> None:
    train, dev = parts()
    _, found = fit(run("ridge"), train, dev)
    scores, counts = np.log(found), dev.counts.double().numpy()
    nll = {f: -(counts * log_softmax(f * scores, axis=1)).sum() for f in (0.99, 1.0, 1.01)}
    assert min(nll, key=nll.__getitem__) == 1.0


@pytest.mark.parametrize("model", ["prior", *TUNED])
def test_a_class_that_training_never_saw_is_never_predicted_and_scores_stay_finite(model: str) -> None:
    train, dev = parts()
    unseen = PooledSplit(train.inputs, train.rows, torch.cat([train.counts[:, :2] + 1, torch.zeros(160, 1)], dim=1))
    fitted, found = fit(run(model), unseen, dev)
    assert all(np.isfinite(value) for record in fitted.records for value in record.values())
    assert found[:, 2].max() == 0
    one_sided = PooledSplit(train.inputs, train.rows, torch.tensor([[2.0, 0.0, 0.0]]).expand(160, -1))
    np.testing.assert_array_equal(fit(run(model), one_sided, dev)[1], np.tile([1.0, 0.0, 0.0], (80, 1)))


@pytest.mark.parametrize("model", TUNED)
def test_two_classes(model: str) -> None:
    train, dev = parts(2)
    fitted, found = fit(run(model), train, dev)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert chosen(fitted)["dev_nll"] < fit(run("prior"), train, dev)[0].records[0]["dev_nll"] - 0.05


@pytest.mark.parametrize("model", TUNED)
def test_fits_are_the_same_again(model: str) -> None:
    train, dev = parts()
    np.testing.assert_array_equal(fit(run(model), train, dev)[1], fit(run(model), train, dev)[1])


@pytest.mark.parametrize("model", TUNED)
def test_seeds_share_what_has_nothing_random(model: str) -> None:
    train, dev = parts()
    group = [run(model, seed=seed) for seed in (0, 1)]
    fitted = rivals.fit(group, train, dev)
    assert [one.run for one in fitted] == group
    first, second = rivals.predict(fitted, dev)["fusion"]
    assert torch.equal(first, second) == (model != "mlp")
    # A run is what it is alone.
    np.testing.assert_array_equal(second.double(), fit(group[1], train, dev)[1])


def test_a_rival_without_a_finite_candidate_is_an_error_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"weight": torch.full((9, 3), torch.nan), "bias": torch.zeros(3)}
    monkeypatch.setattr(rivals, "_logistic", lambda *_: [({"C": 1.0}, broken)])
    with pytest.raises(UserError, match="logistic/fold1-seed0: nothing"):
        rivals.fit([run("logistic")], *parts())


@pytest.mark.parametrize("model", TUNED)
def test_rivals_can_t_learn_layers(model: str) -> None:
    with pytest.raises(UserError, match=f"{model} can't learn layers"):
        run(model, "train.layer=learned")

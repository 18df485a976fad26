"""The objective: each divergence against an independent implementation, its limits, and where gradients may flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import dirichlet_multinomial as scipy_dm
from scipy.stats import multinomial
from torch import Tensor

from amber.train.objective import DIVERGENCES, EPSILON, dirichlet_multinomial, expert_weights, loss

GENERATOR = np.random.default_rng(0)
T = GENERATOR.dirichlet(np.ones(4), size=20)
Q = GENERATOR.dirichlet(np.ones(4), size=20)

INDEPENDENT = {
    "kl": rel_entr(T, Q).sum(axis=1),
    "reverse-kl": rel_entr(Q, np.maximum(T, EPSILON)).sum(axis=1),
    "js": np.array([jensenshannon(t, q) ** 2 for t, q in zip(T, Q, strict=True)]),
    "bhattacharyya": -np.log(np.sqrt(T * Q).sum(axis=1)),
    "hellinger": ((np.sqrt(T) - np.sqrt(Q)) ** 2).sum(axis=1) / 2,
}
WEIGHTS = {
    "rater_weight": 1.0,
    "modality_weight": 0.5,
    "experts_weight": 1.0,
    "temperature": 0.5,
    "concentration": 10.0,
}
VOTES = GENERATOR.multinomial(5, T)


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float64))


def weights(**changes: float) -> dict[str, Tensor]:
    return {name: tensor(np.array([[value]])) for name, value in {**WEIGHTS, **changes}.items()}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergences_against_scipy(name: str) -> None:
    found = DIVERGENCES[name](tensor(T), tensor(Q).log())  # type: ignore[index]
    np.testing.assert_allclose(found, INDEPENDENT[name], rtol=1e-9)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_equal_distributions_are_at_zero_distance_and_others_are_not(name: str) -> None:
    divergence = DIVERGENCES[name]  # type: ignore[index]
    np.testing.assert_allclose(divergence(tensor(T), tensor(T).log()), 0, atol=1e-12)
    assert (divergence(tensor(T), tensor(Q).log()) > 0).all()


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_one_hot_targets_stay_finite(name: str, scale: float) -> None:
    """Also in float32, and where the prediction is as good as one-hot on another class."""
    logits = torch.tensor([[scale, 0.0, -scale]], requires_grad=True)
    value = DIVERGENCES[name](torch.tensor([[0.0, 0.0, 1.0]]), logits.log_softmax(-1))  # type: ignore[index]
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", DIVERGENCES)
def test_gradients(name: str) -> None:
    logits = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = tensor(T[:3])
    assert torch.autograd.gradcheck(lambda x: DIVERGENCES[name](targets, x.log_softmax(-1)), (logits,))  # type: ignore[index]


@pytest.mark.parametrize("weighting", ["adaptive", "uniform", "confidence"])
def test_weights_of_experts_sum_to_one(weighting: str) -> None:
    experts = torch.stack([tensor(Q).log(), tensor(T).log(), tensor(Q[::-1].copy()).log()])
    found = expert_weights(weighting, "kl", tensor(T), experts, torch.tensor(0.5))  # type: ignore[arg-type]
    np.testing.assert_allclose(found.sum(dim=0), 1)
    assert (found > 0).all()


def test_adaptive_trusts_the_expert_that_reads_the_raters_and_confidence_the_sure_one() -> None:
    y = tensor(np.array([[0.5, 0.5]]))
    experts = tensor(np.array([[[0.5, 0.5]], [[0.99, 0.01]]])).log()
    temperature = torch.tensor(0.1)
    assert expert_weights("adaptive", "kl", y, experts, temperature)[0] > 0.95
    assert expert_weights("confidence", "kl", y, experts, temperature)[1] > 0.95


def heads(requires_grad: bool = True) -> dict[str, Tensor]:
    made = {}
    for i, name in enumerate(("speech", "text", "fusion")):
        generator = torch.Generator().manual_seed(i)
        made[name] = torch.randn(1, 5, 4, dtype=torch.float64, generator=generator, requires_grad=requires_grad)
    return made


def value(logits: dict[str, Tensor], **changes: float) -> Tensor:
    log_p = {name: x.log_softmax(-1) for name, x in logits.items()}
    y = tensor(T[:5])[None]
    given = weights(**changes)
    return loss(log_p, y, student="fusion", divergence="kl", weighting="adaptive", weights=given)  # type: ignore[arg-type]


def test_the_objective_by_hand() -> None:
    logits = heads(requires_grad=False)
    p = {name: x.softmax(-1).numpy()[0] for name, x in logits.items()}
    y = T[:5]
    d = {name: rel_entr(y, p[name]).sum(axis=1) for name in p}
    trust = np.exp(-np.stack([d["speech"], d["text"]]) / 0.5)
    trust /= trust.sum(axis=0)
    guidance = sum(w * rel_entr(p[m], p["fusion"]).sum(axis=1) for w, m in zip(trust, ("speech", "text"), strict=True))
    expected = d["fusion"] + 0.5 * guidance + (d["speech"] + d["text"]) / 2
    np.testing.assert_allclose(value(logits)[0], expected, rtol=1e-9)


def test_teachers_learn_from_the_raters_and_never_from_the_student() -> None:
    """With the experts' own term off, nothing reaches them; with it on, the guidance adds nothing to it."""
    logits = heads()
    value(logits, experts_weight=0.0).sum().backward()
    assert logits["fusion"].grad is not None
    for name in ("speech", "text"):
        grad = logits[name].grad
        assert grad is None or not grad.any()
    with_guidance, without = heads(), heads()
    value(with_guidance).sum().backward()
    value(without, modality_weight=0.0).sum().backward()
    for name in ("speech", "text"):
        torch.testing.assert_close(with_guidance[name].grad, without[name].grad)


def test_a_student_alone_learns_from_the_raters_alone() -> None:
    logits = {"fusion": heads(requires_grad=False)["fusion"]}
    expected = rel_entr(T[:5], logits["fusion"].softmax(-1).numpy()[0]).sum(axis=1)
    np.testing.assert_allclose(value(logits)[0], expected)


@pytest.mark.parametrize("concentration", [0.5, 10.0, 300.0])
def test_the_likelihood_of_votes_against_scipy(concentration: float) -> None:
    found = dirichlet_multinomial(tensor(VOTES), tensor(Q).log(), concentration)
    expected = [-scipy_dm.logpmf(n, concentration * q, n.sum()) for n, q in zip(VOTES, Q, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_the_likelihood_of_votes_against_sampled_distributions() -> None:
    """The mean multinomial likelihood under draws from torch's Dirichlet distribution."""
    torch.manual_seed(0)
    votes, q, concentration = tensor(np.array([2.0, 1.0, 0.0])), tensor(np.array([0.5, 0.3, 0.2])), 4.0
    drawn = torch.distributions.Dirichlet(concentration * q).sample((200_000,))
    likelihood = torch.distributions.Multinomial(3, probs=drawn, validate_args=False).log_prob(votes.expand(200_000, 3))
    found = dirichlet_multinomial(votes, q.log(), concentration)
    assert float(found) == pytest.approx(-float(likelihood.exp().mean().log()), abs=0.01)


def test_a_high_concentration_is_the_multinomial_likelihood() -> None:
    found = dirichlet_multinomial(tensor(VOTES), tensor(Q).log(), 1e8)
    expected = [-multinomial.logpmf(n, n.sum(), q) for n, q in zip(VOTES, Q, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_votes_for_an_impossible_class_stay_finite(scale: float) -> None:
    logits = torch.tensor([[scale, 0.0, -scale]], requires_grad=True)
    value = dirichlet_multinomial(torch.tensor([[0.0, 0.0, 3.0]]), logits.log_softmax(-1), 10.0)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_gradients_of_the_likelihood() -> None:
    logits = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    votes, concentration = tensor(VOTES[:3]), torch.tensor([2.0, 10.0, 50.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: dirichlet_multinomial(votes, x.log_softmax(-1), concentration), (logits,))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("weighting", ["adaptive", "uniform", "confidence"])
@pytest.mark.parametrize("votes", [None, tensor(VOTES[:5])[None]], ids=["soft", "dirichlet"])
def test_gradients_of_the_whole_objective(divergence: str, weighting: str, votes: Tensor | None) -> None:
    """Of the student's logits; the experts' are checked with the guidance off, which gives them none."""
    logits = heads()
    y = tensor(T[:5])[None]

    def of(student: Tensor, expert: Tensor, modality: float) -> Tensor:
        log_p = {"speech": expert, "text": logits["text"].detach(), "fusion": student}
        log_p = {name: x.log_softmax(-1) for name, x in log_p.items()}
        return loss(log_p, y, student="fusion", divergence=divergence, weighting=weighting,  # type: ignore[arg-type]
                    weights=weights(modality_weight=modality), votes=votes, votes_each=5.0)  # type: ignore[arg-type]  # fmt: skip

    student, expert = logits["fusion"], logits["speech"]
    assert torch.autograd.gradcheck(lambda x: of(x, expert.detach(), 0.5), (student,))
    assert torch.autograd.gradcheck(lambda x: of(student.detach(), x, 0.0), (expert,))


def test_with_dirichlet_targets_the_likelihood_takes_the_place_of_the_divergence_from_the_raters() -> None:
    logits = heads(requires_grad=False)
    log_p = {name: x.log_softmax(-1) for name, x in logits.items()}
    votes = tensor(VOTES[:5])[None]
    y = votes / 5
    given = {"student": "fusion", "divergence": "kl", "weighting": "adaptive"}
    found = loss(log_p, y, **given, weights=weights(), votes=votes, votes_each=5.0)  # type: ignore[arg-type]
    soft = loss(log_p, y, **given, weights=weights(rater_weight=0.0, experts_weight=0.0))  # type: ignore[arg-type]
    nll = {name: dirichlet_multinomial(votes, x, 10.0) / 5 for name, x in log_p.items()}
    torch.testing.assert_close(found, nll["fusion"] + soft + (nll["speech"] + nll["text"]) / 2)

"""The AmbER2 objective: rater ambiguity, guidance by modality experts, and the experts' own learning.

For one utterance with rater distribution y, student prediction q and experts' predictions p_m:

    w_m = softmax over m of ( -D(y, p_m) / temperature ), without gradient
    L   = rater_weight * D(y, q) + modality_weight * sum_m w_m D(p_m, q) + experts_weight * mean_m D(y, p_m)

where p_m in the guidance carries no gradient: the student learns from its teachers, never the reverse. With Dirichlet
targets the votes' likelihood takes the place of D(y, q) and D(y, p_m) as what is learned; weights and guidance stay.
What the paper says of this and what we decided is in `docs/paper.md`. All tensors may have leading axes; the last is
classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from amber.config import Divergence, Objective, Weighting

from .targets import distribution, make_targets

Coefficient = Literal["rater_weight", "modality_weight", "experts_weight", "temperature", "concentration"]

EPSILON = 1e-6  # floor of target probabilities where a logarithm of the target would diverge


def kl(target: Tensor, log_q: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(t || q), in nats; cross-entropy up to a constant. (..., C) -> (...)."""
    return (torch.xlogy(target, target) - target * log_q).sum(dim=-1)


def reverse_kl(target: Tensor, log_q: Tensor) -> Tensor:
    """KL(q || t), in nats, the target floored at `EPSILON`. (..., C) -> (...)."""
    return (log_q.exp() * (log_q - target.clamp_min(EPSILON).log())).sum(dim=-1)


def js(target: Tensor, log_q: Tensor) -> Tensor:
    """Jensen-Shannon divergence, in nats (Lin, 1991). (..., C) -> (...)."""
    q = log_q.exp()
    log_m = ((target + q) / 2).clamp_min(torch.finfo(q.dtype).tiny).log()
    return (kl(target, log_m) + (q * (log_q - log_m)).sum(dim=-1)) / 2


def bhattacharyya_coefficient(target: Tensor, log_q: Tensor) -> Tensor:
    """Bhattacharyya coefficient, sum over c of sqrt(t_c q_c). (..., C) -> (...)."""
    return (target.sqrt() * (log_q / 2).exp()).sum(dim=-1)


def bhattacharyya(target: Tensor, log_q: Tensor) -> Tensor:
    """Bhattacharyya distance, -log of the coefficient. (..., C) -> (...)."""
    return -bhattacharyya_coefficient(target, log_q).clamp_min(torch.finfo(log_q.dtype).tiny).log()


def hellinger(target: Tensor, log_q: Tensor) -> Tensor:
    """Squared Hellinger distance, 1 - BC: the root's gradient is infinite where both agree. (..., C) -> (...)."""
    return 1 - bhattacharyya_coefficient(target, log_q)


def dirichlet_multinomial(counts: Tensor, log_q: Tensor, concentration: Tensor | float) -> Tensor:
    """Negative log-likelihood, in nats, of votes under a Dirichlet-multinomial (Mosimann, 1962). (..., C) -> (...).

    Parameters
    ----------
    counts
        Votes n (..., C); fractional ones are admitted by the gamma function.
    log_q
        Log of the mean q of the Dirichlet distribution, whose parameters are alpha = concentration * q.
    concentration
        How far raters are a sample of q: their votes agree among themselves with correlation 1 / (concentration + 1)
        beyond what q explains. Large: independent draws, the multinomial likelihood.

    """
    n = counts.sum(dim=-1)
    concentration = torch.as_tensor(concentration, dtype=log_q.dtype, device=log_q.device)
    # A class whose alpha underflows to nothing would have an infinite logarithm of the gamma function.
    alpha = concentration[..., None] * log_q.exp().clamp_min(EPSILON)
    of_classes = (torch.lgamma(counts + alpha) - torch.lgamma(alpha) - torch.lgamma(counts + 1)).sum(dim=-1)
    return torch.lgamma(n + concentration) - torch.lgamma(concentration) - torch.lgamma(n + 1) - of_classes


DIVERGENCES: dict[Divergence, Callable[[Tensor, Tensor], Tensor]] = {
    "kl": kl,
    "reverse-kl": reverse_kl,
    "js": js,
    "bhattacharyya": bhattacharyya,
    "hellinger": hellinger,
}


def expert_weights(
    weighting: Weighting, divergence: Divergence, y: Tensor, experts: Tensor, temperature: Tensor
) -> Tensor:
    """Return the weight of each expert on each utterance.

    Parameters
    ----------
    weighting
        `adaptive`: by how well the expert reads the raters; `confidence`: by its entropy; `uniform`.
    divergence
        The D of the adaptive weighting.
    y
        Targets (..., C).
    experts
        Log-probabilities of M experts (M, ..., C).
    temperature
        Broadcast against (...); small values rely on the best expert alone.

    Returns
    -------
    Tensor
        (M, ...), summing to one over M, without gradient.

    """
    experts = experts.detach()
    if weighting == "uniform":
        return torch.full_like(experts[..., 0], 1 / len(experts))
    if weighting == "confidence":
        penalty = -(experts.exp() * experts).sum(dim=-1)
    else:
        penalty = DIVERGENCES[divergence](y, experts)
    return torch.softmax(-penalty / temperature, dim=0)


class GroupLoss:
    """The objective of R members of a group, which share its structure and differ in its coefficients.

    Parameters
    ----------
    objectives
        One per member.
    votes_each
        How many votes an utterance of the part that it is computed on has on average, by member, (R, 1).
    smoothing
        Of targets.

    """

    def __init__(self, objectives: Sequence[Objective], votes_each: Tensor, smoothing: float = 0.0) -> None:
        self._objective, self._smoothing = objectives[0], smoothing
        self._votes_each = votes_each
        values = {name: [[getattr(one, name)] for one in objectives] for name in get_args(Coefficient)}
        # Whether any member is guided is decided once: reading it off a tensor would make every step wait for a GPU.
        if not any(value for (value,) in values["modality_weight"]):
            del values["modality_weight"]
        self._weights = {name: torch.tensor(of, device=votes_each.device) for name, of in values.items()}  # (R, 1) each

    def __call__(self, log_p: Mapping[str, Tensor], counts: Tensor, pseudo: Tensor | None = None) -> Tensor:
        """Return the objective (R, B) of log-probabilities (R, B, C) by head, given votes (R, B, C).

        `pseudo` (R, B, C) are votes that stand beside the raters' in what the student learns.
        """
        objective = self._objective
        y, votes = make_targets(counts, objective.target, self._smoothing)
        return loss(
            log_p,
            y,
            student=objective.student,
            divergence=objective.divergence,
            weighting=objective.weighting,
            weights=self._weights,
            votes=votes,
            votes_each=self._votes_each,
            of_student=distribution(counts + pseudo) if pseudo is not None else None,
        )


def loss(
    log_p: Mapping[str, Tensor],
    y: Tensor,
    *,
    student: str,
    divergence: Divergence,
    weighting: Weighting,
    weights: Mapping[Coefficient, Tensor],
    votes: Tensor | None = None,
    votes_each: Tensor | float = 1.0,
    of_student: Tensor | None = None,
) -> Tensor:
    """Return the objective of every utterance; without the student's head, what its experts learn alone.

    Parameters
    ----------
    log_p
        Log-probabilities (R, B, C) by head; the heads beside `student` are its experts.
    y
        Targets (R, B, C).
    student, divergence, weighting
        As in the module's formula.
    weights
        The coefficients of each run, (R, 1), under their configuration names; without `modality_weight` nothing guides.
    votes
        Counts (R, B, C) to learn by their Dirichlet-multinomial likelihood; None: learn y by the divergence.
    votes_each
        How many votes an utterance has on average, of each run, (R, 1): the likelihood is divided by it, so that it has
        the size of a divergence and utterances with more raters still weigh more.
    of_student
        Another target (R, B, C) for the student alone, instead of y.

    Returns
    -------
    Tensor
        (R, B).

    """
    distance = DIVERGENCES[divergence]

    def from_raters(log_q: Tensor) -> Tensor:
        if votes is None:
            return distance(y, log_q)
        return dirichlet_multinomial(votes, log_q, weights["concentration"]) / votes_each

    names = [name for name in log_p if name != student]
    experts = torch.stack([log_p[name] for name in names]) if names else None  # (M, R, B, C)
    total = torch.zeros_like(y[..., 0])  # (R, B)
    if student in log_p:
        q = log_p[student]
        total = weights["rater_weight"] * (from_raters(q) if of_student is None else distance(of_student, q))
        if experts is not None and "modality_weight" in weights:
            weight = expert_weights(weighting, divergence, y, experts, weights["temperature"])  # (M, R, B)
            guidance = (weight * distance(experts.detach().exp(), q.expand_as(experts))).sum(dim=0)
            total = total + weights["modality_weight"] * guidance
    if experts is not None:
        total = total + weights["experts_weight"] * from_raters(experts).mean(dim=0)
    return total

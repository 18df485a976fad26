"""Linear heads by least squares: ridge regression of what a head would learn, in closed form.

    W, b = argmin  sum_i u_i |t_i - x_i W - b|² + alpha |W|²,     q = softmax(factor (x W + b))

A squared error adds what the modalities say of probabilities, where a softmax multiplies it, and it minds a few
confident mistakes less. The factor is the one under which leave-one-out predictions make the targets t most likely:
fitted without utterance i, its prediction is t_i - (t_i - f_i) / (1 - h_i), f being the fit and h the diagonal of the
hat matrix (Allen, 1974). alpha is `LENIENCE` times the one under which they are likeliest: a pool averages out some of
what a member learned by heart (Krogh and Sollich, 1997). Nothing is fitted again, and dev is left to weigh candidates.

The head of an expert learns the raters' distribution y. A guided student learns what its objective comes to for a
squared error, the mean of y and the experts' predictions with the objective's weights; these predictions, too, are
leave-one-out: a teacher that has seen the answers would only repeat them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor, nn

from amber.config import HeadName, Objective
from amber.corpus import Modality

from .batches import FoldSplit, PooledSplit
from .calibration import fit_factor
from .group_heads import dev_scores, new_heads
from .head_names import read_by
from .heads import Head
from .member import Member, Record, TrainedMember
from .objective import expert_weights
from .targets import MemberVotes, distribution, make_targets

PENALTIES = [10 ** (-power / 4) for power in range(2, 21)]  # that are tried, as shares of the inputs' sum of squares
LENIENCE = 0.5  # alpha, as a share of the best of them; chosen by a study (docs/LOG.md)
CHOOSING = 4096  # utterances that choose alpha and the factor, at most
ROWS = 1024  # utterances that are computed with at once, to bound memory
LARGEST = 20_000  # utterances that are learned from at most: one more pass over a large corpus would take minutes
NOTHING = 1e-9  # of the largest square: a component below has nothing but rounding errors


def fit(
    group: Sequence[Member],
    train: FoldSplit,
    dev: FoldSplit | None,
    on_evaluation: Callable[[], None],
    smoothing: float,
    prior: MemberVotes | None,
    votes: tuple[MemberVotes, MemberVotes],
    designs: Designs | None = None,
) -> list[TrainedMember]:
    """Solve the heads of a group's members; arguments and what is returned are those of `fit.fit`.

    A member has one record: each head's alpha, and its scores on dev if there is one.
    """
    assert isinstance(train, PooledSplit)  # noqa: S101 (of frames there is no such candidate)
    heads = new_heads(group, train).to(train.rows.device)
    own: Designs = {}
    records: list[Record] = []
    for place, member in enumerate(group):
        objective, counts = member.run.variant.objective, votes[0].of([place]).every()[0]  # (m, C)
        y, _ = make_targets(counts, objective.target, smoothing)  # (m, C)
        shares = train.shares() if member.subset is None else train.shares() * member.subset
        solved: dict[HeadName, Solution] = {}
        learning = heads.names if shares.any() else ()  # of no utterance nothing is learned: heads start uniform
        for name in sorted(learning, key=lambda name: name == objective.student):  # experts first
            target = y
            if name == objective.student:
                of_raters = distribution(counts + prior.of([place]).every()[0]) if prior else y
                target = _guided(objective, y, of_raters, list(solved.values()))
            read = read_by(name, member.candidate.reads)
            known = own if designs is None or member.subset is not None else designs
            key = (member.candidate.layers, read, *(x.cpu().numpy().tobytes() for x in (train.rows, shares)))
            solved[name] = known.setdefault(key, Design(train, read, shares)).solve(target)
            on_evaluation()
        for name, solution in solved.items():
            _put(solution, heads.heads[name], place)
        records.append({f"alpha_{name}": solution.alpha for name, solution in solved.items()})
    if dev is not None:
        for score, values in dev_scores(heads, dev, votes[1], group).items():
            for record, value in zip(records, values, strict=True):
                record[score] = value
    return [
        TrainedMember(member.run, heads.state_of(place), [record], best=1)
        for place, (member, record) in enumerate(zip(group, records, strict=True))
    ]


def _guided(objective: Objective, y: Tensor, of_raters: Tensor, experts: Sequence[Solution]) -> Tensor:
    """Return what a student learns, (m, C): from raters, and from experts by how well each reads the raters' y."""
    if not experts or not objective.modality_weight:
        return of_raters
    log_p = torch.stack([expert.log_p for expert in experts]).to(y)  # (M, m, C)
    temperature = torch.tensor(objective.temperature, device=y.device)
    weights = expert_weights(objective.weighting, objective.divergence, y, log_p, temperature)  # (M, m)
    guidance = (weights.unsqueeze(-1) * log_p.exp()).sum(dim=0)
    both = objective.rater_weight * of_raters + objective.modality_weight * guidance
    return both / (objective.rater_weight + objective.modality_weight)


def _put(solution: Solution, head: nn.Module, place: int) -> None:
    """Make a regression the head of the member in a place."""
    assert isinstance(head, Head)  # noqa: S101 (a ridge regression is no mixture)
    weight, bias = solution.weight_and_bias()
    dims = [head.weight1[modality].shape[2] for modality in solution.design.read]
    for modality, own in zip(solution.design.read, torch.split(weight, dims), strict=True):
        head.weight1[modality].data[place] = own.T.float()
    head.bias1.data[place] = bias[:, None].float()


class Design:
    """Utterances with their weights, and the principal components of what a head reads of them.

    Everything that is the same for all targets and penalties is computed here, once and when it is first asked for:
    large products on the inputs' device, the rest on the CPU, in float64, which not every device has. Threads that
    share a design wait for one another.
    """

    def __init__(self, part: PooledSplit, read: Sequence[Modality], shares: Tensor) -> None:
        self.part, self.read = part, read
        self.device, shares = shares.device, shares.cpu()
        there = shares.nonzero().flatten()
        self.places = there[:: -(-len(there) // LARGEST)]  # (n,), evenly spread
        self.shares = shares[self.places].double()  # (n,)
        self._solved: list[Solution] = []
        self._lock = Lock()

    def inputs(self, which: Tensor) -> Tensor:
        """Return the inputs (k, D) of utterances (k,), numbered among the n."""
        rows = self.part.rows[self.places[which].to(self.device)]
        return torch.cat([self.part.inputs[modality][rows] for modality in self.read], dim=1)

    def blocks(self) -> Iterator[Tensor]:
        """Yield the numbers of all utterances, a part of them at a time."""
        yield from torch.arange(len(self.places)).split(ROWS)  # type: ignore[no-untyped-call]

    @cached_property
    def mean(self) -> Tensor:
        """Return the weighted mean of the inputs, (D,)."""
        sums = [self.shares[which] @ self.inputs(which).cpu().double() for which in self.blocks()]
        return torch.stack(sums).sum(dim=0) / self.shares.sum()

    @cached_property
    def components(self) -> tuple[Tensor, Tensor]:
        """Return the K principal components, (D, K), and the sum of squares of the inputs on each, (K,)."""
        n, dim = len(self.places), len(self.mean)
        if n <= dim:
            x = self.weighted(torch.arange(n)).cpu().double()  # (n, D)
            squares, left = _eigh(x @ x.T)
            there = squares > NOTHING * squares[-1]
            return (x.T @ left[:, there] / squares[there].sqrt()), squares[there]
        gram = torch.zeros(dim, dim, dtype=torch.float64)
        for which in self.blocks():
            x = self.weighted(which)
            gram += (x.T @ x).cpu()
        squares, vectors = _eigh(gram)
        there = squares > NOTHING * squares[-1]
        return vectors[:, there], squares[there]

    def weighted(self, which: Tensor) -> Tensor:
        """Return the inputs (k, D) of utterances (k,) less their mean, times the root of their weights."""
        roots = self.shares[which].sqrt().float().to(self.device)
        return (self.inputs(which) - self.mean.float().to(self.device)) * roots[:, None]

    def on_components(self, which: Tensor) -> Tensor:
        """Return the coordinates (k, K) of utterances (k,) on the components, in float32."""
        components, mean = self.components[0].float().to(self.device), self.mean.float().to(self.device)
        found = torch.empty(len(which), components.shape[1])
        for done, part in zip(found.split(ROWS), which.split(ROWS), strict=True):  # type: ignore[no-untyped-call]
            done.copy_((self.inputs(part) - mean) @ components)
        return found

    @cached_property
    def chosen(self) -> tuple[Tensor, Tensor]:
        """Return the utterances that choose alpha and the factor, (k,), and their coordinates, (k, K)."""
        n = len(self.places)
        which = torch.arange(0, n, -(-n // CHOOSING))
        return which, self.on_components(which)

    @cached_property
    def penalties(self) -> list[float]:
        """Return the penalties that are tried, A of them."""
        total = max(float(self.components[1].sum()), torch.finfo(torch.float64).tiny)
        return [share * total for share in PENALTIES]

    @cached_property
    def leverages(self) -> Tensor:
        """Return the leverage of the chosen utterances under each penalty, (k, A)."""
        return self.leverage(*self.chosen, self.penalties)

    def leverage(self, which: Tensor, coordinates: Tensor, penalties: Sequence[float]) -> Tensor:
        """Return the diagonal of the hat matrix for utterances (k,) under A penalties: (k, A)."""
        inverse = 1 / (self.components[1][:, None] + torch.tensor(penalties, dtype=torch.float64))  # (K, A)
        parts = coordinates.split(ROWS)  # type: ignore[no-untyped-call]
        squares = torch.cat([part.double().square() @ inverse for part in parts])
        return self.shares[which, None] * (squares + 1 / self.shares.sum())

    def all_on_components(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the numbers of all utterances and their coordinates, a part of them at a time."""
        if len(self.places) <= CHOOSING:
            yield self.chosen
            return
        for which in self.blocks():
            yield which, self.on_components(which)

    def solve(self, target: Tensor) -> Solution:
        """Return the regression of targets (m, C) of the part's utterances, alpha and factor found.

        Runs that differ in their seed alone have the same targets, and one solution.
        """
        t = target.cpu()[self.places].double()  # (n, C)
        with self._lock:
            known = next((one for one in self._solved if torch.equal(one.target, t)), None)
            if known is None:
                known = self._solve(t)
                self._solved.append(known)
        return known

    def _solve(self, t: Tensor) -> Solution:
        centre = self.shares @ t / self.shares.sum()  # (C,)
        components, squares = self.components
        slopes = [
            self.weighted(which).cpu().double().T @ (self.shares[which].sqrt()[:, None] * (t[which] - centre))
            for which in self.blocks()
        ]
        towards = components.T @ torch.stack(slopes).sum(dim=0)  # (K, C)
        which, coordinates = self.chosen[0], self.chosen[1].double()
        counts = (t[which] * self.shares[which, None]).numpy()

        def at(penalty: float, leverage: Tensor) -> tuple[float, Solution]:
            """Return the regression with a penalty, and the cross-entropy of what it says of utterances left out."""
            solution = Solution(self, t, centre, towards / (squares + penalty)[:, None], penalty)
            scores = solution.left_out(which, coordinates, leverage).numpy()
            factor = fit_factor(counts, scores)
            return -float((counts * log_softmax(factor * scores, axis=1)).sum()), replace(solution, factor=factor)

        tried = zip(self.penalties, self.leverages.T, strict=True)
        _, best = min((at(*one) for one in tried), key=lambda found: found[0])
        alpha = LENIENCE * best.alpha
        return at(alpha, self.leverage(which, coordinates, [alpha])[:, 0])[1]


Designs = dict[tuple[object, ...], Design]  # by layers, what is read of them, utterances and their weights


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues (n,), in rising order, and eigenvectors (n, n) of a symmetric matrix on the CPU."""
    values, vectors = np.linalg.eigh(matrix.numpy())  # in two thirds of PyTorch's time
    return torch.from_numpy(values), torch.from_numpy(vectors)


@dataclass(frozen=True)
class Solution:
    """A ridge regression: `slopes` (K, C) on the components of a design, and the factor of its scores."""

    design: Design
    target: Tensor  # (n, C)
    centre: Tensor  # (C,)
    slopes: Tensor
    alpha: float
    factor: float = 1.0

    def left_out(self, which: Tensor, coordinates: Tensor, leverage: Tensor) -> Tensor:
        """Return the scores (k, C) of utterances (k,), each fitted without itself.

        Given are their coordinates (k, K) and leverage (k,).
        """
        residual = self.target[which] - (coordinates.double() @ self.slopes + self.centre)
        return self.target[which] - residual / (1 - leverage).clamp_min(NOTHING)[:, None]

    @cached_property
    def log_p(self) -> Tensor:
        """Return the leave-one-out log-probabilities (m, C) of the utterances; zeros for those without weight."""
        found = self.target.new_zeros(len(self.design.part), self.target.shape[1])
        for which, coordinates in self.design.all_on_components():
            leverage = self.design.leverage(which, coordinates, [self.alpha])[:, 0]
            scores = self.factor * self.left_out(which, coordinates, leverage)
            found[self.design.places[which]] = torch.log_softmax(scores, dim=1)
        return found

    def weight_and_bias(self) -> tuple[Tensor, Tensor]:
        """Return W (D, C) and b (C,), times the factor."""
        components, _ = self.design.components
        weight = components @ self.slopes
        return self.factor * weight, self.factor * (self.centre - self.design.mean @ weight)

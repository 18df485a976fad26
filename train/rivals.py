"""What heads are held against, trained on the same part and tuned on dev by the same score, in the same files.

All read what the student's head would read, side by side: x (m, D). All learn the same targets y (m, C): of a soft one
an utterance counts as one of class c with weight y_c.

- `uniform`: every class alike.
- `prior`: the mean target of the training part.
- `logistic`: multinomial logistic regression, L2; C from dev.
- `svm`: support vector machines, one class against the rest, linear (squared hinge) and, of up to `KERNEL_ROWS`
  utterances, with an RBF kernel (hinge, gamma 1 / (D var x)); kernel and C from dev. A machine gives scores, not
  probabilities: they are the softmax of the scores times a factor, which is fitted to the likelihood of the dev votes.
  Platt's two numbers for each class hold too closely to a small dev part: linear on Emo-DB's test parts, 1.13, 1.00
  and .93 nats on logmel, egemaps and Whisper's last layer, and 1.02, 1.05 and .44 with the one factor, whose UAR is
  higher on all three. One class against one, with RBF kernels, gives 1.20, 1.09 and .71, and 1.09, 1.12 and .51 one
  against the rest.
- `mlp`: scikit-learn's perceptron, one hidden layer of `HIDDEN` ReLU units, Adam; its L2 penalty and where it stops
  from dev. It alone starts at random: every seed has its own.
- `ridge`: ridge regression of the target distributions; alpha from dev; the softmax of its scores times a factor, as
  for `svm`.

Every choice is that of the lowest negative log-likelihood of a dev vote, in nats. What was tried stands in the run's
`metrics.jsonl`, one line per candidate, with its settings. A path goes from strong penalties to weak ones, or from
epoch to epoch, and ends when it has not improved for a while.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amber.errors import UserError

from . import linear
from .batches import FoldSplit
from .calibration import fit_factor
from .group_heads import student_scores
from .head_names import INPUTS
from .heads import State
from .matrix import CONSTANT, Run
from .member import Record, TrainedMember
from .targets import make_targets

Floats = NDArray[np.floating]
Candidate = tuple[dict[str, float], State]  # its settings, and the model

DECADES = 9  # that a path of penalties spans at most, in steps of half a decade
KERNEL_STRENGTHS = [10 ** (power / 2) for power in range(-2, 7)]  # C, by which no kernel is above 1
KERNEL_ROWS = 5000  # most utterances whose kernels are computed
HIDDEN = 256
PENALTIES = (1e-4, 1e-2, 1e-1, 1.0, 10.0)  # alpha of the perceptron
ROUND = 1024  # rows that the perceptron learns from between two evaluations on dev, and at least a quarter of all
ROUNDS = 200  # at most
PATIENCE = 4  # candidates of a path that may go by without a better one
NEVER = -1e4  # the score of a class that training never saw


def fit(group: Sequence[Run], train: FoldSplit, dev: FoldSplit, smoothing: float = 0.0) -> list[TrainedMember]:
    """Fit the rival of runs with one group key: once for all of them, or once a run if it starts at random.

    The state holds `prior` (C,); or `weight` (K, C) and `bias` (C,) of the scores, on K features of an utterance: its
    D inputs; `HIDDEN` units with their own `hidden_weight` (D, K) and `hidden_bias` (K,); or the kernels with the K
    utterances of `support` (K, D), with `gamma` ().
    """
    if group[0].variant.model == "mlp":
        return [_best(run, _paths(run, train, dev, smoothing), dev) for run in group]
    first = _best(group[0], _paths(group[0], train, dev, smoothing), dev)
    return [replace(first, run=run) for run in group]


def predict(fitted: Sequence[TrainedMember], part: FoldSplit) -> dict[str, Tensor]:
    """Return a rival's probabilities (R, m, C), the student's, for the m rows of a part."""
    student = fitted[0].run.variant.objective.student
    x = _joined(part, fitted[0].run)
    if all(one.state is fitted[0].state for one in fitted):
        return {student: probabilities(fitted[0].state, x).expand(len(fitted), -1, -1)}
    return {student: torch.stack([probabilities(one.state, x) for one in fitted])}


def _best(run: Run, paths: Iterable[Iterable[Candidate]], dev: FoldSplit) -> TrainedMember:
    """Follow paths of candidates until each has not improved for a while; return the best of all on dev."""
    x = _joined(dev, run)
    records: list[Record] = []
    best, state, lowest = 0, State(), float("inf")
    for path in paths:
        since, lowest_here = 0, float("inf")
        for settings, candidate in path:
            # A class that training never saw has no probability; its logarithm times no votes has to stay nothing.
            log_p = probabilities(candidate, x).clamp_min(torch.finfo(torch.float32).tiny).log()
            scores = {name: value[0] for name, value in student_scores(dev.counts[None], log_p[None]).items()}
            records.append({"candidate": len(records) + 1, **settings, **scores})
            if scores["dev_nll"] < lowest:
                best, state, lowest = len(records), candidate, scores["dev_nll"]
            since = 0 if scores["dev_nll"] < lowest_here else since + 1
            lowest_here = min(lowest_here, scores["dev_nll"])
            if since == PATIENCE:
                break
    if not best:
        raise UserError(f"{run.path}: nothing that {run.variant.model} came to gives the dev votes a finite likelihood")
    return TrainedMember(run, state, records, best)


def _paths(run: Run, train: FoldSplit, dev: FoldSplit, smoothing: float) -> Iterator[Iterable[Candidate]]:
    """Yield the paths of a run's rival; its candidates score every class."""
    variant = run.variant
    y, _ = make_targets(train.counts, variant.objective.target, smoothing)  # (m, C)
    if variant.model in CONSTANT:
        yield [
            ({}, {"prior": y.mean(dim=0).cpu() if variant.model == "prior" else torch.ones(y.shape[1]) / y.shape[1]})
        ]
        return
    given = y.sum(dim=0).nonzero().flatten().cpu()  # the G classes that occur
    x, targets = _joined(train, run).cpu().numpy(), y.cpu().numpy()[:, given]
    held = _Held(_joined(dev, run).cpu().numpy(), dev.counts.cpu().numpy()[:, given])
    found: Iterable[Iterable[Candidate]]
    if len(given) == 1:
        found = [[({}, _state(np.zeros((x.shape[1], 1)), np.zeros(1)))]]
    elif variant.model == "logistic":
        found = [_logistic(x, targets)]
    elif variant.model == "svm":
        found = [_linear_svm(x, targets, held)]
        found += [_kernel_svm(x, targets, held)] if len(x) <= KERNEL_ROWS else []
    elif variant.model == "mlp":
        found = (_mlp(x, targets, penalty, run.stream_seed) for penalty in PENALTIES)
    else:
        found = [_ridge(x, targets, held)]
    for path in found:
        yield ((settings, _with_every_class(state, given, y.shape[1])) for settings, state in path)


def _alphas(x: Floats) -> list[float]:
    """Return penalties 1 / C of linear models on x (m, D): the first, of the size of sum |x|², leave little."""
    first = math.ceil(2 * math.log10(float(np.vdot(x, x))))
    return [10 ** (power / 2) for power in range(first, first - 2 * DECADES - 1, -1)]


def _logistic(x: Floats, y: Floats) -> Iterator[Candidate]:
    strengths = [1 / alpha for alpha in _alphas(x)]
    for strength, model in zip(strengths, linear.path(linear.cross_entropy, x, y, strengths), strict=True):
        yield {"C": strength}, _state(*model)


def _linear_svm(x: Floats, y: Floats, dev: _Held) -> Iterator[Candidate]:
    strengths = [1 / alpha for alpha in _alphas(x)]
    for strength, (weight, bias) in zip(strengths, linear.path(linear.squared_hinge, x, y, strengths), strict=True):
        factor = fit_factor(dev.counts, dev.x @ weight + bias)
        yield {"C": strength, "factor": factor}, _state(weight * factor, bias * factor)


def _ridge(x: Floats, y: Floats, dev: _Held) -> Iterator[Candidate]:
    alphas = _alphas(x)
    for alpha, (weight, bias) in zip(alphas, linear.ridge(x, y, alphas), strict=True):
        factor = fit_factor(dev.counts, dev.x @ weight + bias)
        yield {"alpha": alpha, "factor": factor}, _state(weight * factor, bias * factor)


def _kernel_svm(x: Floats, y: Floats, dev: _Held) -> Iterator[Candidate]:
    """Yield machines with an RBF kernel, each class's a sum over training utterances."""
    from sklearn.svm import SVC  # here: no other training needs it, and it takes most of a second

    gamma = torch.tensor(1 / (x.shape[1] * x.var(dtype=np.float64)), dtype=torch.float32)
    support = torch.from_numpy(x)
    own, kernel = (_kernel(torch.from_numpy(rows), support, gamma).double().numpy() for rows in (x, dev.x))
    for strength in KERNEL_STRENGTHS:
        weight, bias = np.zeros_like(y, dtype=np.float64), np.zeros(y.shape[1])
        for label, share in enumerate(y.T):  # (n,): how much of each utterance is of the class
            rows = np.concatenate([np.flatnonzero(share > 0), np.flatnonzero(share < 1)])
            inside = np.arange(len(rows)) < np.sum(share > 0)
            machine = SVC(C=strength, kernel="precomputed", cache_size=500)
            machine.fit(own[np.ix_(rows, rows)], inside, np.where(inside, share[rows], 1 - share[rows]))
            np.add.at(weight[:, label], rows[machine.support_], machine.dual_coef_[0])
            bias[label] = machine.intercept_[0]
        factor = fit_factor(dev.counts, kernel @ weight + bias)
        used = np.flatnonzero(weight.any(axis=1))
        state = _state(weight[used] * factor, bias * factor, support=support[used], gamma=gamma)
        yield {"C": strength, "gamma": float(gamma), "factor": factor}, state


def _mlp(x: Floats, y: Floats, penalty: float, seed: int) -> Iterator[Candidate]:
    from sklearn.neural_network import MLPClassifier  # here, as `SVC` is

    utterance, label = np.nonzero(y)
    share, rng = y[utterance, label], np.random.default_rng(seed)
    n = len(label)
    batch = min(200, max(64, n // 32))
    # scikit-learn takes 32 bits; a seed of a configuration has as many, and a run's is a multiple of it.
    model = MLPClassifier(HIDDEN, alpha=penalty, batch_size=batch, random_state=seed % 2**32)
    for number in range(1, ROUNDS + 1):
        rows = np.resize(rng.permutation(n), max(ROUND, n // 4))
        model.partial_fit(x[utterance[rows]], label[rows], classes=np.arange(y.shape[1]), sample_weight=share[rows])
        (first, last), (hidden_bias, bias) = model.coefs_, model.intercepts_
        if y.shape[1] == 2:  # scikit-learn keeps one column: the second class against the first
            last, bias = last * [[-0.5, 0.5]], bias * [-0.5, 0.5]
        hidden = {"hidden_weight": torch.tensor(first), "hidden_bias": torch.tensor(hidden_bias)}
        yield {"alpha": penalty, "round": number}, _state(last, bias, **hidden)


@dataclass(frozen=True)
class _Held:
    """The dev part: inputs (m, D) and votes (m, G) for the classes that training saw."""

    x: Floats
    counts: Floats


def _joined(part: FoldSplit, run: Run) -> Tensor:
    """Return what a run's rival reads of an utterance side by side, (m, D); D = 0 if it reads nothing."""
    if run.variant.model in CONSTANT:
        return torch.empty(len(part), 0, device=part.rows.device)
    read = INPUTS[run.variant.objective.student]
    return torch.cat([part.inputs[modality][part.rows].flatten(1) for modality in read], dim=-1)


def probabilities(state: State, x: Tensor) -> Tensor:
    """Return the probabilities (m, C) of inputs (m, D)."""
    state = {name: value.to(x.device) for name, value in state.items()}
    if "prior" in state:
        return state["prior"].expand(len(x), -1)
    if "support" in state:
        x = _kernel(x, state["support"], state["gamma"])
    elif "hidden_weight" in state:
        x = (x @ state["hidden_weight"] + state["hidden_bias"]).relu()
    return (x @ state["weight"] + state["bias"]).softmax(dim=-1)


def _kernel(x: Tensor, support: Tensor, gamma: Tensor) -> Tensor:
    """Return exp(-gamma |x - s|²) of each of m inputs and K others. (m, D), (K, D) -> (m, K)."""
    squares = x.square().sum(dim=1)[:, None] + support.square().sum(dim=1) - 2 * x @ support.T
    return (-gamma * squares.clamp_min(0)).exp()


def _state(weight: Floats, bias: Floats, **others: Tensor) -> State:
    return {"weight": torch.tensor(weight).float(), "bias": torch.tensor(bias).float(), **others}


def _with_every_class(state: State, given: Tensor, classes: int) -> State:
    """Return a state whose scores are of all C classes instead of the G `given` ones: the others never win."""
    weight, bias = torch.zeros(len(state["weight"]), classes), torch.full((classes,), NEVER)
    weight[:, given], bias[given] = state["weight"], state["bias"]
    return {**state, "weight": weight, "bias": bias}

"""Training a group of runs side by side: one fold, one set of shapes, R runs in every batched step.

Each run shuffles, drops out and starts by its own seed, stops early by its own dev score, keeps its own best state
and then leaves the group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amber.config import Objective, Training
from amber.corpus import Modality

from .data import Part
from .heads import INPUTS, Heads, generator
from .matrix import Run
from .objective import Coefficient, coefficient, loss

ORDER, DROPOUT = 100, 200  # streams of a run's seed, beside those of its heads' initialisation
EVALUATION_ROWS = 8192  # utterances times runs that are scored at once, to bound memory
COEFFICIENTS: tuple[Coefficient, ...] = ("rater", "modality", "experts", "temperature")

State = dict[str, Tensor]
Epoch = dict[str, float]


@dataclass(frozen=True)
class Fitted:
    """What came of one run: its best state by parameter (without the run axis), its epochs, the best one's number."""

    run: Run
    state: State
    epochs: list[Epoch]
    best: int


def group_key(run: Run) -> tuple[object, ...]:
    """Return what runs must have in common to train in one group."""
    objective = run.variant.objective
    structure = (objective.target, objective.divergence, objective.weighting, objective.student)
    return (run.fold, run.variant.training.model_dump_json(), structure, run.variant.heads)


def fit(group: Sequence[Run], train: Part, dev: Part, device: str, after_epoch: Callable[[], None]) -> list[Fitted]:
    """Train the runs of a group.

    Parameters
    ----------
    group
        Runs with one `group_key`.
    train, dev
        Standardised inputs, and targets: the training part's may be smoothed, the dev part's are the raters'.
    device
        Where everything is and stays.
    after_epoch
        Called after every epoch.

    Returns
    -------
    list of Fitted
        In the order of `group`.

    """
    variant, training = group[0].variant, group[0].variant.training
    lanes = [_Lane(run, device) for run in group]
    dims = {modality: x.shape[1] for modality, x in train.inputs.items()}
    seeds = [lane.seed for lane in lanes]
    heads = Heads(variant.heads, dims, training.hidden, train.y.shape[1], training.dropout, seeds).to(device)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=training.lr, weight_decay=training.weight_decay)
    train = Part(train.inputs, _target(train.y, variant.objective))
    active = lanes
    for _ in range(training.epochs):
        heads.train()
        losses = _train_epoch(heads, optimizer, train, active)
        heads.eval()
        scores = _scores(heads, dev, active)
        for place, lane in enumerate(active):
            values = {name: score[place] for name, score in scores.items()}
            if lane.improves({"epoch": len(lane.epochs) + 1, "train_loss": losses[place], **values}):
                lane.state = _state_of(heads, place)
        after_epoch()
        staying = [place for place, lane in enumerate(active) if not lane.finished]
        if not staying:
            break
        if len(staying) < len(active):
            active = [active[place] for place in staying]
            _keep_runs(heads, optimizer, staying)
    return [Fitted(lane.run, lane.state, lane.epochs, lane.best) for lane in lanes]


def predict(
    names: Sequence[str], states: Sequence[State], training: Training, inputs: Mapping[Modality, Tensor], classes: int
) -> dict[str, Tensor]:
    """Return the probabilities (R, n, C) of every head, for R states and inputs (n, D) by modality."""
    dims = {modality: x.shape[1] for modality, x in inputs.items()}
    heads = Heads(names, dims, training.hidden, classes, 0.0, [0] * len(states))
    heads.load_state_dict({name: torch.stack([state[name] for state in states]) for name in states[0]})
    device = next(iter(inputs.values())).device
    return {name: log_p.exp() for name, log_p in _forward(heads.to(device).eval(), inputs, len(states)).items()}


def _train_epoch(heads: Heads, optimizer: torch.optim.Optimizer, train: Part, lanes: Sequence[_Lane]) -> list[float]:
    """Go through the training part once, each run in its own order; return each run's mean loss."""
    batch_size = lanes[0].run.variant.training.batch_size
    weights = _coefficients(lanes, train.y.device)
    dropout = {name: [lane.dropout[name] for lane in lanes] for name in heads.names}
    order = torch.stack([torch.randperm(len(train), generator=lane.order) for lane in lanes])  # (R, n)
    total = torch.zeros(len(lanes), device=train.y.device)
    for rows in order.to(train.y.device).split(batch_size, dim=1):  # type: ignore[no-untyped-call]
        batch = {modality: x[rows] for modality, x in train.inputs.items()}  # (R, B, D)
        each = _loss(heads(batch, dropout), train.y[rows], lanes, weights)  # (R, B)
        optimizer.zero_grad(set_to_none=True)
        # A mean over the batch and a sum over runs: no run's gradient depends on another's.
        each.mean(dim=1).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += each.detach().sum(dim=1)
    return [float(x) for x in (total / len(train)).tolist()]


def _loss(
    log_p: Mapping[str, Tensor], y: Tensor, lanes: Sequence[_Lane], weights: Mapping[Coefficient, Tensor]
) -> Tensor:
    """Return the objective (R, n) of runs that share its structure and differ in its coefficients."""
    objective = lanes[0].run.variant.objective
    return loss(
        log_p,
        y,
        student=objective.student,
        divergence=objective.divergence,
        weighting=objective.weighting,
        weights=weights,
    )


def _coefficients(lanes: Sequence[_Lane], device: torch.device) -> dict[Coefficient, Tensor]:
    return {
        name: torch.tensor([[getattr(lane.run.variant.objective, name)] for lane in lanes], device=device)  # (R, 1)
        for name in COEFFICIENTS
    }


def _scores(heads: Heads, dev: Part, lanes: Sequence[_Lane]) -> dict[str, list[float]]:
    """Return each run's dev loss, and its student's Bhattacharyya coefficient and accuracy."""
    objective = lanes[0].run.variant.objective
    log_p = _forward(heads, dev.inputs, len(lanes))
    y = dev.y.expand(len(lanes), -1, -1)  # (R, n, C)
    student = log_p[objective.student]
    each = {
        "dev_loss": _loss(log_p, _target(y, objective), lanes, _coefficients(lanes, y.device)),
        "dev_bc": coefficient(y, student),
        "dev_accuracy": (student.argmax(dim=-1) == y.argmax(dim=-1)).float(),
    }  # (R, n) each
    return {name: values.mean(dim=1).tolist() for name, values in each.items()}


@torch.no_grad()
def _forward(heads: Heads, inputs: Mapping[Modality, Tensor], runs: int) -> dict[str, Tensor]:
    """Return log-probabilities (R, n, C) of shared inputs (n, D), in slices that bound memory."""
    n = len(next(iter(inputs.values())))
    step = max(1, EVALUATION_ROWS // runs)
    slices = [
        heads({modality: x[i : i + step].expand(runs, -1, -1) for modality, x in inputs.items()})
        for i in range(0, n, step)
    ]
    return {name: torch.cat([s[name] for s in slices], dim=1) for name in heads.names}


def _target(y: Tensor, objective: Objective) -> Tensor:
    """Return what is learned from the raters' distributions (..., C): themselves, or one on their plurality class."""
    if objective.target == "soft":
        return y
    return torch.nn.functional.one_hot(y.argmax(dim=-1), y.shape[-1]).to(y.dtype)


def _state_of(heads: Heads, place: int) -> State:
    return {name: value[place].detach().clone().cpu() for name, value in heads.state_dict().items()}


def _keep_runs(heads: Heads, optimizer: torch.optim.Optimizer, staying: Sequence[int]) -> None:
    """Let finished runs leave: keep the rows of the others in every parameter and its optimiser state."""
    for parameter in heads.parameters():
        parameter.grad = None
        parameter.data = parameter.data[list(staying)]
        state = optimizer.state[parameter]
        for name, value in state.items():
            if isinstance(value, Tensor) and value.dim() == parameter.dim():
                state[name] = value[list(staying)]


class _Lane:
    """One run's place in a group: its random streams, and what it has come to so far."""

    def __init__(self, run: Run, device: str) -> None:
        self.run = run
        self.seed = run.seed * 1009 + run.fold
        self.order = generator(self.seed, ORDER)
        self.dropout = {name: generator(self.seed, DROPOUT + i, device) for i, name in enumerate(INPUTS)}
        self.epochs: list[Epoch] = []
        self.state: State = {}
        self.best = 0
        self._score = (float("-inf"), float("-inf"))

    def improves(self, epoch: Epoch) -> bool:
        """Take in an epoch; return whether it is the best so far by dev BC (hard targets: accuracy), then loss."""
        self.epochs.append(epoch)
        score = (epoch["dev_bc" if self.run.variant.objective.target == "soft" else "dev_accuracy"], -epoch["dev_loss"])
        if score <= self._score:
            return False
        self._score, self.best = score, len(self.epochs)
        return True

    @property
    def finished(self) -> bool:
        """Return whether the run has not improved for as long as its patience."""
        return len(self.epochs) - self.best >= self.run.variant.training.patience

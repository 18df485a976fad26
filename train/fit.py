"""Training a group of runs side by side: one fold, one set of shapes, R runs in every batched step.

Each run shuffles, drops out and starts by its own seed, stops early by its own dev score, keeps its own best state
and then leaves the group. The dev score is `train.stop`: `bc`, `accuracy`, `nll` (of the dev votes) or `loss` (the
objective's); `auto` is the accuracy for hard targets and BC for all others. Ties are broken by the dev loss. Why these:
`docs/paper.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amber.config import Objective
from amber.corpus import Modality

from .data import Part
from .heads import HEADS, INPUTS, Heads, dropout_mask, generator
from .matrix import Run
from .objective import Coefficient, coefficient, loss
from .pooling import ATTENTION
from .targets import distribution, drop_raters, learned

ORDER, DROPOUT, RATERS = 100, 200, 300  # streams of a run's seed, beside those of its heads' initialisation
GROUP_BYTES = {"cpu": 128 << 20}  # of parameters, gradients and optimiser state: what stays in a processor's cache
OTHER_DEVICE_BYTES = 2 << 30
FRAMES_BYTES = 1 << 30  # of what pooling computes for the frames of a batch, all runs together
EVALUATION_ROWS = 8192  # utterances times runs that are scored at once, to bound memory
COEFFICIENTS: tuple[Coefficient, ...] = ("rater", "modality", "experts", "temperature", "precision")

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
    training = run.variant.training.model_dump_json()
    return (run.fold, training, run.variant.model, structure, run.variant.heads)


def largest_group(run: Run, dims: Mapping[Modality, int], classes: int, device: str, frames: float = 0.0) -> int:
    """Return how many runs such as this one train side by side on a device.

    `frames` is the mean number of frames of an utterance, over all modalities that are frames; `dims` are what heads
    see.
    """
    hidden = run.variant.training.hidden
    inputs = [sum(dims[modality] for modality in INPUTS[head]) for head in run.variant.heads]
    parameters = sum(hidden * (d + 1) + classes * (hidden + 1) for d in inputs)
    room = GROUP_BYTES.get(device, OTHER_DEVICE_BYTES)
    largest = room // (4 * parameters * 4)  # float32; the parameter, its gradient and two moments
    if frames:  # padded to twice the mean; float32; the attention's hidden units, their gradient, and one to spare
        hidden_units = 2 * frames * run.variant.training.batch_size * ATTENTION
        largest = min(largest, int(FRAMES_BYTES // (3 * hidden_units * 4)))
    return max(1, largest)


def fit(
    group: Sequence[Run],
    train: Part,
    dev: Part,
    device: str,
    after_epoch: Callable[[], None],
    smoothing: float = 0.0,
) -> list[Fitted]:
    """Train the runs of a group.

    Parameters
    ----------
    group
        Runs with one `group_key`.
    train, dev
        Their scaled inputs and the raters' votes.
    device
        Where everything is and stays.
    after_epoch
        Called after every epoch.
    smoothing
        Of the training part's targets, not of the dev part's.

    Returns
    -------
    list of Fitted
        In the order of `group`.

    """
    training = group[0].variant.training
    lanes = [_Lane(run, device) for run in group]
    heads = _new_heads(group, train).to(device)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=training.lr, weight_decay=training.weight_decay, fused=True)
    active = lanes
    for epoch in range(training.epochs):
        losses = _train_epoch(heads, optimizer, train, active, epoch, smoothing)
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


def predict(fitted: Sequence[Fitted], part: Part) -> dict[str, Tensor]:
    """Return the probabilities (R, m, C) of every head in R runs with one `group_key`, for the m rows of a part."""
    heads = _new_heads([f.run for f in fitted], part)
    states = [f.state for f in fitted]
    heads.load_state_dict({name: torch.stack([state[name] for state in states]) for name in states[0]})
    log_p = _forward(heads.to(part.rows.device), part, len(fitted))
    return {name: value.exp() for name, value in log_p.items()}


def _new_heads(runs: Sequence[Run], part: Part) -> Heads:
    """Return the heads of runs with one `group_key`, as they start."""
    variant, shapes = runs[0].variant, part.shapes
    dims = {modality: shape[-1] for modality, shape in shapes.items()}
    layers = {modality: shape[0] for modality, shape in shapes.items() if len(shape) == 2}
    seeds, classes = [_seed(run) for run in runs], part.counts.shape[1]
    return Heads(variant.heads, dims, variant.training.hidden, classes, seeds, layers, part.frame_dims)


def _train_epoch(
    heads: Heads, optimizer: torch.optim.Optimizer, train: Part, lanes: Sequence[_Lane], epoch: int, smoothing: float
) -> list[float]:
    """Go through the training part once; return each run's mean loss."""
    training, objective = lanes[0].run.variant.training, lanes[0].run.variant.objective
    weights = _coefficients(lanes, train.rows.device)
    rates = [lane.run.variant.objective.rater_dropout for lane in lanes]
    total = torch.zeros(len(lanes), device=train.rows.device)
    votes_each = float(train.counts.sum(dim=1).mean())
    for places, batch in train.batches(training.batch_size, [lane.order for lane in lanes], epoch):
        counts = train.counts[places]  # (R, B, C)
        if any(rates):
            counts = drop_raters(counts, rates, [lane.raters for lane in lanes])
        log_p = heads(batch, _keep(heads, places.shape[1], lanes))
        each = _loss(log_p, learned(counts, objective.target, smoothing), objective, weights, votes_each)  # (R, B)
        optimizer.zero_grad(set_to_none=True)
        # A mean over the batch and a sum over runs: no run's gradient depends on another's.
        each.mean(dim=1).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += each.detach().sum(dim=1)
    return [float(x) for x in (total / len(train)).tolist()]


def _keep(heads: Heads, rows: int, lanes: Sequence[_Lane]) -> dict[str, Tensor] | None:
    """Return the dropout masks (R, rows, H) of a step by head; None where nothing is dropped."""
    training = lanes[0].run.variant.training
    if not training.dropout:
        return None
    return {
        name: dropout_mask(training.dropout, rows, training.hidden, [lane.dropout[name] for lane in lanes])
        for name in heads.names
    }


def _loss(
    log_p: Mapping[str, Tensor],
    target: tuple[Tensor, Tensor | None],
    objective: Objective,
    weights: Mapping[Coefficient, Tensor],
    votes_each: float,
) -> Tensor:
    """Return the objective (R, n) of runs that share its structure and differ in its coefficients."""
    y, votes = target
    return loss(
        log_p,
        y,
        student=objective.student,
        divergence=objective.divergence,
        weighting=objective.weighting,
        weights=weights,
        votes=votes,
        votes_each=votes_each,
    )


def _coefficients(lanes: Sequence[_Lane], device: torch.device) -> dict[Coefficient, Tensor]:
    return {
        name: torch.tensor([[getattr(lane.run.variant.objective, name)] for lane in lanes], device=device)  # (R, 1)
        for name in COEFFICIENTS
    }


def _scores(heads: Heads, dev: Part, lanes: Sequence[_Lane]) -> dict[str, list[float]]:
    """Return each run's dev loss, and its student's vote likelihood, Bhattacharyya coefficient and accuracy."""
    objective = lanes[0].run.variant.objective
    log_p = _forward(heads, dev, len(lanes))
    counts = dev.counts.expand(len(lanes), -1, -1)  # (R, m, C)
    weights, votes_each = _coefficients(lanes, dev.rows.device), float(dev.counts.sum(dim=1).mean())
    each = _loss(log_p, learned(counts, objective.target), objective, weights, votes_each)  # (R, m)
    student = log_p[objective.student]
    return {"dev_loss": each.mean(dim=1).tolist(), **student_scores(counts, student)}


def student_scores(counts: Tensor, log_p: Tensor) -> dict[str, list[float]]:
    """Score log-probabilities (R, m, C) against the dev votes (R, m, C): a value for each run.

    `dev_nll` is the mean negative log-likelihood of a vote, in nats; `dev_bc` and `dev_accuracy` are means over
    utterances against the vote fractions and their plurality class.
    """
    nll = -(counts * log_p).sum(dim=(1, 2)) / counts.sum(dim=(1, 2))
    right = (log_p.argmax(dim=-1) == counts.argmax(dim=-1)).float()
    return {
        "dev_nll": nll.tolist(),
        "dev_bc": coefficient(distribution(counts), log_p).mean(dim=1).tolist(),
        "dev_accuracy": right.mean(dim=1).tolist(),
    }


@torch.no_grad()
def _forward(heads: Heads, part: Part, runs: int) -> dict[str, Tensor]:
    """Return log-probabilities (R, m, C) of a part that all runs share, in slices that bound memory."""
    slices = [heads(inputs) for inputs in part.in_order(max(1, EVALUATION_ROWS // runs), runs)]
    return {name: torch.cat([s[name] for s in slices], dim=1) for name in heads.names}


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


def _seed(run: Run) -> int:
    return run.seed * 1009 + run.fold


class _Lane:
    """One run's place in a group: its random streams, and what it has come to so far."""

    def __init__(self, run: Run, device: str) -> None:
        self.run = run
        seed = _seed(run)
        self.order = generator(seed, ORDER)
        self.raters = generator(seed, RATERS, device)
        self.dropout = {name: generator(seed, DROPOUT + i, device) for i, name in enumerate(HEADS)}
        self.epochs: list[Epoch] = []
        self.state: State = {}
        self.best = 0
        self._score = (float("-inf"), float("-inf"))

    def improves(self, epoch: Epoch) -> bool:
        """Take in an epoch; return whether it is the best so far by the run's stopping rule."""
        self.epochs.append(epoch)
        score = (self._stopping_score(epoch), -epoch["dev_loss"])
        if score <= self._score:
            return False
        self._score, self.best = score, len(self.epochs)
        return True

    def _stopping_score(self, epoch: Epoch) -> float:
        rule = self.run.variant.training.stop
        if rule == "auto":
            rule = "accuracy" if self.run.variant.objective.target == "hard" else "bc"
        value = epoch[f"dev_{rule}"]
        return value if rule in ("bc", "accuracy") else -value

    @property
    def finished(self) -> bool:
        """Return whether the run has not improved for as long as its patience."""
        return len(self.epochs) - self.best >= self.run.variant.training.patience

"""Training a group of runs side by side: one fold, one set of shapes, R members in every batched step.

A member is a run with one of its candidates. Each shuffles, drops out and starts by its run's seed, looks at dev every
so many steps (`schedule.py`), keeps the best state by its dev score and then leaves the group. The score is
`train.stop`: `nll` (of the dev votes), a proper score and the default for every variant alike, or `bc`, `accuracy` or
`loss` (the objective's); ties are broken by the dev loss. A state whose score is not finite is never the best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amber.config import Objective
from amber.corpus import Modality
from amber.errors import RunFailure

from .candidates import Candidate
from .data import Batch, Part
from .heads import INPUTS, Heads, dropout_mask, generator, of_runs
from .matrix import HEADS, Run
from .objective import Coefficient, coefficient, loss
from .pooling import ATTENTION
from .schedule import Schedule
from .targets import Pseudo, distribution, drop_raters, learned

ORDER, DROPOUT, RATERS = 100, 200, 300  # streams of a run's seed, beside those of its heads' initialisation
GROUP_BYTES = {"cpu": 128 << 20}  # of parameters, gradients and optimiser state: what stays in a processor's cache
OTHER_DEVICE_BYTES = 2 << 30
FRAMES_BYTES = 1 << 30  # of what pooling computes for the frames of a batch, all members together
AVERAGED = 4  # steps of which one is taken into the average: it costs as much as the step's own update
DIVERGED = 100.0  # nats per vote: no model that has learned anything is so wrong, e^-100 for what raters say
EVALUATION_ROWS = 8192  # utterances times members that are scored at once, to bound memory
COEFFICIENTS: tuple[Coefficient, ...] = (
    "rater_weight",
    "modality_weight",
    "experts_weight",
    "temperature",
    "concentration",
)

State = dict[str, Tensor]
Record = dict[str, float]  # what a look at dev found, by name


@dataclass(frozen=True)
class Member:
    """One place on the run axis: a run with one of its candidates.

    `subset` (m,) says which utterances of the training part it learns from; None: all of them.
    """

    run: Run
    candidate: Candidate
    subset: Tensor | None = None

    @property
    def seed(self) -> int:
        """Return the seed of the run's random streams, which its candidates share."""
        return self.run.seed * 1009 + self.run.fold


@dataclass(frozen=True)
class Fitted:
    """What came of one member: its best state by parameter (without the run axis), its looks at dev, the best of them.

    `best` counts from 1.
    """

    run: Run
    state: State
    records: list[Record]
    best: int


def group_key(run: Run) -> tuple[object, ...]:
    """Return what runs must have in common to train in one group."""
    objective = run.variant.objective
    structure = (objective.target, objective.divergence, objective.weighting, objective.student)
    training = run.variant.training.model_dump_json()
    return (run.fold, training, run.variant.model, structure, run.variant.heads)


def largest_group(
    heads: Sequence[str], dims: Mapping[Modality, int], hidden: int, classes: int, device: str, frames: float = 0.0
) -> int:
    """Return how many members with such heads train side by side on a device.

    `dims` are what heads see. `frames` is the number of frames in a batch, over all modalities that are frames, of
    utterances of mean length.
    """
    width = hidden or classes
    inputs = [sum(dims[modality] for modality in INPUTS[head]) for head in heads]
    parameters = sum(width * (d + 1) + classes * (hidden + 1) for d in inputs)
    room = GROUP_BYTES.get(device, OTHER_DEVICE_BYTES)
    largest = room // (4 * parameters * 4)  # float32; the parameter, its gradient and two moments
    if frames:  # padded to twice the mean; float32; the attention's hidden units, their gradient, and one to spare
        largest = min(largest, int(FRAMES_BYTES // (3 * 2 * frames * ATTENTION * 4)))
    return max(1, largest)


def fit(
    group: Sequence[Member],
    train: Part,
    dev: Part,
    device: str,
    after_look: Callable[[], None],
    smoothing: float = 0.0,
    prior: Pseudo | None = None,
) -> list[Fitted]:
    """Train the members of a group, whose runs have one `group_key` and whose candidates one structure.

    Parameters
    ----------
    group
        The members.
    train, dev
        Their scaled inputs and the raters' votes.
    device
        Where everything is and stays.
    after_look
        Called after every look at dev.
    smoothing
        Of the training part's targets, not of the dev part's.
    prior
        Votes that stand beside the raters' in what the student learns, for every member of the group.

    Returns
    -------
    list of Fitted
        In the order of `group`.

    Raises
    ------
    RunFailure
        If no look at a member found a finite score, or the best of them is absurd.

    """
    training = group[0].run.variant.training
    schedule = Schedule.of(training, len(train), len(dev))
    by_stream = sorted(range(len(group)), key=lambda place: train.stream(group[place].seed))
    lanes = [_Lane(place, group[place], device) for place in by_stream]
    heads = _new_heads([lane.member for lane in lanes], train).to(device)
    optimizer = torch.optim.Adam(heads.parameters(), lr=training.lr, fused=True)
    means = [parameter.detach().clone() for parameter in heads.parameters()]
    streams = _streams(train, lanes)
    first = {train.stream(lane.member.seed): lane for lane in reversed(lanes)}
    sampler = train.sampler(schedule.batch, [first[stream].order for stream in streams])
    active = lanes
    step, since = 0, 0
    total = torch.zeros(len(active), device=train.rows.device)  # of the losses since the last look
    stepper = _Stepper(heads, train, active, smoothing, prior)
    while active:
        step, since = step + 1, since + 1
        optimizer.param_groups[0]["lr"] = training.lr * schedule.rate(step)
        total += stepper.step(optimizer, *sampler.draw())
        if step % AVERAGED == 1:
            schedule.average(means, heads.parameters(), 1 + step // AVERAGED)
        if not schedule.looks(step):
            continue
        _swap(heads, means)
        scores = {"train_loss": (total / since).tolist(), **_scores(heads, dev, active)}
        for place, lane in enumerate(active):
            if lane.improves({"step": step, **{name: score[place] for name, score in scores.items()}}):
                lane.state = _state_of(heads, place)
        _swap(heads, means)
        after_look()
        staying = [place for place, lane in enumerate(active) if not lane.finished and step < schedule.steps]
        if len(staying) < len(active):
            active = [active[place] for place in staying]
            before, streams = streams, _streams(train, active)
            sampler.keep([place for place, stream in enumerate(before) if stream in streams])
            means = [mean[staying] for mean in means]
            _keep(heads, optimizer, staying)
            if active:
                stepper = _Stepper(heads, train, active, smoothing, prior)
        total, since = torch.zeros(len(active), device=train.rows.device), 0
    return [lane.fitted() for lane in sorted(lanes, key=lambda lane: lane.place)]


def predict(group: Sequence[Member], fitted: Sequence[Fitted], part: Part) -> dict[str, Tensor]:
    """Return the log-probabilities (R, m, C) of every head of fitted members, for the m rows of a part."""
    heads = _new_heads(group, part)
    states = [one.state for one in fitted]
    heads.load_state_dict({name: torch.stack([state[name] for state in states]) for name in states[0]})
    return _forward(heads.to(part.rows.device), part, len(fitted))


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


class _Stepper:
    """What one step needs of the members that still train."""

    def __init__(self, heads: Heads, train: Part, lanes: Sequence[_Lane], smoothing: float, prior: Pseudo | None):
        device = train.rows.device
        self.heads, self.train, self.lanes, self.smoothing = heads, train, lanes, smoothing
        self.streams = list(_streams(train, lanes).values())
        self.objective = lanes[0].member.run.variant.objective
        self.coefficients = _coefficients(lanes, device)
        self.rates = [lane.member.run.variant.objective.rater_dropout for lane in lanes]
        self.votes_each = float(train.counts.sum(dim=1).mean())
        penalties = [lane.member.candidate.weight_decay for lane in lanes]
        self.penalty = torch.tensor(penalties, device=device)[:, None, None] if any(penalties) else None  # (R, 1, 1)
        subsets = [lane.member.subset for lane in lanes if lane.member.subset is not None]
        self.subset = torch.stack(subsets) if subsets else None  # (R, m)
        self.prior = prior.of([lane.place for lane in lanes]) if prior else None

    def step(self, optimizer: torch.optim.Optimizer, places: Tensor, batch: Batch) -> Tensor:
        """Take one step with the batches of S streams, places (S, B); return each member's mean loss, (R,)."""
        places = of_runs(places, self.streams)  # (R, B)
        counts = self.train.counts[places]  # (R, B, C)
        if any(self.rates):
            counts = drop_raters(counts, self.rates, [lane.raters for lane in self.lanes])
        log_p = self.heads(batch, self.streams, self._dropout(places.shape[1]))
        each = _loss(log_p, counts, self.objective, self.coefficients, self.votes_each, self.smoothing,
                     self.prior.at(places) if self.prior else None)  # (R, B)  # fmt: skip
        if self.subset is None:
            mean = each.mean(dim=1)
        else:
            kept = self.subset.gather(1, places).to(each.dtype)
            mean = (each * kept).sum(dim=1) / kept.sum(dim=1).clamp_min(1)
        optimizer.zero_grad(set_to_none=True)
        # A mean over the batch and a sum over members: no member's gradient depends on another's.
        mean.sum().backward()  # type: ignore[no-untyped-call]
        if self.penalty is not None:
            with torch.no_grad():
                for weight, factor in self.heads.penalised:
                    assert weight.grad is not None  # noqa: S101 (every head is in the loss)
                    weight.grad.addcmul_(weight, self.penalty, value=factor)
        optimizer.step()
        return mean.detach()

    def _dropout(self, rows: int) -> dict[str, Tensor] | None:
        """Return the dropout masks (R, rows, H) of a step by head; None where nothing is dropped."""
        candidate = self.lanes[0].member.candidate
        if not candidate.dropout:
            return None
        return {
            name: dropout_mask(candidate.dropout, rows, candidate.hidden, [lane.dropout[name] for lane in self.lanes])
            for name in self.heads.names
        }


def _new_heads(group: Sequence[Member], part: Part) -> Heads:
    """Return the heads of a group's members, as they start."""
    run, candidate, shapes = group[0].run, group[0].candidate, part.shapes
    dims = {modality: shape[-1] for modality, shape in shapes.items()}
    layers = {modality: shape[0] for modality, shape in shapes.items() if len(shape) == 2}
    seeds, classes = [member.seed for member in group], part.counts.shape[1]
    return Heads(run.variant.heads, dims, candidate.hidden, classes, seeds, layers, part.frame_dims,
                 candidate.mixture)  # fmt: skip


def _loss(
    log_p: Mapping[str, Tensor],
    counts: Tensor,
    objective: Objective,
    weights: Mapping[Coefficient, Tensor],
    votes_each: float,
    smoothing: float = 0.0,
    pseudo: Tensor | None = None,
) -> Tensor:
    """Return the objective (R, n) of members that share its structure and differ in its coefficients."""
    y, votes = learned(counts, objective.target, smoothing)
    return loss(
        log_p,
        y,
        student=objective.student,
        divergence=objective.divergence,
        weighting=objective.weighting,
        weights=weights,
        votes=votes,
        votes_each=votes_each,
        of_student=distribution(counts + pseudo) if pseudo is not None else None,
    )


def _coefficients(lanes: Sequence[_Lane], device: torch.device) -> dict[Coefficient, Tensor]:
    """Return the coefficients of members, (R, 1) each, without `modality_weight` where none is guided.

    That is seen here, once: to see it in a tensor, every step would wait for the device.
    """
    values = {name: [[getattr(lane.member.run.variant.objective, name)] for lane in lanes] for name in COEFFICIENTS}
    guided = any(value for (value,) in values["modality_weight"])
    return {
        name: torch.tensor(of_members, device=device)
        for name, of_members in values.items()
        if guided or name != "modality_weight"
    }


def _scores(heads: Heads, dev: Part, lanes: Sequence[_Lane]) -> dict[str, list[float]]:
    """Return each member's dev loss, and its student's vote likelihood, Bhattacharyya coefficient and accuracy.

    A student that is the pool of its heads is not known yet: the heads' mean scores stand for it.
    """
    run = lanes[0].member.run
    objective = run.variant.objective
    log_p = _forward(heads, dev, len(lanes))
    counts = dev.counts.expand(len(lanes), -1, -1)  # (R, m, C)
    weights, votes_each = _coefficients(lanes, dev.rows.device), float(dev.counts.sum(dim=1).mean())
    each = _loss(log_p, counts, objective, weights, votes_each)  # (R, m)
    scored = [log_p[name] for name in run.variant.scored]
    found = [student_scores(counts, one) for one in scored]
    means = {name: [sum(v) / len(found) for v in zip(*(f[name] for f in found), strict=True)] for name in found[0]}
    return {"dev_loss": each.mean(dim=1).tolist(), **means}


@torch.no_grad()
def _forward(heads: Heads, part: Part, members: int) -> dict[str, Tensor]:
    """Return log-probabilities (R, m, C) of a part that all members share, in slices that bound memory."""
    slices = [heads(inputs, [members]) for inputs in part.in_order(max(1, EVALUATION_ROWS // members))]
    return {name: torch.cat([s[name] for s in slices], dim=1) for name in heads.names}


def _streams(train: Part, lanes: Sequence[_Lane]) -> Counter[int]:
    """Return how many members learn from each stream of batches, in the order of members."""
    return Counter(train.stream(lane.member.seed) for lane in lanes)


def _state_of(heads: Heads, place: int) -> State:
    return {name: value[place].detach().clone().cpu() for name, value in heads.state_dict().items()}


def _swap(heads: Heads, means: list[Tensor]) -> None:
    """Put the averaged weights in the place of the present ones, or back."""
    for place, parameter in enumerate(heads.parameters()):
        parameter.data, means[place] = means[place], parameter.data


def _keep(heads: Heads, optimizer: torch.optim.Optimizer, staying: Sequence[int]) -> None:
    """Let finished members leave: keep the rows of the others in every parameter and its optimiser state."""
    for parameter in heads.parameters():
        parameter.grad = None
        parameter.data = parameter.data[list(staying)]
        state = optimizer.state[parameter]
        for name, value in state.items():
            if isinstance(value, Tensor) and value.dim() == parameter.dim():
                state[name] = value[list(staying)]


class _Lane:
    """One member's place in a group: its random streams, and what it has come to so far."""

    def __init__(self, place: int, member: Member, device: str) -> None:
        self.place, self.member = place, member
        self.order = generator(member.seed, ORDER)
        self.raters = generator(member.seed, RATERS, device)
        self.dropout: dict[str, torch.Generator] = {
            name: generator(member.seed, DROPOUT + i, device) for i, name in enumerate(HEADS)
        }
        self.records: list[Record] = []
        self.state: State = {}
        self.best = 0
        self._score = (float("-inf"), float("-inf"))
        self._waited_for, self._since = float("-inf"), 0  # the score that patience counts from, and looks since then

    def improves(self, record: Record) -> bool:
        """Take in a look at dev; return whether it is the best so far by the run's stopping rule."""
        self.records.append(record)
        rule = self.member.run.variant.training.stop
        value = record[f"dev_{rule}"]
        score = (value if rule in ("bc", "accuracy") else -value, -record["dev_loss"])
        self._since += 1
        if not all(map(math.isfinite, (*score, record["dev_nll"]))):
            return False
        if score[0] > self._waited_for + self.member.run.variant.training.gain:
            self._waited_for, self._since = score[0], 0
        if score <= self._score:
            return False
        self._score, self.best = score, len(self.records)
        return True

    @property
    def finished(self) -> bool:
        """Return whether the member has gained too little for as long as its patience."""
        return self._since >= self.member.run.variant.training.patience

    def fitted(self) -> Fitted:
        """Return what came of the member."""
        best = self.records[self.best - 1]["dev_nll"] if self.best else float("inf")
        if best > DIVERGED:
            lr = self.member.run.variant.training.lr
            last = f"step {self.records[-1]['step']:.0f}"
            raise RunFailure(
                f"{self.member.run.path}: diverged: up to {last} no score on dev is finite and sane\n"
                f"lower train.lr, which is {lr:g}"
            )
        return Fitted(self.member.run, self.state, self.records, self.best)

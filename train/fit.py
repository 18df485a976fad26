"""Training a group of runs side by side: one fold, one set of shapes, R members in every batched step.

A member is a run with one of its candidates; those that are ridge regressions have a closed form (`least_squares.py`).
The others take steps: their order of utterances, dropout and start follow from the run's seed. A member is evaluated on
dev every so many steps (`schedule.py`), keeps its best weights by dev score, and leaves the group when it has not
improved for long. The score is `train.stop`: `nll` (of the dev votes), a proper score and the default for every variant
alike, or `bc`, `accuracy` or `loss` (the objective's); ties are broken by the dev loss. A state whose score is not
finite is never the best.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from amber.corpus import Modality

from . import least_squares
from .adam import Adam
from .batches import Batch, FoldSplit
from .group_heads import dev_scores, new_heads
from .head_names import INPUTS
from .heads import Heads, of_runs
from .least_squares import Designs
from .member import Member, MemberState, TrainedMember
from .objective import GroupLoss
from .schedule import Schedule
from .streams import MODALITIES, dropout_mask, generator, present_modalities
from .targets import MemberVotes, drop_raters

AVERAGED = 4  # steps of which one is taken into the average: it costs as much as the step's own update


def fit(
    group: Sequence[Member],
    train: FoldSplit,
    dev: FoldSplit | None,
    on_evaluation: Callable[[], None],
    smoothing: float = 0.0,
    prior: MemberVotes | None = None,
    votes: tuple[MemberVotes, MemberVotes] | None = None,
    designs: Designs | None = None,
) -> list[TrainedMember]:
    """Train the members of a group, whose runs have one `group_key` and whose candidates one structure.

    Parameters
    ----------
    group
        The members.
    train, dev
        Their scaled inputs and the raters' votes. Without a dev part every member trains its own `steps`.
    on_evaluation
        Called after every evaluation on dev.
    smoothing
        Of the training part's targets, not of the dev part's.
    prior
        Votes that stand beside the raters' in what the student learns, for every member of the group.
    votes
        The raters' votes of the training part and dev, for every member; None: those of the parts, for all alike.
    designs
        Those of ridge regressions, to which new ones are added; None: they are not shared.

    Returns
    -------
    list of TrainedMember
        In the order of `group`.

    Raises
    ------
    RunFailure
        If no evaluation of a member found a finite score, or the best of them is absurd.

    """
    of_train, of_dev = votes or (MemberVotes.same(part.counts, len(group)) for part in (train, dev or train))
    if group[0].candidate.ridge:
        return least_squares.fit(group, train, dev, on_evaluation, smoothing, prior, (of_train, of_dev), designs)
    training, device = group[0].run.variant.training, train.rows.device
    schedule = Schedule.of(training, len(train), len(dev) if dev is not None else 0)
    ends = {member.steps for member in group}
    by_stream = sorted(range(len(group)), key=lambda place: train.stream(group[place].seed))
    states = [MemberState(place, group[place], str(device)) for place in by_stream]
    heads = new_heads([state.member for state in states], train).to(device)
    optimizer = Adam(heads.parameters(), _penalties(heads, states))
    means = [parameter.detach().clone() for parameter in heads.parameters()]
    streams = _streams(train, states)
    first = {train.stream(state.member.seed): state for state in reversed(states)}
    sampler = train.sampler(schedule.batch, [first[stream].order for stream in streams])
    active = states
    step, since = 0, 0
    total = torch.zeros(len(active), device=train.rows.device)  # of the losses since the last evaluation
    losing = [generator(stream, MODALITIES, str(device)) for stream in streams]  # which modality is dropped
    losses = _Losses(heads, of_train, active, list(streams.values()), losing, smoothing, prior)
    while active:
        step, since = step + 1, since + 1
        # Nothing holds the graph of a step: its shapes are those of the members that took it.
        total += optimizer.step(losses.on(*sampler.draw()), training.lr * schedule.rate(step))
        if step % AVERAGED == 1:
            schedule.average(means, heads.parameters(), 1 + step // AVERAGED)
        if not (schedule.evaluates(step) if dev is not None else step in ends):
            continue
        _swap(heads, means)
        scores = {"train_loss": (total / since).tolist()}
        if dev is not None:
            votes_of = of_dev.of([state.place for state in active])
            scores |= dev_scores(heads, dev, votes_of, [state.member for state in active])
        for place, state in enumerate(active):
            if state.improves({"step": step, **{name: score[place] for name, score in scores.items()}}):
                state.weights = heads.state_of(place)
        _swap(heads, means)
        on_evaluation()
        going = dev is None or step < schedule.steps
        staying = [place for place, state in enumerate(active) if not state.finished and going]
        if len(staying) < len(active):
            active = [active[place] for place in staying]
            before, streams = streams, _streams(train, active)
            kept = [place for place, stream in enumerate(before) if stream in streams]
            sampler.keep(kept)
            losing = [losing[place] for place in kept]
            means = [mean[staying] for mean in means]
            optimizer.keep(staying)
            for buffer in heads.buffers():
                buffer.data = buffer.data[staying]
            if active:
                losses = _Losses(heads, of_train, active, list(streams.values()), losing, smoothing, prior)
        total, since = torch.zeros(len(active), device=train.rows.device), 0
    return [state.trained() for state in sorted(states, key=lambda state: state.place)]


class _Losses:
    """The losses of the members that are still in training."""

    def __init__(
        self,
        heads: Heads,
        votes: MemberVotes,
        states: Sequence[MemberState],
        streams: Sequence[int],
        losing: Sequence[torch.Generator],
        smoothing: float,
        prior: MemberVotes | None,
    ) -> None:
        places = [state.place for state in states]
        self.heads, self.votes, self.states = heads, votes.of(places), states
        self.streams, self.losing = streams, losing  # how many members learn from each stream; its random generator
        objectives = [state.member.run.variant.objective for state in states]
        self.loss = GroupLoss(objectives, self.votes.each, smoothing)
        self.rates = [objective.rater_dropout for objective in objectives]
        subsets = [state.member.subset for state in states if state.member.subset is not None]
        self.subset = torch.stack(subsets) if subsets else None  # (R, m)
        self.prior = prior.of(places) if prior else None

    def on(self, places: Tensor, batch: Batch) -> Tensor:
        """Return each member's mean loss, (R,), on the batches of S streams, places (S, B)."""
        places = of_runs(places, self.streams)  # (R, B)
        counts = self.votes.at(places)  # (R, B, C)
        if any(self.rates):
            counts = drop_raters(counts, self.rates, [state.raters for state in self.states])
        rows = places.shape[1]
        log_p = self.heads(batch, self.streams, self._dropout(rows), self._present(rows))
        each = self.loss(log_p, counts, self.prior.at(places) if self.prior else None)  # (R, B)
        if self.subset is None:
            return each.mean(dim=1)
        kept = self.subset.gather(1, places).to(each.dtype)
        return (each * kept).sum(dim=1) / kept.sum(dim=1).clamp_min(1)

    def _present(self, rows: int) -> dict[Modality, Tensor] | None:
        """Return which modalities each utterance keeps, (S, rows); None where none is dropped."""
        member = self.states[0].member
        rate = 0.0 if member.candidate.reads else member.run.variant.training.modality_dropout
        both = next((INPUTS[name] for name in self.heads.names if len(INPUTS[name]) > 1), None)
        return present_modalities(rate, rows, both, self.losing) if rate and both else None

    def _dropout(self, rows: int) -> dict[str, Tensor] | None:
        """Return the dropout masks (R, H, rows) of a step by head; None where nothing is dropped."""
        candidate = self.states[0].member.candidate
        if not candidate.dropout:
            return None
        return {
            name: dropout_mask(
                candidate.dropout, rows, candidate.hidden, [state.dropout[name] for state in self.states]
            )
            for name in self.heads.names
        }


def _streams(train: FoldSplit, states: Sequence[MemberState]) -> Counter[int]:
    """Return how many members learn from each stream of batches, in the order of members."""
    return Counter(train.stream(state.member.seed) for state in states)


def _penalties(heads: Heads, states: Sequence[MemberState]) -> dict[nn.Parameter, Tensor]:
    """Return the factors (R, 1, 1) of the members' L2 penalties by what they are on."""
    decays = torch.tensor([state.member.candidate.weight_decay for state in states])[:, None, None]
    return {w: factor * decays.to(w.device) for w, factor in heads.penalised} if decays.any() else {}


def _swap(heads: Heads, means: list[Tensor]) -> None:
    """Put the averaged weights in the place of the present ones, or back."""
    for place, parameter in enumerate(heads.parameters()):
        parameter.data, means[place] = means[place], parameter.data

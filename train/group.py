"""What training makes of a group of runs: their candidates, pooled by dev into one model and its predictions each.

The runs of a group differ in seed, in the objective's coefficients and in the votes that they see, on the same
utterances. All candidates of one structure train in one batched step; those of a cross-fitted variant learn, before,
what their experts say of the training part.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amber.arrays import Float32s, Floats
from amber.corpus import Modality
from amber.errors import abbreviate
from amber.opinion_pool import best, fit_weights, pool
from amber.splits import Fold

from . import rivals
from .calibration import fit_temperature
from .candidates import Candidate
from .context import FoldContext, candidates_of
from .dataset import TrainingData
from .fit import fit
from .group_heads import predict
from .matrix import TRAINED, Run
from .member import Member, Record, TrainedMember
from .prior import Prior, fit_prior, speaker_folds
from .scaling import Scaling
from .targets import MemberVotes

DOUBT = 100.0  # holds the temperature of a pool to 1: a dev part of a hundred utterances says little of it


@dataclass(frozen=True)
class Component:
    """One candidate of a run: what was fitted, how its inputs are scaled, and its weight in the pool of each head.

    `in_student` has the weight of each of its heads in a student that is the pool of all heads; else it is empty.
    """

    candidate: Candidate
    fitted: TrainedMember
    scalings: Mapping[Modality, Scaling]
    weights: dict[str, float]
    in_student: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedRun:
    """A run as it is written: its components, evaluations on dev, and predictions of dev and test, (n, C) by head."""

    run: Run
    components: list[Component]
    records: list[Record]
    probabilities: dict[str, Floats]
    temperature: float | None
    prior: Prior | None = None


def work(run: Run, data: TrainingData, fold: Fold) -> int:
    """Return how many models a run trains, the unit of progress."""
    found = candidates_of(run, data)
    if run.variant.model not in TRAINED:
        return len(_by_layers(found))
    folds = len(_training_folds(data, fold)[1]) if run.variant.model == "cross-fit" else 0
    return len(found) + folds * len(_experts(found))


def train(group: Sequence[Run], context: FoldContext) -> list[TrainedRun]:
    """Train the runs of a group, with one `fit.group_key`."""
    if group[0].variant.model not in TRAINED:
        return _rivals(group, context)
    priors: list[Prior] | None = None
    if group[0].variant.model == "cross-fit":
        priors = _cross_fit(group, context)
    components: list[list[tuple[Candidate, TrainedMember, dict[Modality, Scaling]]]] = [[] for _ in group]
    log_p: list[dict[str, list[Float32s]]] = [{} for _ in group]
    train_kind = partial(_train, group=group, priors=priors)
    for _, trained in context.each(train_kind, context.candidates(group[0]), group[0]):
        for of_run, component, predicted in trained:
            components[of_run].append(component)
            for head, values in predicted.items():
                log_p[of_run].setdefault(head, []).append(values)
    stacked = [{head: np.stack(values, dtype=np.float64) for head, values in of_run.items()} for of_run in log_p]
    of_priors: Sequence[Prior | None] = priors or [None] * len(group)
    return [_pooled(*of_run, context=context) for of_run in zip(group, components, stacked, of_priors, strict=True)]


def _train(
    structure: Sequence[Candidate], context: FoldContext, group: Sequence[Run], priors: Sequence[Prior] | None
) -> list[tuple[int, tuple[Candidate, TrainedMember, dict[Modality, Scaling]], dict[str, Float32s]]]:
    """Train candidates of one structure; return whose each is, itself, and its log-probabilities (n, C) by head."""
    train_part, dev, both, scalings = context.splits(structure[0].layers, group[0])
    members = [Member(run, candidate) for run in group for candidate in structure]
    of_run = [place for place in range(len(group)) for _ in structure]
    pseudo = _pseudo(priors, of_run, context.device) if priors else None
    votes = _votes(members, context)
    trained = []
    for places in _places(context.chunks(members)):
        chunk = [members[place] for place in places]
        prior = pseudo.of(places) if pseudo else None
        own = (votes[0].of(places), votes[1].of(places))
        fitted = fit(chunk, train_part, dev, _reporter(context, chunk), context.smoothing, prior, own, context.designs)
        found = predict(chunk, fitted, both)
        context.advance(len(chunk), _note(chunk))
        for row, place in enumerate(places):
            predicted = {head: values[row].cpu().numpy() for head, values in found.items()}
            trained.append((of_run[place], (chunk[row].candidate, fitted[row], scalings), predicted))
    return trained


def _pooled(
    run: Run,
    found: Sequence[tuple[Candidate, TrainedMember, dict[Modality, Scaling]]],
    log_p: Mapping[str, Floats],
    prior: Prior | None,
    context: FoldContext,
) -> TrainedRun:
    """Pool a run's candidates, head by head, by the likelihood of the dev votes; log_p (K, n, C) by head."""
    counts = context.counts(run, "dev")
    n, student = len(context.fold.dev), run.variant.objective.student
    choose = fit_weights if run.variant.training.select == "pool" else best
    weights = {head: choose(values[:, :n], counts) for head, values in log_p.items()}
    for head, values in log_p.items():  # penalties and guidance make predictions flatter than votes
        flat = np.exp(pool(values[:, :n], weights[head]))
        weights[head] = weights[head] / fit_temperature(counts, flat, DOUBT)
    probabilities = {head: np.exp(pool(values, weights[head])) for head, values in log_p.items()}
    named = {head: head for head in log_p}
    if run.variant.model == "pool":
        of_all = np.concatenate(list(log_p.values()))  # (heads * K, n, C)
        used = np.flatnonzero(np.concatenate([weights[head] for head in log_p]))  # by the head's own pool
        whole = np.zeros(len(of_all))
        whole[used] = fit_weights(of_all[used, :n], counts, sum_to_one=False)  # heads read different evidence
        probabilities = {"pool": np.exp(pool(of_all, whole)), **probabilities}
        weights["pool"] = whole
    else:
        named[student] = "student"
    records, components = [], []
    for place, (candidate, fitted, scalings) in enumerate(found):
        records += [{"candidate": place + 1, **record} for record in fitted.records]
        of_heads = {named[head]: float(weights[head][place]) for head in log_p}
        in_student = {}
        if "pool" in weights:
            own = weights["pool"][place :: len(found)].tolist()  # by head
            in_student = dict(zip(log_p, own, strict=True))
        components.append(Component(candidate, fitted, scalings, of_heads, in_student))
    return TrainedRun(run, components, records, probabilities, _temperature(run, probabilities, context), prior)


def _temperature(run: Run, probabilities: Mapping[str, Floats], context: FoldContext) -> float | None:
    """Return the temperature of a student under which the dev votes are most likely; None if none is asked for."""
    if not run.variant.training.calibrate:
        return None
    counts = context.counts(run, "dev")
    return fit_temperature(counts, probabilities[run.variant.leading][: len(counts)])


def _cross_fit(group: Sequence[Run], context: FoldContext) -> list[Prior]:
    """Return each run's expert predictions of the training part, each made by experts fitted on other speakers."""
    fold_of, folds = _training_folds(context.data, context.fold)
    classes = len(context.data.space.classes)
    log_p: list[list[Floats]] = [[] for _ in group]
    runs = [replace(run, variant=run.variant.experts) for run in group]
    subsets = [torch.from_numpy(fold_of != number).to(context.device) for number in folds]
    predict_kind = partial(_predict_outside, runs=runs, subsets=subsets)
    for structure, outside in context.each(predict_kind, _experts(context.candidates(group[0])), group[0]):
        for place, (run, _) in enumerate(itertools.product(range(len(group)), structure)):
            of_members = outside[place * len(folds) : (place + 1) * len(folds)]
            for head in of_members[0]:
                joined = np.empty((len(fold_of), classes))
                for number, of_member in zip(folds, of_members, strict=True):
                    here = fold_of == number
                    joined[here] = of_member[head].double().cpu().numpy()[here]
                log_p[run].append(joined)
    seen = [context.data_of(run).counts[context.fold.train] for run in group]
    return [fit_prior(np.stack(of_run), counts) for of_run, counts in zip(log_p, seen, strict=True)]


def _predict_outside(
    structure: Sequence[Candidate], context: FoldContext, runs: Sequence[Run], subsets: Sequence[Tensor]
) -> list[dict[str, Tensor]]:
    """Fit experts of one structure for each run, candidate and subset; return what each says, (m, C) by head."""
    train_part, dev, _, _ = context.splits(structure[0].layers, runs[0])
    members = [Member(run, one, subset) for run in runs for one in structure for subset in subsets]
    votes = _votes(members, context)
    said: list[dict[str, Tensor]] = []
    for places in _places(context.chunks(members)):
        chunk, own = members[places.start : places.stop], (votes[0].of(places), votes[1].of(places))
        fitted = fit(chunk, train_part, dev, _reporter(context, chunk), context.smoothing, votes=own)
        found = predict(chunk, fitted, train_part)
        context.advance(len(chunk), _note(chunk))
        said += [{head: values[row] for head, values in found.items()} for row in range(len(chunk))]
    return said


def _votes(members: Sequence[Member], context: FoldContext) -> tuple[MemberVotes, MemberVotes]:
    """Return the votes of the training part and dev that each member sees."""
    runs = [member.run for member in members]
    return context.votes(runs, "train"), context.votes(runs, "dev")


def _experts(found: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that experts are fitted with, as each is fitted often: linear ones where there are any.

    Experts on one modality are heads of their own, so that what reads one of two is left out where there is another.
    """
    whole = [candidate for candidate in found if not candidate.reads] or list(found)
    return [candidate for candidate in whole if not candidate.hidden] or whole


def _training_folds(data: TrainingData, fold: Fold) -> tuple[NDArray[np.int64], list[int]]:
    speakers = data.corpus.column("speaker")
    fold_of = speaker_folds([speakers[row] for row in fold.train])
    return fold_of, np.unique(fold_of).tolist()


def _pseudo(priors: Sequence[Prior], of_run: Sequence[int], device: str) -> MemberVotes:
    """Return what the priors of K runs are worth to R members, of which each belongs to one of them."""
    votes = torch.from_numpy(np.stack([prior.votes for prior in priors])).float()  # (K, m, C)
    return MemberVotes(votes.to(device), torch.tensor(of_run, device=device))


def _rivals(group: Sequence[Run], context: FoldContext) -> list[TrainedRun]:
    """Fit a rival on each layer choice of the candidates; the best on dev is each run's."""
    lowest: list[tuple[float, Component, dict[str, Floats]]] = []
    records: list[list[Record]] = [[] for _ in group]
    for number, candidate in enumerate(_by_layers(context.candidates(group[0])), 1):
        train_part, dev, both, scalings = context.splits(candidate.layers, group[0])
        fitted = rivals.fit(group, train_part, dev, context.smoothing)
        found = {head: p.double().cpu().numpy() for head, p in rivals.predict(fitted, both).items()}
        context.advance(len(group), group[0].variant.name)
        for place, one in enumerate(fitted):
            records[place] += [{"layer": number, **record} for record in one.records]
            score = one.records[one.best - 1]["dev_nll"]
            probabilities = {head: p[place] / p[place].sum(axis=-1, keepdims=True) for head, p in found.items()}
            read = Candidate(candidate.layers, hidden=0, dropout=0.0, weight_decay=0.0)  # a rival has its own settings
            new = (score, Component(read, one, scalings, {"student": 1.0}), probabilities)
            if place == len(lowest):
                lowest.append(new)
            elif score < lowest[place][0]:
                lowest[place] = new
    return [
        TrainedRun(run, [component], of_run, probabilities, _temperature(run, probabilities, context))
        for run, of_run, (_, component, probabilities) in zip(group, records, lowest, strict=True)
    ]


def _by_layers(found: Sequence[Candidate]) -> list[Candidate]:
    """Return one candidate for each layer choice."""
    return list({candidate.layers: candidate for candidate in reversed(found)}.values())


def _places(chunks: Sequence[Sequence[Member]]) -> list[range]:
    ends = np.cumsum([len(chunk) for chunk in chunks]).tolist()
    return [range(end - len(chunk), end) for end, chunk in zip(ends, chunks, strict=True)]


def _note(chunk: Sequence[Member]) -> str:
    return f"{abbreviate(dict.fromkeys(member.run.variant.name for member in chunk), 3)}, fold {chunk[0].run.fold}"


def _reporter(context: FoldContext, chunk: Sequence[Member]) -> Callable[[], None]:
    return partial(context.advance, 0, _note(chunk))

"""What groups of runs share: the fold they train on, and how many members train side by side.

Runs of a group may see other votes, on the same utterances: they read the same batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
import torch

from amber.arrays import Floats, Integers
from amber.config import HeadName
from amber.console import Advance
from amber.corpus import Modality
from amber.splits import Fold

from .attention import ATTENTION
from .balance import balanced, balances
from .batches import FoldSplit
from .candidates import Candidate, Layers, candidates, longest_first, structures
from .dataset import TrainingData
from .head_names import INPUTS
from .inputs import Inputs, split
from .least_squares import Designs
from .matrix import TRAINED, Run
from .member import Member
from .parallel import side_by_side
from .scaling import Scaling
from .targets import MemberVotes

T = TypeVar("T")

GROUP_BYTES = {"cpu": 128 << 20}  # of parameters, their averages and moments: what stays in a processor's cache
OTHER_DEVICE_BYTES = 2 << 30
FRAMES_BYTES = 1 << 30  # of what pooling computes for the frames of a batch, all members together


@dataclass(frozen=True)
class FoldContext:
    """What the groups of one fold share: data, fold, inputs, device, and where progress is reported.

    `seen` is the data of runs that see a part of the votes, by how many of an utterance (`train.votes`); `kinds` is how
    many kinds of candidates train at a time, a thread each; `designs` are those of ridge regressions on the whole
    training part, None where each group makes its own.
    """

    data: TrainingData
    fold: Fold
    inputs: Inputs
    device: str
    advance: Advance
    seen: Mapping[int, TrainingData] = field(default_factory=dict)
    kinds: int = 1
    designs: Designs | None = None

    @property
    def smoothing(self) -> float:
        """Return the smoothing of training targets."""
        return self.data.space.options.smoothing

    def candidates(self, run: Run) -> list[Candidate]:
        """Return the candidates of a run."""
        return candidates_of(run, self.data)

    def data_of(self, run: Run) -> TrainingData:
        """Return the data with the votes that a run sees."""
        return self.seen.get(run.variant.training.votes or 0, self.data)

    def counts(self, run: Run, part: Literal["train", "dev"]) -> Floats:
        """Return the votes on a part that a run sees, (m, C); those on dev weighted if it balances corpora."""
        rows = self.fold.parts()[part]
        counts, corpora = self.data_of(run).counts[rows], self.corpora(run)
        return balanced(counts, corpora[rows]) if part == "dev" and corpora is not None else counts

    def corpora(self, run: Run) -> Integers | None:
        """Return the numbers of the corpora that a run balances, (n,); None if it balances none."""
        return self.data.corpora if balances(run.variant) else None

    def votes(self, runs: Sequence[Run], part: Literal["train", "dev"]) -> MemberVotes:
        """Return the votes on a part that each of R members sees, given their runs."""
        distinct = {run.variant.training.votes: self.counts(run, part) for run in runs}
        places = {votes: place for place, votes in enumerate(distinct)}
        which = torch.tensor([places[run.variant.training.votes] for run in runs], device=self.device)
        return MemberVotes(torch.from_numpy(np.stack(list(distinct.values()))).float().to(self.device), which)

    def splits(self, layers: Layers, run: Run) -> tuple[FoldSplit, FoldSplit, FoldSplit, dict[Modality, Scaling]]:
        """Return a run's training part, dev, dev and test together, and the scaling, of a layer choice."""
        inputs, scalings = self.inputs.of(self.fold.number, layers, self.advance)
        rows = (self.fold.train, self.fold.dev, np.concatenate([self.fold.dev, self.fold.test]))
        about = (self.device, self.fold.number, self.corpora(run))
        train, dev, both = (split(inputs, self.data_of(run).counts, r, *about) for r in rows)
        return train, dev, both, scalings

    def each(
        self, function: Callable[[Sequence[Candidate], FoldContext], T], found: Sequence[Candidate], run: Run
    ) -> Iterator[tuple[list[Candidate], T]]:
        """Yield the structures of candidates, and what a function of structure and context returns for each.

        Inputs are those of one layer choice at a time: they are read, all structures that read them are done, and they
        are freed before those of the next are read.
        """
        every = structures(found, run.variant.training.modality_dropout)
        for layers, same in itertools.groupby(every, key=lambda one: one[0].layers):
            kinds = list(same)
            if self.kinds > 1:
                self.splits(layers, run)  # read here, where every core helps
            done = side_by_side(
                lambda kind, advance: function(kind, replace(self, advance=advance)),
                kinds,
                longest_first(kinds),
                self.advance,
                self.kinds,
            )
            yield from zip(kinds, done, strict=True)

    def chunks(self, members: Sequence[Member]) -> list[list[Member]]:
        """Divide members of one structure into groups that train side by side on the device."""
        run, candidate = members[0].run, members[0].candidate
        dims, frames = {}, 0.0
        for modality, layer in candidate.layers:
            if self.data.is_frames(modality):  # heads read the mean and standard deviation of frames
                dims[modality] = 2 * self.data.stores[modality].spec.dim
                frames += float(self.data.lengths(modality).mean())
            else:
                dims[modality] = self.data.width(modality, layer)
        batch = run.variant.training.batch_size or 128
        classes = len(self.data.space.classes)
        size = largest_group(run.variant.heads, dims, candidate, classes, self.device, frames * batch)
        return [list(members[start : start + size]) for start in range(0, len(members), size)]


def candidates_of(run: Run, data: TrainingData) -> list[Candidate]:
    """Return the candidates of a run on the features of an experiment."""
    held = {modality: data.held(modality) for modality in run.variant.reads}
    return candidates(run.variant.training, held, [modality for modality in held if data.is_frames(modality)])


def group_key(run: Run) -> tuple[object, ...]:
    """Return what runs must have in common to train in one group.

    Rivals are fitted one after another, so that nothing is won by a group of other votes.
    """
    objective = run.variant.objective
    structure = (objective.target, objective.divergence, objective.weighting, objective.student)
    training = run.variant.training.model_dump_json(exclude={"votes"} if run.variant.model in TRAINED else None)
    return (run.fold, training, run.variant.model, structure, run.variant.heads)


def largest_group(
    heads: Sequence[HeadName],
    dims: Mapping[Modality, int],
    candidate: Candidate,
    classes: int,
    device: str,
    frames: float = 0.0,
) -> int:
    """Return how many members with such heads train side by side on a device.

    `dims` are the dimensions of the heads' inputs. `frames` is the number of frames in a batch of utterances of mean
    length, over all modalities that are frames.
    """
    parameters = sum(_parameters([dims[m] for m in INPUTS[head]], candidate, classes) for head in heads)
    allowed = GROUP_BYTES.get(device, OTHER_DEVICE_BYTES)
    largest = allowed // (4 * parameters * 4)  # float32; the parameter, its average and two moments
    if frames:  # padded to twice the mean; float32; the attention's hidden units, their gradient, and one to spare
        largest = min(largest, int(FRAMES_BYTES // (3 * 2 * frames * ATTENTION * 4)))
    return max(1, largest)


def _parameters(dims: Sequence[int], candidate: Candidate, classes: int) -> int:
    """Return how many parameters a head on inputs of these dimensions has."""
    if candidate.mixture and len(dims) > 1:
        gate = len(dims) * (sum(dims) + 1)
        return gate + sum(_parameters([dim], candidate, classes) for dim in dims)
    if not candidate.hidden:
        return classes * (sum(dims) + 1)
    return candidate.hidden * (sum(dims) + 1) + classes * (candidate.hidden + 1)

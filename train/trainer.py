"""Training the groups of a part of a plan, on one machine; every worker of a cluster has a trainer of its own."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from amber.console import Advance
from amber.errors import abbreviate

from .context import FoldContext, candidates_of
from .group import train, work
from .inputs import Inputs
from .least_squares import Designs
from .parallel import workers_for
from .plan import Part, TrainingPlan, groups_of
from .results import write_run
from .subsample import Subsampler


class Trainer:
    """The groups of runs that use the same utterances, and what they share.

    Parameters
    ----------
    plan, part
        The experiment, and which of its utterances.
    memory
        GB that its features may take.
    device
        Where it trains.

    Attributes
    ----------
    groups
        The runs of each group.
    workers, threads
        How many groups train at a time in one process, and how many threads each uses. What a group learns may depend,
        in the last digit, on the threads: a worker of a cluster uses as many.

    """

    def __init__(self, plan: TrainingPlan, part: Part, memory: float, device: str) -> None:
        self.plan, self._part, self._device = plan, part, device
        self._data, self._folds = part.utterances.data, part.utterances.folds
        self.groups = groups_of(plan, part)
        # Groups side by side may be of as many folds.
        at_once = 1 if plan.tight else min(len(self.groups), int(memory / max(plan.memory, 1e-9)))
        self.workers, self.threads = workers_for(at_once, device)
        # Of one group, kinds of candidates train side by side, unless each reads frames anew.
        self._kinds = self.threads if self.workers == 1 and device == "cpu" and not plan.tight else 1
        runs = [run for group in self.groups for run in group]
        choices = {layer for run in runs for one in candidates_of(run, self._data) for layer in one.layers}
        # A single group reads each choice once; frames it reads in every epoch.
        keep = not plan.tight and (len(self.groups) > 1 or any(map(self._data.is_frames, self._data.stores)))
        self._inputs = Inputs(self._data, self._folds, device, keep, (len(choices) + 1) * self.workers)
        self._keep = keep
        self._designs = lru_cache(self.workers)(lambda fold: Designs())  # groups come one fold after another
        self._subsampler = Subsampler(self._data)

    def keys(self, number: int) -> dict[str, str]:
        """Return the hash of what each run of a group depends on, by path."""
        return {run.path: self.plan.key(run) for run in self.groups[number]}

    def note(self, number: int) -> str:
        """Say what the group of a number is."""
        names = dict.fromkeys(run.variant.name for run in self.groups[number])
        return f"{abbreviate(names, 3)}, fold {self.groups[number][0].fold}"

    def work(self, number: int) -> int:
        """Return how many models the group of a number trains, the unit of progress."""
        runs = self.groups[number]
        fold = self._subsampler.fold(runs[0].variant.training, self._folds[runs[0].fold])
        return sum(work(run, self._data, fold) for run in runs)

    def train(self, number: int, missing: Collection[str], advance: Advance) -> None:
        """Train the group of a number; write those of its runs whose paths are among the missing."""
        group, plan = self.groups[number], self.plan
        training, whole = group[0].variant.training, self._folds[group[0].fold]
        fold = self._subsampler.fold(training, whole)
        seen = {of.votes: self._subsampler.data(of, whole) for run in group if (of := run.variant.training).votes}
        designs = self._designs(fold.number) if self._keep and fold is whole else None
        context = FoldContext(self._data, fold, self._inputs, self._device, advance, seen, self._kinds, designs)
        found = train(group, context)
        if len(self.groups) == 1:
            self._inputs.clear()  # or a large corpus has them in memory beside what is written
        for trained in found:
            run = trained.run
            if run.path in missing:
                data = context.data_of(run)
                write_run(plan.folder / run.path, plan.key(run), trained, fold, data, self._part.metadata)

"""`amber ask`: runs in, a ranked list of votes to ask for out, or a page that says whether such a list pays."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from amber.arrays import Floats, Integers
from amber.console import Console
from amber.errors import UserError, abbreviate, nearest
from amber.location import absolute, write_whole

from ..experiment import Experiment
from ..loading import load
from ..runs import find_runs
from . import kept, page
from .costs import costs
from .gain import Belief, gains, mean
from .hidden import eligible
from .kept import Summary
from .plan import Plan, by_gain, within
from .unvoted import unvoted
from .validation import Validation, validate

FEWEST = 30  # utterances with enough votes that a validation needs
DEFAULT = "amber2"


@dataclass(frozen=True)
class Asked:
    """Votes to ask for, in order, and what they rest on: `ids`, `votes` (n,) and `said` (n, C) of all utterances."""

    variant: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    votes: Floats
    said: Floats
    cost: Floats
    belief: Belief
    plan: Plan
    out: Path

    @property
    def spent(self) -> float:
        """Return what the votes cost together."""
        return float(self.cost[self.plan.row].sum())

    def rows(self, first: int | None = None) -> list[dict[str, object]]:
        """Return the rows of the list, or the first of them."""
        return [
            {
                "rank": rank,
                "id": self.ids[row],
                "vote": int(vote),
                "expected_gain": float(gain),
                "cost": float(self.cost[row]),
                "votes": float(self.votes[row]),
                **{f"p_{name}": float(p) for name, p in zip(self.classes, self.said[row], strict=True)},
            }
            for rank, (row, vote, gain) in enumerate(
                zip(self.plan.row[:first], self.plan.vote[:first], self.plan.gain[:first], strict=True), 1
            )
        ]

    def text(self) -> str:
        """Return the first rows and what they rest on, for a terminal."""
        lines = ["rank  id  vote  expected gain  votes there"]
        lines += [
            f"{row['rank']:>4}  {row['id']}  {row['vote']}  {row['expected_gain']:.4f}  {row['votes']:g}"
            for row in self.rows(10)
        ]
        return "\n".join([*lines, "", *self.summary.sentences(), f"list: {self.out}"])

    @property
    def summary(self) -> Summary:
        """Return what the list comes to."""
        return Summary(
            variant=self.variant,
            votes=len(self.plan),
            asked=len(np.unique(self.plan.row)),
            utterances=len(self.ids),
            unvoted=int((self.votes == 0).sum()),
            cost=self.spent,
            gain=float(self.plan.gain.sum() / len(self.ids)),
            raters=self.belief.raters,
            power=self.belief.power,
        )


def ask(
    folder: Path,
    variant: str | None,
    budget: float | None,
    cost: str | None,
    most: int,
    out: Path | None,
    console: Console,
    predictions: Path | None = None,
) -> Asked:
    """Rank the test utterances of an experiment by what one more vote is expected to tell, and write the list.

    Parameters
    ----------
    folder
        The experiment's folder.
    variant
        Whose predictions; where absent, `amber2`, or the only variant.
    budget
        What all votes together may cost; where absent, every utterance is ranked with one vote.
    cost
        As for `costs`.
    most
        The most new votes on one utterance.
    out
        The list, CSV; where absent, `ask.csv` in the experiment's folder.
    console
        Where progress goes.
    predictions
        A table of predictions of utterances without votes, which are then ranked with the others.

    Raises
    ------
    UserError
        If there are no such runs, the budget buys no vote, or a table can't be used.

    """
    name, experiment = loaded(folder, variant, console)
    more = unvoted(experiment, predictions, console)
    belief = Belief.fit(experiment.mean(name), experiment.counts)
    p = np.concatenate([experiment.mean(name), more.p])
    counts = np.concatenate([experiment.counts, np.zeros_like(more.p)])
    ids = [*experiment.ids.tolist(), *more.ids]
    each = costs(cost, ids, console)
    if budget is not None and not budget >= each.min():  # nor is NaN
        raise UserError(f"--budget {budget:g}: buys no vote; the cheapest costs {each.min():g}")
    alpha = belief.alpha(p, counts)
    with console.progress("weigh votes", len(ids)) as advance:
        gain = gains(alpha, most if budget is not None else 1, advance)
    plan = by_gain(gain, each)
    if budget is not None:
        plan = within(plan, each, budget)
    votes = np.asarray(counts.sum(axis=1))
    target = out or folder / kept.LIST
    asked = Asked(name, experiment.classes, tuple(ids), votes, mean(alpha), each, belief, plan, target)
    if out:
        write_whole(out, _csv(asked))
    else:
        kept.keep(folder, name, experiment.runs, {"list": asdict(asked.summary)}, {kept.LIST: _csv(asked)})
    return asked


def check(
    folder: Path, variant: str | None, shown: tuple[int, int], draws: int, console: Console
) -> tuple[Validation, Path]:
    """Validate asking on an experiment's own votes, and write the page.

    Returns
    -------
    tuple
        The figures, and the path of the page.

    Raises
    ------
    UserError
        If too few utterances have enough votes.

    """
    name, experiment = loaded(folder, variant, console)
    enough = eligible(experiment.counts, shown[1], experiment.truth is not None)
    if enough.sum() < FEWEST:
        raise UserError(
            f"{folder}: {enough.sum()} utterances have enough whole votes to show {shown[1]}, ask for others and score "
            f"the answers; {FEWEST} are needed\nshow fewer with --shown"
        )
    if not enough.all():
        console.warn(f"{folder}: {np.sum(~enough)} of {len(enough)} utterances have too few or split votes: left out")
    rows: Integers = np.flatnonzero(enough)
    clusters = np.unique(experiment.clusters[rows], return_inverse=True)[1].astype(np.int64)
    truth = experiment.truth[rows] if experiment.truth is not None else None
    with console.progress("hide and ask", draws) as advance:
        found = validate(
            experiment.mean(name)[rows], experiment.counts[rows], clusters, shown, range(draws), truth, advance
        )
    content = page.render(f"{experiment.name}/{name}", found).encode()
    kept.keep(folder, name, experiment.runs, {"validation": asdict(found)}, {kept.PAGE: content})
    return found, folder / kept.PAGE


def loaded(folder: Path, variant: str | None, console: Console) -> tuple[str, Experiment]:
    """Return a variant's name and the experiment with it alone."""
    runs = find_runs(folder)
    names = list(dict.fromkeys(run.variant for run in runs))
    chosen = variant or (DEFAULT if DEFAULT in names else names[0] if len(names) == 1 else None)
    if chosen is None:
        raise UserError(f"--runs {folder}: say whose predictions with --variant; there are {abbreviate(names, 20)}")
    if chosen not in names:
        raise UserError(f"--variant {chosen}: not in {folder}{nearest(chosen, names)}; there are {abbreviate(names)}")
    of = [run for run in runs if run.variant == chosen]
    with console.progress("read predictions", len(of)) as advance:
        return chosen, load(absolute(folder).name, of, None, advance)


def _csv(asked: Asked) -> bytes:
    text = io.StringIO()
    names = ["rank", "id", "vote", "expected_gain", "cost", "votes", *(f"p_{name}" for name in asked.classes)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asked.rows())
    return text.getvalue().encode()

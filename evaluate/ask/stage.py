"""`amber ask`: runs in, a ranked list of votes to ask for out, or a page that says whether such a list pays."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amber.arrays import Floats, Integers
from amber.console import Console
from amber.errors import UserError, abbreviate, nearest
from amber.location import write_whole

from ..experiment import Experiment
from ..loading import load
from ..runs import find_runs
from . import page
from .costs import costs
from .gain import Belief, gains, mean
from .hidden import eligible
from .plan import Plan, by_gain, within
from .validation import Validation, validate

FILE, PAGE = "ask.csv", "ask.html"
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
        utterances = len(np.unique(self.plan.row))
        return "\n".join(
            [
                *lines,
                "",
                f"{len(self.plan)} votes on {utterances} of {len(self.ids)} utterances, cost {self.spent:g}; a vote of "
                f"the panel is expected to surprise by {self.plan.gain.sum() / len(self.ids):.4f} nats less.",
                f"{self.variant} is worth {self.belief.raters:.2f} raters (predictions to the power "
                f"{self.belief.power:.2f}), by the likelihood of the votes.",
                f"list: {self.out}",
            ]
        )


def ask(
    folder: Path,
    variant: str | None,
    budget: float | None,
    cost: str | None,
    most: int,
    out: Path | None,
    console: Console,
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

    Raises
    ------
    UserError
        If there are no such runs, or the budget buys no vote.

    """
    name, experiment = loaded(folder, variant, console)
    p, counts, ids = experiment.mean(name), experiment.counts, experiment.ids.tolist()
    each = costs(cost, ids, console)
    if budget is not None and budget < each.min():
        raise UserError(f"--budget {budget:g}: buys no vote; the cheapest costs {each.min():g}")
    belief = Belief.fit(p, counts)
    alpha = belief.alpha(p, counts)
    with console.progress("weigh votes", len(ids)) as advance:
        gain = gains(alpha, most if budget is not None else 1, advance)
    plan = by_gain(gain, each)
    if budget is not None:
        plan = within(plan, each, budget)
    votes = np.asarray(counts.sum(axis=1))
    target = out or folder / FILE
    asked = Asked(name, experiment.classes, tuple(ids), votes, mean(alpha), each, belief, plan, target)
    write_whole(target, _csv(asked))
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
    path = folder / PAGE
    write_whole(path, page.render(f"{experiment.name}/{name}", found).encode())
    return found, path


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
        return chosen, load(folder.resolve().name, of, None, advance)


def _csv(asked: Asked) -> bytes:
    text = io.StringIO()
    names = ["rank", "id", "vote", "expected_gain", "cost", "votes", *(f"p_{name}" for name in asked.classes)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asked.rows())
    return text.getvalue().encode()

"""What a curve says: from how many votes on no more are shown to pay, and what pays at equal cost."""

from __future__ import annotations

from collections.abc import Sequence

from amber.curve_point import Point

from .measure import METRIC, Difference, Measured


def enough(differences: Sequence[Difference], variant: str, counts: Sequence[int]) -> int:
    """Return the smallest count of votes than which no larger one is supported to be better."""
    better = {
        one.reference.votes
        for one in differences
        if one.variant == variant and one.kind == "raters" and one.supported and one.difference < 0
    }
    return next(count for count in counts if count not in better)


def findings(measured: Sequence[Measured], differences: Sequence[Difference]) -> dict[str, list[str]]:
    """Say what is supported, and how far what is not could still go, in lines by kind of difference."""
    found: dict[str, list[str]] = {"raters": [], "cost": []}
    for variant in dict.fromkeys(one.variant for one in measured):
        own = {one.point: one for one in measured if one.variant == variant}
        counts = sorted(point.votes for point in own if point.share == 1)
        found["raters"].append(_raters(variant, counts, differences))
        for cost in counts:
            here = [one for one in differences if one.variant == variant and one.kind == "cost"]
            here = [one for one in here if one.point.cost == cost]
            if here:
                found["cost"].append(_at_cost(variant, cost, here, own))
    return found


def written(difference: float, ci: Sequence[float] | None) -> str:
    """Write a difference with its interval."""
    interval = f" ({ci[0]:+.4f} to {ci[1]:+.4f})" if ci else ""
    return f"{difference:+.4f}{interval}".replace("-", "−")


def _of(difference: Difference) -> str:
    return written(difference.difference, difference.ci)


def _raters(variant: str, counts: Sequence[int], differences: Sequence[Difference]) -> str:
    last, count = counts[-1], enough(differences, variant, counts)
    of = {
        (one.reference.votes, one.point.votes): one
        for one in differences
        if one.variant == variant and one.kind == "raters"
    }
    if count == last:
        before = counts[-2]
        return (
            f"{variant}: more raters pay as far as was tried: {last} votes per utterance over {before} change the NLL "
            f"by {_of(of[before, last])}"
        )
    return (
        f"{variant}: from {count} {_votes(count)} per utterance on, no gain by more raters is supported; what {last} "
        f"votes could still change in the NLL: {_of(of[count, last])}"
    )


def _at_cost(variant: str, cost: int, here: Sequence[Difference], own: dict[Point, Measured]) -> str:
    points = [Point(cost, cost), *(one.point for one in here)]
    best = min(points, key=lambda point: own[point].mean(METRIC))
    said = [
        f"{one.point.votes} on {one.point.share:.0%}: {_of(one)}{', supported' if one.supported else ''}"
        for one in here
    ]
    return (
        f"{variant}: at the cost of {cost} {_votes(cost)} on every utterance, the lowest NLL is that of {best.votes} "
        f"{_votes(best.votes)} on {best.share:.0%} of them; over {cost} on all: {'; '.join(said)}"
    )


def _votes(count: int) -> str:
    return "vote" if count == 1 else "votes"

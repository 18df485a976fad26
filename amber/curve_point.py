"""A point of a learning curve in votes: what of the votes a run learns from, and how its variant is called by it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(r"(.+)-votes(\d+)-cost(\d+)-draw(\d+)")


@dataclass(frozen=True, order=True)
class Point:
    """`votes` on each of a share of the utterances, which cost as much as `cost` votes on each of all of them."""

    votes: int
    cost: int

    @property
    def share(self) -> float:
        """Return the share of the utterances."""
        return self.cost / self.votes

    def variant(self, of: str, draw: int) -> str:
        """Return what a variant is called that learns from one draw of this point."""
        return f"{of}-votes{self.votes}-cost{self.cost}-draw{draw}"


def parse(name: str) -> tuple[str, Point, int] | None:
    """Return variant, point and draw of a name that `Point.variant` made; None for any other."""
    found = _NAME.fullmatch(name)
    return (found[1], Point(int(found[2]), int(found[3])), int(found[4])) if found else None


def points(counts: Sequence[int], shares: bool = True) -> list[Point]:
    """Return the points of a curve.

    Parameters
    ----------
    counts
        How many votes an utterance has, by point.
    shares
        Whether also, for every smaller count c, as many utterances as cost c votes on each of all of them: c / votes.

    """
    ordered = sorted(set(counts))
    return [Point(votes, cost) for votes in ordered for cost in ordered if cost == votes or (shares and cost < votes)]

"""What is learned from the raters of a batch: their votes, perhaps thinned at random, as targets.

- `hard`: one on the plurality class (the first of the classes where they tie)
- `soft`: the vote fractions y = n / sum n
- `dirichlet`: y again, and the counts themselves, whose likelihood takes the place of D(y, ·) in the objective
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from amber.labels import smooth

Target = Literal["hard", "soft", "dirichlet"]


@dataclass(frozen=True)
class MemberVotes:
    """Votes on the m utterances of a part for each member of a group.

    `votes` (K, m, C) are K sets of them, `which` (R,) says which of the sets a member has.
    """

    votes: Tensor
    which: Tensor

    @classmethod
    def same(cls, counts: Tensor, members: int) -> MemberVotes:
        """Return votes (m, C) that all members have."""
        return cls(counts[None], torch.zeros(members, dtype=torch.int64, device=counts.device))

    @property
    def each(self) -> Tensor:
        """Return how many votes an utterance has on average, by member, (R, 1)."""
        return self.votes.sum(dim=2).mean(dim=1)[self.which, None]

    def of(self, members: Sequence[int]) -> MemberVotes:
        """Return those of the members in these places."""
        return MemberVotes(self.votes, self.which[list(members)])

    def at(self, places: Tensor) -> Tensor:
        """Return the votes (R, B, C) at the places (R, B) of a batch."""
        return self.votes[0][places] if len(self.votes) == 1 else self.votes[self.which[:, None], places]

    def every(self) -> Tensor:
        """Return the votes on every utterance, (R, m, C)."""
        return self.votes.expand(len(self.which), -1, -1) if len(self.votes) == 1 else self.votes[self.which]


def distribution(counts: Tensor) -> Tensor:
    """Turn counts into vote fractions. (..., C) -> (..., C)."""
    return counts / counts.sum(dim=-1, keepdim=True)


def make_targets(counts: Tensor, target: Target, smoothing: float = 0.0) -> tuple[Tensor, Tensor | None]:
    """Return the target distributions y (..., C) of counts (..., C) and, for `dirichlet`, counts to go with them.

    `smoothing` spreads that share of a target over the other classes, as `amber.labels.smooth` does.
    """
    y = distribution(counts)
    if target == "hard":
        y = torch.nn.functional.one_hot(y.argmax(dim=-1), y.shape[-1]).to(y.dtype)
    if smoothing:
        y = smooth(y, smoothing)
    return y, y * counts.sum(dim=-1, keepdim=True) if target == "dirichlet" else None


def drop_raters(counts: Tensor, rates: Sequence[float], generators: Sequence[torch.Generator]) -> Tensor:
    """Drop votes at random, each by itself; an utterance that would lose all of them keeps them all.

    Parameters
    ----------
    counts
        (R, B, C). A fractional count, as secondary labels make them, is dropped in as many equal parts as there are
        whole votes in it, rounded up.
    rates
        The probability that a vote is dropped, of each run.
    generators
        One per run.

    Returns
    -------
    Tensor
        (R, B, C), no row without votes.

    """
    units = counts.ceil()
    kept = torch.zeros_like(counts)
    for run, (rate, generator) in enumerate(zip(rates, generators, strict=True)):
        # A run that drops nothing draws nothing: its neighbours' rates are not its business.
        stays = torch.full_like(units[run], 1 - rate)
        kept[run] = torch.binomial(units[run], stays, generator=generator) if rate else units[run]
    kept = kept * counts / units.clamp_min(1)
    return torch.where(kept.sum(dim=-1, keepdim=True) > 0, kept, counts)

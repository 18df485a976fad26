"""What a label space leaves out of the votes, counted and said."""

from __future__ import annotations

from dataclasses import dataclass

from amber.errors import abbreviate


@dataclass(frozen=True)
class Outside:
    """The votes that are left out: `votes` of `of`, on `utterances`; `labels` says how often each label was meant."""

    votes: float
    of: float
    utterances: int
    labels: dict[str, int]

    def __str__(self) -> str:
        said = abbreviate((f"{label} ({n})" for label, n in self.labels.items()), 8)
        return (
            f"{self.votes:g} of {self.of:g} votes, on {self.utterances} utterances, are outside the classes: {said}; "
            "labels.other=keep keeps them as one more class, labels.classes gives them classes"
        )

"""One utterance of a corpus, and the votes of its raters, as a loader hands them over."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Vote:
    """What one rater said of one utterance, in the corpus's own words."""

    rater: str
    labels: tuple[str, ...]
    secondary: tuple[str, ...] = ()
    is_self: bool = False


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance as its corpus describes it.

    `audio` is a path relative to the corpus root (None: there is no audio); `start` and `end` are seconds within that
    file (None: its beginning, its end). `text` is None where there is no transcript and empty where it is empty.
    `truth` is the distribution from which the votes were drawn, where it is known. `extra` holds further columns by
    name, which can serve as `splits.column`.
    """

    id: str
    audio: str | None
    text: str | None
    speaker: str | None
    votes: tuple[Vote, ...]
    start: float | None = None
    end: float | None = None
    session: str | None = None
    split: str | None = None
    release: str | None = None
    consensus: str | None = None
    truth: tuple[float, ...] | None = None
    extra: dict[str, str] = field(default_factory=dict)

"""Checks of a copy of CREMA-D against the published figures: rows, votes, consensus from the votes, audio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from amber.arrays import Floats
from amber.config import LabelOptions
from amber.corpus import Corpus, Ledger
from amber.labels import LabelSpace

from ..corpora import Loaded, Source
from ..corpora.crema_d import (
    CONDITIONS,
    LETTERS,
    TABULATED,
    find_base,
    read_tabulated,
    votes_file,
    votes_kind,
)
from ..corpora.reading import REPEATED, csv_records
from .findings import Finding, check_audio, check_joined, expect, inform

_CLIPS, _ACTORS = 7_442, 91
_SECONDS = (1.0, 5.5)
_SUMMARY = {"voice": "VoiceVote", "face": "FaceVote", "audiovisual": "MultiModalVote"}
# The tabulated votes on the voice: in all, clips with over half of the votes on one class, clips by emoVote.
_VOTES, _AGREED = 68_568, 5_012
_BY_CONSENSUS = {"A": 986, "D": 547, "F": 645, "H": 353, "N": 3897, "S": 370, "tie": 644}


def check(source: Source, loaded: Loaded) -> Iterator[Finding]:
    """Compare a copy of CREMA-D with the published figures and with itself."""
    corpus, ledger = loaded.corpus, loaded.ledger
    base = find_base(source.existing_root())
    condition = str(source.option("condition", "voice", CONDITIONS))
    tabulated = votes_file(base, TABULATED)
    yield from check_joined(ledger)
    yield from check_audio(corpus, _SECONDS)
    yield expect(f"clips rated in condition {condition}", len(corpus), _CLIPS)
    yield expect("actors", len(set(corpus.column("speaker"))), _ACTORS)
    if tabulated:
        rows = sum(len(read_tabulated(tabulated, of, Ledger())) for of in CONDITIONS)
        yield expect("rows of tabulated votes in the three conditions", rows, len(CONDITIONS) * _CLIPS)
    if votes_kind(source, base) == TABULATED:
        yield from _votes(corpus, ledger, condition)
    yield from _summary(base / "processedResults" / "summaryTable.csv", corpus, _SUMMARY[condition])
    yield from inform(ledger, ("ties", "no usable signal (excluded)", "unknown label strings"))
    yield from inform(ledger, (REPEATED, "answers to practice clips (dropped)"))


def _votes(corpus: Corpus, ledger: Ledger, condition: str) -> Iterator[Finding]:
    """Recompute the consensus from the counts: the one letter with the most votes, none where several have them."""
    odd = tuple(ledger.entries["numResponses is not the number of votes"])
    yield Finding("warn" if odd else "ok", f"clips whose numResponses is not the number of votes: {len(odd)}", odd)
    space = LabelSpace.resolve(LabelOptions(classes={letter: [letter] for letter in LETTERS}, subset="any"), corpus)
    counts = space.count(corpus.votes()).inside  # (N, 6)
    consensus = corpus.column("consensus")
    pairs = zip(corpus.ids, consensus, _plurality(counts), strict=True)
    wrong = tuple(clip for clip, stated, found in pairs if stated != found)
    yield Finding("warn" if wrong else "ok", f"clips whose emoVote the votes contradict: {len(wrong)}", wrong)
    if condition == "voice":
        agreed = int(np.sum(2 * counts.max(axis=1) > counts.sum(axis=1)))
        by_consensus = Counter(letter or "tie" for letter in consensus)
        yield expect("votes", int(counts.sum()), _VOTES)
        yield expect("clips with over half of the votes on one class", agreed, _AGREED)
        yield expect("clips by emoVote", {key: by_consensus[key] for key in _BY_CONSENSUS}, _BY_CONSENSUS)


def _plurality(counts: Floats) -> list[str | None]:
    """Return the letter with the most of each row's votes (N, 6), None for a tie."""
    single = np.sum(counts == counts.max(axis=1, keepdims=True), axis=1) == 1
    return [LETTERS[best] if alone else None for best, alone in zip(counts.argmax(axis=1), single, strict=True)]


def _summary(path: Path, corpus: Corpus, column: str) -> Iterator[Finding]:
    """Compare the consensus with the repository's own summary, in which ties are joined by `:`."""
    if not path.is_file():
        return
    listed = csv_records(path, Ledger())
    header = next(listed, (1, []))[1]
    rows = (dict(zip(header, cells, strict=False)) for _, cells in listed)
    votes = {row.get("FileName", ""): row.get(column, "") for row in rows}
    consensus = dict(zip(corpus.ids, corpus.column("consensus"), strict=True))
    wrong = tuple(
        clip
        for clip, letter in consensus.items()
        if clip in votes and letter != (votes[clip] if votes[clip] in LETTERS else None)
    )
    yield Finding(
        "warn" if wrong else "ok", f"clips whose consensus differs from summaryTable.csv: {len(wrong)}", wrong
    )

"""Checks of a copy of IEMOCAP against the published figures: counts, raters, consensus from the votes, durations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amber.audio import duration
from amber.config import LabelOptions
from amber.corpus import Corpus, Ledger
from amber.errors import UserError
from amber.labels import PRESETS, LabelSpace

from ..corpora import Loaded, Source
from ..corpora.iemocap import CONSENSUS, NO_CONSENSUS, read_turns, sessions
from ..corpora.reading import REPEATED
from .findings import Finding, check_audio, check_joined, expect, inform

# Per session: dialogs, utterances, improvised, by a woman, then consensus codes neu, hap, exc, sad, ang.
_PER_SESSION = {
    "1": (28, 1819, 759, 873, 384, 135, 143, 194, 229),
    "2": (30, 1811, 788, 859, 362, 117, 210, 197, 137),
    "3": (32, 2136, 1044, 1048, 320, 135, 151, 305, 240),
    "4": (30, 2103, 1060, 987, 258, 65, 238, 143, 327),
    "5": (31, 2170, 1133, 1033, 384, 143, 299, 245, 170),
}
_PER_SESSION_NAMES = "dialogs, utterances, improvised, female, neu, hap, exc, sad, ang"
_FOUR = ("neu", "hap", "exc", "sad", "ang")
_ALL = {"fru": 1849, "sur": 107, "fea": 40, "oth": 3, "dis": 2, NO_CONSENSUS: 2507}
# AER-LLM's utterances, all of whose votes lie in the four classes: all, unanimous, two to one, three ways.
_COMPLETE = (4370, 2410, 1813, 147)
_UTTERANCES, _DIALOGS, _SUBSET = 10_039, 151, 5_531
_SECONDS = (0.5, 35.0)
_DURATIONS = 500  # wavs whose length is compared with the label header
_TOLERANCE = 0.05  # s


def check(source: Source, loaded: Loaded) -> Iterator[Finding]:
    """Compare a copy of IEMOCAP with the published figures and with itself."""
    corpus, ledger = loaded.corpus, loaded.ledger
    yield from _sessions(corpus)
    yield from check_joined(ledger)
    yield from check_audio(corpus, _SECONDS)
    yield from _counts(corpus)
    yield from _raters(corpus)
    yield from _consensus(corpus)
    yield from _argmax(corpus)
    yield from _complete(corpus)
    yield from _durations(source, corpus)
    yield from inform(ledger, ("unknown label strings", "several labels by one rater", "self-reports"))
    yield from inform(ledger, ("empty transcript", "transcript without label"))
    yield from inform(ledger, ("labelled twice (first kept)", REPEATED))


def _sessions(corpus: Corpus) -> Iterator[Finding]:
    missing = sorted(set(_PER_SESSION) - set(corpus.column("session")))
    if missing:
        yield Finding("fatal", f"no labels for session {', '.join(missing)}: an incomplete copy")
    elif len(corpus) == _UTTERANCES:
        yield Finding("ok", "looks like the complete IEMOCAP_full_release")
    else:
        yield Finding("warn", "five sessions, but not the complete IEMOCAP_full_release")


def _counts(corpus: Corpus) -> Iterator[Finding]:
    rows = _rows(corpus)
    codes = Counter(row["consensus"] or NO_CONSENSUS for row in rows)
    yield expect("dialogs", len({row["dialog"] for row in rows}), _DIALOGS)
    yield expect("utterances", len(rows), _UTTERANCES)
    yield expect("utterances called neu, hap, exc, sad or ang", sum(codes[code] for code in _FOUR), _SUBSET)
    for session, known in _PER_SESSION.items():
        found = _session_figures([row for row in rows if row["session"] == session])
        if found[1]:
            yield expect(f"session {session}: {_PER_SESSION_NAMES}", found, known)
    for code, known_count in _ALL.items():
        yield expect(f"consensus {code}", codes[code], known_count)


def _session_figures(rows: Sequence[dict[str, Any]]) -> tuple[int, ...]:
    codes = Counter(row["consensus"] for row in rows)
    improvised = sum(row["scenario"] == "impro" for row in rows)
    female = sum(row["speaker"].endswith("F") for row in rows)
    return len({row["dialog"] for row in rows}), len(rows), improvised, female, *(codes[code] for code in _FOUR)


def _rows(corpus: Corpus) -> list[dict[str, Any]]:
    names = ("id", "session", "scenario", "speaker", "consensus")
    rows: list[dict[str, Any]] = corpus.table.select(names).to_pylist()
    return [{**row, "dialog": row["id"].rpartition("_")[0]} for row in rows]


def _raters(corpus: Corpus) -> Iterator[Finding]:
    raters = {
        uid: {(vote["rater"], vote["is_self"]) for vote in votes}
        for uid, votes in zip(corpus.ids, corpus.column("votes"), strict=True)
    }
    external = {uid: sum(not is_self for _, is_self in of) for uid, of in raters.items()}
    odd = tuple(uid for uid, count in external.items() if count != 3)
    yield Finding("warn" if odd else "ok", f"utterances without exactly three external raters: {len(odd)}", odd)
    outside = tuple(uid for uid, of in raters.items() if not 3 <= len(of) <= 4)
    yield Finding("warn" if outside else "ok", f"utterances without three or four votes: {len(outside)}", outside)
    mean = sum(map(len, raters.values())) / len(raters)
    yield Finding("info", f"votes per utterance, self-reports included: {mean:.2f} on average (published: 3.24)")


def _consensus(corpus: Corpus) -> Iterator[Finding]:
    """Recompute every code from the external raters' labels: the header's must be the one most often named."""
    wrong, missed = [], []
    for uid, code, votes in zip(corpus.ids, corpus.column("consensus"), corpus.column("votes"), strict=True):
        external = [vote for vote in votes if not vote["is_self"]]
        named = Counter(label for vote in external for label in {label.lower() for label in vote["labels"]})
        most = max(named.values(), default=0)
        top = [label for label, count in named.items() if count == most]
        if code is not None and CONSENSUS.get(code, code).lower() not in top:
            wrong.append(uid)
        if code is None and len(top) == 1 and 2 * most > len(external):
            missed.append(uid)
    yield Finding("warn" if wrong else "ok", f"header codes that the votes contradict: {len(wrong)}", tuple(wrong))
    text = f"header codes xxx though most external raters agree: {len(missed)}"
    yield Finding("warn" if missed else "ok", text, tuple(missed))


def _argmax(corpus: Corpus) -> Iterator[Finding]:
    """Test the parser on the four classes: the votes' argmax never contradicts the header, and seldom ties with it."""
    try:
        space = LabelSpace.resolve(LabelOptions(preset="iemocap-4", subset="consensus"), corpus)
        labelled = space.label(corpus)
    except UserError as error:
        yield Finding("warn", f"the four classes can't be tested: {error}")
        return
    classes = [[label.lower() for label in labels] for labels in (space.options.classes or {}).values()]
    codes = corpus.column("consensus")
    header = [next(i for i, of in enumerate(classes) if CONSENSUS[codes[row]].lower() in of) for row in labelled.rows]
    top = labelled.counts == labelled.counts.max(axis=1, keepdims=True)  # (n, 4)
    against = ~top[np.arange(len(top)), header]
    tied = ~against & (top.sum(axis=1) > 1)
    ids = tuple(corpus.ids[row] for row in labelled.rows[against])
    text = f"four classes: argmax of the external votes against the header on {len(ids)} of {len(top)}"
    yield Finding("warn" if ids else "ok", f"{text}, a tie on {int(tied.sum())}", ids)


def _complete(corpus: Corpus) -> Iterator[Finding]:
    """Count the utterances of `subset: complete` by how their votes fall, for both readings of excitement.

    It is not known which reading is AER-LLM's: neither is expected, and the one that gives its counts is `ok`.
    """
    merged = PRESETS["iemocap-aer"].classes or {}
    apart = {**merged, "happy": [label for label in merged["happy"] if label != "excited"]}
    for how, classes in (("merged into happiness", merged), ("outside the classes", apart)):
        try:
            options = LabelOptions(classes=classes, other="drop", subset="complete")
            counts = LabelSpace.resolve(options, corpus).label(corpus).counts
        except UserError:
            counts = np.zeros((0, len(classes)))
        votes = np.sort(counts, axis=1)[:, ::-1]
        of_three = np.isclose(counts.sum(axis=1), 3)
        kinds = [votes[:, 0] == counts.sum(axis=1), of_three & (votes[:, 0] == 2), of_three & (votes[:, 0] == 1)]
        found = (len(counts), *(int(kind.sum()) for kind in kinds))
        text = f"every vote in the four classes, excitement {how}: {_ways(found)}; others {found[0] - sum(found[1:])}"
        yield Finding("ok" if found == _COMPLETE else "info", f"{text} (AER-LLM: {_ways(_COMPLETE)})")


def _ways(counts: Sequence[int]) -> str:
    every, unanimous, two, three = counts
    return f"{every}, unanimous {unanimous}, two to one {two}, three ways {three}"


def _durations(source: Source, corpus: Corpus) -> Iterator[Finding]:
    turns = read_turns(sessions(source.existing_root()), Ledger())
    there = [(uid, path) for uid, path in zip(corpus.ids, corpus.column("audio"), strict=True) if path]
    chosen = there[:: max(1, len(there) // _DURATIONS)]
    off = []
    for uid, path in chosen:
        stated = turns[uid].seconds
        found = duration(Path(corpus.root, path))
        if stated is not None and found is not None and abs(found - stated) > _TOLERANCE:
            off.append(uid)
    text = f"wavs whose length differs from the label header by over {_TOLERANCE:g} s: {len(off)} of {len(chosen)}"
    yield Finding("warn" if off else "ok", text, tuple(off))

"""Checks of an MSP-Podcast release against the published figures and its own consensus.

The strongest test of how votes were read is the consensus: the plurality of primary votes over the eight emotions and
Other must be the corpus's own label almost everywhere, and a tie must be X.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from amber.config import LabelOptions
from amber.corpus import Corpus, Ledger
from amber.labels import LabelSpace
from amber.splits import part_of

from ..corpora import Loaded, Source
from ..corpora.msp_podcast import TOTALS
from ..corpora.msp_release import (
    CONSENSUS,
    CONSENSUS_CSV,
    NO_AGREEMENT,
    ReleaseFiles,
    TurnInfo,
    find_release,
    pick,
    read_partitions,
    read_turns,
)
from ..corpora.msp_votes import DUPLICATES, NAMES, UNLABELLED, header_columns, records
from .findings import Finding, check_audio, check_joined, expect, inform

SECONDS = (1.5, 12.5)
FEWEST_RATERS = 5
MOST_CONTRADICTIONS = 0.01  # share of turns, beyond which the votes were probably misread

# Turns by split. Figures outside `_SURE` are quoted from the literature and were not checked.
_PARTS = {
    "1.6": (34_280, 5_958, 10_124, 0),
    "1.7": (38_179, 7_538, 12_902, 3_521),
    "1.8": (44_879, 7_800, 15_326, 5_037),
    "1.10": (63_076, 10_999, 16_903, 13_289),
    "1.11": (84_030, 19_815, 30_647, 14_815),
    "challenge": (84_260, 31_961, 0, 0),
    "2.0": (169_190, 34_398, 46_294, 14_823),
}
_NAMES = ("train", "dev", "test1", "test2")
_SURE = {("1.8", "all"), ("1.8", "dev"), ("1.8", "test1"), ("2.0", "all"), ("1.11", "test3"), ("challenge", "test3")}
_SURE |= {(release, part) for release in ("1.11", "challenge") for part in ("all", *_NAMES)}
_TEST3 = {"1.11": 2_347, "challenge": 3_200, "1.12": 3_200, "2.0": 3_200}  # audio without labels
_COLUMNS = {"filename", "emoclass"}
_CODES_1_8 = {"N": 26_009, "H": 14_285, NO_AGREEMENT: 14_199, "U": 4_084, "C": 3_644, "A": 3_218, "S": 2_649}
_CODES_1_8 |= {"D": 2_593, "F": 1_544, "O": 817}


def check(source: Source, loaded: Loaded) -> Iterator[Finding]:
    """Compare a release with what is known of MSP-Podcast, and its votes with its own consensus."""
    corpus, ledger = loaded.corpus, loaded.ledger
    files = find_release(source.existing_root())
    turns = read_turns(files, Ledger())
    yield from _files(files, turns)
    yield from _release(corpus, ledger, turns)
    yield from check_joined(ledger, ("audio without label", "without transcript", "labelled without audio"))
    yield from _coverage(ledger)
    yield from _raters(corpus)
    yield contradictions(corpus, {uid: turn.code for uid, turn in turns.items()})
    yield from _partition(corpus, files, turns)
    yield from check_audio(corpus, SECONDS)
    yield from _labels(corpus)
    yield from inform(ledger, (DUPLICATES, UNLABELLED, "empty transcript", "listed without any label"))
    yield from inform(ledger, ("without split", "unknown split names", "unknown consensus codes"))


def contradictions(corpus: Corpus, codes: dict[str, str]) -> Finding:
    """Recompute the consensus from primary votes and compare it with the corpus's own codes (X where votes tie)."""
    names = (*NAMES, "Other")
    classes = {name: [name] for name in NAMES}
    space = LabelSpace.resolve(LabelOptions(classes=classes, other="keep", multiple="split", subset="any"), corpus)
    counts = space.count(corpus.votes()).inside  # (N, 9)
    most = counts.max(axis=1, keepdims=True)
    tied = (counts > most - 1e-9).sum(axis=1) > 1  # tolerance for the rounding of shared votes
    code_of = {name: code for code, name in CONSENSUS.items()}
    plurality = [NO_AGREEMENT if t else code_of[names[i]] for t, i in zip(tied, counts.argmax(axis=1), strict=True)]
    compared = [row for row, uid in enumerate(corpus.ids) if codes.get(uid) and most[row, 0] > 0]
    wrong = [row for row in compared if codes[corpus.ids[row]] != plurality[row]]
    said = (
        f"plurality of primary votes is the consensus label for {len(compared) - len(wrong)} of {len(compared)} turns"
    )
    if not compared:
        return Finding("warn", "the consensus can't be recomputed: no turn has both votes and a consensus label")
    if not wrong:
        return Finding("ok", said)
    pairs = Counter(f"{codes[corpus.ids[row]]} for {plurality[row]}" for row in wrong)
    about_other = sum({codes[corpus.ids[row]], plurality[row]} <= {"O", NO_AGREEMENT} for row in wrong)
    why = f" ({', '.join(f'{count} {pair}' for pair, count in pairs.most_common(3))})"
    if about_other > len(wrong) / 2:
        why += "; mostly O against X, so it is how typed Other labels are grouped"
    share = len(wrong) / len(compared)
    return Finding("warn" if share > MOST_CONTRADICTIONS else "info", said + why, tuple(corpus.ids[r] for r in wrong))


def _files(files: ReleaseFiles, turns: dict[str, TurnInfo]) -> Iterator[Finding]:
    table = pick(files.labels, *CONSENSUS_CSV)
    if table is None and not turns:
        yield Finding("fatal", "no consensus labels: labels_consensus.csv is missing, and so are its fallbacks")
    elif table is None:
        yield Finding("warn", "labels_consensus.csv is missing; its fallbacks were read")
    elif not header_columns(next(records(table, Ledger()), [])).keys() >= _COLUMNS:
        yield Finding("fatal", f"{table.name} lacks the columns FileName and EmoClass", (table.name,))
    else:
        yield Finding("ok", f"consensus labels: {len(turns)} rows")
    if files.audio is None:
        yield Finding("fatal", "no audio folder (Audios or Audio)")


def _release(corpus: Corpus, ledger: Ledger, turns: dict[str, TurnInfo]) -> Iterator[Finding]:
    """Say which release this looks like and compare its counts."""
    known = corpus.release if corpus.release in TOTALS else None
    yield Finding("info", f"laid out like release {corpus.release or 'unknown'}")
    if known is None:
        yield Finding("warn", f"{len(corpus)} labelled turns, as in no known release: a part of one, or a newer one")
        return
    found = Counter(corpus.column("split"))
    found["all"], found["test3"] = len(corpus), len(ledger.entries["audio without label"])
    figures = {"all": TOTALS[known], **dict(zip(_NAMES, _PARTS.get(known, ()), strict=False))}
    if known in _TEST3:
        figures["test3"] = _TEST3[known]
    for part, number in figures.items():
        doubt = "" if (known, part) in _SURE else " (the known figure is not certain)"
        what = {"all": "labelled turns", "test3": "audio without label (Test3)"}.get(part, part)
        yield expect(f"release {known}, {what}{doubt}", found[part], number)
    if known == "1.8":
        yield expect("consensus codes", dict(Counter(turn.code for turn in turns.values())), _CODES_1_8)


def _coverage(ledger: Ledger) -> Iterator[Finding]:
    gaps = {name: tuple(ledger.entries[name]) for name in ("without votes", "without consensus row")}
    for name, ids in gaps.items():
        if ids:
            yield Finding("warn", f"{name}: {len(ids)}", ids)
    if not any(gaps.values()):
        yield Finding("ok", "consensus and votes cover the same turns")


def _raters(corpus: Corpus) -> Iterator[Finding]:
    raters = np.bincount(corpus.votes().utterance, minlength=len(corpus))
    few = tuple(corpus.ids[row] for row in np.flatnonzero((raters > 0) & (raters < FEWEST_RATERS)))
    text = f"raters per turn: {raters.mean():.2f} on average, {raters.min()} to {raters.max()}"
    if few:
        yield Finding("warn", f"{text}; {len(few)} turns have fewer than {FEWEST_RATERS}", few)
    else:
        yield Finding("ok", text)


def _partition(corpus: Corpus, files: ReleaseFiles, turns: dict[str, TurnInfo]) -> Iterator[Finding]:
    """Compare `Partitions.txt` with the consensus file's splits, and look for speakers in two splits."""
    listed = {uid: part_of(split) for uid, split in read_partitions(files, Ledger()).items()}
    given = {uid: part_of(turn.split) for uid, turn in turns.items() if turn.split}
    other = tuple(uid for uid, split in given.items() if uid in listed and listed[uid] != split)
    if other:
        yield Finding("warn", f"{len(other)} turns have another split in {files.partitions}", other)
    elif listed and given:
        yield Finding("ok", "Partitions.txt and the consensus file agree on the splits")
    splits: dict[str, set[str]] = {}
    for speaker, split in zip(corpus.column("speaker"), corpus.column("split"), strict=True):
        if speaker and split:
            splits.setdefault(speaker, set()).add("test" if split.startswith("test") else split)
    shared = tuple(speaker for speaker, of in splits.items() if len(of) > 1)
    if shared:
        yield Finding("warn", f"{len(shared)} known speakers are in more than one of train, dev and test", shared)
    unknown = sum(speaker is None for speaker in corpus.column("speaker"))
    if unknown:
        yield Finding("info", f"{unknown} turns of unknown speakers")


def _labels(corpus: Corpus) -> Iterator[Finding]:
    votes = corpus.votes()
    primary = {votes.names[code] for code in np.unique(votes.labels)}
    known = {name.lower() for name in NAMES}
    typed = sorted(name for name in primary if name.lower().startswith("other"))
    strange = sorted(name for name in primary if name.lower() not in known and name not in typed)
    if typed:
        yield Finding("info", f"distinct primary strings that start with Other: {len(typed)}", tuple(typed))
    if strange:
        yield Finding("info", f"unknown primary strings, which count as Other: {len(strange)}", tuple(strange))

"""Folds: which utterances are for training, for development (dev) and for testing; and checks against leaks.

| scheme | folds |
|---|---|
| `official` | one: the corpus's own partition |
| `leave-one-session-out` | one per session: test it, dev = the next session (cyclic) |
| `leave-one-speaker-out` | one per speaker: test it, dev = the other of a session of two, else the next (cyclic) |
| `speaker-folds` | k groups of speakers of about equal size: test one, dev = the next (cyclic) |
| `actor-ranges` | CREMA-D's five ranges of actors, as EMO-SUPERB uses them: test one, dev = the next (cyclic) |
| `column` | values train, dev, test: one fold; any others: test one value, dev = the next (cyclic) |

Parts have the names that people give them (`PARTS`); beside such names, any other value is refused, and so are values
that only contain them, as `train-clean-100` and `dev-clean` do: these are parts, and no folds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amber.config import Scheme, SplitOptions
from amber.corpus import DIALOGUE, Corpus
from amber.errors import UserError, abbreviate, nearest

Rows = NDArray[np.int64]
Keys = list[str | None]

ACTOR_RANGES = ((1001, 1018), (1019, 1036), (1037, 1054), (1055, 1072), (1073, 1091))
# How people write the parts of an official division, in small letters and digits, without `set` at the end.
PARTS = {
    "train": ("train", "training", "trn"),
    "dev": ("dev", "devel", "development", "val", "valid", "validation"),
    "test1": ("test", "testing", "tst", "test1"),
    "test2": ("test2",),
    "test3": ("test3",),
}
EITHER = ("eval", "evaluation")  # dev in some corpora, test in others: the one that has no other name here
_SHORT = {"tr", "cv", "tt"}  # parts where there are no others; each alone is as likely a language
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_PART_OF = {written: part for part, names in PARTS.items() for written in names}
DATASET_SCHEMES = {
    "demo": "leave-one-session-out",
    "iemocap": "leave-one-session-out",
    "msp-podcast": "official",
    "crema-d": "actor-ranges",
}


@dataclass(frozen=True)
class Fold:
    """One division of the utterances, by row; `number` counts from 1, `name` says what is tested."""

    number: int
    name: str
    train: Rows
    dev: Rows
    test: Rows
    column: str = ""  # whose values are the parts, in a partition

    def parts(self) -> dict[str, Rows]:
        """Return the rows by the part's name."""
        return {"train": self.train, "dev": self.dev, "test": self.test}


@dataclass(frozen=True)
class Leaks:
    """Possible leaks of a fold: test utterances whose transcript is in training, and utterances of unknown speakers.

    `by_scenario` divides the first by the corpus's scenarios (IEMOCAP: script, impro), where it has such a thing.
    """

    transcripts: int
    by_scenario: dict[str, int]
    unknown_speakers: int


def resolve(options: SplitOptions, corpus: Corpus) -> SplitOptions:
    """Fill in the scheme where it is left open: the dataset's usual one, else what the columns allow."""
    if options.scheme:
        return options
    scheme = DATASET_SCHEMES.get(corpus.name)
    if not scheme:
        if len({session for session in corpus.column("session") if session}) >= 3:
            scheme = "leave-one-session-out"
        elif options.column in corpus.columns():
            scheme = "column"
        else:
            scheme = "speaker-folds"
    return options.model_copy(update={"scheme": scheme})


def without_effect(options: SplitOptions, schemes: Collection[Scheme | None]) -> list[str]:
    """Say which keys are set and read by none of the schemes in use."""
    read_by: dict[str, Scheme] = {"k": "speaker-folds", "column": "column"}
    used = ", ".join(sorted(map(str, schemes)))
    return [
        f"splits.{key} has no effect: only the scheme {scheme} reads it, and this is {used}"
        for key, scheme in read_by.items()
        if key in options.model_fields_set and scheme not in schemes
    ]


def make_folds(options: SplitOptions, corpus: Corpus, test: str = "test1") -> list[Fold]:
    """Divide a corpus by the scheme of resolved options.

    Parameters
    ----------
    options
        With a scheme.
    corpus
        The utterances of the experiment; folds hold rows of this corpus.
    test
        For an official partition with several test sets: `test1`, `test2` or `both`.

    Raises
    ------
    UserError
        If the corpus lacks what the scheme needs, a part is empty, or a speaker stands in two parts of a fold.

    """
    speakers: Keys = corpus.column("speaker")
    match options.scheme:
        case "official":
            folds = [_official(corpus.column("split"), test)]
        case "leave-one-session-out":
            folds = _rotate(corpus.column("session"), "session")
        case "leave-one-speaker-out":
            folds = _by_speaker(speakers, corpus.column("session"))
        case "speaker-folds":
            folds = _rotate(_balanced_groups(speakers, options.k), "speaker group")
        case "actor-ranges":
            folds = _rotate([_actor_range(s) for s in speakers], "actor range")
        case "column":
            folds = _by_column(corpus, options.column)
        case _:
            raise AssertionError("resolve the options first")
    for fold in folds:
        for part, rows in fold.parts().items():
            if not len(rows):
                raise UserError(f"splits: fold {fold.number} ({fold.name}) has no {part} utterances")
        _check_speakers(fold, speakers, refuse_unknown=options.scheme not in ("official", "column"))
    return folds


def leaks(fold: Fold, corpus: Corpus) -> Leaks:
    """Count possible leaks that are no error: test transcripts that also occur in training, and unknown speakers."""
    texts: Keys = corpus.column("text")
    speakers: Keys = corpus.column("speaker")
    seen = {text for text in (texts[row] for row in fold.train) if text}
    shared = [row for row in fold.test if texts[row] in seen]
    scenarios: Keys = corpus.column("scenario") if "scenario" in corpus.columns() else [None] * len(corpus)
    by_scenario = Counter(name for name in (scenarios[row] for row in shared) if name)
    unknown = sum(speakers[row] is None for rows in fold.parts().values() for row in rows)
    return Leaks(len(shared), dict(by_scenario), unknown)


def unused(folds: Sequence[Fold], corpus: Corpus) -> list[str]:
    """Return a line for each reason why utterances are in no part of any fold, which names them; [] if there are none.

    Only a partition leaves utterances out: they have no part, or one that is neither trained on nor tested.
    """
    used = {row for fold in folds for rows in fold.parts().values() for row in rows.tolist()}
    column = next(fold.column for fold in folds)
    written: Keys = corpus.column(column) if column else [None] * len(corpus)
    by_reason: dict[str, list[str]] = {}
    for row, (uid, value) in enumerate(zip(corpus.ids, written, strict=True)):
        if row not in used:
            why = f"column {column!r} says {value!r}, which is not used" if value else f"column {column!r} is empty"
            by_reason.setdefault(why, []).append(uid)
    return [
        f"{len(ids)} utterances are in no part of any fold, as {why}: {abbreviate(ids)}"
        for why, ids in by_reason.items()
    ]


def check_dialogues(folds: Sequence[Fold], corpus: Corpus) -> None:
    """Refuse folds in which a dialogue stands in two parts, for features that were read with earlier turns.

    Raises
    ------
    UserError
        If there is such a fold: the words of one part would be in the features of another.

    """
    dialogues: Keys = corpus.column(DIALOGUE)
    for fold in folds:
        of = [{dialogues[row] for row in rows} for rows in fold.parts().values()]
        both = sorted(d for d in (of[0] & of[1]) | (of[0] & of[2]) | (of[1] & of[2]) if d is not None)
        if both:
            raise UserError(
                f"splits: fold {fold.number} ({fold.name}): {len(both)} dialogues are in two parts "
                f"({abbreviate(both)}), and the text features read earlier turns\n"
                "choose a scheme that keeps dialogues together, or features with text_context=0"
            )


def part_of(written: str) -> str | None:
    """Return the part that a name stands for, such as `dev` for Validation; None for an unknown name."""
    return _PART_OF.get(_key(written))


def _contain_parts(values: Keys) -> bool:
    """Return whether values that are no parts' names contain some: one that others don't, or all the short ones."""
    given = {value for value in values if value}
    named = {frozenset(filter(None, map(_part_in, _WORD.findall(value)))) for value in given}
    return len(named) > 1 or {_key(value) for value in given} == _SHORT


def _part_in(word: str) -> str | None:
    key = _key(word.lower().removesuffix("data"))
    return EITHER[0] if key in EITHER else _PART_OF.get(key)


def _key(written: str) -> str:
    return re.sub(r"[\W_]", "", written).lower().removesuffix("set")


def _named_parts(values: Keys, column: str) -> Keys:
    """Return the part that each value means.

    Raises
    ------
    UserError
        If a value is the name of no part, or of one that can't be told.

    """
    known = {value: part_of(value) for value in dict.fromkeys(values) if value}
    either = [value for value in known if _key(value) in EITHER]
    open_parts = {"dev", "test1"} - set(known.values())
    if either and len(open_parts) == 1:
        known |= dict.fromkeys(either, *open_parts)
    unknown = [value for value, part in known.items() if part is None]
    if unknown:
        named = sorted(map(repr, known.keys() - set(unknown)))
        raise UserError(
            f"splits: column {column!r} has {abbreviate(map(repr, unknown))} "
            f"beside {abbreviate(named) or 'no other value'}\n"
            "parts are called train, dev (valid, validation, devel) and test; folds must have other names"
        )
    return [known[value] if value else None for value in values]


def _natural(value: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts 2 before 10."""
    pieces = re.findall(r"\d+|\D+", value)
    return tuple((0, int(t), "") if t.isdecimal() and len(t) < 1000 else (1, 0, t) for t in pieces)


def _rows(keys: Keys, wanted: set[str]) -> Rows:
    return np.array([row for row, key in enumerate(keys) if key in wanted], dtype=np.int64)


def _rotate(keys: Keys, what: str) -> list[Fold]:
    """Fold k tests the k-th key; dev is the next key, cyclic; train is the rest. Rows without a key only train."""
    order = sorted({key for key in keys if key is not None}, key=_natural)
    if len(order) < 3:
        found = abbreviate(order) or "none"
        raise UserError(f"splits: train, dev and test need at least 3 different values of {what}, found {found}")
    return [_fold(k + 1, order[k], keys, {order[(k + 1) % len(order)]}, {order[k]}) for k in range(len(order))]


def _fold(number: int, name: str, keys: Keys, dev: set[str], test: set[str]) -> Fold:
    train = np.array([row for row, key in enumerate(keys) if key not in dev | test], dtype=np.int64)
    return Fold(number, name, train, _rows(keys, dev), _rows(keys, test))


def _official(split: Keys, test: str) -> Fold:
    parts = {"test1": {"test1"}, "test2": {"test2"}, "both": {"test1", "test2"}}
    if test not in parts:
        raise UserError(f"corpus.options.test: unknown {test!r}{nearest(test, parts)}; known: {abbreviate(parts)}")
    keys: Keys = [s or None for s in split]
    if not any(keys):
        raise UserError("splits.scheme: official, but the corpus has no partition of its own; choose another scheme")
    named = _named_parts(keys, "split")
    return Fold(1, test, _rows(named, {"train"}), _rows(named, {"dev"}), _rows(named, parts[test]), "split")


def _by_speaker(speakers: Keys, sessions: Keys) -> list[Fold]:
    partners: dict[str, set[str]] = {}
    for session in {s for s in sessions if s}:
        pair = {sp for sp, se in zip(speakers, sessions, strict=True) if se == session and sp}
        if len(pair) == 2:
            partners |= {speaker: pair - {speaker} for speaker in pair}
    folds = _rotate(speakers, "speaker")
    return [_fold(f.number, f.name, speakers, partners.get(f.name) or _next(f, speakers), {f.name}) for f in folds]


def _next(fold: Fold, keys: Keys) -> set[str]:
    return {key for key in (keys[row] for row in fold.dev) if key}


def _balanced_groups(speakers: Keys, k: int) -> Keys:
    """Give every speaker a group from 1 to k: the largest first, each into the smallest group so far."""
    sizes = Counter(s for s in speakers if s is not None)
    if len(sizes) < k:
        raise UserError(f"splits.k: {k} groups need at least {k} speakers, found {len(sizes)}")
    load = [0] * k
    group: dict[str, str] = {}
    for speaker in sorted(sizes, key=lambda s: (-sizes[s], _natural(s))):
        smallest = load.index(min(load))
        load[smallest] += sizes[speaker]
        group[speaker] = str(smallest + 1)
    return [group[s] if s is not None else None for s in speakers]


def _actor_range(speaker: str | None) -> str | None:
    number = int(speaker) if speaker and re.fullmatch(r"\d{1,9}", speaker) else -1
    return next((f"{low}-{high}" for low, high in ACTOR_RANGES if low <= number <= high), None)


def _by_column(corpus: Corpus, column: str) -> list[Fold]:
    if column not in corpus.columns():
        near = nearest(column, corpus.columns())
        raise UserError(f"splits.column: no column {column!r}{near}; the corpus has {abbreviate(corpus.columns(), 20)}")
    values: Keys = [str(v) if v is not None else None for v in corpus.column(column)]
    if not any(part_of(v) or _key(v) in EITHER for v in values if v) and not _contain_parts(values):
        return _rotate(values, column)
    named = _named_parts(values, column)
    test = _rows(named, {"test1", "test2", "test3"})
    return [Fold(1, "test", _rows(named, {"train"}), _rows(named, {"dev"}), test, column)]


def _check_speakers(fold: Fold, speakers: Sequence[str | None], refuse_unknown: bool) -> None:
    of = {part: {speakers[row] for row in rows} for part, rows in fold.parts().items()}
    for a, b in (("train", "dev"), ("train", "test"), ("dev", "test")):
        both = sorted(s for s in of[a] & of[b] if s is not None)
        if both:
            raise UserError(
                f"splits: fold {fold.number} ({fold.name}): {len(both)} speakers are in {a} and in {b}: "
                f"{abbreviate(both)}\n"
                "choose a scheme that keeps speakers apart, such as speaker-folds"
            )
    if refuse_unknown and None in of["dev"] | of["test"]:
        raise UserError(
            f"splits: fold {fold.number} ({fold.name}) has utterances of unknown speakers in dev or test\n"
            "give every utterance a speaker, or use the official partition"
        )

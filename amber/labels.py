"""Label distributions from raw votes, by configuration.

`LabelSpace.count` turns votes into counts, `distribution` turns counts into y = n / sum n. What a label is, is decided
here and nowhere else.

How a rater who names several labels counts (`labels.multiple`), w being 1 for labels and `labels.secondary` for
secondary labels that the rater did not also name as a label:

- `each`: w in every class that the rater named, once per class: happiness and excitement, merged, are one vote
- `repeat`: as `each`, but labels that merge into one class all count
- `split`: one vote per rater, shared by the labels in proportion to w
- `first`: the label named first alone (secondary labels as in `each`)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from amber.arrays import Floats, Mask
from amber.config import LabelOptions
from amber.corpus import Corpus, Votes
from amber.errors import UserError, abbreviate, nearest
from amber.names import fold, spellings
from amber.outside import Outside

Y = TypeVar("Y", bound=Any)  # an array or a tensor: torch is not imported here

OTHER = "other"

_IEMOCAP_4 = {
    "neutral": ["neutral"],
    "happy": ["happiness", "excited"],
    "sad": ["sadness"],
    "angry": ["anger"],
}
_IEMOCAP_9 = {
    "neutral": ["neutral"],
    "happy": ["happiness"],
    "excited": ["excited"],
    "sad": ["sadness"],
    "angry": ["anger"],
    "frustrated": ["frustration"],
    "surprised": ["surprise"],
    "fear": ["fear"],
    "disgust": ["disgust"],
}
_MSP_4 = {"neutral": ["neutral"], "happy": ["happy"], "sad": ["sad"], "angry": ["angry"]}
_MSP_8 = {
    **_MSP_4,
    "surprise": ["surprise"],
    "fear": ["fear"],
    "disgust": ["disgust"],
    "contempt": ["contempt"],
}
_CREMA_4 = {"neutral": ["N"], "happy": ["H"], "sad": ["S"], "angry": ["A"]}

PRESETS: dict[str, LabelOptions] = {
    "iemocap-4": LabelOptions(classes=_IEMOCAP_4, other="drop", subset="consensus"),
    "iemocap-5": LabelOptions(classes=_IEMOCAP_4, other="keep", subset="any"),
    "iemocap-9": LabelOptions(classes=_IEMOCAP_9, other="drop", subset="any"),
    # AER-LLM's utterances (arXiv 2409.18339): every vote lies in the classes.
    "iemocap-aer": LabelOptions(classes=_IEMOCAP_4, other="drop", subset="complete"),
    "msp-4": LabelOptions(classes=_MSP_4, other="drop", subset="any"),
    "msp-8": LabelOptions(classes=_MSP_8, other="drop", subset="any"),
    "msp-9": LabelOptions(classes=_MSP_8, other="keep", subset="any"),
    "crema-6": LabelOptions(classes={**_CREMA_4, "fear": ["F"], "disgust": ["D"]}, other="drop", subset="any"),
    "crema-4": LabelOptions(classes=_CREMA_4, other="drop", subset="any"),
}
DATASET_PRESETS = {"demo": "iemocap-4", "iemocap": "iemocap-4", "msp-podcast": "msp-4", "crema-d": "crema-6"}


@dataclass(frozen=True)
class Counts:
    """Votes on N utterances: `inside` (N, C) by class, `outside` (N,) for labels of no class, and `raters` (N,).

    `raters` is the number of raters who voted for at least one of the classes.
    """

    inside: Floats
    outside: Floats
    raters: NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """The utterances of an experiment: their rows in the corpus (n,), counts (n, C), and how many are left out and why.

    `truth` (n, C) is the generating distribution over the classes, where it is known. `outside` counts over the whole
    corpus, as votes outside the classes may be all that an utterance has.
    """

    rows: NDArray[np.int64]
    counts: Floats
    truth: Floats | None
    left_out: dict[str, int]
    outside: Outside


@dataclass(frozen=True)
class LabelSpace:
    """The classes of an experiment and the rules by which votes count.

    `options` has every key resolved; `classes` are the names in order, `other` last where it is kept.
    """

    options: LabelOptions
    classes: tuple[str, ...]

    @classmethod
    def resolve(cls, options: LabelOptions, corpus: Corpus) -> LabelSpace:
        """Fill in what the options leave open: from the preset, else from the dataset, else from the votes.

        Raises
        ------
        UserError
            For an unknown preset, a label in two classes, or `subset: consensus` on a corpus without consensus labels.

        """
        classes, base = _classes(options, corpus)
        has_consensus = any(label is not None for label in corpus.column("consensus"))
        subset = options.subset or base.subset or ("consensus" if has_consensus else "any")
        if subset == "consensus" and not has_consensus:
            if options.subset:
                raise UserError(f"labels.subset: {corpus.name} has no consensus labels; use `any` or `majority`")
            subset = "any"
        owner: dict[str, str] = {}
        for name, labels in classes.items():
            for label in labels:
                if owner.setdefault(fold(label), name) != name:
                    raise UserError(f"labels.classes: {label!r} is in two classes, {owner[fold(label)]} and {name}")
        other = options.other or base.other or "drop"
        if other == "keep" and OTHER in classes:
            raise UserError("labels.classes: there is a class `other` already; with `other: keep` name it differently")
        names = (*classes, OTHER) if other == "keep" else tuple(classes)
        if len(names) < 2:
            raise UserError(
                f"labels.classes: an experiment needs at least two classes, found {abbreviate(names) or 'none'}"
            )
        resolved = options.model_copy(update={"classes": classes, "other": other, "subset": subset})
        return cls(resolved, names)

    def count(self, votes: Votes) -> Counts:
        """Count the votes of N utterances by class.

        Returns
        -------
        Counts
            Independent of the order of raters. A rater adds at most 1 to a class (and under `split` at most 1 in all)
            unless `multiple` is `repeat`.

        """
        size = len(self.classes) + 1  # the last column is for labels outside all classes
        vote, label, weight = self._weighted_labels(votes)
        cls = self._class_of(votes.names)[label]
        cell = vote * size + cls
        if self.options.multiple in ("each", "first"):
            # The strongest mention counts: a class named twice by one rater is one vote.
            order = np.lexsort((-weight, cell))
            first = np.unique(cell[order], return_index=True)[1]
            kept = order[first]
            vote, cls, weight = vote[kept], cls[kept], weight[kept]
        where = votes.utterance[vote] * size + cls
        total = np.bincount(where, weight, minlength=votes.size * size).astype(np.float64)
        table = total.reshape(votes.size, size)  # (N, C + 1)
        raters = np.bincount(votes.utterance[self.inside(votes)], minlength=votes.size)
        return Counts(table[:, :-1], table[:, -1], raters)

    def inside(self, votes: Votes) -> Mask:
        """Return which of V votes count for one of the classes, (V,)."""
        vote, label, _ = self._weighted_labels(votes)
        found = np.zeros(len(votes.utterance), dtype=bool)
        found[vote[self._class_of(votes.names)[label] < len(self.classes)]] = True
        return found

    def label(self, corpus: Corpus) -> Labelled:
        """Choose the utterances of the experiment and count their votes.

        Raises
        ------
        UserError
            If no utterance is left.

        """
        votes = corpus.votes()
        counts = self.count(votes)
        subset = self._subset(corpus, counts)
        enough = counts.raters >= max(1, self.options.min_votes)
        keep = subset & enough
        left_out = {
            f"not in the subset `{self.options.subset}`": int(np.sum(~subset)),
            f"fewer than {max(1, self.options.min_votes)} raters in the classes": int(np.sum(subset & ~enough)),
        }
        if not keep.any():
            found = abbreviate(sorted(set(votes.names)), 8)
            raise UserError(
                f"labels: no utterance of {corpus.name} is left with classes {abbreviate(self.classes, 9)}\n"
                f"the votes say: {found or 'nothing'}; set labels.classes or labels.subset"
            )
        rows = np.flatnonzero(keep)
        return Labelled(rows, counts.inside[rows], self._truth(corpus, rows), left_out, self._outside(votes, counts))

    def _outside(self, votes: Votes, counts: Counts) -> Outside:
        """Count the votes of no class. Weights that are shares add up to shares of votes."""
        label = self._weighted_labels(votes)[1]
        outside = label[self._class_of(votes.names)[label] == len(self.classes)]
        often: dict[str, int] = {}
        for code, n in zip(*np.unique(outside, return_counts=True), strict=True):
            name = fold(votes.names[code])
            often[name] = often.get(name, 0) + int(n)
        labels = dict(sorted(often.items(), key=lambda item: (-item[1], item[0])))
        total = round(float(counts.outside.sum()), 2)
        every = round(float(counts.inside.sum() + counts.outside.sum()), 2)
        return Outside(total, every, int(np.sum(counts.outside > 0)), labels)

    def _weighted_labels(self, votes: Votes) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Return (vote, label, weight) of all labels that count, one row per distinct label of a vote."""
        codes, same = np.unique([fold(name) for name in votes.names] or [""], return_inverse=True)
        vote, label = votes.label_vote, same[votes.labels] if len(votes.labels) else votes.labels
        if self.options.multiple == "first":
            first = np.unique(vote, return_index=True)[1]
            vote, label = vote[first], label[first]
        weight = np.ones(len(vote))
        if self.options.secondary > 0 and len(votes.secondary):
            vote = np.concatenate([vote, votes.secondary_vote])
            label = np.concatenate([label, same[votes.secondary]])
            weight = np.concatenate([weight, np.full(len(votes.secondary), self.options.secondary)])
        # Primary labels come first, so the first row of a (vote, label) pair is the one that counts.
        distinct = np.sort(np.unique(vote * len(codes) + label, return_index=True)[1])
        if self.options.raters == "external":
            distinct = distinct[~votes.is_self[vote[distinct]]]
        vote, label, weight = vote[distinct], label[distinct], weight[distinct]
        if self.options.multiple == "split" and len(vote):
            weight = weight / np.bincount(vote, weight)[vote]
        spelled = np.full(len(codes), 0)
        spelled[same] = np.arange(len(same))  # any spelling of the label will do
        return vote, spelled[label], weight

    def _class_of(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Return the class of each label name; one past the last class for labels outside all classes."""
        options = self.options.classes or {}
        known = {fold(label): i for i, labels in enumerate(options.values()) for label in labels}
        outside = len(options)  # the class `other` where it is kept, else the column of no class
        return np.array([known.get(fold(name), outside) for name in names], dtype=np.int64)

    def _subset(self, corpus: Corpus, counts: Counts) -> NDArray[np.bool_]:
        inside: Floats = counts.inside.sum(axis=1)
        match self.options.subset:
            case "any":
                return inside > 0
            case "majority":
                # The tolerance forgives the rounding of thirds that add up to a half.
                return (inside > 0) & (inside >= counts.outside - 1e-9)
            case "complete":
                return (inside > 0) & (counts.outside < 1e-9)
            case _:
                labels = corpus.column("consensus")
                named = [corpus.consensus_names.get(label, label) if label else None for label in labels]
                classes = self._class_of([label or "" for label in named])
                given = np.array([label is not None for label in named])
                return given & (classes < len(self.classes))

    def _truth(self, corpus: Corpus, rows: NDArray[np.int64]) -> Floats | None:
        column = corpus.column("truth")
        if not corpus.classes or any(column[row] is None for row in rows):
            return None
        truth = np.array([column[row] for row in rows])  # (n, corpus classes)
        table = np.zeros((len(rows), len(self.classes) + 1))
        for of, cls in enumerate(self._class_of(corpus.classes)):
            table[:, cls] += truth[:, of]
        inside = table[:, :-1]
        mass = inside.sum(axis=1, keepdims=True)
        return inside / mass if (mass > 0).all() else None


def distribution(counts: Floats) -> Floats:
    """Turn counts (N, C) into label distributions y = n / sum n, (N, C).

    Raises
    ------
    ValueError
        If a row has no votes: there is no distribution to speak of.

    """
    total = counts.sum(axis=-1, keepdims=True)
    if not (total > 0).all():
        raise ValueError("a row without votes has no distribution")
    return np.asarray(counts / total)


def smooth(y: Y, epsilon: float) -> Y:
    """Smooth distributions as EMO-SUPERB does: y (1 - e) + (1 - y) e / (C - 1), which keeps the sum.

    For training targets only, arrays or tensors (..., C); what is evaluated are the votes.
    """
    smoothed: Y = y * (1 - epsilon) + (1 - y) * epsilon / (y.shape[-1] - 1)
    return smoothed


def _classes(options: LabelOptions, corpus: Corpus) -> tuple[dict[str, list[str]], LabelOptions]:
    """Return the classes and the options that they come with."""
    if options.preset and options.classes:
        raise UserError("labels: give `preset` or `classes`, not both")
    if options.classes:
        return options.classes, options
    preset = options.preset or DATASET_PRESETS.get(corpus.name)
    if preset:
        if preset not in PRESETS:
            raise UserError(
                f"labels.preset: unknown {preset!r}{nearest(preset, PRESETS)}; known: {abbreviate(PRESETS, 9)}"
            )
        base = PRESETS[preset]
        return base.classes or {}, base
    spelled = spellings(name.strip() for name in corpus.classes or sorted(corpus.votes().names, key=str.lower))
    if not corpus.classes:  # the spelling in small letters, where there is one, gives the class its name
        spelled = {folded: sorted(names, key=lambda name: (name != folded, name)) for folded, names in spelled.items()}
    return {names[0]: names for folded, names in spelled.items() if not folded.startswith(OTHER)}, options

"""Several corpora of the cache as one training set: `a,b` is trained on as the dataset `a+b`.

Ids and speakers carry the name of their corpus (`a/Ses01_1`, `a/1`), so that speaker 1 of one is not speaker 1 of the
other. Each corpus is divided by its own scheme; fold k of the whole is the union of the corpora's folds k.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from amber import splits
from amber.config import Config, LabelOptions, SplitOptions
from amber.corpus import DIALOGUE, Corpus, Modality
from amber.errors import UserError, abbreviate, count
from amber.features.catalog import find_corpus
from amber.features.store import FeatureStore
from amber.labels import LabelSpace
from amber.location import locate
from amber.outside import Outside
from amber.splits import Fold

from .alike import refuse_different, space_of
from .dataset import TrainingData, check_ids, find_stores, join
from .joint_store import APART, JOINED, JointStore
from .matrix import Variant

SEPARATOR = ","  # between the names of corpora where they are asked for
NAMED = ("speaker", "session", DIALOGUE)  # columns whose values carry the corpus's name


@dataclass(frozen=True)
class Source:
    """One corpus of the cache: all of its utterances, how it is divided, and those with labels."""

    corpus: Corpus
    split: SplitOptions
    data: TrainingData

    def described(self) -> dict[str, Any]:
        """Return what a run on several corpora records of this one."""
        return {
            "release": self.corpus.release,
            "synthetic": self.corpus.synthetic,
            "votes": self.corpus.label_hash(),
            "labels": self.data.space.options.model_dump(mode="json"),
            "splits": self.split.model_dump(mode="json"),
        }


def names_of(dataset: str | None) -> list[str]:
    """Return the corpora that are asked for as one training set; [] where it is one corpus, or none is named.

    Raises
    ------
    UserError
        If one is named twice.

    """
    names = [name.strip() for name in (dataset or "").split(SEPARATOR) if name.strip()]
    if len(set(names)) < len(names):
        raise UserError(f"--dataset {dataset}: a corpus is named twice; name each once")
    return names if len(names) > 1 else []


def read(config: Config, names: Sequence[str], modalities: Collection[Modality]) -> list[Source]:
    """Read the corpora of a joint training set; the classes are those of the first.

    The first corpus's labels are `labels`; those of the others are `transfer.<name>`, their usual ones where it says
    nothing.

    Raises
    ------
    UserError
        If one is not there, has other classes, features that were made otherwise, or frames.

    """
    sources: list[Source] = []
    for name in names:
        corpus = find_corpus(locate(config.features.cache), name)
        stores = find_stores(config.features, corpus, modalities)
        check_ids(stores, corpus)
        for store in stores.values():
            if store.spec.level != "pooled":
                raise UserError(f"--dataset {name}: frames of several corpora can't be joined yet; use pooled features")
        if sources:
            where, own = f"transfer.{name}", sources[0].data
            space = space_of(own.space, config.transfer.get(name, LabelOptions()), corpus, where)
            for modality, store in stores.items():
                refuse_different(f"--dataset {name}", own.stores[modality].spec, store.spec, modality)
        else:
            space = LabelSpace.resolve(config.labels, corpus)
        data = join(corpus, space, stores)
        sources.append(Source(corpus, splits.resolve(config.splits, corpus), data))
    return sources


def refuse_votes(variants: Sequence[Variant]) -> None:
    """Refuse variants that see a few of an utterance's votes: votes are drawn by the labels of one corpus.

    Raises
    ------
    UserError
        If there is such a variant.

    """
    drawn = [variant.name for variant in variants if variant.training.votes is not None]
    if drawn:
        raise UserError(
            f"train.votes: {abbreviate(drawn, 3)} would see a few of an utterance's votes, which are drawn of one "
            "corpus alone\nname one corpus with --dataset, or leave train.votes out"
        )


def combine(sources: Sequence[Source]) -> TrainingData:
    """Return the labelled utterances of several corpora as those of one, in the order of the corpora."""
    every = [source.data for source in sources]
    first = every[0]
    before = {m: np.cumsum([0, *(data.stores[m].spec.size for data in every)]) for m in first.stores}
    rows = {
        m: np.concatenate(
            [np.where(d.rows[m] >= 0, d.rows[m] + start, -1) for d, start in zip(every, before[m], strict=False)]
        )
        for m in first.stores
    }
    stores: dict[Modality, FeatureStore] = {m: JointStore([data.stores[m] for data in every]) for m in first.stores}
    truths = [data.truth for data in every if data.truth is not None]
    return TrainingData(
        corpus=joined([data.corpus for data in every]),
        space=first.space,
        counts=np.concatenate([data.counts for data in every]),
        truth=np.concatenate(truths) if len(truths) == len(every) else None,
        stores=stores,
        rows=rows,
        stored_lengths={},
        left_out={f"{data.corpus.name}: {why}": n for data in every for why, n in data.left_out.items()},
        outside=_outside([data.outside for data in every if data.outside]),
        corpora=np.repeat(np.arange(len(every)), [len(data.corpus) for data in every]),
    )


def joined(corpora: Sequence[Corpus]) -> Corpus:
    """Return the utterances of several corpora as one, each with the name of its corpus before ids and speakers."""
    tables = [_named(corpus) for corpus in corpora]
    return Corpus(
        pa.concat_tables(tables, promote_options="default"),
        name=JOINED.join(corpus.name for corpus in corpora),
        release=JOINED.join(corpus.release for corpus in corpora),
        synthetic=any(corpus.synthetic for corpus in corpora),
    )


def make_folds(sources: Sequence[Source], data: TrainingData, test: str) -> list[Fold]:
    """Divide each corpus by its own scheme and return the unions of folds with the same number.

    Raises
    ------
    UserError
        As for `amber.splits.make_folds`, or if the corpora have different numbers of folds.

    """
    every: dict[str, list[Fold]] = {}
    for number, source in enumerate(sources):
        name, row_of = source.corpus.name, {uid: row for row, uid in enumerate(source.corpus.ids)}
        here = np.flatnonzero(data.corpora == number)
        if not len(here):
            raise UserError(f"--dataset {name}: none of its utterances can be used; train without it")
        ids = [data.corpus.ids[row].removeprefix(f"{name}{APART}") for row in here]
        own = source.corpus.take(np.array([row_of[uid] for uid in ids]))
        found = splits.make_folds(source.split, own, test)
        every[name] = [replace(f, train=here[f.train], dev=here[f.dev], test=here[f.test]) for f in found]
    numbers = {name: len(folds) for name, folds in every.items()}
    if len(set(numbers.values())) > 1:
        said = abbreviate([f"{name} has {count(n, 'fold')}" for name, n in numbers.items()], 9)
        raise UserError(
            f"splits: corpora that are trained on together need as many folds each: {said}\n"
            "divide all of them in one way: --set splits.scheme=speaker-folds --set splits.k=5"
        )
    return [_union(folds) for folds in zip(*every.values(), strict=True)]


def one_sided(sources: Sequence[Source]) -> list[str]:
    """Say which corpora have no votes for a class, and which have all votes of every utterance on one class."""
    said = []
    for source in sources:
        data, name = source.data, source.corpus.name
        absent = [label for label, n in zip(data.space.classes, data.counts.sum(axis=0), strict=True) if not n]
        if absent:
            said.append(f"{name} has no votes for {abbreviate(absent, 9)}: the other corpora alone teach it")
        if (data.y.max(axis=1) >= 1 - 1e-9).all():
            said.append(f"{name}: all votes of every utterance are on one class; it says nothing of ambiguity")
    return said


def _named(corpus: Corpus) -> pa.Table:
    """Return a corpus's table with its name before ids and speakers, and whole paths."""
    table = corpus.table
    for column in ("id", *(name for name in NAMED if name in corpus.columns())):
        values = [None if value is None else f"{corpus.name}{APART}{value}" for value in corpus.column(column)]
        table = table.set_column(table.column_names.index(column), column, pa.array(values, pa.string()))
    audio = [None if value is None else str(Path(corpus.root, value)) for value in corpus.column("audio")]
    return table.set_column(table.column_names.index("audio"), "audio", pa.array(audio, pa.string()))


def _union(folds: Sequence[Fold]) -> Fold:
    parts = {part: np.concatenate([fold.parts()[part] for fold in folds]) for part in folds[0].parts()}
    column = next((fold.column for fold in folds if fold.column), "")
    return Fold(folds[0].number, JOINED.join(dict.fromkeys(fold.name for fold in folds)), **parts, column=column)


def _outside(every: Sequence[Outside]) -> Outside | None:
    if not every:
        return None
    labels: dict[str, int] = {}
    for label, n in (item for outside in every for item in outside.labels.items()):
        labels[label] = labels.get(label, 0) + n
    ordered = dict(sorted(labels.items(), key=lambda item: (-item[1], item[0])))
    votes, of = sum(outside.votes for outside in every), sum(outside.of for outside in every)
    return Outside(votes, of, sum(outside.utterances for outside in every), ordered)

"""Balance between the corpora of a joint training set (`train.balance: corpus`): each counts alike, whatever its size.

Batches of the training part draw from each corpus in equal shares (`batches.py`). On dev the votes are weighted, so
that those of each corpus have the same sum: steps, the weights of candidates and the temperature all go by them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amber.arrays import Floats, Integers
from amber.errors import UserError, abbreviate

from .matrix import TRAINED, Variant
from .utterances import Utterances


def balances(variant: Variant) -> bool:
    """Return whether a variant's training balances corpora; baselines have no batches to balance."""
    return variant.training.balance == "corpus" and variant.model in TRAINED


def balanced(counts: Floats, corpora: Integers) -> Floats:
    """Weight votes (m, C) so that those of each corpus have the same sum, and all together the sum they had.

    `corpora` (m,) are the numbers of the utterances' corpora.
    """
    _, which = np.unique(corpora, return_inverse=True)
    sums = np.bincount(which, weights=counts.sum(axis=1))
    return np.asarray(counts * (sums.mean() / sums)[which, None])


def check(parts: Sequence[Utterances], names: Sequence[str]) -> None:
    """Refuse variants whose corpora can't be balanced; `names` are those of a joint set's corpora, by number.

    Raises
    ------
    UserError
        If there is one corpus, a corpus has no utterances in training or dev, or a variant stops by what can't weight
        votes, has smaller batches than there are corpora, or is fitted out of fold.

    """
    for part in parts:
        asked = [variant for variant in part.variants if variant.training.balance == "corpus"]
        if asked and not names:
            raise UserError(
                "train.balance: corpus is for several corpora as one training set, and this experiment has one\n"
                "name them, as --dataset A,B, or leave train.balance out"
            )
        every = [variant for variant in asked if balances(variant)]
        for variant in every:
            _check_variant(variant, len(names))
        if every:
            _check_present(part, names)


def without_effect(variants: Sequence[Variant]) -> list[str]:
    """Say which variants are asked for balance and have none."""
    names = [v.name for v in variants if v.training.balance == "corpus" and not balances(v)]
    return [f"train.balance has no effect on {abbreviate(names, 6)}: they learn from all utterances alike"] * bool(
        names
    )


def _check_variant(variant: Variant, corpora: int) -> None:
    where, training = f"variant {variant.name}: train.balance is corpus", variant.training
    if training.stop != "nll":
        raise UserError(f"{where} and train.stop {training.stop}: only nll counts the votes of each corpus alike")
    if variant.model == "cross-fit":
        raise UserError(f"{where}: what experts say out of fold can't be balanced yet; train it without")
    if training.batch_size is not None and training.batch_size < corpora:
        raise UserError(f"{where}: batches of {training.batch_size} can't have utterances of {corpora} corpora")


def _check_present(part: Utterances, names: Sequence[str]) -> None:
    for fold in part.folds.values():
        for of, rows in (("training", fold.train), ("dev", fold.dev)):
            there = set(part.data.corpora[rows].tolist()) if part.data.corpora is not None else set()
            absent = [name for number, name in enumerate(names) if number not in there]
            if absent:
                raise UserError(
                    f"train.balance: the {of} part of fold {fold.number} has no utterances of {abbreviate(absent)}\n"
                    "train without that corpus, or without train.balance"
                )

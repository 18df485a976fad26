"""The runs of a learning curve in votes, as variants of one experiment."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from amber.config import Config, VariantOptions
from amber.config_file import validated
from amber.corpus import Corpus
from amber.curve_point import points
from amber.errors import UserError, abbreviate
from amber.features.catalog import find_corpus
from amber.labels import LabelSpace
from amber.location import locate

from .joint import names_of

COUNTS = (1, 2, 3, 5, 8, 13, 21, 34)  # of votes on an utterance, up to the median


def configured(
    config: Config, dataset: str | None, variants: Sequence[str], counts: Sequence[int] | None, draws: int, shares: bool
) -> Config:
    """Return the configuration of an experiment that has every point of a curve as variants.

    Parameters
    ----------
    config
        The configuration without a curve.
    dataset
        The dataset's name in the cache; None for the only one there.
    variants
        Which variants learn.
    counts
        How many votes an utterance has, by point; None for 1, 2, 3, 5, 8, … up to the median of the corpus.
    draws
        How often votes are drawn.
    shares
        Whether also with fewer utterances at equal cost.

    Raises
    ------
    UserError
        If no utterance has as many votes, there are fewer than two counts, the configuration has a grid, or several
        corpora are named.

    """
    if config.grid:
        raise UserError("amber curve: has its own grid, of votes and shares; leave out `grid`")
    if names_of(dataset):
        raise UserError(f"amber curve: --dataset {dataset}: a curve is of one corpus, not of several; name one of them")
    corpus = find_corpus(locate(config.features.cache), dataset)
    raters = _raters(corpus, LabelSpace.resolve(config.labels, corpus))
    chosen = sorted(set(counts)) if counts else [n for n in COUNTS if n <= np.median(raters)]
    most = int(raters.max())
    if not chosen or chosen[0] < 1 or chosen[-1] > most:
        raise UserError(
            f"--votes {abbreviate(map(str, chosen), 9) or 'none'}: the utterances of {corpus.name} have up to {most} "
            "votes within the classes"
        )
    if len(chosen) < 2:
        raise UserError(
            f"--votes: a curve needs two counts or more; half of {corpus.name} has {chosen[0]} vote at most"
        )
    made = {
        point.variant(variant, draw): VariantOptions(
            base=variant, train={"votes": point.votes, "share": point.share, "draw": draw}
        )
        for variant, point, draw in itertools.product(variants, points(chosen, shares), range(draws))
    }
    data = config.model_dump(exclude_unset=True)
    data["experiment"] = config.experiment or f"{corpus.name}-curve"
    data["variants"] = {**data.get("variants", {}), **{name: of.model_dump() for name, of in made.items()}}
    data["train"] = {**data.get("train", {}), "variants": list(made)}
    return validated(Config, data, where="amber curve")


def _raters(corpus: Corpus, space: LabelSpace) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return how many raters voted within the classes on each utterance that is used, (n,)."""
    rows = space.label(corpus).rows
    return space.count(corpus.votes()).raters[rows]

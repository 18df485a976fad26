"""Utterances without a vote in the classes: in no experiment, and perhaps those that deserve a rater most.

No run predicts them, as there is nothing to score. Predictions from elsewhere, such as those of `amber predict`, let
them be ranked by the model alone, as utterances with no votes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amber.arrays import Floats
from amber.config import LabelOptions
from amber.console import Console
from amber.corpus import Corpus
from amber.errors import UserError, abbreviate, count
from amber.labels import LabelSpace

from .. import imported
from ..experiment import Experiment
from ..utterance_info import find_corpus


@dataclass(frozen=True)
class Unvoted:
    """Utterances without votes: their ids (k), and predictions (k, C)."""

    ids: list[str]
    p: Floats


def unvoted(experiment: Experiment, table: Path | None, console: Console) -> Unvoted:
    """Return the utterances without votes that a table has predictions for; without a table there are none.

    Those of the corpus that have none are counted by name, where the corpus is at hand.

    Raises
    ------
    UserError
        If the table can't be used.

    """
    corpus = find_corpus(experiment.runs)
    voted = _voted(experiment, corpus) if corpus else {}
    found = (
        _predicted(experiment, table, voted, console) if table else Unvoted([], np.zeros((0, len(experiment.classes))))
    )
    ranked = set(found.ids)
    missing = [uid for uid, has in voted.items() if not has and uid not in ranked]
    if missing:
        how = f"no prediction in {table}" if table else "give predictions of them with --predictions"
        console.warn(
            f"{count(len(missing), 'utterance')} without a vote in the classes not ranked ({how}): "
            f"{abbreviate(missing, 3)}"
        )
    return found


def _voted(experiment: Experiment, corpus: Corpus) -> dict[str, bool]:
    """Return whether each utterance of the corpus has a vote in the classes, by id."""
    space = LabelSpace(LabelOptions.model_validate(experiment.config["labels"]), experiment.classes)
    inside = space.count(corpus.votes()).inside.sum(axis=1) > 0
    return dict(zip(corpus.ids, inside.tolist(), strict=True))


def _predicted(experiment: Experiment, table: Path, voted: dict[str, bool], console: Console) -> Unvoted:
    if not table.is_file():
        raise UserError(f"--predictions {table}: no such file")
    seeds = list(imported.read(table, experiment, console).values())
    tested = set(experiment.ids.tolist())
    given = [uid for uid in dict.fromkeys(uid for of in seeds for uid in of) if uid not in tested]
    others = [uid for uid in given if voted.get(uid)]
    partly = [uid for uid in given if not voted.get(uid) and not all(uid in of for of in seeds)]
    for ids, why in ((others, "have votes, but no run tests them"), (partly, "have no prediction of every seed")):
        if ids:
            console.warn(f"{table}: {len(ids)} utterances {why}; not ranked: {abbreviate(ids, 3)}")
    ids = [uid for uid in given if uid not in {*others, *partly}]
    if not ids:
        raise UserError(f"--predictions {table}: has no utterance without a vote in the classes")
    p = np.array([np.mean([of[uid] for of in seeds], axis=0) for uid in ids])
    return Unvoted(ids, p)

"""What the report shows, gathered for its template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from amber import corpus as contract
from amber.corpus import Corpus
from amber.predictions import STUDENT, Predictions

from .. import classification, tables
from ..distributions import jsd, normalised_entropy
from ..gather import Experiment, mean_prediction

SHOWN = 12  # utterances in each list
# Distinguishable with the common colour-vision deficiencies (Okabe and Ito, 2008), then repeated in lighter tones.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#999999", "#8b6bbf", "#6b8e23")


def render(experiment: Experiment, metrics: dict[str, Any], caption: Sequence[str]) -> str:
    """Return the page: self-contained HTML that loads nothing."""
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = _shown(experiment)
    heads = _heads(experiment, shown)
    student = heads[STUDENT]
    return environment.get_template("page.html").render(
        m=metrics,
        caption=caption,
        header=tables.header(),
        rows=tables.rows(metrics),
        headline=tables.HEADLINE,
        colours=dict(zip(student.classes, _cycle(len(student.classes)), strict=True)),
        variant_colours=dict(zip(experiment.variants, _cycle(len(experiment.variants)), strict=True)),
        shown=shown,
        confusion=_shares(classification.confusion(student.y, student.p)),
        lists=_lists(experiment, heads),
        style=(here / "page.css").read_text(encoding="utf-8"),
    )


def _cycle(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def _shown(experiment: Experiment) -> str:
    """Return the variant whose heads are shown: amber2, else one with experts, else the last."""
    with_experts = [v for v in experiment.variants if len(_head_names(experiment, v)) > 1]
    return "amber2" if "amber2" in with_experts else (with_experts or experiment.variants)[-1]


def _head_names(experiment: Experiment, variant: str) -> list[str]:
    predictions = next(iter(experiment.predictions[variant].values()))
    return list(dict.fromkeys(predictions.keys["head"].tolist()))


def _heads(experiment: Experiment, variant: str) -> dict[str, Predictions]:
    by_seed = experiment.predictions[variant]
    names = sorted(_head_names(experiment, variant), key=lambda name: (name != STUDENT, name))
    return {name: mean_prediction(by_seed, name) for name in names}


def _shares(table: NDArray[np.float64]) -> list[list[float]]:
    """Return each row of a confusion matrix as shares of its class."""
    return (table / np.maximum(table.sum(axis=1, keepdims=True), 1)).tolist()  # type: ignore[no-any-return]


def _lists(experiment: Experiment, heads: dict[str, Predictions]) -> dict[str, list[dict[str, Any]]]:
    student = heads[STUDENT]
    texts = _texts(experiment)
    entropy = normalised_entropy(student.y)
    conflict = jsd(heads["speech"].p, heads["text"].p) if {"speech", "text"} <= set(heads) else np.zeros(len(student))
    lists = {"Most ambiguous to the raters": np.lexsort((-conflict, -np.round(entropy, 9)))}
    if conflict.any():
        lists["Voice and words most in conflict"] = np.argsort(-conflict, kind="stable")
    return {
        title: [_utterance(int(row), heads, texts, float(entropy[row]), float(conflict[row])) for row in order[:SHOWN]]
        for title, order in lists.items()
    }


def _utterance(
    row: int, heads: dict[str, Predictions], texts: dict[str, str], entropy: float, conflict: float
) -> dict[str, Any]:
    student = heads[STUDENT]
    uid = str(student.keys["id"][row])
    bars = {"raters": student.y[row].tolist(), **{name: p.p[row].tolist() for name, p in heads.items()}}
    return {
        "id": uid,
        "speaker": student.keys["speaker"][row],
        "votes": float(student.keys["n_votes"][row]),
        "text": texts.get(uid),
        "entropy": entropy,
        "conflict": conflict,
        "bars": bars,
    }


def _texts(experiment: Experiment) -> dict[str, str]:
    """Return the transcripts by id, where the cache that the runs read is at hand."""
    cache = experiment.runs[0].cache()
    path = cache / str(experiment.config["dataset"]["name"]) / contract.FILE if cache else None
    if path is None or not path.is_file():
        return {}
    corpus = Corpus.read(path)
    return {uid: text for uid, text in zip(corpus.ids, corpus.column("text"), strict=True) if text}

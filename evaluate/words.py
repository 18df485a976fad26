"""What the figures are about and what they support, in sentences: under the tables, in the report, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .paper import PAPER, PROTOCOL

MOST = 12  # findings shown on a terminal


def caption(metrics: dict[str, Any]) -> list[str]:
    """Say what the table's figures are about, in lines."""
    dataset = metrics["dataset"]
    lines = [
        f"{dataset['name']}: {metrics['utterances']} test utterances of {metrics['speakers']} speakers, "
        f"{_count(metrics['folds'], 'fold')}, {_count(metrics['seeds'], 'seed')}; mean ± deviation over seeds. "
        f"{metrics['one_hot']:.0%} have all votes on one class, {metrics['ties']} are ties.",
        "NLL and Brier are proper scores when the target is a few votes; BC, R², JSD, ACC, F1 and UAR are not: "
        "their best answer is sharper than the truth.",
        f"The split-half ceiling is what half of an utterance's votes score against the other half "
        f"({metrics['ceiling']['n']} utterances); a model can lie above it, because the halves are few votes.",
        "prior and majority come from utterances that the fold does not test.",
    ]
    if dataset["synthetic"]:
        lines.append("Synthetic data, made by amber: the figures say nothing about real speech.")
    return lines + protocol(metrics)


def protocol(metrics: dict[str, Any]) -> list[str]:
    """Say how our protocol relates to the paper's, where its figures stand beside ours."""
    if metrics["dataset"]["synthetic"] or metrics["dataset"]["name"] not in PAPER:
        return []
    labels = metrics["labels"]
    ours = (
        f"Ours: classes {', '.join(metrics['classes'])}; utterances: {labels['subset']}; raters: {labels['raters']}; "
        f"votes outside the classes: {labels['other']}; splits: {metrics['splits']['scheme']}; F1 weighted."
    )
    return [*PROTOCOL[metrics["dataset"]["name"]], ours]


def findings(metrics: dict[str, Any]) -> list[str]:
    """Say what is supported, the distribution metrics first; all of it is in metrics.json."""
    versus = metrics["versus"]
    said: Sequence[str] = versus["supported"]
    if not versus["comparisons"]:
        return ["Nothing to compare: there is neither `ce` nor `soft` beside another variant."]
    if not said:
        return [f"No difference between variants is supported ({versus['rule']})."]
    more = [f"… and {len(said) - MOST} more, in metrics.json"] if len(said) > MOST else []
    return [f"Supported ({versus['rule']}):", *(f"- {line}" for line in said[:MOST]), *more]


def _count(things: Sequence[int], name: str) -> str:
    return f"{len(things)} {name}{'s' if len(things) != 1 else ''}"

"""What the figures are about and what they support, in sentences: under the tables, in the report, on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .paper import PAPER, PROTOCOL

MOST = 12  # findings shown on a terminal
POWER = (
    "What can't be shown: smaller true differences overall than these would be missed more often than one time in five "
    "(80 % power at the 5 % level, each tested alone; the correction for many tests asks for more):"
)


def caption(metrics: dict[str, Any]) -> list[str]:
    """Say what the table's figures are about, in lines."""
    dataset = metrics["dataset"]
    lines = [
        f"{dataset['name']}: {metrics['utterances']} test utterances of {metrics['speakers']} speakers, "
        f"{_count(metrics['folds'], 'fold')}, {_count(metrics['seeds'], 'seed')}; "
        "mean ± standard deviation over seeds. "
        f"{metrics['one_hot']:.0%} have all votes on one class, {metrics['ties']} are ties.",
        "NLL is in nats per vote. Brier corr. estimates the squared distance to the true distribution, the noise of "
        f"few votes taken out ({_left_out(metrics['corrected'], 'fewer than two votes or split votes')}). Both are "
        "proper scores when the target is a few votes; BC, R², JSD, ACC, F1 and UAR are not: their best answer is "
        "sharper than the truth.",
        *_one_seed(metrics),
        *_scale(metrics),
        "prior and majority come from the training part of each fold.",
    ]
    if len(metrics["classes"]) == 2:
        lines.append("There is no R² over two classes: it would be 1 for any prediction.")
    if metrics["ensembles"]:
        lines.append("An ensemble is the mean of a variant's predictions over seeds: one model, which is not tested.")
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


def intervals(metrics: Mapping[str, Any]) -> str:
    """Say what the intervals are about."""
    unknown = "; of variants with one seed, over speakers alone" if metrics["uncertainty"]["one_seed"] else ""
    return f"95 % intervals, over {metrics['speakers']} speakers and over seeds{unknown}:"


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


def _one_seed(metrics: dict[str, Any]) -> list[str]:
    alone = metrics["uncertainty"]["one_seed"]
    if not alone:
        return []
    return [
        f"{', '.join(alone)}: one seed. The variance over seeds is not known, so intervals and p-values know of "
        "speakers alone, and no difference is called supported."
    ]


def _scale(metrics: dict[str, Any]) -> list[str]:
    """Say what the oracle and raters against raters are, where there are any."""
    said = []
    if metrics["oracle"]["figures"]:
        said.append(
            "The oracle is what the true distributions would score against these votes, estimated from the votes "
            f"({_left_out(metrics['oracle'], 'split votes')}); the best answer is what is best under a score that is "
            "not proper. A model above the oracle is sharper than the truth."
        )
    if metrics["raters"]["figures"]:
        said.append(
            "Raters against raters is what half of an utterance's votes score against the other half "
            f"({metrics['raters']['n']} utterances): few votes, and no bound for a model."
        )
    return said


def _left_out(of: dict[str, Any], why: str) -> str:
    return f"{of['n']} utterances" + (f", {of['left_out']} with {why} left out" if of["left_out"] else "")


def _count(things: Sequence[int], name: str) -> str:
    return f"{len(things)} {name}{'s' if len(things) != 1 else ''}"

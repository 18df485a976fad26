"""Who is best: the two scores that the report leads with, and the first and second in every metric."""

from __future__ import annotations

from ..experiment import base
from ..results import Results

PROPER, PAPERS = "nll_per_vote", "bc"  # the score that the truth wins, and the one that the paper reports
CONSTANT = ("uniform", "prior", "majority")


def is_constant(variant: str) -> bool:
    """Return whether a variant gives every utterance the same answer: a baseline, not a contender."""
    return base(variant).partition(",")[0] in CONSTANT


def winners(results: Results, key: str) -> list[str]:
    """Return the variants that are best in a metric, those included that differ in no digit that is shown.

    Constant answers don't count where there are others.
    """
    higher = results.metrics[key].higher_is_better
    shown = {name: round(of[key].mean, 3) for name, of in results.summary.items() if key in of}
    shown = {name: value for name, value in shown.items() if not is_constant(name)} or shown
    top = (max if higher else min)(shown.values())
    return [name for name, value in shown.items() if value == top]


def ranks(results: Results, key: str) -> dict[str, int]:
    """Return which variants are best (1) and second best (2) in a metric, by the digits that are shown.

    Constant answers are not ranked, nor ensembles, and there is no rank where there is but one variant.
    """
    contenders = {name: of for name, of in results.summary.items() if not is_constant(name) and key in of}
    shown = {name: round(of[key].mean, 3) for name, of in contenders.items()}
    order = sorted(set(shown.values()), reverse=results.metrics[key].higher_is_better)[:2]
    return {name: order.index(value) + 1 for name, value in shown.items() if value in order} if len(shown) > 1 else {}

"""The metrics: one tuple, in which every fact about a metric has its place. To add a metric, add it here."""

from __future__ import annotations

from . import aer_llm, calibration, classification, corrected, distribution
from .metric import Cells, Confusion, Mean, Metric, OfSums, Ranked, Summable, Sums, TermFunction, Terms

__all__ = [
    "METRICS", "Cells", "Confusion", "Mean", "Metric", "OfSums", "Ranked", "Summable", "Sums", "TermFunction", "Terms",
    "by_key", "defined",
]  # fmt: skip

METRICS: tuple[Metric, ...] = (
    Mean(key="bc", title="BC", function=distribution.bc, higher_is_better=True, headline=True, compared=True),
    Mean(key="r2", title="R²", function=distribution.r2, higher_is_better=True, headline=True, compared=True,
         fewest_classes=3),
    Mean(key="r2_determination", title="R² of determination", function=distribution.r2_determination,
         higher_is_better=True),
    Mean(key="jsd", title="JSD", unit="bits", function=distribution.jsd, higher_is_better=False, headline=True),
    Mean(key="kl", title="KL", unit="bits", function=distribution.kl, higher_is_better=False, truth_is_best=True,
         of_halves=False),
    Mean(key="r2_aer", title="R² (AER-LLM)", function=aer_llm.r2, higher_is_better=True, fewest_classes=3),
    Mean(key="js_distance", title="JS distance", unit="root of nats", function=aer_llm.js_distance,
         higher_is_better=False),
    Mean(key="tvd", title="TVD", function=distribution.tvd, higher_is_better=False),
    Mean(key="hellinger", title="Hellinger", function=distribution.hellinger, higher_is_better=False),
    Mean(key="soft_brier", title="Brier", function=distribution.soft_brier, higher_is_better=False, proper=True),
    OfSums(key="vote_nll", title="NLL of the votes", unit="nats", summed=distribution.vote_nll_terms,
           function=lambda sums: sums["vote_nll"] / sums["utterances"], higher_is_better=False, proper=True),
    OfSums(key="nll_per_vote", title="NLL", unit="nats per vote", summed=distribution.cross_entropy_terms,
           function=lambda sums: sums["cross_entropy"] / sums["votes"], higher_is_better=False, proper=True,
           headline=True, compared=True, effect="cross_entropy"),
    OfSums(key="brier_corrected", title="Brier corr.", summed=corrected.terms, function=corrected.brier_corrected,
           higher_is_better=False, proper=True, headline=True),
    OfSums(key="r2_pooled", title="pooled R²", summed=corrected.terms, function=corrected.r2_pooled,
           higher_is_better=True, truth_is_best=True),
    Confusion(key="accuracy", title="ACC", function=classification.accuracy, higher_is_better=True, headline=True,
              compared=True, effect="hits"),
    Confusion(key="f1_weighted", title="F1", function=classification.f1_weighted, higher_is_better=True,
              headline=True, compared=True),
    Confusion(key="f1_macro", title="macro F1", function=classification.f1_macro, higher_is_better=True),
    Confusion(key="uar", title="UAR", function=classification.uar, higher_is_better=True, headline=True),
    OfSums(key="ece", title="ECE", summed=calibration.gap_terms, function=calibration.ece_of_sums,
           higher_is_better=False, headline=True),
    OfSums(key="ece_five", title="ECE in five bins", summed=aer_llm.gap_terms, function=aer_llm.ece,
           higher_is_better=False),
    OfSums(key="ece_classwise", title="ECE by class", summed=calibration.gap_terms,
           function=calibration.ece_classwise_of_sums, higher_is_better=False),
    Mean(key="entropy_mae", title="entropy MAE", function=calibration.entropy_error, higher_is_better=False,
         of_halves=False),
    Ranked(key="entropy_spearman", title="Spearman of entropies", function=calibration.entropy_spearman,
           higher_is_better=True),
    Ranked(key="auroc_no_majority", title="AUROC of no majority", function=calibration.auroc_no_majority,
           higher_is_better=True),
)  # fmt: skip


def defined(classes: int) -> tuple[Metric, ...]:
    """Return the metrics that are defined for that many classes."""
    return tuple(metric for metric in METRICS if metric.fewest_classes <= classes)


def by_key() -> dict[str, Metric]:
    """Return every metric by its key."""
    return {metric.key: metric for metric in METRICS}

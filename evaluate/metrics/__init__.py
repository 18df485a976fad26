"""The metrics: one tuple, in which every fact about a metric has its place. To add a metric, add it here."""

from __future__ import annotations

import numpy as np

from . import calibration, classification, corrected, distribution
from .metric import Cells, Confusion, Mean, Metric, OfSums, Ranked, Summable, Sums, TermFunction, Terms

__all__ = [
    "METRICS", "Cells", "Confusion", "Mean", "Metric", "OfSums", "Ranked", "Summable", "Sums", "TermFunction", "Terms",
    "by_key", "defined",
]  # fmt: skip

METRICS: tuple[Metric, ...] = (
    Mean(key="bc", title="BC",
         words="Bhattacharyya coefficient",
         meaning="Overlap of the predicted distribution with the raters' votes: 1 where they are the same.",
         function=distribution.bc, higher_is_better=True, headline=True, compared=True),
    Mean(key="r2", title="R²",
         words="squared correlation",
         meaning="How closely the prediction follows the votes over the classes, blind to the sign: 1 is perfect.",
         function=distribution.r2, higher_is_better=True, headline=True, compared=True, fewest_classes=3),
    Mean(key="r2_determination", title="R² of determination",
         words="coefficient of determination",
         meaning="Share of an utterance's variation over classes that the prediction explains.",
         function=distribution.r2_determination, higher_is_better=True),
    Mean(key="jsd", title="JSD", unit="bits",
         words="Jensen-Shannon divergence",
         meaning="How far the prediction is from the votes: 0 where they are the same, 1 bit where nothing is shared.",
         function=distribution.jsd, higher_is_better=False, headline=True),
    Mean(key="kl", title="KL", unit="bits",
         words="Kullback-Leibler divergence",
         meaning="Bits lost by describing the votes with the prediction.",
         function=distribution.kl, higher_is_better=False, truth_is_best=True, of_halves=False),
    Mean(key="tvd", title="TVD",
         words="total variation distance",
         meaning="Share of the probability that would have to be moved to turn the prediction into the votes.",
         function=distribution.tvd, higher_is_better=False),
    Mean(key="hellinger", title="Hellinger",
         words="Hellinger distance",
         meaning="Distance between prediction and votes, the root of 1 − BC.",
         function=distribution.hellinger, higher_is_better=False),
    Mean(key="soft_brier", title="Brier",
         words="Brier score",
         meaning="Expected squared error of predicting one rater's vote.",
         function=distribution.soft_brier, higher_is_better=False, proper=True),
    OfSums(key="vote_nll", title="NLL of the votes", unit="nats",
         words="negative log-likelihood of an utterance's votes",
         meaning="How improbable the prediction makes all votes of an utterance together.",
         summed=distribution.vote_nll_terms, function=lambda sums: sums["vote_nll"] / sums["utterances"],
         higher_is_better=False, proper=True),
    OfSums(key="nll_per_vote", title="NLL", unit="nats per vote",
         words="negative log-likelihood per vote",
         meaning="How improbable the prediction makes a rater's vote: on average, no answer beats the truth.",
         summed=distribution.cross_entropy_terms, function=lambda sums: sums["cross_entropy"] / sums["votes"],
         higher_is_better=False, proper=True, headline=True, compared=True, effect="cross_entropy"),
    OfSums(key="nll_bits", title="NLL in bits", unit="bits per vote",
         words="negative log-likelihood per vote, in bits",
         meaning="The same in bits: an untrained guess has log2 of the number of classes, a certain and right one 0.",
         summed=distribution.cross_entropy_terms,
         function=lambda sums: sums["cross_entropy"] / sums["votes"] / np.log(2),
         higher_is_better=False, proper=True),
    OfSums(key="brier_corrected", title="Brier corr.",
         words="Brier score, corrected for few votes",
         meaning="Squared distance to the true distribution, estimated with the noise of few votes taken out.",
         summed=corrected.terms, function=corrected.brier_corrected, higher_is_better=False, proper=True,
         headline=True),
    OfSums(key="r2_pooled", title="pooled R²",
         words="pooled coefficient of determination",
         meaning="Share of what differs between utterances' true distributions that the prediction explains.",
         summed=corrected.terms, function=corrected.r2_pooled, higher_is_better=True, truth_is_best=True),
    Confusion(key="accuracy", title="ACC",
         words="accuracy",
         meaning="Share of utterances whose most probable class is the raters' most frequent one.",
         function=classification.accuracy, higher_is_better=True, headline=True, compared=True, effect="hits"),
    Confusion(key="f1_weighted", title="F1",
         words="F1, weighted",
         meaning="Harmonic mean of precision and recall by class, weighted by how frequent the classes are.",
         function=classification.f1_weighted, higher_is_better=True, headline=True, compared=True),
    Confusion(key="f1_macro", title="macro F1",
         words="F1, macro",
         meaning="Harmonic mean of precision and recall, every class counting the same.",
         function=classification.f1_macro, higher_is_better=True),
    Confusion(key="uar", title="UAR",
         words="unweighted average recall",
         meaning="Share of right answers by class, every class counting the same.",
         function=classification.uar, higher_is_better=True, headline=True),
    OfSums(key="ece", title="ECE",
         words="expected calibration error",
         meaning="Gap between the confidence in an answer and the share of raters who gave it.",
         summed=calibration.gap_terms, function=calibration.ece_of_sums, higher_is_better=False, headline=True),
    OfSums(key="ece_classwise", title="ECE by class",
         words="expected calibration error by class",
         meaning="Gap between the probability of a class and its share of the votes, averaged over classes.",
         summed=calibration.gap_terms, function=calibration.ece_classwise_of_sums, higher_is_better=False),
    Mean(key="entropy_mae", title="entropy MAE",
         words="mean error of the entropy",
         meaning="Mean gap between the ambiguity of the prediction and that of the votes.",
         function=calibration.entropy_error, higher_is_better=False, of_halves=False),
    Ranked(key="entropy_spearman", title="Spearman of entropies",
         words="rank correlation of entropies",
         meaning="Whether the prediction is most ambiguous where the votes are.",
         function=calibration.entropy_spearman, higher_is_better=True),
    Ranked(key="auroc_no_majority", title="AUROC of no majority",
         words="area under the ROC curve for no majority",
         meaning="Chance that an utterance without a majority gets the more ambiguous prediction of two.",
         function=calibration.auroc_no_majority, higher_is_better=True),
)  # fmt: skip


def defined(classes: int) -> tuple[Metric, ...]:
    """Return the metrics that are defined for that many classes."""
    return tuple(metric for metric in METRICS if metric.fewest_classes <= classes)


def by_key() -> dict[str, Metric]:
    """Return every metric by its key."""
    return {metric.key: metric for metric in METRICS}

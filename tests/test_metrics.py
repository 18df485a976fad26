"""Metrics against closed forms and against scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from sklearn import metrics as sk

from amber.evaluate import metrics, strata
from amber.evaluate.experiment import clusters
from amber.evaluate.metrics import calibration as c
from amber.evaluate.metrics import classification
from amber.evaluate.metrics import distribution as d
from amber.evaluate.statistics import sums
from amber.evaluate.statistics.baselines import baselines
from amber.evaluate.strata import agreement, ambiguity

RNG = np.random.default_rng(0)
VOTES = RNG.multinomial(5, [0.4, 0.3, 0.2, 0.1], size=300).astype(float)
Y = VOTES / 5
P = RNG.dirichlet(np.ones(4), size=300)


def whole(key: str, y: np.ndarray, p: np.ndarray, votes: float = 4.0) -> float:
    """Return a metric of all utterances at once."""
    (metric,) = [m for m in sums.summable(y.shape[1]) if m.key == key]
    one = np.zeros(len(y), dtype=np.int64)
    found = sums.total(sums.by_group(sums.terms(p, votes * y), np.arange(len(y)), one, 1))
    return float(metric.value(found))


def rows(function) -> np.ndarray:  # type: ignore[no-untyped-def]
    return np.array([function(y, p) for y, p in zip(Y, P, strict=True)])


def test_against_scipy() -> None:
    np.testing.assert_allclose(d.jsd(Y, P), rows(lambda y, p: jensenshannon(y, p, base=2) ** 2), atol=1e-12)
    np.testing.assert_allclose(d.kl(Y, P), rows(lambda y, p: stats.entropy(y, p, base=2)), atol=1e-12)
    np.testing.assert_allclose(d.r2(Y, P), rows(lambda y, p: stats.pearsonr(y, p)[0] ** 2), atol=1e-12)
    np.testing.assert_allclose(
        d.vote_nll(P, VOTES), [-stats.multinomial.logpmf(v, 5, p) for v, p in zip(VOTES, P, strict=True)]
    )
    np.testing.assert_allclose(d.normalised_entropy(Y), [stats.entropy(y, base=4) for y in Y])
    np.testing.assert_allclose(d.r2_determination(Y, P), rows(sk.r2_score), atol=1e-12)


def test_closed_forms() -> None:
    one, other, flat = np.array([[1.0, 0, 0, 0]]), np.array([[0, 1.0, 0, 0]]), np.full((1, 4), 0.25)
    assert d.bc(one, one) == d.r2(one, one) == 1
    assert d.bc(one, other) == d.jsd(one, one) == d.kl(one, one) == d.tvd(one, one) == 0
    assert d.jsd(one, other) == d.tvd(one, other) == d.hellinger(one, other) == 1
    assert d.bc(one, flat) == 0.5
    assert d.kl(one, flat) == 2
    assert d.r2(one, other) == pytest.approx(1 / 9)  # blind to the sign, as documented
    assert d.r2(one, flat) == d.r2(flat, one) == 0
    assert d.soft_brier(one, one) == 0
    assert d.soft_brier(one, other) == 2
    np.testing.assert_allclose(d.hellinger(Y, P) ** 2, ((np.sqrt(Y) - np.sqrt(P)) ** 2).sum(axis=1) / 2)


def test_a_zero_prediction_of_a_voted_class_stays_finite() -> None:
    one, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    for metric in sums.summable(2):
        if metric.key not in ("brier_corrected", "r2_pooled"):  # which are not defined for a single utterance
            assert np.isfinite(whole(metric.key, one, other, 3.0)), metric.key


@pytest.mark.parametrize("name", ["vote_nll", "soft_brier"])
def test_proper_scores_are_best_at_the_truth_and_bc_is_not(name: str) -> None:
    """The claim that the documentation makes: over three raters, sharper than the truth wins BC and loses these."""
    truth = np.tile([0.55, 0.3, 0.15], (20_000, 1))
    votes = RNG.multinomial(3, truth[0], size=len(truth)).astype(float)
    sharper = truth**1.5 / (truth**1.5).sum(axis=1, keepdims=True)
    flatter = truth**0.6 / (truth**0.6).sum(axis=1, keepdims=True)

    def score(metric: str, p: np.ndarray) -> float:
        return whole(metric, votes / 3, p, 3.0)

    assert score(name, truth) < min(score(name, sharper), score(name, flatter))
    assert score("bc", sharper) > score("bc", truth)


distribution = st.lists(st.integers(0, 6), min_size=4, max_size=4).filter(any).map(lambda v: np.array([v]) / sum(v))


@given(distribution, distribution)
def test_ranges(y: np.ndarray, p: np.ndarray) -> None:
    for name, (low, high) in {"bc": (0, 1), "r2": (0, 1), "jsd": (0, 1), "tvd": (0, 1), "hellinger": (0, 1)}.items():
        assert low - 1e-9 <= getattr(d, name)(y, p)[0] <= high + 1e-9
    assert d.soft_brier(y, p)[0] >= -1e-9
    assert d.kl(y, p)[0] >= -1e-9
    np.testing.assert_allclose(rel_entr(y, p + 1e-12).sum() / np.log(2), d.kl(y, p)[0], atol=1e-6)


def test_class_metrics_against_scikit_learn() -> None:
    table, y, p = classification.confusion(Y, P), Y.argmax(axis=1), P.argmax(axis=1)
    np.testing.assert_array_equal(table, sk.confusion_matrix(y, p))
    assert classification.accuracy(table) == pytest.approx(sk.accuracy_score(y, p))
    assert classification.uar(table) == pytest.approx(sk.balanced_accuracy_score(y, p))
    assert classification.f1_macro(table) == pytest.approx(sk.f1_score(y, p, average="macro"))
    assert classification.f1_weighted(table) == pytest.approx(sk.f1_score(y, p, average="weighted"))


def test_a_class_that_does_not_occur_does_not_count() -> None:
    table = np.array([[8.0, 2, 0], [5, 5, 0], [0, 0, 0]])
    assert classification.uar(table) == pytest.approx((0.8 + 0.5) / 2)
    stacked = np.stack([table, table.T])
    np.testing.assert_allclose(classification.uar(stacked)[0], classification.uar(table))


def test_strata() -> None:
    y = np.array([[1.0, 0, 0, 0], [0.75, 0.25, 0, 0], [0.5, 0.5, 0, 0], [0.5, 0.25, 0.25, 0], [0.25, 0.25, 0.25, 0.25]])
    assert agreement(y).tolist() == ["unanimous", "majority", "tie", "plurality", "tie"]
    assert ambiguity(y).tolist() == ["low", "mid", "mid", "high", "high"]
    # Two of eight classes at a half each: exactly one third, the edge belongs to the lower side.
    assert ambiguity(np.array([[0.5, 0.5, 0, 0, 0, 0, 0, 0]])).tolist() == ["low"]


def test_calibration_of_a_perfect_and_of_a_boastful_prediction() -> None:
    y = np.array([[0.75, 0.25, 0, 0], [0.25, 0.75, 0, 0]])
    assert whole("ece", y, y) == whole("ece_classwise", y, y) == 0
    # Always certain of the first class, which a half of all votes name: off by a half.
    sure = np.array([[1.0, 0, 0, 0], [1.0, 0, 0, 0]])
    assert whole("ece", y, sure) == pytest.approx(0.5)
    # By class: 0.5 for the first and the second, nothing for those that neither names.
    assert whole("ece_classwise", y, sure) == pytest.approx(0.25)
    # Errors in one bin cancel, errors in two do not.
    assert whole("ece", y[[0, 0]], np.array([[0.7, 0.3, 0, 0], [0.799, 0.201, 0, 0]])) == pytest.approx(0.0005)
    assert whole("ece", y[[0, 0]], np.array([[0.65, 0.35, 0, 0], [0.85, 0.15, 0, 0]])) == pytest.approx(0.1)


def test_reliability_bins_hold_everyone_and_give_the_error() -> None:
    bins = c.reliability(Y, P)
    assert sum(b["n"] for b in bins) == len(Y)
    error = sum(b["n"] * abs(b["confidence"] - b["correctness"]) for b in bins) / len(Y)
    assert error == pytest.approx(whole("ece", Y, P))


def test_entropy_agreement_against_scipy_and_scikit_learn() -> None:
    h_y, h_p = (np.array([stats.entropy(row, base=4) for row in m]) for m in (Y, P))
    assert c.entropy_spearman(Y, P) == pytest.approx(stats.spearmanr(h_y.round(12), h_p).statistic)
    assert c.auroc_no_majority(Y, P) == pytest.approx(sk.roc_auc_score(Y.max(axis=1) <= 0.5, h_p))
    assert c.auroc_no_majority(Y, Y) == pytest.approx(sk.roc_auc_score(Y.max(axis=1) <= 0.5, h_y.round(12)))
    np.testing.assert_allclose(c.entropy_error(Y, P), np.abs(h_y - h_p))
    flat = np.full_like(P, 0.25)
    assert c.entropy_spearman(Y, flat) is None
    assert c.auroc_no_majority(flat, P) is None


def test_terciles_of_conflict_and_groups_of_votes() -> None:
    speech = np.array([[1.0, 0], [1.0, 0], [1.0, 0]])
    text = np.array([[1.0, 0], [0.5, 0.5], [0.0, 1.0]])
    assert strata.conflict(d.jsd(speech, text)).tolist() == ["low", "mid", "high"]
    # Ties stay together: two experts that always agree are in no conflict.
    assert strata.conflict(d.jsd(speech, speech)).tolist() == ["low"] * 3
    assert strata.votes(np.array([1.0, 3, 4.5, 6])).tolist() == ["1 to 2", "3", "4 to 5", "6 or more"]
    assert strata.duration(np.array([1.9, 2.0, 7.9, 8.0])).tolist() == [
        "under 2 s",
        "2 to 4 s",
        "4 to 8 s",
        "8 s or more",
    ]


def test_the_prior_is_that_of_the_training_part_of_the_fold_that_tests() -> None:
    y = np.array([[1.0, 0], [0, 1.0]])
    priors = {1: np.array([0.25, 0.75]), 2: np.array([0.6, 0.4])}
    found = baselines(y, np.array([1, 2]), priors)
    np.testing.assert_allclose(found["prior"], [[0.25, 0.75], [0.6, 0.4]])
    np.testing.assert_allclose(found["majority"], [[0, 1], [1, 0]])


def test_unknown_speakers_are_drawn_alone_and_many_of_them_in_groups() -> None:
    assert clusters(np.array(["b", None, "a", None, "b"], dtype=object)).tolist() == [1, 2, 0, 3, 1]
    many = clusters(np.array([None] * 2500, dtype=object))
    assert sorted(np.bincount(many)) == [2] * 500 + [3] * 500


def test_every_metric_is_named_once_and_says_what_a_table_needs() -> None:
    keys, titles = ([getattr(m, name) for m in metrics.METRICS] for name in ("key", "title"))
    assert len(set(keys)) == len(keys)
    assert len(set(titles)) == len(titles)
    assert {m.key for m in metrics.METRICS if m.proper} == {
        *("nll_per_vote", "nll_bits", "vote_nll", "soft_brier", "brier_corrected")
    }
    assert all(m.words and m.meaning.endswith(".") for m in metrics.METRICS)


# Corrected figures have their own tests, and held against the class that most name, the raters' own shares look unsure.
NO_DIRECTION = ("brier_corrected", "r2_pooled", "ece_five")


@pytest.mark.parametrize("key", [m.key for m in metrics.METRICS if m.key not in NO_DIRECTION])
def test_the_direction_of_every_metric_is_that_of_a_better_prediction(key: str) -> None:
    """The raters' own distribution against the uniform one."""
    metric = next(m for m in metrics.METRICS if m.key == key)
    flat = 0.98 * np.full_like(Y, 0.25) + 0.02 * P  # ranks need entropies that vary
    own, other = (
        metric.function(Y, p) if isinstance(metric, metrics.Ranked) else whole(key, Y, p, 5.0) for p in (Y, flat)
    )
    assert own is not None
    assert other is not None
    assert (own > other) == metric.higher_is_better

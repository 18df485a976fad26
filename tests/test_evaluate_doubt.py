"""Raters against raters, uncertainty, and claims on cases with a known answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from amber.config import EvaluateOptions
from amber.console import Console
from amber.evaluate.analysis import analyse
from amber.evaluate.experiment import Experiment, FinishedRun, UtteranceInfo
from amber.evaluate.metrics import distribution as d
from amber.evaluate.metrics.corrected import repeated
from amber.evaluate.report import text
from amber.evaluate.results import Results
from amber.evaluate.statistics import raters as split
from amber.evaluate.statistics.pairs import pairs
from amber.evaluate.statistics.standard_error import StandardError, Variance, holm, of_seeds, of_speakers
from amber.evaluate.strata import ambiguity, divide

CLASSES = ("a", "b", "c", "d")


def outcomes(n: int, q: list[float]) -> list[tuple[np.ndarray, float]]:
    """Every vote count of n raters who answer with q, and its probability."""
    counts = [c for c in product(range(n + 1), repeat=len(q)) if sum(c) == n]
    return [(np.array(c) / n, stats.multinomial.pmf(c, n, q)) for c in counts]


@pytest.mark.parametrize("raters", [2, 5, 6])
def test_raters_against_raters_is_the_analytic_expectation(raters: int) -> None:
    """Halves of raters who answer independently are two independent multinomials: their mean score is a finite sum."""
    truths = ([0.7, 0.2, 0.1], [0.4, 0.3, 0.3])
    cases = [
        (a, b, chance_a * chance_b / len(truths))
        for q in truths
        for a, chance_a in outcomes(raters // 2, q)
        for b, chance_b in outcomes(raters - raters // 2, q)
    ]
    expected = {"accuracy": sum(chance * (a.argmax() == b.argmax()) for a, b, chance in cases)}
    for name in ("bc", "r2", "jsd", "soft_brier"):
        metric = getattr(d, name)
        expected[name] = sum(
            chance * (metric(a[None], b[None])[0] + metric(b[None], a[None])[0]) / 2 for a, b, chance in cases
        )
    rng = np.random.default_rng(0)
    votes = np.concatenate([rng.multinomial(raters, q, size=40_000) for q in truths])
    scores, tables = split.split_half(votes.astype(float))
    found = split.average(scores, tables)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=0.005), name


def test_splits_against_all_permutations() -> None:
    """Four votes a, a, b, c have six halves; the split is by votes, so each is as likely."""
    labels = [0, 0, 1, 2]
    scores = []
    for half in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]:
        first = np.bincount([labels[i] for i in half], minlength=3) / 2
        rest = np.bincount([labels[i] for i in range(4) if i not in half], minlength=3) / 2
        scores.append(np.sqrt(first * rest).sum())
    found, _ = split.expected(np.array([2, 1, 1]), np.random.default_rng(0))
    assert found[[metric.key for metric in split.halved_means(3)].index("bc")] == pytest.approx(
        np.mean(scores), abs=1e-12
    )
    # One vote, or votes that were split, can't be halved.
    y = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0.75, 0.25, 0]])
    assert repeated(y * np.array([[1.0], [2.0], [2.0]])).tolist() == [False, True, False]


def test_many_votes_are_drawn_instead_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([9, 7, 5, 3])
    exact, table = split.expected(counts, np.random.default_rng(0))
    monkeypatch.setattr(split, "MOST", 1000)
    drawn, rough = split.expected(counts, np.random.default_rng(0))
    np.testing.assert_allclose(drawn, exact, rtol=0.1)
    np.testing.assert_allclose(rough, table, atol=0.05)
    assert not np.array_equal(drawn, exact)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_by_its_definition(p: list[float]) -> None:
    corrected = holm(np.array(p))
    for i in range(len(p)):
        order = sorted(range(len(p)), key=lambda k: p[k])
        upto = order[: order.index(i) + 1]
        expected = min(1.0, max((len(p) - rank) * p[k] for rank, k in enumerate(upto)))
        assert corrected[i] == pytest.approx(expected)


def test_the_jackknife_of_a_mean_is_the_t_test() -> None:
    sample = np.random.default_rng(2).normal(0.5, 1, size=12)
    left_out = (sample.sum() - sample) / 11
    error = StandardError((of_speakers(left_out),))
    assert error.p(float(sample.mean())) == pytest.approx(stats.ttest_1samp(sample, 0).pvalue)
    expected = stats.ttest_1samp(sample, 0).confidence_interval()
    assert error.interval(float(sample.mean())) == pytest.approx(list(expected))


def test_critical_values_are_cochran_s_and_cox_s() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 6))
    parts = [of_seeds(a), of_seeds(b[:4])]
    v = [a.var(ddof=1) / 6, b[:4].var(ddof=1) / 4]
    t = (v[0] * stats.t(5).ppf(0.975) + v[1] * stats.t(3).ppf(0.975)) / sum(v)
    assert StandardError(tuple(parts)).interval(1.0) == pytest.approx(
        [1 - t * np.sqrt(sum(v)), 1 + t * np.sqrt(sum(v))]
    )


variances = st.lists(st.builds(Variance, st.floats(0, 10), st.integers(1, 30)), min_size=1, max_size=4)


@given(variances, st.floats(-3, 3))
def test_interval_and_p_never_contradict_each_other(parts: list[Variance], estimate: float) -> None:
    error = StandardError(tuple(parts))
    low, high = error.interval(estimate) or [0.0, 0.0]
    p = error.p(estimate)
    if abs(p - 0.05) > 1e-6 and abs(estimate) > 1e-9 and high - low > 1e-9:
        assert (p < 0.05) == (low > 0 or high < 0)
    t = [stats.t(part.df).ppf(0.975) for part in parts]
    assert min(t) - 1e-9 <= error.quantile(0.025) <= max(t) + 1e-9


def test_what_can_t_be_told() -> None:
    assert StandardError((of_speakers(np.array([0.3])),)).interval(0.3) is None
    assert StandardError((of_speakers(np.array([0.3])),)).p(0.3) == 1
    assert StandardError((of_speakers(np.array([0.3, np.nan])),)).se is None
    assert StandardError((Variance(0.0, 5),)).p(0.0) == 1


def test_a_difference_that_can_be_detected_is_found_in_four_of_five_samples() -> None:
    rng = np.random.default_rng(4)
    true = StandardError((Variance(1 / 25, 24),)).detectable()
    assert true is not None
    found = [stats.ttest_1samp(rng.normal(true, 1, size=25), 0).pvalue < 0.05 for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("std", [0.0, 0.005])
def test_intervals_cover_what_they_say_over_speakers_and_seeds(std: float) -> None:
    """Ten speakers and three seeds, whose effects have that standard deviation: 95 % or a little more."""
    rng = np.random.default_rng(5)
    covered = of_speakers_alone = 0
    for _ in range(3000):
        speakers = rng.normal(0, 0.01, size=10)
        seeds = speakers.mean() + rng.normal(0, std, size=3)
        left_out = (10 * seeds.mean() - speakers - (seeds.mean() - speakers.mean())) / 9
        parts = [of_speakers(left_out), of_seeds(seeds)]
        low, high = StandardError(tuple(parts)).interval(float(seeds.mean())) or [0.0, 0.0]
        covered += low <= 0 <= high
        low, high = StandardError(tuple(parts[:1])).interval(float(seeds.mean())) or [0.0, 0.0]
        of_speakers_alone += low <= 0 <= high
    assert 0.93 < covered / 3000 < 0.98
    assert not std or of_speakers_alone / 3000 < 0.9


def test_who_is_measured_against_whom() -> None:
    assert pairs(["ce", "soft", "amber2"]) == [("soft", "ce"), ("amber2", "ce"), ("amber2", "soft")]
    assert pairs(["amber2", "mine"]) == []
    assert pairs(["a/ce", "b/ce", "b/soft"]) == [("b/ce", "a/ce")]
    # Imported predictions have no experiment before their name.
    assert pairs(["a/ce", "a/soft", "b/ce", "gemini"]) == [
        ("b/ce", "a/ce"), ("gemini", "a/ce"), ("gemini", "a/soft"),
    ]  # fmt: skip
    temperature = pairs(["ce", "soft", "soft + temperature", "amber2-js", "mine"])
    assert [pair for pair in temperature if pair[1] == "soft + temperature"] == [("amber2-js", "soft + temperature")]
    assert ("soft + temperature", "soft") in temperature


def test_points_of_a_grid_are_compared_with_each_other() -> None:
    points = [f"amber2,modality_weight={m}" for m in (0.25, 0.5, 1.0)]
    found = pairs(["ce", "soft", *points])
    assert {(v, r) for v, r in found if r in points} == {
        (points[1], points[0]),
        (points[2], points[0]),
        (points[2], points[1]),
    }
    assert {(p, r) for p in points for r in ("ce", "soft")} <= set(found)
    many = [f"mine,hidden={h}" for h in range(7)]
    assert pairs(many) == [(point, many[0]) for point in many[1:]]
    # A grid over everything: a variant is compared with `ce` and `soft` at its own point.
    everything = pairs([f"{name},layer={layer}" for name in ("ce", "soft", "amber2") for layer in (1, 2)])
    assert ("amber2,layer=1", "soft,layer=1") in everything
    assert ("amber2,layer=1", "soft,layer=2") not in everything
    assert not {("ce,layer=1", "soft,layer=1"), ("amber2,layer=1", "amber2,layer=2")} & set(everything)


def experiment(change_high: float, seeds: int = 3, noise: float = 0.0) -> Experiment:
    """`ce` and `soft`, which differ on utterances of high ambiguity only: there `soft` moves towards the votes."""
    rng = np.random.default_rng(5)
    n = 1200
    truth = rng.dirichlet(np.full(4, 0.7), size=n)
    votes = np.array([rng.multinomial(5, q) for q in truth])
    y = votes / 5
    high = ambiguity(y) == "high"
    base = np.stack([0.3 * y + 0.7 * rng.dirichlet(np.ones(4), size=n) for _ in range(seeds)])
    better = base.copy()
    better[:, high] = (1 - change_high) * base[:, high] + change_high * y[high]
    if noise:
        # Another model that is as good everywhere else: its differences have no direction.
        other = 0.3 * y + 0.7 * rng.dirichlet(np.ones(4), size=(seeds, n))
        better[:, ~high] = other[:, ~high]
    shared = {"dataset": {"name": "synthetic", "release": "", "synthetic": True}, "labels": {}, "splits": {}}
    runs = [
        FinishedRun(Path("nowhere"), "key", {**shared, "variant": v, "fold": 1, "seed": s}, v)
        for v in ("ce", "soft")
        for s in range(seeds)
    ]
    return Experiment(
        name="synthetic",
        runs=runs,
        classes=CLASSES,
        ids=np.array([f"u{i:04d}" for i in range(n)], dtype=object),
        speakers=np.array([f"s{i % 24:02d}" for i in range(n)], dtype=object),
        counts=5 * y,
        folds=np.ones(n, dtype=np.int64),
        truth=None,
        priors={1: y.mean(axis=0)},
        seeds={"ce": list(range(seeds)), "soft": list(range(seeds))},
        heads={"ce": {"student": base}, "soft": {"student": better}},
        weights={"ce": {}, "soft": {}},
        info=UtteranceInfo.unknown(n),
    )


def analysed(of: Experiment) -> Results:
    return analyse(of, divide(of), EvaluateOptions(resamples=2000), Console(quiet=True))


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_words_name_the_stratum_where_models_differ_and_no_other(noise: float) -> None:
    results = analysed(experiment(0.5, noise=noise))
    claimed = {(c.level, c.metric) for c in results.versus.comparisons if c.supported}
    assert ("high", "bc") in claimed
    assert {level for level, _ in claimed} <= {"high", "all"}
    supported = text.supported(results)
    assert any(line.startswith("soft over ce on high ambiguity: +") for line in supported)
    assert not any("low ambiguity" in line or "mid ambiguity" in line for line in supported)
    assert any("low ambiguity" in line for line in text.not_supported(results))


def test_of_two_copies_of_one_model_nothing_is_claimed() -> None:
    results = analysed(experiment(0.0))
    assert text.supported(results) == []
    comparisons = results.versus.comparisons
    assert all(c.p_holm == 1 and c.difference == 0 for c in comparisons)
    assert all(c.relative == 0 and c.effect.d_z == 0 for c in comparisons if c.effect)
    assert {c.metric for c in comparisons if c.effect} == {"bc", "r2", "nll_per_vote", "accuracy"}


def test_of_two_models_that_are_equally_good_nothing_is_claimed() -> None:
    assert text.supported(analysed(experiment(0.0, noise=1.0))) == []


def test_utterances_of_unknown_speakers_are_no_claim_about_speakers() -> None:
    known = experiment(0.5)
    assert not any("are not known" in line for line in text.caption(analysed(known)))
    unknown = replace(known, speakers=np.where(known.speakers == "s03", None, known.speakers))
    results = analysed(unknown)
    assert results.speakers == 23 + results.unknown_speakers
    (line,) = [line for line in text.caption(results) if "are not known" in line]
    assert f"{results.unknown_speakers} utterances" in line


def test_all_comparisons_are_one_family() -> None:
    comparisons = analysed(experiment(0.5, noise=1.0)).versus.comparisons
    corrected = holm(np.array([c.p for c in comparisons]))
    np.testing.assert_allclose([c.p_holm for c in comparisons], corrected)
    assert len(comparisons) == 5 * 4


def test_one_seed_supports_nothing_and_says_why() -> None:
    results = analysed(experiment(0.5, seeds=1))
    high = next(c for c in results.versus.comparisons if c.level == "high" and c.metric == "bc")
    assert high.p_holm < 1e-6
    assert text.supported(results) == []
    assert any("(one seed)" in line for line in text.not_supported(results))
    assert "one seed, whose variance is not known" in text.power(results)[0]


def test_the_power_is_said_for_every_pair() -> None:
    results = analysed(experiment(0.2, noise=1.0))
    overall = {c.metric: c.detectable for c in results.versus.comparisons if c.scope == "all"}
    (line,) = text.power(results)
    assert f"NLL under {overall['nll_per_vote']:.3f}" in line
    assert "(24 speakers, 3 seeds)" in line

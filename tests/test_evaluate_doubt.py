"""Ceiling, significance, and claims on cases with a known answer."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from amber.config import EvaluateOptions
from amber.console import Console
from amber.evaluate import ceiling
from amber.evaluate import distributions as d
from amber.evaluate.figures import figures
from amber.evaluate.gather import Experiment, FoundRun
from amber.evaluate.material import Material
from amber.evaluate.significance import holm, interval, p_value, speaker_weights, standardised
from amber.evaluate.strata import ambiguity
from amber.evaluate.versus import pairs

CLASSES = ("a", "b", "c", "d")


def outcomes(n: int, q: list[float]) -> list[tuple[np.ndarray, float]]:
    """Every vote count of n raters who answer with q, and its probability."""
    counts = [c for c in product(range(n + 1), repeat=len(q)) if sum(c) == n]
    return [(np.array(c) / n, stats.multinomial.pmf(c, n, q)) for c in counts]


@pytest.mark.parametrize("raters", [2, 5, 6])
def test_the_ceiling_is_the_analytic_expectation(raters: int) -> None:
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
        metric = d.METRICS[name]
        expected[name] = sum(
            chance * (metric(a[None], b[None])[0] + metric(b[None], a[None])[0]) / 2 for a, b, chance in cases
        )
    rng = np.random.default_rng(0)
    votes = np.concatenate([rng.multinomial(raters, q, size=40_000) for q in truths])
    scores, tables = ceiling.split_half(votes / raters, np.full(len(votes), float(raters)))
    found = ceiling.figures(scores, tables)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=0.005), name


def test_the_ceiling_s_splits_against_all_permutations() -> None:
    """Four votes a, a, b, c have six halves; the split is by votes, so each is as likely."""
    labels = [0, 0, 1, 2]
    scores = []
    for half in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]:
        first = np.bincount([labels[i] for i in half], minlength=3) / 2
        rest = np.bincount([labels[i] for i in range(4) if i not in half], minlength=3) / 2
        scores.append(np.sqrt(first * rest).sum())
    found, _ = ceiling.expected(np.array([2, 1, 1]), np.random.default_rng(0))
    assert found[ceiling.NAMES.index("bc")] == pytest.approx(np.mean(scores), abs=1e-12)
    # One vote, or votes that were split, can't be halved.
    y = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0.75, 0.25, 0]])
    assert ceiling.usable(y, np.array([1.0, 2.0, 2.0])).tolist() == [False, True, False]


def test_many_votes_are_drawn_instead_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([9, 7, 5, 3])
    exact, table = ceiling.expected(counts, np.random.default_rng(0))
    monkeypatch.setattr(ceiling, "MOST", 1000)
    drawn, rough = ceiling.expected(counts, np.random.default_rng(0))
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


def test_the_interval_covers_as_often_as_it_says_with_ten_speakers() -> None:
    """95 % of intervals hold the true mean (plain percentiles hold it in 90 %), and p is below 0.05 in 5 %."""
    rng = np.random.default_rng(1)
    weights = speaker_weights(10, 1000, 0) / 10
    covered = rejected = plain = 0
    for _ in range(1500):
        sample = rng.normal(size=10)
        draws = weights @ sample
        low, high = interval(draws, 10) or [0.0, 0.0]
        covered += low <= 0 <= high
        plain += np.quantile(draws, 0.025) <= 0 <= np.quantile(draws, 0.975)
        rejected += p_value(float(sample.mean()), draws, 10) < 0.05
    assert 0.93 < covered / 1500 < 0.97
    assert plain / 1500 < 0.92
    assert 0.03 < rejected / 1500 < 0.07


def test_p_is_the_t_test_over_equal_speakers() -> None:
    sample = np.random.default_rng(2).normal(0.5, 1, size=12)
    draws = speaker_weights(12, 200_000, 0) / 12 @ sample
    assert p_value(float(sample.mean()), draws, 12) == pytest.approx(stats.ttest_1samp(sample, 0).pvalue, rel=0.02)
    assert p_value(0.0, np.zeros(5), 12) == 1
    assert p_value(0.3, np.full(5, 0.3), 1) == 1
    assert interval(np.full(5, 0.3), 1) is None


def test_effect_size() -> None:
    gain = np.array([0.1, 0.3, 0.2, 0.4])
    group = np.array([0, 0, 1, 1])
    found, drawn = standardised(gain, group, np.array([[2.0, 0.0], [1.0, 1.0]]))
    assert found == pytest.approx(gain.mean() / gain.std())
    np.testing.assert_allclose(drawn, [2.0, found])


def test_who_is_measured_against_whom() -> None:
    assert pairs(["ce", "soft", "amber2"]) == [("soft", "ce"), ("amber2", "ce"), ("amber2", "soft")]
    assert pairs(["amber2", "mine"]) == []
    assert pairs(["a/ce", "b/ce", "b/soft"]) == [("b/ce", "a/ce")]


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
    shared = {"dataset": {"name": "made-up", "release": "", "synthetic": True}, "labels": {}, "splits": {}}
    runs = [
        FoundRun(Path("nowhere"), "key", {**shared, "variant": v, "fold": 1, "seed": s}, v)
        for v in ("ce", "soft")
        for s in range(seeds)
    ]
    return Experiment(
        name="made-up",
        runs=runs,
        classes=CLASSES,
        ids=np.array([f"u{i:04d}" for i in range(n)], dtype=object),
        speakers=np.array([f"s{i % 24:02d}" for i in range(n)], dtype=object),
        votes=np.full(n, 5.0),
        folds=np.ones(n, dtype=np.int64),
        y=y,
        truth=None,
        dev={1: y.mean(axis=0)},
        seeds={"ce": list(range(seeds)), "soft": list(range(seeds))},
        heads={"ce": {"student": base}, "soft": {"student": better}},
    )


def judged(of: Experiment) -> dict:  # type: ignore[type-arg]
    n = len(of.ids)
    material = Material([None] * n, [None] * n, [(None, None)] * n, np.full(n, np.nan))
    return figures(of, material, EvaluateOptions(resamples=2000), Console(quiet=True))["versus"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_words_name_the_stratum_where_models_differ_and_no_other(noise: float) -> None:
    versus = judged(experiment(0.5, noise=noise))
    claimed = {(c["level"], c["metric"]) for c in versus["comparisons"] if c["supported"]}
    assert ("high", "bc") in claimed
    assert {level for level, _ in claimed} <= {"high", "all"}
    assert any(line.startswith("soft over ce on high ambiguity: +") for line in versus["supported"])
    assert not any("low ambiguity" in line or "mid ambiguity" in line for line in versus["supported"])
    assert any("low ambiguity" in line for line in versus["not_supported"])


def test_of_two_copies_of_one_model_nothing_is_claimed() -> None:
    versus = judged(experiment(0.0))
    assert versus["supported"] == []
    assert all(c["p_holm"] == 1 and c["difference"] == 0 for c in versus["comparisons"])
    assert all(c["relative"] == 0 and c["effect"]["d_z"] == 0 for c in versus["comparisons"] if "effect" in c)


def test_of_two_models_that_are_equally_good_nothing_is_claimed() -> None:
    assert judged(experiment(0.0, noise=1.0))["supported"] == []

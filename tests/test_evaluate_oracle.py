"""The oracle and corrected scores against known truths, closed forms and optimisation; CREMA-D's real votes."""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize

from amber.evaluate.experiment import clusters
from amber.evaluate.metrics import classification, corrected
from amber.evaluate.metrics import distribution as d
from amber.evaluate.results import OracleScores
from amber.evaluate.statistics import mixture, oracle
from amber.evaluate.statistics.estimates import Estimates, Subset, estimate

TABLE = SHARED / "crema-d" / "tabulatedVotes.csv"


def everything(n: int, speakers: int = 1) -> Subset:
    return Subset.everything(clusters(np.array([f"s{i % speakers:03d}" for i in range(n)])))


def estimated(p: np.ndarray, counts: np.ndarray, speakers: int = 1) -> Estimates:
    """Return the estimates of one seed's predictions on all utterances."""
    return estimate(p[None], counts.astype(float), [everything(len(p), speakers)])[0]


def consulted(counts: np.ndarray, draws: int) -> OracleScores:
    counts = counts.astype(float)
    return oracle.Oracle.fit(counts, draws, seed=0).scores(counts, [everything(len(counts))])[0]


def corpus(kind: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return true distributions (n, 4) and counts of 3 to 6 votes."""
    truth = rng.dirichlet([0.6, 0.9, 0.5, 0.4], size=n)
    if kind == "half neutral":
        neutral = rng.random(n) < 0.5
        truth[neutral] = 0.8 * np.eye(4)[0] + 0.2 * rng.dirichlet(np.ones(4), size=neutral.sum())
    raters = rng.integers(3, 7, size=n)
    if kind != "raters differ":
        return truth, rng.multinomial(raters, truth)
    # Each of 40 raters has a confusion of their own; the truth is what a rater at random would say.
    confusion = 0.7 * np.eye(4) + 0.3 * rng.dirichlet(np.full(4, 0.5), size=(40, 4))
    votes = np.zeros((n, 4), dtype=np.int64)
    for row, number in enumerate(raters):
        for rater in rng.choice(40, size=number, replace=False):
            votes[row, rng.choice(4, p=truth[row] @ confusion[rater])] += 1
    return truth @ confusion.mean(axis=0), votes


@pytest.mark.parametrize(("kind", "within"), [("dirichlet", 0.01), ("half neutral", 0.01), ("raters differ", 0.02)])
def test_the_oracle_scores_what_the_truth_scores(kind: str, within: float) -> None:
    rng = np.random.default_rng(0)
    truth, counts = corpus(kind, 6000, rng)
    found = consulted(counts, 60_000)
    own = estimated(truth, counts).seeds
    for metric in ("bc", "r2", "jsd", "tvd", "soft_brier", "nll_per_vote", "brier_corrected"):
        assert found.figures[metric].mean == pytest.approx(own[metric][0], abs=within), metric
        assert found.figures[metric].error < 0.003
    # Which class has most votes hangs on classes that are almost as likely, which few votes tell little about.
    for metric in ("accuracy", "f1_weighted", "uar"):
        assert found.figures[metric].mean == pytest.approx(own[metric][0], abs=max(within, 0.02) * 1.5), metric
    assert found.best["bc"].mean > found.figures["bc"].mean
    assert found.best["nll_per_vote"] == found.figures["nll_per_vote"]


def test_the_fit_finds_the_distribution_that_votes_come_from() -> None:
    rng = np.random.default_rng(1)
    counts = rng.multinomial(8, rng.dirichlet([2.0, 1.0, 0.5], size=8000))
    found = mixture.fit(counts)
    again = mixture.fit(counts[rng.permutation(len(counts))])
    np.testing.assert_array_equal(found.alpha, again.alpha)
    # The likelihood of every outcome is that of the Dirichlet-multinomial distribution behind them.
    cells = oracle.outcomes(8, 3)
    expected = stats.dirichlet_multinomial([2.0, 1.0, 0.5], 8).pmf(cells)
    fitted = sum(w * stats.dirichlet_multinomial(a, 8).pmf(cells) for w, a in zip(*vars(found).values(), strict=True))
    assert np.abs(fitted - expected).sum() / 2 < 0.03


def test_outcomes_are_all_the_ways_to_vote() -> None:
    expected = [c for c in product(range(4), repeat=3) if sum(c) == 3]
    assert sorted(map(tuple, oracle.outcomes(3, 3).tolist())) == expected
    assert oracle.outcomes(5, 2).tolist() == [[k, 5 - k] for k in range(6)]


@pytest.mark.parametrize("metric", ["bc", "r2", "r2_determination", "accuracy"])
def test_the_best_answer_is_the_best_of_all(metric: str) -> None:
    """No other distribution scores more in expectation: by numerical search from many starts."""
    truth, n = np.array([0.5, 0.3, 0.2]), 3
    cells = oracle.outcomes(n, 3)
    chance = stats.multinomial(n, truth).pmf(cells)
    y = cells / n

    def expected(q: np.ndarray) -> float:
        tiled = np.tile(q, (len(y), 1))
        score = getattr(d, metric, lambda a, b: (a.argmax(axis=1) == b.argmax(axis=1)).astype(float))
        return float(chance @ score(y, tiled))

    best = oracle.answers(truth[None], n, np.random.default_rng(0))[metric][0]
    assert best.sum() == pytest.approx(1)
    assert best.min() >= 0
    rng = np.random.default_rng(0)

    def loss(logits: np.ndarray) -> float:
        return -expected(np.exp(logits) / np.exp(logits).sum())

    found = max(-minimize(loss, rng.normal(size=3), method="Nelder-Mead").fun for _ in range(8))
    assert expected(best) == pytest.approx(found, abs=1e-6)
    assert expected(best) >= expected(truth)


def test_many_votes_are_drawn_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.random.default_rng(0).dirichlet(np.ones(4), size=20)
    exact = oracle.answers(truth, 6, np.random.default_rng(0))
    monkeypatch.setattr(oracle, "MOST", 10)
    monkeypatch.setattr(oracle, "SAMPLE", 20_000)
    drawn = oracle.answers(truth, 6, np.random.default_rng(0))
    np.testing.assert_allclose(drawn["bc"], exact["bc"], atol=0.01)


def test_split_votes_are_left_out_and_single_votes_tell_nothing() -> None:
    y = np.tile([[0.5, 0.5, 0.0]], (60, 1))
    votes = np.where(np.arange(60) < 10, 3.0, 2.0)  # three votes, of which one was split
    found = consulted(y * votes[:, None], 100)
    assert (found.n, found.left_out) == (50, 10)
    assert np.isfinite([f.mean for f in found.figures.values()]).all()
    assert consulted(np.eye(3)[[0, 1] * 30], 100) == OracleScores(n=0, left_out=60)


@given(st.integers(2, 6), st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.integers(0, 99))
def test_the_corrected_brier_score_is_unbiased(n: int, shares: list[float], seed: int) -> None:
    """Its expectation over every outcome of n votes is the squared distance to the truth."""
    truth = np.array(shares) / sum(shares)
    p = np.random.default_rng(seed).dirichlet(np.ones(3))
    cells = oracle.outcomes(n, 3)
    chance = stats.multinomial(n, truth).pmf(cells)
    terms = corrected.terms(cells / n, np.tile(p, (len(cells), 1)), cells.astype(float))
    assert chance @ terms["distance"] == pytest.approx(((p - truth) ** 2).sum())


def test_the_corrected_brier_score_lies_within_its_interval_of_the_truth_s() -> None:
    """In at least 19 of 20 synthetic corpora (here 38 of 40, of 30 speakers), and the pooled R² beside it."""
    inside = {"brier_corrected": 0, "r2_pooled": 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        truth, counts = corpus("dirichlet", 900, rng)
        p = 0.6 * truth + 0.4 * rng.dirichlet(np.ones(4), size=len(truth))
        of = estimated(p, counts, 30)
        distance = ((p - truth) ** 2).sum()
        known = {
            "brier_corrected": distance / len(p),
            "r2_pooled": 1 - distance / ((truth - truth.mean(axis=0)) ** 2).sum(),
        }
        for metric, value in known.items():
            low, high = of.of(metric).ci or (np.inf, -np.inf)
            inside[metric] += low <= value <= high
    assert min(inside.values()) >= 38


def test_corrected_scores_leave_out_what_has_no_second_vote() -> None:
    y = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.75, 0.25, 0.0]])
    votes = np.array([1.0, 2.0, 2.0])
    counts = y * votes[:, None]
    of = estimated(y, counts).seeds
    assert of["brier_corrected"][0] == pytest.approx(-0.5)  # of the second alone: 0 less y (1 - y) / (2 - 1)
    assert "brier_corrected" not in estimated(y[:1], counts[:1]).seeds


def test_there_is_no_r2_over_two_classes() -> None:
    y = np.array([[0.75, 0.25], [0.25, 0.75], [1.0, 0.0]])
    assert "r2" not in estimated(y, 4 * y).seeds
    assert "r2" not in oracle.answers(y[:1] * 0.8 + 0.1, 3, np.random.default_rng(0))


def test_nll_per_vote_is_one_ratio_of_sums() -> None:
    y, p = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.8, 0.2]])
    of = estimated(p, y * np.array([[1.0], [4.0]])).seeds
    assert of["nll_per_vote"][0] == pytest.approx(-(np.log(0.5) + 2 * np.log(0.8) + 2 * np.log(0.2)) / 5)
    # Its differences are those of the mean KL divergence from the truth, each utterance weighed by its votes.
    rng = np.random.default_rng(0)
    truth = np.tile([[0.7, 0.3]], (200_000, 1))
    votes = rng.integers(1, 5, size=len(truth))
    counts = rng.multinomial(votes, truth)
    one, other = (np.tile([[a, 1 - a]], (len(counts), 1)) for a in (0.6, 0.5))
    nll = [estimated(q, counts).seeds["nll_per_vote"][0] for q in (one, other)]
    kl = [stats.entropy([0.7, 0.3], q[0]) for q in (one, other)]
    assert nll[1] - nll[0] == pytest.approx(kl[1] - kl[0], abs=0.002)


def test_the_confusion_of_truths_is_counted_like_any_other() -> None:
    truth, counts = corpus("dirichlet", 300, np.random.default_rng(3))
    y = counts / counts.sum(axis=1, keepdims=True)
    own = estimated(truth, counts).seeds["accuracy"][0]
    assert own == pytest.approx(classification.accuracy(classification.confusion(y, truth)))


@pytest.mark.skipif(not TABLE.is_file(), reason="the public CREMA-D vote tables are not in ../shared/data/crema-d")
def test_on_the_real_votes_of_crema_d() -> None:
    """Fitted to 3 votes of each clip, it predicts how the distribution of the others scores against them."""
    counts = crema_d(TABLE)
    rng = np.random.default_rng(0)
    three = np.array([rng.multivariate_hypergeometric(row, 3) for row in counts])
    rest = counts - three
    kept = rest.sum(axis=1) >= 5
    three, rest = three[kept], rest[kept]
    truth = mixture.fit(three).posterior(three, rng)
    others = rng.multinomial(rest.sum(axis=1), truth)
    predicted, measured = (d.bc(three / 3, o / o.sum(axis=1, keepdims=True)).mean() for o in (others, rest))
    assert predicted == pytest.approx(measured, abs=0.01)


def crema_d(table: Path) -> np.ndarray:
    """Return the counts (N, 6) of the clips that were only heard."""
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[""].startswith("1")]
    return np.array([[int(row[label]) for label in "ADFHNS"] for row in rows])

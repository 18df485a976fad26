"""`metrics.json` against an outside script: everything recomputed from predictions.parquet by other means."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ONE, demo_config
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn import metrics as sk

from amber.config import EvaluateOptions
from amber.console import Console
from amber.evaluate import stage
from amber.train import stage as training

QUIET = Console(quiet=True)
RESAMPLES, SEED = 300, 7  # of the oracle


@pytest.fixture(scope="module")
def folder(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    overrides = ("train.epochs=2", ONE, "train.seeds=[0, 1]", "labels.subset=any", f"train.runs={runs}")
    training.run(demo_config(demo_cache, *overrides), None, QUIET)
    stage.run([runs / "demo"], EvaluateOptions(resamples=RESAMPLES, seed=SEED), QUIET)
    return runs / "demo"


@pytest.fixture(scope="module")
def found(folder: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((folder / "metrics.json").read_text())  # type: ignore[no-any-return]


def rows_of(folder: Path, variant: str, seed: int, head: str = "student") -> list[dict]:  # type: ignore[type-arg]
    table = pq.ParquetDataset(sorted(folder.glob(f"{variant}/fold*-seed{seed}/predictions.parquet"))).read()
    kept = [r for r in table.to_pylist() if r["part"] == "test" and r["head"] == head]
    return sorted(kept, key=lambda row: row["id"])


def matrices(rows: list[dict], classes: list[str]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    n, p = (np.array([[row[f"{kind}_{c}"] for c in classes] for row in rows]) for kind in "np")
    return n / n.sum(axis=1, keepdims=True), p


def votes_of(rows: list[dict], classes: list[str]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([sum(row[f"n_{c}"] for c in classes) for row in rows])


def binned_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """A calibration error by one loop over ten bins."""
    total = 0.0
    for b in range(10):
        inside = (confidence >= b / 10) & (confidence < (b + 1) / 10 if b < 9 else confidence <= 1)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return total


def outside_corrected(y: np.ndarray, p: np.ndarray, votes: np.ndarray) -> dict[str, float]:
    """Corrected scores by pairs of raters: two raters of an utterance agree as often as two draws from the truth."""
    several = votes > 1
    y, p, n = y[several], p[several], votes[several, None]
    agree = (y * (n * y - 1) / (n - 1)).sum(axis=1)  # share of pairs of raters who say the same: unbiased for |t|²
    distance = ((p**2).sum(axis=1) - 2 * (p * y).sum(axis=1) + agree).mean()
    # |mean t|² from pairs of utterances, whose noise is independent, and of raters within them.
    m = len(y)
    among = ((y.sum(axis=0) ** 2).sum() - (y**2).sum() + agree.sum()) / m**2
    return {"brier_corrected": distance, "r2_pooled": 1 - distance / (agree.mean() - among)}


def five_bins(confidence: np.ndarray, correct: np.ndarray) -> float:
    """AER-LLM's calibration error: bins are open below and closed above."""
    which = stats.binned_statistic(-confidence, correct, bins=np.linspace(-1, 0, 6)).binnumber
    inside = [which == b for b in np.unique(which)]
    return float(sum(here.mean() * abs(confidence[here].mean() - correct[here].mean()) for here in inside))


def outside(y: np.ndarray, p: np.ndarray, votes: np.ndarray) -> dict[str, float]:
    classes = np.arange(y.shape[1])
    truth, guess = y.argmax(axis=1), p.argmax(axis=1)
    pairs = list(zip(y, p, strict=True))
    entropy_y, entropy_p = (np.array([stats.entropy(row, base=len(row)) for row in m]) for m in (y, p))
    alone = (y.max(axis=1) <= 0.5).astype(int)

    def squared_pearson(a: np.ndarray, b: np.ndarray) -> float:
        return 0.0 if np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9 else stats.pearsonr(a, b)[0] ** 2

    def covariances(a: np.ndarray, b: np.ndarray) -> float:
        (var_a, covariance), (_, var_b) = np.cov(a, b, ddof=0)
        return float(covariance**2 / (var_a * var_b + 1e-10))

    def determination(a: np.ndarray, b: np.ndarray) -> float:
        return 0.0 if np.ptp(a) < 1e-9 else sk.r2_score(a, b)

    return {
        "bc": np.mean([np.dot(np.sqrt(a), np.sqrt(b)) for a, b in pairs]),
        "r2": np.mean([squared_pearson(a, b) for a, b in pairs]),
        "r2_aer": np.mean([covariances(a, b) for a, b in pairs]),
        "js_distance": np.mean([jensenshannon(a, b) for a, b in pairs]),
        "ece_five": five_bins(p.max(axis=1), (truth == guess).astype(float)),
        "r2_determination": np.mean([determination(a, b) for a, b in pairs]),
        "jsd": np.mean([jensenshannon(a, b, base=2) ** 2 for a, b in pairs]),
        "kl": np.mean([stats.entropy(a, b, base=2) for a, b in pairs]),
        "tvd": np.mean([np.linalg.norm(a - b, 1) / 2 for a, b in pairs]),
        "hellinger": np.mean([np.linalg.norm(np.sqrt(a) - np.sqrt(b)) / np.sqrt(2) for a, b in pairs]),
        "vote_nll": np.mean(
            [-stats.multinomial.logpmf(np.rint(a * n), round(n), b) for (a, b), n in zip(pairs, votes, strict=True)]
        ),
        "nll_per_vote": -sum(n * a @ np.log(b) for (a, b), n in zip(pairs, votes, strict=True)) / votes.sum(),
        "nll_bits": -sum(n * a @ np.log2(b) for (a, b), n in zip(pairs, votes, strict=True)) / votes.sum(),
        **outside_corrected(y, p, votes),
        "soft_brier": np.mean([a @ [((b - np.eye(len(b))[c]) ** 2).sum() for c in classes] for a, b in pairs]),
        "accuracy": sk.accuracy_score(truth, guess),
        "f1_weighted": sk.f1_score(truth, guess, average="weighted"),
        "f1_macro": sk.f1_score(truth, guess, average="macro", labels=np.unique(truth)),
        "uar": sk.recall_score(truth, guess, average="macro", labels=np.unique(truth), zero_division=0),
        "ece": binned_error(p.max(axis=1), y[np.arange(len(y)), guess]),
        "ece_classwise": np.mean([binned_error(p[:, c], y[:, c]) for c in classes]),
        "entropy_mae": sk.mean_absolute_error(entropy_y, entropy_p),
        "entropy_spearman": stats.spearmanr(entropy_y.round(12), entropy_p.round(12))[0],
        "auroc_no_majority": sk.roc_auc_score(alone, entropy_p.round(12)),
    }


def test_every_figure_of_every_variant(folder: Path, found: dict) -> None:  # type: ignore[type-arg]
    for variant in ("ce", "soft", "amber2"):
        by_seed = []
        for seed in (0, 1):
            rows = rows_of(folder, variant, seed)
            y, p = matrices(rows, found["classes"])
            by_seed.append(outside(y, p, votes_of(rows, found["classes"])))
        assert set(by_seed[0]) == set(found["summary"][variant])
        for name in by_seed[0]:
            values = np.array([figures[name] for figures in by_seed])
            assert found["summary"][variant][name]["mean"] == pytest.approx(values.mean(), abs=1e-9), name
            assert found["summary"][variant][name]["std"] == pytest.approx(values.std(ddof=1), abs=1e-9), name


def test_every_figure_of_every_stratum(folder: Path, found: dict) -> None:  # type: ignore[type-arg]
    experts = [
        np.mean([matrices(rows_of(folder, "amber2", s, head), found["classes"])[1] for s in (0, 1)], axis=0)
        for head in ("speech", "text")
    ]
    conflict = np.array([jensenshannon(a, b, base=2) ** 2 for a, b in zip(*experts, strict=True)])
    tercile = np.searchsorted(np.quantile(conflict, [1 / 3, 2 / 3]), conflict)
    y, _ = matrices(rows_of(folder, "soft", 0), found["classes"])
    entropy = np.array([stats.entropy(row, base=len(row)) for row in y])
    inside = {
        ("ambiguity", "low"): entropy <= 1 / 3 + 1e-9,
        ("ambiguity", "high"): entropy > 2 / 3 + 1e-9,
        ("agreement", "unanimous"): y.max(axis=1) > 1 - 1e-9,
        ("conflict", "low"): tercile == 0,
        ("conflict", "high"): tercile == 2,
    }
    for (name, level), mask in inside.items():
        stratum = found["strata"][name][level]
        assert stratum["n"] == mask.sum()
        assert stratum["small"] == (mask.sum() < 30)
        by_seed = []
        for seed in (0, 1):
            rows = [row for row, kept in zip(rows_of(folder, "soft", seed), mask, strict=True) if kept]
            y_in, p_in = matrices(rows, found["classes"])
            by_seed.append([np.sqrt(y_in * p_in).sum(axis=1).mean(), (y_in.argmax(1) == p_in.argmax(1)).mean()])
        for metric, values in zip(("bc", "accuracy"), np.transpose(by_seed), strict=True):
            assert stratum["variants"]["soft"][metric]["mean"] == pytest.approx(values.mean(), abs=1e-9)
    for levels in found["strata"].values():
        assert sum(level["n"] for level in levels.values()) == 100


def test_intervals_and_p_by_leaving_out_one_speaker_at_a_time(folder: Path, found: dict) -> None:  # type: ignore[type-arg]
    """As docs/metrics.md describes them."""
    speakers = np.array([row["speaker"] for row in rows_of(folder, "ce", 0)])
    names = sorted(set(speakers))
    n = len(names)

    def scores(variant: str, kept: np.ndarray) -> np.ndarray:
        """BC and F1 of each seed, (S, 2)."""
        both = []
        for seed in (0, 1):
            y, p = (m[kept] for m in matrices(rows_of(folder, variant, seed), found["classes"]))
            f1 = sk.f1_score(y.argmax(1), p.argmax(1), average="weighted")
            both.append([np.sqrt(y * p).sum(axis=1).mean(), f1])
        return np.array(both)

    every = np.ones(len(speakers), dtype=bool)
    of = {variant: scores(variant, every) for variant in ("ce", "soft")}
    without = {variant: np.array([scores(variant, speakers != name).mean(axis=0) for name in names]) for variant in of}
    of["difference"], without["difference"] = of["soft"] - of["ce"], without["soft"] - without["ce"]
    for place, metric in enumerate(("bc", "f1_weighted")):
        for variant, seeds in of.items():
            left_out = without[variant][:, place]
            parts = [(n - 1) / n * ((left_out - left_out.mean()) ** 2).sum(), seeds[:, place].var(ddof=1) / 2]
            se = np.sqrt(sum(parts))
            mean = seeds[:, place].mean()

            def t(tail: float, parts: list[float] = parts) -> float:
                """The mean of both t quantiles, weighted by variance."""
                return float(np.average([stats.t(n - 1).isf(tail), stats.t(1).isf(tail)], weights=parts))

            ci = [mean - t(0.025) * se, mean + t(0.025) * se]
            if variant != "difference":
                np.testing.assert_allclose(found["summary"][variant][metric]["ci"], ci, atol=1e-9)
                continue
            versus = next(
                c
                for c in found["versus"]["comparisons"]
                if (c["variant"], c["reference"], c["scope"], c["metric"]) == ("soft", "ce", "all", metric)
            )
            np.testing.assert_allclose(versus["ci"], ci, atol=1e-9)
            assert t(versus["p"] / 2) == pytest.approx(abs(mean) / se)
            assert versus["detectable"] == pytest.approx((t(0.025) + t(0.2)) * se)


def test_baselines_come_from_the_training_part(folder: Path, found: dict) -> None:  # type: ignore[type-arg]
    rows = rows_of(folder, "ce", 0)
    y, _ = matrices(rows, found["classes"])
    fold = np.array([int(re.search(r"fold(\d+)", row["run"])[1]) for row in rows])  # type: ignore[index]
    dev = fold % 5 + 1  # the next session
    prior = np.array([y[(fold != f) & (fold != d)].mean(axis=0) for f, d in zip(fold, dev, strict=True)])
    expected = outside(y, prior, votes_of(rows, found["classes"]))
    for metric in ("bc", "vote_nll", "accuracy"):
        assert found["baselines"]["prior"][metric]["mean"] == pytest.approx(expected[metric], abs=1e-9)
    assert found["baselines"]["uniform"]["soft_brier"]["mean"] == pytest.approx(0.75)
    majority = np.mean([row.argmax() == guess.argmax() for row, guess in zip(y, prior, strict=True)])
    assert found["baselines"]["majority"]["accuracy"]["mean"] == pytest.approx(majority)

"""The synthetic corpora are what they say, and the study's arithmetic is right on an example done by hand."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from amber.predictions import Predictions

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # behind the stages, whose names some benchmarks share
import corpora
import study


def drawn(regime: str, seed: int = 0) -> corpora.Utterances:
    return corpora.draw(corpora.REGIMES[regime], np.random.default_rng(seed))


@pytest.mark.parametrize("regime", corpora.REGIMES)
def test_truth_votes_and_speakers_of_every_regime(regime: str) -> None:
    settings, found = corpora.REGIMES[regime], drawn(regime)
    np.testing.assert_allclose(found.truth.sum(axis=1), 1)
    assert found.truth.min() >= 0
    number = found.votes.sum(axis=1)
    assert (number.min(), number.max()) == (settings.fewest, settings.most)
    # Votes are draws from the truth: over all utterances their shares agree, and rare votes are rare.
    np.testing.assert_allclose(found.votes.sum(axis=0) / number.sum(), found.truth.mean(axis=0), atol=0.05)
    likely = (found.votes * found.truth).sum() / number.sum()
    assert likely == pytest.approx((found.truth**2).sum(axis=1).mean(), abs=0.03)
    for division, parts in ((found.fold, 5), (found.split, 3)):
        assert len(np.unique(division)) == parts
        assert all(len(set(division[found.speaker == speaker])) == 1 for speaker in np.unique(found.speaker))


def test_voice_and_words_disagree_in_a_third_of_the_utterances_and_count_alike() -> None:
    found = drawn("264-speakers")
    assert found.conflict.mean() == pytest.approx(1 / 3, abs=0.03)
    np.testing.assert_allclose(found.truth, (found.voice + found.words) / 2)
    overlap = np.sqrt(found.voice * found.words).sum(axis=1)
    assert overlap[found.conflict].mean() < 0.75 * overlap[~found.conflict].mean()


@pytest.mark.parametrize("regime", ["uninformative-text", "missing-text"])
def test_words_that_say_nothing_leave_the_truth_to_the_voice(regime: str) -> None:
    found = drawn(regime)
    silent = found.missing if regime == "missing-text" else np.ones(len(found.truth), dtype=bool)
    assert silent.mean() == pytest.approx(1 if regime == "uninformative-text" else 1 / 3, abs=0.05)
    np.testing.assert_array_equal(found.truth[silent], found.voice[silent])
    assert not found.conflict[silent].any()


def test_half_of_the_utterances_are_neutral() -> None:
    assert (drawn("half-neutral").voice.argmax(axis=1) == 0).mean() == pytest.approx(0.5, abs=0.06)


def test_the_files_hold_the_corpus(tmp_path: Path) -> None:
    settings = replace(corpora.REGIMES["missing-text"], size=60, layers=3, dim=8)
    found = corpora.make(tmp_path, settings, seed=3)
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = corpora.CLASSES[:4]
    assert [[int(row[f"vote_{c}"]) for c in names] for row in rows] == found.votes.tolist()
    written = [[float(row[f"truth_{c}"]) for c in names] for row in rows]
    np.testing.assert_allclose(written, found.truth, atol=1e-6)
    assert [row["conflict"] == "yes" for row in rows] == found.conflict.tolist()
    with h5py.File(tmp_path / "features.h5") as file:
        speech, text = file["speech"][:], file["text"][:]
    assert speech.shape == text.shape == (60, 3, 8)
    assert speech.dtype == np.float16
    absent = text[found.missing]
    assert (absent == absent[0]).all()
    assert len(np.unique(text[~found.missing][:, 1, 0])) > 30
    again = corpora.make(tmp_path, settings, seed=4)
    assert not np.array_equal(again.truth, found.truth)


def test_a_middle_layer_holds_most_of_the_signal() -> None:
    assert corpora.strengths(1).tolist() == [1]
    assert corpora.strengths(3).tolist() == pytest.approx([0.35, 1, 0.45])
    assert corpora.strengths(13).argmax() == 6


def test_scores_of_an_example_by_hand() -> None:
    truth, p = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.5, 0.5], [0.25, 0.75]])
    counts, nowhere = np.array([[2.0, 1.0], [1.0, 0.0]]), np.full(2, np.nan)
    found = Predictions(("x", "y"), {"id": np.array(["a", "b"])}, counts, p, nowhere, truth)
    scores = study.score(found, {"a": False, "b": True})
    assert scores["nll"] == pytest.approx((3 * np.log(2) + np.log(4)) / 4)
    assert scores["accuracy"] == scores["uar"] == 0.5
    assert scores["kl"] == pytest.approx(1000 * np.log(4) / 2)
    assert (scores["kl_conflict"], scores["kl_others"]) == pytest.approx((1000 * np.log(4), 0))
    assert study.score(found, {})["kl_conflict"] is None


def of(nll: float, kl: float) -> study.Scores:
    return {**dict.fromkeys(study.METRICS, 0.0), "nll": nll, "kl": kl}


def test_the_summary_by_hand() -> None:
    results = {
        ("a", 0): {"soft": of(1.0, 10), "amber2": of(0.9, 8), "svm": of(0.8, 0), "ridge": of(1.3, 0)},
        ("a", 1): {"soft": of(1.2, 20), "amber2": of(1.1, 24), "svm": of(1.4, 0), "ridge": of(0.7, 0)},
        ("b", 0): {"soft": of(2.0, 40), "amber2": of(2.0, 30), "svm": of(1.9, 0)},
    }
    by_regime = {regime: study.average(results, regime) for regime in ("a", "b")}
    above, names = study.against(by_regime, ["svm", "ridge"])
    assert names == {"a": "ridge", "b": "svm"}  # 1.0 is below 1.1
    assert above["a"] == pytest.approx({"soft": 0.1, "amber2": 0.0})
    assert above["b"] == pytest.approx({"soft": 0.1, "amber2": 0.1})
    found = study.differences(results, ("amber2", "soft"), "kl")
    assert found.tolist() == [-2, 4, -10]
    relative = study.differences(results, ("amber2", "soft"), "kl", relative=True)
    assert relative.tolist() == pytest.approx([-20, 20, -25])
    # Mean -8/3, standard deviation 7.0238, t of 2 degrees of freedom 4.3027.
    assert study.interval(found) == pytest.approx((-20.115, 14.781), abs=1e-3)
    assert study.judged(found, "") == "-2.7 [-20.1, +14.8], most +4.0, 2/3"


def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, corpus = tmp_path / "study.jsonl", ("small", 0)
    soft, other = study.Group(["soft"], ["--seeds", "0"]), study.Group(["soft"], ["--seeds", "1"])
    study.Log(path).add(corpus, soft, {"soft": of(1, 2), "soft + temperature": of(1, 1)}, seconds=1)
    log, both = study.Log(path), study.Group(["soft", "amber2"], ["--seeds", "0"])
    assert log.todo(corpus, both) == ["amber2"]
    assert log.todo(("small", 1), both) == both.models
    assert log.todo(corpus, other) == ["soft"]
    assert list(log.scores(corpus, [both])) == ["soft", "soft + temperature"]
    assert log.scores(corpus, [study.Group(["amber2"], ["--seeds", "0"])]) == {}

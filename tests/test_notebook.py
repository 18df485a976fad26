"""What a notebook opens: features, votes, predictions and scores; the page that documents it."""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import ONE, demo_config, flip

import amber
from amber import api_page, done, notebook, predictions
from amber.console import Console
from amber.corpus import FILE, Corpus
from amber.errors import UserError
from amber.evaluate import score as scoring
from amber.evaluate import stage as evaluation
from amber.train import stage as training
from amber.train.run_folder import PARTIAL

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def experiment(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    overrides = ("train.epochs=2", ONE, "train.seeds=[0]", "labels.subset=any", f"train.runs={runs}")
    training.run(demo_config(demo_cache, *overrides), None, QUIET)
    return runs / "demo"


def test_features_are_arrays_in_the_order_of_ids(demo_cache: Path) -> None:
    found = amber.load_features(demo_cache)
    corpus = Corpus.read(demo_cache / "demo" / FILE)
    assert found.ids.tolist() == list(corpus.ids)
    assert found.speech.shape == (100, 1, 240)
    assert found.text.shape[:2] == (100, len(found.layers["text"]))
    assert set(found.status["speech"].tolist()) == {1}
    with pytest.raises(UserError, match="no dataset 'nothing' there"):
        amber.load_features(demo_cache, "nothing")


def test_votes_are_one_row_per_vote_and_label(demo_cache: Path) -> None:
    found = amber.load_votes(demo_cache, "demo")
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == ["id", "rater", "label", "secondary", "is_self"]
    corpus = Corpus.read(demo_cache / "demo" / FILE)
    votes = corpus.column("votes")
    assert len(found) == sum(len(vote["labels"]) + len(vote["secondary"]) for of in votes for vote in of)
    first = found[found["id"] == corpus.ids[0]]
    assert first["label"].tolist() == [label for vote in votes[0] for label in vote["labels"]]


def test_predictions_of_all_runs_score_as_the_evaluation_says(experiment: Path) -> None:
    found = amber.load_predictions(experiment)
    metrics = evaluation.run([experiment], demo_config(experiment).evaluate, QUIET).metrics
    classes = metrics["classes"]
    chosen = found[(found["part"] == "test") & (found["head"] == "student") & found["run"].str.contains("/soft/")]
    scores = amber.score(chosen[[f"n_{c}" for c in classes]], chosen[[f"p_{c}" for c in classes]])
    for key, value in scores.items():
        assert value == pytest.approx(metrics["summary"]["soft"][key]["mean"], abs=1e-9), key
    assert {"bc", "nll_per_vote", "brier_corrected", "uar", "ece"} <= set(scores)
    with pytest.raises(UserError, match="no finished runs there"):
        amber.load_predictions(experiment / "soft" / "nowhere")


def test_only_finished_runs_are_loaded_and_only_as_they_were_written(experiment: Path, tmp_path: Path) -> None:
    whole = amber.load_predictions(experiment)
    copy = Path(shutil.copytree(experiment, tmp_path / "demo"))
    run = copy / "soft" / "fold1-seed0"
    shutil.copytree(run, run.with_name(f".{run.name}.0{PARTIAL}"))  # what a kill leaves
    unfinished = copy / "soft" / "fold2-seed0"
    (unfinished / done.FILE).unlink()
    kept = amber.load_predictions(copy)
    missing = amber.load_predictions(experiment / "soft" / "fold2-seed0")
    assert len(kept) == len(whole) - len(missing)
    flip(run / predictions.FILE, -9)
    with pytest.raises(UserError, match=r"fold1-seed0: predictions.parquet was changed"):
        amber.load_predictions(copy)


@pytest.mark.parametrize(
    ("y", "p", "says"),
    [
        ([[1, 0]], [[0.5, 0.25, 0.25]], r"must both be \(N, C\)"),
        ([[0, 0]], [[0.5, 0.5]], "at least one vote in each row"),
        ([[1, 0]], [[0.5, 0.6]], "must be a distribution"),
        ([[1, 0]], [[np.nan, 0.5]], "must be a distribution"),
    ],
)
def test_nonsense_is_not_scored(y: list[list[float]], p: list[list[float]], says: str) -> None:
    with pytest.raises(UserError, match=says):
        amber.score(y, p)


def test_without_pandas_and_polars_tables_stay_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook.importlib.util, "find_spec", lambda name: None)
    table = pa.table({"a": [1]})
    assert notebook.data_frame(table) is table


def test_the_page_and_the_examples_are_up_to_date() -> None:
    assert (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8") == api_page.markdown()
    assert doctest.testmod(scoring).failed == 0

"""Testing on another corpus: the same features and classes, all folds together, written and evaluated like any run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ONE, contents, demo_config

from amber import predictions
from amber.cli import main
from amber.console import Console
from amber.extract import stage
from amber.features.catalog import find_corpus, find_set
from amber.train.saved import SavedModel

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def both(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of two corpora: `demo`, and `other` of other speakers' utterances."""
    cache = Path(shutil.copytree(demo_cache, tmp_path_factory.mktemp("both") / "cache"))
    stage.run(demo_config(cache, "corpus.name=other", "corpus.options.seed=5", size=60), QUIET)
    return cache


def call(*arguments: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in ("-q", *arguments)])
    assert end.value.code == code


def train(cache: Path, runs: Path, *more: object, code: int = 0) -> None:
    options = ("--variants", "soft,amber2", "--seeds", "0,1", "--set", ONE, "--set", "train.steps=60")
    call("train", "--features", cache, "--dataset", "demo", "--runs", runs, *options, *more, code=code)


def test_train_on_one_corpus_and_test_on_another(both: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ("--test-dataset", "other", "--set", "transfer.other.preset=iemocap-4")
    train(both, tmp_path, *asked)
    folder = tmp_path / "demo-on-other"
    assert sorted(str(p.parent.relative_to(folder)) for p in folder.glob("*/*/DONE")) == [
        f"{variant}/fold1-seed{seed}" for variant in ("amber2", "soft") for seed in (0, 1)
    ]
    found = predictions.read(folder / "amber2" / "fold1-seed1" / predictions.FILE)
    corpus = find_corpus(both, "other")
    assert set(found.keys["run"]) == {"other/amber2/fold1-seed1"}
    assert set(found.keys["head"]) == {"student", "speech", "text"}
    assert found.classes == ("neutral", "happy", "sad", "angry")
    stores = {m: find_set(both, corpus, m, None) for m in ("speech", "text")}  # type: ignore[arg-type]
    models = [SavedModel.read(tmp_path / "demo" / "amber2" / f"fold{k}-seed1" / "model") for k in range(1, 6)]
    p = np.mean([m.predict({k: s.every_layer() for k, s in stores.items()})["student"] for m in models], axis=0)  # type: ignore[misc]
    row = {uid: place for place, uid in enumerate(corpus.ids)}
    student = found.of(head="student")
    assert np.abs(student.p - p[[row[uid] for uid in student.keys["id"]]]).max() < 1e-6

    before = contents(tmp_path)
    train(both, tmp_path, *asked)
    assert contents(tmp_path) == before
    capfd.readouterr()
    call("evaluate", "--runs", folder, "--set", "evaluate.resamples=100", "--json")
    results = json.loads(capfd.readouterr().out)
    assert results["dataset"]["name"] == "other"
    assert results["summary"]["soft"]["bc"]["mean"] > results["baselines"]["uniform"]["bc"]["mean"]
    assert (folder / "report.html").is_file()
    own = json.loads((folder / "metrics.json").read_text())["summary"]["soft"]["bc"]["mean"]
    call("matrix", tmp_path / "demo", folder, "--json")
    cells = json.loads(capfd.readouterr().out)
    assert [(c["variant"], c["trained"], c["tested"], c["n"]) for c in cells if c["variant"] == "soft"] == [
        ("soft", "demo", "demo", 100), ("soft", "demo", "other", len(student.p))
    ]  # fmt: skip
    (cell,) = [c for c in cells if (c["variant"], c["tested"]) == ("soft", "other")]
    assert cell["figures"]["bc"]["mean"] == pytest.approx(own, abs=1e-12)
    call("matrix", tmp_path / "demo", folder)
    assert "trained on  on demo" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--test-dataset", "nowhere"), "no dataset 'nowhere'"),
        (("--test-dataset", "demo"), "the models learn from it"),
        (("--set", "transfer.other.preset=iemocap-9"), "map its labels onto them with transfer.other.preset"),
        (("--set", "transfer.wide.preset=iemocap-4"), "dtype float32, not float16"),
    ],
)
def test_what_can_t_be_tested_on_is_refused_before_anything_trains(
    both: Path, tmp_path: Path, more: tuple[str, ...], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if "wide" in more[1]:
        stage.run(demo_config(both, "corpus.name=wide", "features.dtype=float32", size=30), QUIET)
    train(both, tmp_path / "runs", *more, code=2)
    said = capfd.readouterr().err
    assert says in said
    assert len(said.splitlines()) <= 3
    assert not (tmp_path / "runs").exists()

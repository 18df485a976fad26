"""Testing on another corpus: the same features and classes, all folds together, written and evaluated like any run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ONE, contents, demo_config

from amber import predictions
from amber.cli import main
from amber.console import Console
from amber.errors import UserError
from amber.extract import stage
from amber.features.catalog import find_corpus, find_set
from amber.train import joint
from amber.train.matrix import variants
from amber.train.plan import prepare
from amber.train.saved import SavedModel
from amber.train.utterances import used

QUIET = Console(quiet=True)


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

    # Of two experiments on one corpus: other test sets are said, other targets refused.
    less = ("--dataset", "other", "--set", "labels.preset=iemocap-4", "--set", "experiment=fewer")
    train(both, tmp_path, *less, "--set", "labels.min_votes=4", "--folds", "1,2")
    call("matrix", tmp_path / "demo", folder, tmp_path / "fewer")
    said = capfd.readouterr().out
    assert f", n = {len(student.p)}" in said
    assert said.count(", n = ") == 2 * 2 * 4  # variants, rows and metrics
    two = ("--set", "labels.classes={calm: [neutral, sadness], roused: [happiness, anger]}")
    train(both, tmp_path, "--dataset", "other", *two, "--set", "experiment=two")
    call("matrix", folder, tmp_path / "two", code=2)
    assert "but with other classes: their figures are about different targets" in capfd.readouterr().err
    merged = "labels.classes={neutral: [neutral], happy: [happiness], sad: [anger], angry: [sadness]}"
    train(both, tmp_path, "--dataset", "other", "--set", merged, "--set", "experiment=merged")
    call("matrix", folder, tmp_path / "merged", code=2)
    assert "but with other votes on the same utterances" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--test-dataset", "nowhere"), "no dataset 'nowhere'"),
        (("--test-dataset", "demo"), "the models learn from it"),
        (("--set", "transfer.other.preset=iemocap-9"), "map its labels onto them with transfer.other.preset"),
        (("--set", "transfer.wide.preset=iemocap-4"), "dtype float32, not float16"),
        (("--set", "transfer.other={preset: iemocap-4, smoothing: 0.1}"), "transfer.other.smoothing has no effect"),
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


def test_several_corpora_as_one_training_set(both: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    few = ("--variants", "soft", "--seeds", "0", "--set", ONE, "--set", "train.steps=20", "--runs", tmp_path)
    labels = ("--set", "transfer.other.preset=iemocap-4")
    call("train", "--features", both, "--dataset", "demo,other", *few, *labels)
    folder = tmp_path / "demo+other"
    assert len(list(folder.glob("soft/*/DONE"))) == 5
    tested: list[str] = []
    for fold in range(1, 6):
        found = predictions.read(folder / "soft" / f"fold{fold}-seed0" / predictions.FILE)
        assert set(found.keys["run"]) == {f"demo+other/soft/fold{fold}-seed0"}
        test = found.of(head="student", part="test")
        assert {uid.split("/")[0] for uid in test.keys["id"]} == {"demo", "other"}
        assert {uid.split("/")[0] for uid in test.keys["id"]} == {s.split("/")[0] for s in test.keys["speaker"]}
        tested += test.keys["id"].tolist()
    assert len(tested) == len(set(tested))
    corpora = {name: find_corpus(both, name) for name in ("demo", "other")}
    assert set(corpora["demo"].ids) & set(corpora["other"].ids)  # they clash, and are kept apart
    before = contents(tmp_path)
    call("train", "--features", both, "--dataset", "demo,other", *few, *labels)
    assert contents(tmp_path) == before
    capfd.readouterr()
    call("evaluate", "--runs", folder, "--set", "evaluate.resamples=100", "--json")
    results = json.loads(capfd.readouterr().out)
    assert results["dataset"]["name"] == "demo+other"
    of_corpus = {name: level["n"] for name, level in results["strata"]["corpus"].items()}
    assert of_corpus == dict(Counter(uid.split("/")[0] for uid in tested))
    assert "corpus" in (folder / "report.html").read_text()
    config = demo_config(both, "transfer.other.preset=iemocap-4")
    assert prepare(config, "demo,other").dataset == "demo,other"  # what workers prepare the same plan from


def test_folds_of_a_joint_set_are_the_unions_of_the_corpora_s(both: Path) -> None:
    config = demo_config(both, "transfer.other.preset=iemocap-4")
    whole = prepare(config, "demo,other")
    for name in ("demo", "other"):
        own = prepare(config, name) if name == "demo" else prepare(demo_config(both, "labels.preset=iemocap-4"), name)
        for number, fold in own.folds.items():
            for part, rows in fold.parts().items():
                there = [whole.data.corpus.ids[row] for row in whole.folds[number].parts()[part]]
                here = [f"{name}/{own.data.corpus.ids[row]}" for row in rows]
                assert [uid for uid in there if uid.startswith(f"{name}/")] == here


def test_corpora_with_different_numbers_of_folds_are_refused(both: Path) -> None:
    config = demo_config(both, "transfer.other.preset=iemocap-4")
    few, more = joint.read(config, ["demo", "other"], ["speech"])
    split = more.split.model_copy(update={"scheme": "speaker-folds", "k": 3})
    sources = [few, replace(more, split=split)]
    with pytest.raises(UserError, match="demo has 5 folds, other has 3 folds"):
        joint.make_folds(sources, joint.combine(sources), "test1")


def test_each_row_of_a_joint_set_reads_its_own_features_and_votes(both: Path) -> None:
    config = demo_config(both, "transfer.other.preset=iemocap-4")
    sources = joint.read(config, ["demo", "other"], ["speech", "text"])
    data = joint.combine(sources)
    start = 0
    for source in sources:
        own, rows = source.data, slice(start, start + len(source.data.corpus))
        assert data.corpus.ids[rows] == tuple(f"{source.corpus.name}/{uid}" for uid in own.corpus.ids)
        assert np.array_equal(data.counts[rows], own.counts)
        for choice in ("last", "mean", "learned"):
            assert np.array_equal(data.inputs("speech", choice)[rows], own.inputs("speech", choice))  # type: ignore[arg-type]
        start = rows.stop
    seen = np.concatenate([rows for rows, _ in data.blocks("text")])
    assert np.array_equal(np.sort(seen), np.arange(len(data.corpus)))


MAPPED = ("--set", "transfer.other.preset=iemocap-4")


@pytest.mark.parametrize(
    ("dataset", "more", "says"),
    [
        ("demo,demo", (), "named twice"),
        ("demo,nowhere", (), "no dataset 'nowhere'"),
        ("demo,other", ("--set", "transfer.other.preset=iemocap-9"), "map its labels onto them with transfer.other"),
        ("demo,other", ("--test-dataset", "other"), "--test-dataset: the models learn from other"),
        ("demo,wide", ("--set", "transfer.wide.preset=iemocap-4"), "--dataset wide: its speech features are not made"),
        ("demo,other", (*MAPPED, "--set", "train.votes=2"), "train.votes: ce, soft, amber2 would see a few"),
        ("demo,other", (*MAPPED, "--set", "grid={train.votes: [1, 2]}", "--dry-run"), "ce,votes=1"),
        ("demo,other", (*MAPPED, "--set", "transfer.other.smoothing=0.1"), "transfer.other.smoothing has no effect"),
        (
            "demo,other",
            (*MAPPED, "--set", "transfer.other.smoothing=0", "--set", "labels.smoothing=0.1"),
            "has no effect",
        ),
    ],
)
def test_corpora_that_can_t_be_joined_are_refused(
    both: Path, tmp_path: Path, dataset: str, more: tuple[str, ...], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if "wide" in dataset:
        stage.run(demo_config(both, "corpus.name=wide", "features.dtype=float32", size=30), QUIET)
    call("train", "--features", both, "--dataset", dataset, "--runs", tmp_path / "runs", *more, code=2)
    assert says in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_curve_of_several_corpora_is_refused(both: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    call("curve", "--features", both, "--dataset", "demo,other", "--runs", tmp_path / "runs", code=2)
    assert "a curve is of one corpus, not of several" in capfd.readouterr().err


def test_variants_of_a_joint_set_use_what_they_read(both: Path) -> None:
    config = demo_config(
        both, "transfer.other.preset=iemocap-4", "features.require=read", "train.variants=[speech, text]"
    )
    sources = joint.read(config, ["demo", "other"], ["speech", "text"])
    unread = replace(
        sources[1].data, rows={**sources[1].data.rows, "text": np.full_like(sources[1].data.rows["text"], -1)}
    )
    data = used(joint.combine([sources[0], replace(sources[1], data=unread)]), variants(config), "read")
    assert {uid.split("/")[0] for uid in data.having(["speech"]).corpus.ids} == {"demo", "other"}
    assert {uid.split("/")[0] for uid in data.having(["text"]).corpus.ids} == {"demo"}
    plan = prepare(config, "demo,other")
    assert [part.utterances.modalities for part in plan.parts] == [("speech",), ("text",)]

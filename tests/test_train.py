"""The training stage on cached features: joined by id, resumed, skipped, and recorded."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ONE, Amber, demo_config, environment
from safetensors.torch import load_file

from amber import predictions
from amber.config import Config
from amber.console import Console
from amber.corpus import FILE, Corpus
from amber.errors import UserError
from amber.features.catalog import find_corpus, pick_layers
from amber.features.store import feature_sets
from amber.labels import LabelSpace, distribution
from amber.train import stage
from amber.train.dataset import find_stores, join
from amber.train.inputs import Inputs

QUIET = Console(quiet=True)
QUICK = ("train.epochs=3", "train.every=2", ONE, "train.seeds=[0, 1]", "labels.subset=any")


def config(cache: Path, runs: Path, *overrides: str) -> Config:
    return demo_config(cache, *QUICK, f"train.runs={runs}", *overrides)


@pytest.fixture(scope="module")
def trained(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    stage.run(config(demo_cache, runs), None, QUIET)
    return runs / "demo"


def all_predictions(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("predictions.parquet"))}


def test_every_run_has_what_the_contract_names(trained: Path) -> None:
    folders = sorted(trained.glob("*/*"))
    assert len(folders) == 3 * 5 * 2
    for folder in folders:
        names = {p.name for p in folder.iterdir()}
        assert names == {"config.yaml", "env.json", "metrics.jsonl", "predictions.parquet", "model", "DONE"}
        assert {p.name for p in (folder / "model").iterdir()} == {"heads.safetensors", "config.json", "README.md"}
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [(line["candidate"], line["step"]) for line in lines] == [(1, 2), (1, 4), (1, 6)]
    written = yaml.safe_load((trained / "ce" / "fold2-seed1" / "config.yaml").read_text())
    assert (written["variant"], written["fold"], written["seed"]) == ("ce", 2, 1)
    assert written["objective"]["target"] == "hard"
    assert written["labels"]["subset"] == "any"
    assert written["splits"]["scheme"] == "leave-one-session-out"
    assert "Trained on synthetic data" in (trained / "ce" / "fold1-seed0" / "model" / "README.md").read_text()


def test_predictions_belong_to_their_utterances(trained: Path, demo_cache: Path) -> None:
    corpus = Corpus.read(demo_cache / "demo" / FILE)
    space = LabelSpace.resolve(config(demo_cache, trained).labels, corpus)
    counts = space.count(corpus.votes()).inside
    row = {uid: i for i, uid in enumerate(corpus.ids)}
    sessions, speakers = corpus.column("session"), corpus.column("speaker")
    for fold in range(1, 6):
        found = predictions.read(trained / "amber2" / f"fold{fold}-seed0" / predictions.FILE)
        assert set(found.keys["head"]) == {"student", "student-calibrated", "speech", "text"}
        for part, session in (("test", str(fold)), ("dev", str(fold % 5 + 1))):
            rows = found.of(part=part, head="student")
            assert {sessions[row[uid]] for uid in rows.keys["id"]} == {session}
            assert len(rows) == 20
            for i, uid in enumerate(rows.keys["id"]):
                np.testing.assert_allclose(rows.y[i], distribution(counts[[row[uid]]])[0])
                assert rows.counts[i].tolist() == counts[row[uid]].tolist()
                assert rows.keys["speaker"][i] == speakers[row[uid]]
        np.testing.assert_allclose(found.p.sum(axis=1), 1, atol=1e-6)
        assert found.truth is not None


def test_what_is_done_is_not_done_again_and_what_differs_is(trained: Path, demo_cache: Path) -> None:
    runs = trained.parent
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("DONE")}
    stage.run(config(demo_cache, runs), None, QUIET)
    assert {p: p.stat().st_mtime_ns for p in trained.rglob("DONE")} == before
    missing = stage.prepare(config(demo_cache, runs, "objective.modality_weight=0.4"), None).missing()
    assert {run.variant.name for run in missing} == {"amber2"}
    for override in ("labels.smoothing=0.05", "splits.scheme=leave-one-speaker-out", "train.lr=0.1"):
        experiment = stage.prepare(config(demo_cache, runs, override), None)
        assert experiment.missing() == experiment.runs


def test_what_is_asked_for_in_vain_is_said_and_trained_once(demo_cache: Path, tmp_path: Path) -> None:
    asked = config(demo_cache, tmp_path, "grid={objective.modality_weight: [0.25, 0.5]}", "objective.student=speech")
    lines = stage.plan(asked, None)
    for name in ("ce", "soft"):
        assert any(f"objective.modality_weight has no effect on {name}: points of the grid" in line for line in lines)
    for name in ("ce", "soft", "amber2"):
        assert any(f"demo: objective.student has no effect on {name}, which fixes it" in line for line in lines)
    assert f"{(1 + 1 + 2) * 5 * 2} runs, 0 done" in lines[-1]


def test_the_same_command_twice_gives_the_same_numbers(trained: Path, demo_cache: Path, tmp_path: Path) -> None:
    stage.run(config(demo_cache, tmp_path), None, QUIET)
    assert all_predictions(tmp_path / "demo") == all_predictions(trained)


def test_killed_and_started_again_gives_the_same_numbers(
    amber: Amber, trained: Path, demo_cache: Path, tmp_path: Path
) -> None:
    arguments = ["-q", "train", "--features", str(demo_cache), "--runs", str(tmp_path), "--dataset", "demo"]
    for override in QUICK:
        arguments += ["--set", override]
    process = subprocess.Popen([sys.executable, "-m", "amber.cli", *arguments], env=environment())
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(tmp_path.glob("demo/*/*/DONE"))) >= 3:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= len(list(tmp_path.glob("demo/*/*/DONE"))) < 30, "the kill came too late to test anything"
    amber(*arguments)
    assert all_predictions(tmp_path / "demo") == all_predictions(trained)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_group_of_which_one_run_is_missing_gives_the_same_numbers(
    trained: Path, demo_cache: Path, tmp_path: Path
) -> None:
    """The group trains again as a whole, and only what is missing is written."""
    shutil.copytree(trained, tmp_path / "demo")
    lost = tmp_path / "demo" / "amber2" / "fold2-seed1"
    shutil.rmtree(lost)
    others = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("DONE")}
    stage.run(config(demo_cache, tmp_path), None, QUIET)
    assert all_predictions(tmp_path / "demo") == all_predictions(trained)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("DONE") if p.parent != lost} == others


def test_learned_layers_are_recorded_with_the_model(demo_cache: Path, tmp_path: Path) -> None:
    overrides = ["train.variants=[amber2]", "train.layer={text: learned}", "train.folds=[1]", "train.seeds=[0]"]
    stage.run(config(demo_cache, tmp_path, *overrides), None, QUIET)
    folder = tmp_path / "demo" / "amber2" / "fold1-seed0" / "model"
    (written,) = json.loads((folder / "config.json").read_text())["candidates"]
    weights = written["layer_weights"]["text"]
    layers = next(s for s in feature_sets(demo_cache, "demo") if s.spec.modality == "text").spec.layers
    assert list(written["layer_weights"]) == ["text"]
    assert list(weights) == [str(n) for n in layers]
    assert sum(weights.values()) == pytest.approx(1)
    tensors = load_file(folder / "heads.safetensors")
    assert tensors["scaling.text.learned.mean"].shape == (len(layers), 384)
    logits = tensors["1.mix.text"]
    np.testing.assert_allclose(logits.softmax(dim=0), list(weights.values()), rtol=1e-6)


def test_more_layers_than_there_is_memory_for_are_refused(demo_cache: Path, tmp_path: Path) -> None:
    made = config(demo_cache, tmp_path, "train.layer=learned", "train.memory=0.0001")
    with pytest.raises(UserError, match=r"takes 0\.0 GB, train\.memory allows 0\.0001(.|\n)*train\.memory=GB"):
        stage.prepare(made, None)


def test_scaling_sees_the_training_part_only(demo_cache: Path) -> None:
    experiment = stage.prepare(config(demo_cache, demo_cache), None)
    train = experiment.folds[1].train
    features = Inputs(experiment.data, experiment.folds, "cpu")
    inputs, scalings = features.of(1, (("text", "learned"),))
    raw = experiment.data.inputs("text", "learned").astype(np.float64)  # (n, L, D)
    np.testing.assert_allclose(scalings["text"].mean, raw[train].mean(axis=0), atol=1e-5)
    deviation = raw[train].std(axis=0)
    np.testing.assert_allclose(scalings["text"].std, np.where(deviation < 1e-6, 1, deviation), rtol=1e-4)
    standard = (raw - scalings["text"].mean) / scalings["text"].std
    normal = standard - standard.mean(axis=-1, keepdims=True)
    normal /= np.sqrt((normal**2).mean(axis=-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(inputs["text"], normal, atol=1e-3)
    # One layer alone is scaled as it is among the others.
    one, _ = features.of(1, (("text", 3),))
    np.testing.assert_allclose(one["text"], inputs["text"][:, 3], atol=1e-5)


def test_calibrated_predictions_stand_beside_the_others(demo_cache: Path, tmp_path: Path) -> None:
    overrides = ["train.variants=[soft]", "train.folds=[1]", "train.seeds=[0]"]
    stage.run(config(demo_cache, tmp_path, *overrides), None, QUIET)
    folder = tmp_path / "demo" / "soft" / "fold1-seed0"
    temperature = json.loads((folder / "model" / "config.json").read_text())["temperature"]
    found = predictions.read(folder / predictions.FILE)
    assert set(found.keys["head"]) == {"student", "student-calibrated"}
    raw, calibrated = found.of(head="student"), found.of(head="student-calibrated")
    assert raw.keys["id"].tolist() == calibrated.keys["id"].tolist()
    power = raw.p ** (1 / temperature)
    np.testing.assert_allclose(calibrated.p, power / power.sum(axis=1, keepdims=True), atol=1e-9)
    dev_raw, dev = raw.of(part="dev"), calibrated.of(part="dev")
    votes = dev.counts
    assert (votes * np.log(dev.p)).sum() >= (votes * np.log(dev_raw.p)).sum()


def test_rivals_run_as_variants(amber: Amber, demo_cache: Path, tmp_path: Path) -> None:
    """Through the command line, and evaluated in one table with a trained variant."""
    tuned = {"logistic": "C", "svm": "C", "mlp": "alpha", "ridge": "alpha"}
    quick = ("--set", "labels.subset=any", "--set", "train.epochs=3", "--set", ONE)
    amber("train", "--features", demo_cache, "--runs", tmp_path, "--variants", f"uniform,prior,{','.join(tuned)},soft",
          "--seeds", "0,1", "--folds", "1", *quick)  # fmt: skip
    for variant in ("uniform", "prior", *tuned):
        folder = tmp_path / "demo" / variant / "fold1-seed0"
        names = {p.name for p in folder.iterdir()}
        assert names == {"config.yaml", "env.json", "metrics.jsonl", "predictions.parquet", "model", "DONE"}
        assert yaml.safe_load((folder / "config.yaml").read_text())["model"] == variant
        again = folder.with_name("fold1-seed1")
        first, second = (predictions.read(f / predictions.FILE) for f in (folder, again))
        assert np.array_equal(first.p, second.p) == (variant != "mlp")
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert all(tuned[variant] in line for line in lines if variant in tuned)
    result = json.loads(amber("evaluate", "--runs", tmp_path / "demo", "--json").stdout)
    bc = {variant: figures["bc"]["mean"] for variant, figures in result["summary"].items()}
    assert min(bc[variant] for variant in tuned) > bc["prior"] > 0.6
    assert set(bc) == {"uniform", "prior", *tuned, "soft", "soft + temperature"}
    for name in ("uniform", "prior"):  # what training makes of them is what evaluation has as its references
        assert result["baselines"][name]["nll_per_vote"]["mean"] == pytest.approx(
            result["summary"][name]["nll_per_vote"]["mean"], abs=1e-6
        )
    rows = [
        line.split("|")[1].strip() for line in (tmp_path / "demo" / "table.md").read_text().splitlines() if "|" in line
    ]
    assert rows[: rows.index("majority")].count("prior") == 1


def test_a_cache_that_was_copied_in_part_is_refused(amber: Amber, demo_cache: Path, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(demo_cache, tmp_path / "cache"))
    chunk = next(cache.glob("demo/speech-*.zarr/pooled/c/1/0/0"))
    chunk.unlink()
    said = amber("train", "--features", cache, "--runs", tmp_path / "runs", code=1).stderr
    assert f"{chunk.relative_to(cache)}: a chunk is missing; `amber cache verify` names the damage" in said
    assert not list(tmp_path.glob("runs/**/DONE"))


def test_features_are_joined_by_id_whatever_their_order(demo_cache: Path) -> None:
    """A corpus that is a part of the feature set, in another order, gets its own features."""
    made = config(demo_cache, demo_cache)
    corpus = find_corpus(demo_cache, "demo")
    stores = find_stores(made.features, corpus, ("speech", "text"))
    data = join(corpus, LabelSpace.resolve(made.labels, corpus), stores)
    rows = np.random.default_rng(0).permutation(len(corpus))[:40]
    part = corpus.take(rows)
    shuffled = join(part, LabelSpace.resolve(made.labels, part), stores)
    for modality, layer in (("speech", "last"), ("text", 3)):
        found = shuffled.inputs(modality, layer)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, data.inputs(modality, layer)[rows])  # type: ignore[arg-type]


def test_which_layers_a_choice_reads(demo_cache: Path) -> None:
    _, text = feature_sets(demo_cache, "demo")
    held = text.spec.layers
    for choice in ("all", "mean", "learned"):
        assert pick_layers(choice, text.spec) == held
    assert pick_layers("last", text.spec) == held[-1:]
    assert pick_layers(4, text.spec) == (4,)
    with pytest.raises(UserError, match=r"layer 9: text-minilm.* holds the layers 0, 1, 2, 3, 4, 5, 6; or say"):
        pick_layers(9, text.spec)


def test_which_features(demo_cache: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(demo_cache, cache)
    corpus = find_corpus(cache, None)

    def chosen(*overrides: str) -> str:
        return find_stores(demo_config(cache, *overrides).features, corpus, ("speech",))["speech"].spec.encoder

    assert chosen() == "logmel"
    assert chosen("features.speech=logmel") == "logmel"
    with pytest.raises(UserError, match="no hubert speech features"):
        chosen("features.speech=hubert")
    # A second set of the same utterances has to be chosen between.
    from amber.extract import stage as extraction

    extraction.run(demo_config(cache, "features.dtype=float32"), QUIET)
    with pytest.raises(UserError, match=r"several speech sets; say which(.|\n)*logmel"):
        chosen()
    name = next(s.location.name for s in feature_sets(cache, "demo") if s.spec.dtype == "float32")
    assert chosen(f"features.speech={name}") == "logmel"
    # And one whose units are not all committed is not trained on.
    (store,) = [s for s in feature_sets(cache, "demo") if s.spec.dtype == "float16" and s.spec.modality == "speech"]
    (store.location / "commits" / "c" / "1").unlink()
    with pytest.raises(UserError, match="is not complete"):
        chosen(f"features.speech={store.location.name}")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["train.layer=5"], "layer 5: speech-logmel.* holds the layers 0; or say"),
        (["labels={classes: {a: [x], b: [y]}}"], "the votes say: Anger, Happiness"),
        (["splits.scheme=official"], "no partition of its own"),
        (["train.folds=[9]"], "no fold 9"),
        (["train.device=tpu3"], "can't be used here"),
    ],
)
def test_mistakes_come_before_any_training(demo_cache: Path, tmp_path: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        stage.run(config(demo_cache, tmp_path, *overrides), None, QUIET)
    assert not list(tmp_path.iterdir())


def test_layers_by_modality_and_a_single_modality(demo_cache: Path, tmp_path: Path) -> None:
    overrides = ["train.variants=[text]", "train.layer={text: 4}", "train.folds=[1]"]
    experiment = stage.run(config(demo_cache, tmp_path, *overrides), None, QUIET)
    assert list(experiment.data.stores) == ["text"]
    found = predictions.read(tmp_path / "demo" / "text" / "fold1-seed0" / predictions.FILE)
    assert set(found.keys["head"]) == {"student", "student-calibrated"}


def test_a_cache_of_one_dataset_needs_no_name(demo_cache: Path, tmp_path: Path) -> None:
    assert find_corpus(demo_cache, None).name == "demo"
    with pytest.raises(UserError, match="no dataset 'iemocap' there; it holds demo"):
        find_corpus(demo_cache, "iemocap")
    with pytest.raises(UserError, match="run `amber extract` first"):
        find_corpus(tmp_path, None)


def test_emodb_end_to_end_through_the_command_line(amber: Amber, emodb: Path, tmp_path: Path) -> None:
    """Real speech, speaker-disjoint folds, seven emotions: far above chance (0.14), as measured in the docs."""
    pipeline = Path(__file__).parents[1] / "pipelines" / "emodb.yaml"
    amber("extract", "--dataset", "table", "--root", emodb / "table.csv", "--speech", "logmel", "--text", "minilm",
          "--layers", "last", "--features", tmp_path / "C")  # fmt: skip
    one = "train.candidates=[{layer: last, weight_decay: 0.1}]"
    amber("train", "--features", tmp_path / "C", "--config", pipeline, "--variants", "amber2", "--seeds", "0",
          "--runs", tmp_path / "R", "--set", one)  # fmt: skip
    result = json.loads(amber("evaluate", "--runs", tmp_path / "R" / "emodb", "--json").stdout)
    assert result["utterances"] == 535
    assert result["classes"] == ["anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness"]
    assert result["summary"]["amber2"]["uar"]["mean"] >= 0.55

"""`amber predict`, `amber export` and `amber.load`: equal to what the pipeline stored; missing and broken inputs."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.io.wavfile
import soundfile
from conftest import Amber, demo_config, environment, vouch

import amber as package
from amber import predictions
from amber.console import Console
from amber.corpus import FILE, Corpus
from amber.errors import UserError
from amber.predict import bundle, inputs, model
from amber.predict.rows import Prediction
from amber.train import stage as training

QUIET = Console(quiet=True)
ONE = (
    "train.candidates=[{layer: last, hidden: 0, weight_decay: 0.1}, {layer: all, mixture: true, weight_decay: 0.1}, "
    "{layer: all, ridge: true}]"
)
KIND = ("layer", "hidden", "mixture", "ridge")  # of a candidate


@pytest.fixture(scope="module")
def experiment(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    overrides = ("train.epochs=3", ONE, "train.seeds=[0, 1]", "train.folds=[1, 2]", "labels.subset=any",
                 "train.variants=[ce, amber2, pool, logistic, prior]", f"train.runs={runs}")  # fmt: skip
    training.run(demo_config(demo_cache, *overrides), None, QUIET)
    return runs / "demo"


@pytest.fixture(scope="module")
def corpus(demo_cache: Path) -> Corpus:
    return Corpus.read(demo_cache / "demo" / FILE)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the features of what is predicted stay, for tests that predict the same again."""
    return tmp_path_factory.mktemp("kept")


def table_of(corpus: Corpus, ids: list[str], path: Path, without: str = "") -> Path:
    """Write a table without votes of some utterances of the demo corpus."""
    place = {uid: row for row, uid in enumerate(corpus.ids)}
    audio, text = corpus.column("audio"), corpus.column("text")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "audio", "text"])
        for uid in ids:
            row = place[uid]
            sound = "" if without == "audio" else str(Path(corpus.root, audio[row]))
            writer.writerow([uid, sound, "" if without == "text" else text[row]])
    return path


@pytest.mark.parametrize("variant", ["ce", "amber2", "pool", "logistic", "prior"])
def test_a_run_predicts_what_the_pipeline_stored(
    amber: Amber, experiment: Path, corpus: Corpus, kept: Path, tmp_path: Path, variant: str
) -> None:
    run = experiment / variant / "fold1-seed0"
    stored = predictions.read(run / predictions.FILE).of(part="test")
    student = stored.of(head="student")
    table = table_of(corpus, student.keys["id"].tolist(), tmp_path / "t.csv")
    out = tmp_path / "p.jsonl"
    amber("predict", "--model", run, "--table", table, "--out", out, "--features", kept)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one["id"] for one in found] == student.keys["id"].tolist()
    p = np.array([list(one["distribution"].values()) for one in found])
    np.testing.assert_allclose(p, student.p, atol=1e-4)
    for head in found[0]["experts"]:
        of_head = np.array([list(one["experts"][head].values()) for one in found])
        np.testing.assert_allclose(of_head, stored.of(head=head).p, atol=1e-4)
    assert {tuple(one["modalities"]) for one in found} == {("speech", "text")}


def test_an_experiment_and_its_bundle_answer_with_the_mean_of_their_runs(
    amber: Amber, experiment: Path, corpus: Corpus, tmp_path: Path
) -> None:
    table = table_of(corpus, list(corpus.ids[:5]), tmp_path / "t.csv")
    each = []
    for run in sorted((experiment / "amber2").iterdir()):
        lines = amber("predict", "--model", run, "--table", table).stdout.splitlines()
        each.append([list(json.loads(line)["distribution"].values()) for line in lines])
    together = amber("predict", "--model", experiment, "--table", table).stdout
    p = [list(json.loads(line)["distribution"].values()) for line in together.splitlines()]
    np.testing.assert_allclose(p, np.mean(each, axis=0), atol=1e-9)
    target = tmp_path / "bundle"
    amber("export", "--runs", experiment, "--variant", "amber2", "--to", target)
    assert amber("predict", "--model", target, "--table", table).stdout == together
    card = (target / "README.md").read_text()
    assert "Trained on synthetic data" in card
    assert "logmel" in card
    assert "exists" in amber("export", "--runs", experiment, "--to", target, code=2).stderr


def test_runs_that_differ_in_more_than_fold_and_seed_do_not_answer_together(
    amber: Amber, demo_cache: Path, tmp_path: Path
) -> None:
    quick = ("train.epochs=1", ONE, "train.seeds=[0]", "train.variants=[ce]", f"train.runs={tmp_path}")
    experiment = tmp_path / "demo"
    evaluate = ("-q", "evaluate", "--runs", experiment, "--set", "evaluate.resamples=100")

    def train(*more: str) -> None:
        training.run(demo_config(demo_cache, *quick, *more), None, QUIET)

    def refused(what: str) -> None:
        export = ("export", "--runs", experiment, "--to", tmp_path / "b")
        for asked in (("predict", "--model", experiment, "--text", "a"), export, (*export, "--final"), evaluate):
            said = amber(*asked, code=2).stderr
            assert f"differ in {what}, so they " in said
            assert "move away" in said
        assert not (tmp_path / "b").exists()

    train("splits.scheme=speaker-folds", "splits.k=3")
    amber(*evaluate)
    train("splits.scheme=speaker-folds", "splits.k=4", "train.folds=[1]")
    refused("splits.k")
    train("splits.scheme=speaker-folds", "splits.k=3", "train.lr=0.001", "train.folds=[1]")
    refused("train.lr")
    train("splits.scheme=speaker-folds", "splits.k=3", "train.lr=0.001")
    warned = amber("export", "--runs", experiment, "--to", tmp_path / "b").stderr
    assert "metrics.json: of other runs than these" in warned
    assert "Not evaluated" in (tmp_path / "b" / "README.md").read_text()
    amber(*evaluate)
    assert not amber("-q", "export", "--runs", experiment, "--to", tmp_path / "c").stderr
    assert "| nll_per_vote |" in (tmp_path / "c" / "README.md").read_text()


def test_a_model_of_several_corpora_predicts_what_the_pipeline_stored(amber: Amber, both: Path, tmp_path: Path) -> None:
    quick = ("train.epochs=3", ONE, "train.seeds=[0]", "train.folds=[1]", "train.variants=[soft]")
    labels = ("transfer.other.preset=iemocap-4", f"train.runs={tmp_path}")
    training.run(demo_config(both, *quick, *labels), "demo,other", QUIET)
    experiment = tmp_path / "demo+other"
    stored = predictions.read(experiment / "soft" / "fold1-seed0" / predictions.FILE).of(part="test", head="student")
    amber("export", "--runs", experiment, "--variant", "soft", "--to", tmp_path / "bundle")
    assert "demo+other" in (tmp_path / "bundle" / "README.md").read_text()
    for name in ("demo", "other"):
        rows = [row for row, uid in enumerate(stored.keys["id"]) if uid.startswith(f"{name}/")]
        ids = [stored.keys["id"][row].removeprefix(f"{name}/") for row in rows]
        table = table_of(Corpus.read(both / name / FILE), ids, tmp_path / f"{name}.csv")
        said = amber("predict", "--model", tmp_path / "bundle", "--table", table).stdout.splitlines()
        p = [list(json.loads(line)["distribution"].values()) for line in said]
        np.testing.assert_allclose(p, stored.p[rows], atol=1e-4)


@pytest.mark.parametrize("variant", ["amber2", "pool"])
def test_one_model_on_all_utterances(
    amber: Amber, experiment: Path, corpus: Corpus, tmp_path: Path, variant: str
) -> None:
    asked = ("export", "--runs", experiment, "--variant", variant, "--final", "--to")
    for name in ("one", "again"):
        amber(*asked, tmp_path / name)
    files = {p.relative_to(tmp_path / "one"): p.read_bytes() for p in (tmp_path / "one" / "members").rglob("*.*")}
    assert {p.name for p in files} == {"heads.safetensors", "config.json", "README.md"}
    assert files == {p: (tmp_path / "again" / p).read_bytes() for p in files}  # same seeds, same bytes
    about = json.loads((tmp_path / "one" / bundle.FILE).read_text())["final"]
    assert (about["utterances"], about["runs"], about["seed"]) == (len(corpus), 4, 0)
    runs = sorted((experiment / variant).iterdir())
    stopped = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
    configs = [json.loads((run / "model" / "config.json").read_text()) for run in runs]
    final = json.loads((tmp_path / "one" / "members" / "final" / "config.json").read_text())
    assert len(final["candidates"]) == 3
    for place, one in enumerate(final["candidates"], 1):
        # What a candidate of the folds chose is of the same one on all utterances.
        same = [c for config in configs for c in config["candidates"] if [c[k] for k in KIND] == [one[k] for k in KIND]]
        assert one["weights"]["speech"] == pytest.approx(sum(c["weights"]["speech"] for c in same) / len(configs))
        (number,) = {c["number"] for c in same}
        looks = [[r for r in of if r["candidate"] == number] for of in stopped]
        best = [min(of, key=lambda r: r["dev_nll"]).get("step", 0) for of in looks]
        assert about["steps"][str(place)] == round(float(np.median(best)))
        assert bool(about["steps"][str(place)]) is not one["ridge"]
    assert final["temperature"] == pytest.approx(np.mean([config["temperature"] for config in configs]))
    card = (tmp_path / "one" / "README.md").read_text()
    assert f"one model, trained on all\n  {len(corpus)} utterances" in card
    assert "figures are of each fold's own model" in card
    # It says about what the models of the folds say.
    table = table_of(corpus, list(corpus.ids[:8]), tmp_path / "t.csv")
    p = [[list(one["distribution"].values()) for one in map(json.loads, amber("predict", "--model", of, "--variant",
          variant, "--table", table).stdout.splitlines())] for of in (tmp_path / "one", experiment)]  # fmt: skip
    assert 1e-6 < np.abs(np.subtract(*p)).mean() < 0.1


def test_a_final_model_that_can_t_be_had_is_refused(amber: Amber, experiment: Path, tmp_path: Path) -> None:
    asked = ("export", "--runs", experiment, "--final", "--to", tmp_path / "bundle")
    assert "leave out --final" in amber(*asked, "--variant", "logistic", code=2).stderr
    assert "give it with --features" in amber(*asked, "--features", tmp_path / "none", code=2).stderr
    changed = Path(shutil.copytree(experiment, tmp_path / "demo"))
    for config in (changed / "amber2").glob("*/config.yaml"):
        config.write_text(config.read_text().replace("modality_weight: 0.5", "modality_weight: 0.6"))
    vouch(changed)
    refused = amber("export", "--runs", changed, "--final", "--to", tmp_path / "bundle", code=2).stderr
    assert "does not hold what" in refused
    assert not (tmp_path / "bundle").exists()


def test_a_changed_bundle_and_another_schema_are_refused(experiment: Path, amber: Amber, tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    amber("export", "--runs", experiment, "--variant", "ce", "--to", target)
    heads = next(target.rglob("heads.safetensors"))
    content = bytearray(heads.read_bytes())
    content[-1] ^= 1
    heads.write_bytes(content)
    with pytest.raises(UserError, match=r"not as written: members/.*heads.safetensors"):
        model.load(target)
    data = json.loads((target / bundle.FILE).read_text())
    (target / bundle.FILE).write_text(json.dumps({**data, "schema": 99}))
    with pytest.raises(UserError, match="schema version 99"):
        model.load(target)


def test_with_one_modality_its_expert_answers_and_the_output_says_so(
    amber: Amber, experiment: Path, corpus: Corpus, tmp_path: Path
) -> None:
    ids = list(corpus.ids[:4])
    table = table_of(corpus, ids, tmp_path / "b.csv")
    both = [json.loads(x) for x in amber("predict", "--model", experiment, "--table", table).stdout.splitlines()]
    for gone, there in (("audio", "text"), ("text", "speech")):
        table = table_of(corpus, ids, tmp_path / f"{gone}.csv", without=gone)
        found = [json.loads(x) for x in amber("predict", "--model", experiment, "--table", table).stdout.splitlines()]
        for one, whole in zip(found, both, strict=True):
            assert one["modalities"] == [there]
            assert one["distribution"] == one["experts"][there]
            np.testing.assert_allclose(
                list(one["distribution"].values()), list(whole["experts"][there].values()), atol=1e-6
            )
            assert one["conflict"] is None
        told = amber("predict", "--model", experiment, "--variant", "ce", "--table", table, code=2).stderr
        assert f"reads speech and text; there is {there} to read" in told


def test_a_bad_file_is_a_row_with_its_error(amber: Amber, experiment: Path, corpus: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(3):
        shutil.copy(Path(corpus.root, corpus.column("audio")[number]), folder / f"{number}.wav")
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    done = amber("predict", "--model", experiment, folder)
    found = {Path(one["id"]).name: one for one in map(json.loads, done.stdout.splitlines())}
    assert list(found) == ["0.wav", "1.wav", "2.wav", "broken.wav"]
    assert "broken.wav" in found["broken.wav"]["error"]
    assert found["broken.wav"]["distribution"] == {}
    assert all(found[f"{n}.wav"]["error"] is None for n in range(3))
    assert "1 of 4 have an error" in done.stderr


def test_standard_input_texts_and_formats(
    amber: Amber, experiment: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(corpus.root, corpus.column("audio")[0])
    lines = json.dumps({"id": "a", "audio": str(path), "text": "well"}) + "\n" + json.dumps({"id": "b", "text": "well"})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    found = amber("-q", "predict", "--model", experiment, "-")
    a, b = map(json.loads, found.stdout.splitlines())
    assert (a["modalities"], b["modalities"]) == (["speech", "text"], ["text"])
    monkeypatch.chdir(path.parent)  # paths are relative to where we are
    lines = json.dumps({"id": "a", "audio": path.name, "text": "well"})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    (relative,) = map(json.loads, amber("-q", "predict", "--model", experiment, "-").stdout.splitlines())
    assert relative["distribution"] == pytest.approx(a["distribution"], abs=1e-6)
    (only,) = map(json.loads, amber("predict", "--model", experiment, "--text", "well").stdout.splitlines())
    assert only["distribution"] == pytest.approx(b["distribution"], abs=1e-6)
    for name in ("p.csv", "p.parquet"):
        amber("predict", "--model", experiment, "--text", "well", "--text", "no!", "--out", tmp_path / name)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    table = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["id"] for row in rows] == [row["id"] for row in table] == ["text-1", "text-2"]
    assert float(rows[0]["p_happy"]) == table[0]["p_happy"] == pytest.approx(only["distribution"]["happy"], abs=1e-6)
    assert rows[0]["modalities"] == "text"
    assert "end the name in" in amber("predict", "--model", experiment, "--text", "x", "--out", "p.doc", code=2).stderr


def test_a_killed_prediction_goes_on_and_gives_the_same_rows(
    amber: Amber, experiment: Path, corpus: Corpus, tmp_path: Path
) -> None:
    table = table_of(corpus, list(corpus.ids), tmp_path / "t.csv")
    amber("predict", "--model", experiment, "--table", table, "--out", tmp_path / "whole.jsonl")
    command = [sys.executable, "-m", "amber.cli", "predict", "--model", str(experiment), "--table", str(table)]
    command += ["--out", str(tmp_path / "p.jsonl")]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    cache = tmp_path / ".p.jsonl.features"
    deadline = time.monotonic() + 60
    while not list(cache.rglob("commits/c/0")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert cache.is_dir()
    assert not (tmp_path / "p.jsonl").exists()
    kept = list(cache.rglob("commits/c/0"))
    before = [path.stat().st_mtime_ns for path in kept]
    amber("predict", "--model", experiment, "--table", table, "--out", tmp_path / "p.jsonl")
    assert before
    assert (tmp_path / "p.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not cache.exists()


def test_in_python_paths_arrays_and_lists_give_the_same(experiment: Path, corpus: Corpus) -> None:
    path = Path(corpus.root, corpus.column("audio")[0])
    samples, rate = soundfile.read(path, dtype="float32")
    predictor = package.load(experiment)
    one = predictor.predict(audio=path, text="well")
    assert isinstance(one, Prediction)
    assert sum(one.distribution.values()) == pytest.approx(1)
    assert one.label in predictor.classes
    assert 0 <= one.ambiguity <= 1
    assert 0 <= one.conflict <= 1
    again, alone = predictor.predict(audio=[samples, None], text=["well", "well"], rate=rate)
    assert again.distribution == pytest.approx(one.distribution, abs=1e-6)
    assert alone.modalities == ("text",)
    with pytest.raises(UserError, match="give audio, text, or both"):
        predictor.predict()
    with pytest.raises(UserError, match="1 recordings and 2 texts"):
        predictor.predict(audio=[path], text=["a", "b"])
    with pytest.raises(UserError, match="not all finite"):
        predictor.predict(audio=np.array([np.nan]))
    with pytest.raises(UserError, match=r"found \(2, 8000\): transpose them"):
        predictor.predict(audio=np.zeros((2, 8000)))
    for wrong in (0, 16000.0):
        with pytest.raises(UserError, match="not a whole number of samples per second"):
            predictor.predict(audio=samples, rate=wrong)
    with pytest.raises(UserError, match="text 1: 5 is no string"):
        predictor.predict(text=5)


@pytest.mark.parametrize("kind", ["PCM_U8", "PCM_16", "PCM_32"])
def test_samples_of_any_width_are_those_of_a_file_of_that_width(tmp_path: Path, kind: str) -> None:
    """As SciPy reads a file: unsigned integers of 8 bits, signed ones of more."""
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(16_000) / 9) * 0.5, 16_000, subtype=kind)
    _, samples = scipy.io.wavfile.read(tmp_path / "a.wav")
    inputs.of_arrays([samples], [None], 16_000, tmp_path)
    (written, _), (expected, _) = soundfile.read(tmp_path / "1.wav"), soundfile.read(tmp_path / "a.wav")
    np.testing.assert_allclose(written, expected, rtol=0, atol=1e-7)


def test_importing_amber_stays_light() -> None:
    code = "import amber, sys; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pyarrow', 'amber.predict')))"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
    assert {"load", "load_features", "load_votes", "load_predictions", "score"} <= set(dir(package))

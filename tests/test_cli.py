"""The command line as a user meets it: mistakes in one to three lines with exit code 2, results on standard output."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Amber, committed, environment

ROOT = Path(__file__).parents[1]
HEAD = "id,audio,text,speaker"


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from amber.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'transformers', 'zarr', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "print(code, sorted(heavy))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.endswith("0 []\n")
    assert "evaluate" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["extract", "--bogus"], "No such option: --bogus"),
        (["extract"], "--dataset"),
        (["extract", "--dataset", "demoo"], "did you mean 'demo'"),
        (["extract", "--dataset", "table"], "give --root"),
        (["extract", "--dataset", "table", "--root", "/no/such/place"], "/no/such/place: no such file or folder"),
        (["extract", "--dataset", "demo", "--speech", "logmell"], "did you mean 'logmel'"),
        (["extract", "--dataset", "demo", "--speech", "no/such-model"], "not a folder, and can't be had"),
        (["extract", "--dataset", "demo", "--set", "corpus.options.sizes=3"], "did you mean 'size'"),
        (["extract", "--dataset", "demo", "--dtype", "float17"], "features.dtype"),
        (["train", "--features", "nowhere"], "run `amber extract` first"),
        (["train", "--variants", "amber3"], "did you mean 'amber2'"),
        (["train", "--config", "none.yaml"], "none.yaml: can't be read"),
        (["evaluate", "--runs", "nowhere"], "nowhere: no such folder"),
        (["run", "none.yaml"], "none.yaml: can't be read"),
        (["run", "--set", "labels.presett=x"], "did you mean 'preset'"),
        (["run", "--set", "train.variants=[amber3]"], "did you mean 'amber2'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_said_and_leaves_nothing(
    amber: Amber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = amber(*arguments, code=2)
    assert says in done.stderr
    assert done.stderr.startswith("amber: ")
    assert len(done.stderr.splitlines()) <= 3
    assert done.stdout == ""
    assert [p.name for p in tmp_path.iterdir()] == []


def test_an_unknown_key_in_a_file(amber: Amber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text("train: {epoch: 3}\n")
    done = amber("run", "p.yaml", code=2)
    assert done.stderr == "amber: p.yaml: unknown key 'train.epoch'; did you mean 'epochs'?\n"
    assert [p.name for p in tmp_path.iterdir()] == ["p.yaml"]


@pytest.mark.parametrize(
    ("content", "says"),
    [(f"{HEAD}\nu,a.wav,w,s\n", "has no votes"), (f"{HEAD},vote_a\nu,a.wav,w,s,1\n", "none of the 1 audio files")],
)
def test_a_table_that_can_t_be_used(amber: Amber, tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    arguments = ("--root", tmp_path / "t.csv", "--speech", "logmel", "--text", "minilm", "--features", tmp_path / "C")
    done = amber("extract", "--dataset", "table", *arguments, code=2)
    assert says in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_an_encoder_that_has_nothing_to_encode_is_named(
    amber: Amber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("id,text,speaker,vote_a\n" + "".join(f"u{i},hello,s{i},1\n" for i in range(3)))
    asked = ("extract", "--dataset", "table", "--root", "t.csv", "--speech", "logmel", "--text", "minilm")
    said = "table: no utterance has a recording, so --speech logmel does nothing"
    assert said in amber(*asked, "--dry-run").stdout
    assert said in amber(*asked).stderr


def test_run_prints_its_result_as_json(amber: Amber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["train.candidates=[{layer: last}]", "corpus.options.size=40", "train.epochs=1", "train.seeds=[0]"]
    quick += ["labels.subset=any", "evaluate.resamples=200", "train.variants=[prior]", "train.folds=[1]"]
    done = amber("-q", "run", *(word for one in quick for word in ("--set", one)), "--json")
    assert "prior" in json.loads(done.stdout)["summary"]


def test_debug_shows_where(amber: Amber) -> None:
    assert "Traceback" in amber("--debug", "train", "--features", "nowhere", code=2).stderr


def test_a_broken_corpus_is_a_failure_and_not_a_mistake(amber: Amber, tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.wav").write_bytes(b"no audio")
    (tmp_path / "t.csv").write_text(f"{HEAD},vote_a\n" + "".join(f"u{i},{i}.wav,w,s,1\n" for i in range(4)))
    arguments = ("--root", tmp_path, "--speech", "logmel", "--text", "minilm", "--features", tmp_path / "C")
    done = amber("-q", "extract", "--dataset", "table", *arguments, code=1)
    assert "4 utterances failed" in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_a_pipeline_from_nothing_to_the_report_and_again(
    amber: Amber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`amber run` in an empty folder, on the defaults made small; then again, which computes nothing."""
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(
        "corpus: {dataset: demo, options: {size: 40}}\nlabels: {subset: any}\n"
        "train: {epochs: 2, candidates: [{layer: last, hidden: 8, weight_decay: 0.01}], seeds: [0]}\n"
        "evaluate: {resamples: 200}\n"
    )
    plan = amber("run", "p.yaml", "--dry-run")
    assert "features come first" in plan.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["p.yaml"]
    first = amber("run", "p.yaml")
    assert "report: runs/demo/report.html" in first.stdout
    assert Path("runs/demo/report.html").is_file()
    assert "amber2" in first.stdout
    states = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    second = amber("run", "p.yaml")
    assert second.stdout == first.stdout
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name != "ledger.json"} == {
        p: t for p, t in states.items() if p.name != "ledger.json"
    }
    assert "15 runs, 15 done, 0 to do" in amber("run", "p.yaml", "--dry-run").stdout
    assert json.loads(amber("-q", "evaluate", "--runs", "runs/demo", "--json").stdout)["utterances"] == 40
    quiet = amber("-q", "extract", "--config", "p.yaml", "--json")
    assert [o["units_done_now"] for o in json.loads(quiet.stdout)] == [0, 0]
    assert quiet.stderr == ""


def test_an_interrupt_is_answered_with_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "amber.cli", "extract", "--dataset", "demo", "--speech", "logmel", "--text",
               "none", "--features", str(tmp_path)]  # fmt: skip
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        while not committed(tmp_path / "demo", "speech-*") and process.poll() is None:
            time.sleep(0.01)  # until all modules are imported: an interrupt before that can be lost
        process.send_signal(2)
        _, said = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said

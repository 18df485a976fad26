"""Every licensed layout through the command line: synth, check, extract, train, evaluate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ONE

from amber.cli import main
from amber.corpus import FILE, Corpus

# layout: dataset
LAYOUTS = {
    "iemocap": "iemocap",
    "msp-podcast": "msp-podcast",
    "msp-podcast-1.6": "msp-podcast",
    "msp-podcast-2.0": "msp-podcast",
    "crema-d": "crema-d",
}
Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process (it is what is tested here many times) and return what it prints."""

    def call(*arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in ("-q", *arguments)])
        captured = capsys.readouterr()
        assert end.value.code == code, captured.err
        return captured.out

    return call


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_from_synth_to_report(run: Run, tmp_path: Path, layout: str) -> None:
    dataset = LAYOUTS[layout]
    root, cache, runs = tmp_path / "corpus", tmp_path / "cache", tmp_path / "runs"
    run("corpus", "synth", "--layout", layout, "--out", root, "--size", 110)
    # The stubs of the CREMA-D layout are what a check must find.
    fatal = 1 if layout == "crema-d" else 0
    report = json.loads(run("corpus", "check", "--dataset", dataset, "--root", root, "--json", code=fatal))
    assert any("synthetic" in note for note in report["ledger"]["notes"])
    assert not [f for f in report["findings"] if "contradict" in f["text"] and f["level"] in ("warn", "fatal")]
    encoders = ("--speech", "logmel", "--text", "minilm", "--layers", "last")
    run("extract", "--dataset", dataset, "--root", root, *encoders, "--features", cache)
    corpus = Corpus.read(cache / dataset / FILE)
    assert corpus.synthetic
    assert len(corpus) == report["utterances"]
    quick = ("--seeds", 0, "--set", "train.epochs=2", "--set", ONE, "--runs", runs)
    run("train", "--features", cache, *quick)
    text = run("evaluate", "--runs", runs / dataset, "--set", "evaluate.resamples=200")
    assert "Synthetic data" in text
    assert "(abstract)" not in text


def test_a_label_decision_is_made_after_extraction_and_is_seen(run: Run, tmp_path: Path) -> None:
    """Another preset, policy, subset or split extracts nothing, and stands in config.yaml and the report."""
    root, cache, runs = tmp_path / "corpus", tmp_path / "cache", tmp_path / "runs"
    run("corpus", "synth", "--layout", "iemocap", "--out", root, "--size", 110)
    encoders = ("--speech", "logmel", "--text", "minilm", "--layers", "last")
    run("extract", "--dataset", "iemocap", "--root", root, *encoders, "--features", cache)
    files = {p: p.stat().st_mtime_ns for p in cache.rglob("*") if p.is_file()}
    sizes = {}
    for i, override in enumerate(
        [
            "labels.preset=iemocap-5",
            "labels.preset=iemocap-aer",
            "labels.raters=all",
            "labels.subset=any",
            "splits.scheme=leave-one-speaker-out",
        ]
    ):
        quick = ("--seeds", 0, "--variants", "soft", "--set", "train.epochs=1", "--set", ONE)
        named = ("--set", f"experiment=e{i}", "--set", override, "--runs", runs)
        run("train", "--features", cache, *quick, *named)
        out = json.loads(run("evaluate", "--runs", runs / f"e{i}", "--set", "evaluate.resamples=200", "--json"))
        config = yaml.safe_load((runs / f"e{i}" / "soft" / "fold1-seed0" / "config.yaml").read_text())
        section, _, rest = override.partition(".")
        key, _, value = rest.partition("=")
        assert str(config[section][key]) == value
        page = (runs / f"e{i}" / "report.html").read_text()
        assert value in page
        sizes[override] = (out["utterances"], len(out["classes"]), len(out["folds"]))
    assert sizes["labels.preset=iemocap-5"][1] == 5
    check = json.loads(run("corpus", "check", "--dataset", "iemocap", "--root", root, "--json"))
    texts = [f["text"] for f in check["findings"] if f["text"].startswith("every vote in the four classes")]
    merged, apart = (int(re.findall("(?:happiness|classes): ([0-9]+), unanimous", text)[0]) for text in texts)
    assert merged >= sizes["labels.preset=iemocap-aer"][0] > apart > 0  # an experiment also needs features
    assert sizes["splits.scheme=leave-one-speaker-out"][2] == 10
    assert sizes["labels.subset=any"][0] > sizes["labels.raters=all"][0]
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*") if p.is_file()} == files


def test_synth_refuses_what_it_would_overwrite_and_layouts_that_it_does_not_know(run: Run, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    run("corpus", "synth", "--layout", "iemocap", "--out", tmp_path / "full", code=2)
    run("corpus", "synth", "--layout", "iemocab", "--out", tmp_path / "new", code=2)
    run("corpus", "check", "--dataset", "iemocap", "--root", tmp_path / "full", code=2)
    assert not (tmp_path / "new").exists()

"""Missing modalities through the command line: corpora without speech or text, and utterances that lack one."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ONE, Amber

from amber import predictions
from amber.corpus import FILE, Corpus

TEXTLESS, SILENT = 3, 7  # every so-manieth utterance has no text, or no audio


@pytest.fixture(scope="module")
def table(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the demo corpus: a third has no transcript, a seventh no recording."""
    corpus = Corpus.read(demo_cache / "demo" / FILE)
    path = tmp_path_factory.mktemp("corpus") / "table.csv"
    write(path, corpus)
    return path


def write(path: Path, corpus: Corpus, without: str = "") -> None:
    audio, text = corpus.column("audio"), corpus.column("text")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "audio", "text", "speaker", "votes"])
        for row, votes in enumerate(corpus.table["votes"].to_pylist()):
            silent = without == "audio" or (not without and row % SILENT == 1)
            textless = without == "text" or (not without and row % TEXTLESS == 2)
            labels = ";".join(vote["labels"][0] for vote in votes)
            writer.writerow([corpus.ids[row], "" if silent else Path(corpus.root, audio[row]),
                             "" if textless else text[row], corpus.column("speaker")[row], labels])  # fmt: skip


@pytest.fixture(scope="module")
def cache(amber: Amber, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    amber("-q", "extract", "--dataset", "table", "--root", table, "--speech", "logmel", "--text", "minilm",
         "--features", cache)  # fmt: skip
    return cache


def trained(amber: Amber, cache: Path, runs: Path, *more: object, code: int = 0) -> str:
    quick = ("--set", "train.epochs=2", "--set", ONE, "--set", "splits.k=3")
    return amber("train", "--features", cache, "--runs", runs, "--seeds", "0,1", *quick, *more, code=code).stderr


def ids_of(variant: Path, runs: str = "*") -> set[str]:
    """Return the ids that some runs of a variant test."""
    paths = variant.glob(f"{runs}/{predictions.FILE}")
    found = [predictions.read(path).of(part="test", head="student") for path in paths]
    return {uid for one in found for uid in one.keys["id"]}


def test_the_common_set_and_what_each_variant_reads(amber: Amber, cache: Path, tmp_path: Path) -> None:
    n = 100
    textless = {row for row in range(n) if row % TEXTLESS == 2}
    silent = {row for row in range(n) if row % SILENT == 1}
    both = n - len(textless | silent)
    variants = ("--variants", "soft,speech,text,prior")
    said = trained(amber, cache, tmp_path, *variants)
    assert f"{both} of {n} labelled utterances have speech and text" in said
    for variant in ("soft", "speech", "text", "prior"):
        assert len(ids_of(tmp_path / "table" / variant)) == both
    caption = amber("-q", "evaluate", "--runs", tmp_path / "table").stdout
    assert f"{both} of {n} labelled utterances have speech and text: every variant uses these" in caption

    # Variants of other commands that were asked for less are said to use what they use, and no other utterances.
    apart = ("--set", "experiment=apart", "--variants")
    for asked in ("soft", "speech,soft,prior"):
        trained(amber, cache, tmp_path, *apart, asked)
    caption = amber("-q", "evaluate", "--runs", tmp_path / "apart").stdout
    assert "different utterances" not in caption
    assert "None" not in caption

    read = ("--set", "features.require=read", "--set", "experiment=each")
    said = trained(amber, cache, tmp_path, *variants, *read)
    sizes = {"soft": both, "speech": n - len(silent), "text": n - len(textless), "prior": n}
    for variant, size in sizes.items():
        assert len(ids_of(tmp_path / "each" / variant)) == size
    assert f"speech: {sizes['speech']} of {n} labelled utterances have speech" in said
    result = json.loads(amber("-q", "evaluate", "--runs", tmp_path / "each", "--json").stdout)
    assert result["utterances"] == both
    assert {c["n"] for c in result["versus"]["comparisons"] if c["scope"] == "all"} == {both}
    own = {variant: one for one in result["used"] for variant in one["variants"]}
    assert {variant: one["tested"] for variant, one in own.items()} == sizes
    assert own["speech"]["figures"]["speech"] != result["summary"]["speech"]
    assert own["soft"]["figures"]["soft"] == result["summary"]["soft"]
    assert "Variants were trained and tested on different utterances" in (tmp_path / "each" / "report.html").read_text()
    # Folds are the same for all, whatever they read.
    for run in ("fold1-seed0", "fold2-seed0", "fold3-seed0"):
        soft, speech, prior = (ids_of(tmp_path / "each" / variant, run) for variant in ("soft", "speech", "prior"))
        assert soft <= speech <= prior


def test_on_another_corpus_variants_use_what_they_read_too(
    amber: Amber, cache: Path, demo_cache: Path, tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(cache, tmp_path / "cache"))
    shutil.copytree(demo_cache / "demo", whole / "demo")
    n = 100
    textless, silent = (sum(row % every == rest for row in range(n)) for every, rest in ((TEXTLESS, 2), (SILENT, 1)))
    both = sum(row % TEXTLESS != 2 and row % SILENT != 1 for row in range(n))
    sizes = {"soft": both, "speech": n - silent, "text": n - textless, "logistic": both, "prior": n}
    asked = ("--dataset", "demo", "--variants", ",".join(sizes), "--test-dataset", "table")
    classes = "transfer.table.classes={neutral: [Neutral], happy: [Happiness], sad: [Sadness], angry: [Anger]}"
    for require, tested in (("read", sizes), ("all", dict.fromkeys(sizes, both))):
        runs = tmp_path / require
        trained(amber, whole, runs, *asked, "--set", f"features.require={require}", "--set", classes)
        for variant, size in tested.items():
            assert len(ids_of(runs / "demo-on-table" / variant)) == size
        result = json.loads(amber("-q", "evaluate", "--runs", runs / "demo-on-table", "--json").stdout)
        assert result["utterances"] == both
        assert {v: one.get("tested", one["used"]) for one in result["used"] for v in one["variants"]} == tested
        assert {one["labelled"] for one in result["used"]} == {n}


def test_an_incomplete_variant_is_refused(amber: Amber, cache: Path, tmp_path: Path) -> None:
    read = ("--set", "features.require=read")
    trained(amber, cache, tmp_path, "--variants", "speech,text", *read)
    for run in (tmp_path / "table" / "text").glob("fold3-*"):
        run.rename(tmp_path / run.name)
    assert "not the same folds" in amber("evaluate", "--runs", tmp_path / "table", code=2).stderr


@pytest.mark.parametrize(("gone", "there"), [("audio", "text"), ("text", "speech")])
def test_a_corpus_of_one_modality(amber: Amber, demo_cache: Path, tmp_path: Path, gone: str, there: str) -> None:
    write(tmp_path / "table.csv", Corpus.read(demo_cache / "demo" / FILE), without=gone)
    extract = ("--dataset", "table", "--root", tmp_path / "table.csv", "--speech", "logmel", "--text", "minilm")
    amber("-q", "extract", *extract, "--features", tmp_path)
    said = trained(amber, tmp_path, tmp_path / "runs", code=2)
    assert f"train what needs none: --variants {there},prior" in said
    trained(amber, tmp_path, tmp_path / "runs", "--variants", f"{there},prior")
    shown = amber("-q", "evaluate", "--runs", tmp_path / "runs" / "table").stdout
    assert "100 test utterances" in shown
    assert "labelled utterances have" not in shown
    run = tmp_path / "runs" / "table" / there / "fold1-seed0"
    assert list(yaml.safe_load((run / "config.yaml").read_text())["features"]) == [there]


def test_a_modality_that_is_none_is_not_extracted(amber: Amber, cache: Path, table: Path, tmp_path: Path) -> None:
    pipeline = tmp_path / "p.yaml"
    config = {"corpus": {"dataset": "table", "root": str(table)}, "splits": {"k": 3},
              "features": {"cache": str(tmp_path / "c"), "speech": "logmel", "text": "none"},
              "train": {"runs": str(tmp_path / "runs"), "epochs": 1, "seeds": [0]}}  # fmt: skip
    pipeline.write_text(yaml.safe_dump(config))
    refused = amber("run", pipeline, code=2).stderr
    assert "features.text is none, and ce, soft, amber2 read text" in refused
    assert "--variants speech,prior" in refused
    assert not (tmp_path / "c").exists()
    amber("-q", "run", pipeline, "--set", "train.variants=[speech, prior]", "--set", ONE)
    assert [path.name.split("-")[0] for path in (tmp_path / "c" / "table").glob("*.zarr")] == ["speech"]
    assert "both none" in amber("run", pipeline, "--set", "features.speech=none", "--set", "train.variants=[prior]",
                               code=2).stderr  # fmt: skip
    # A cache that has text, and an experiment that has none.
    assert "read text" in trained(amber, cache, tmp_path, "--set", "features.text=none", code=2)

"""What `amber curve`, `ask` and `matrix` found stands in the report, as long as it is of the runs that are there."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import ONE, Amber, flip

SECTION = re.compile(r'<section aria-labelledby="questions">.*?</section>', re.DOTALL)
QUICK = ("--seeds", "0", "--set", ONE, "--set", "train.steps=40", "--set", "train.calibrate=false")
COMMANDS = {"curve.json": "amber curve", "ask.json": "amber ask", "matrix.json": "amber matrix"}


@pytest.fixture(scope="module")
def without(amber: Amber, demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated experiment, with no other question answered beside it."""
    runs = tmp_path_factory.mktemp("runs")
    amber("train", "--features", demo_cache, "--runs", runs, "--variants", "soft", *QUICK)
    evaluate(amber, runs)
    return runs


@pytest.fixture(scope="module")
def found(amber: Amber, without: Path, demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with every question answered."""
    runs = Path(shutil.copytree(without, tmp_path_factory.mktemp("found") / "runs"))
    curve = ("--votes", "1,3", "--draws", "2", "--no-shares")
    amber("curve", "--features", demo_cache, "--runs", runs, *curve, *QUICK)
    amber("ask", "--runs", runs / "demo", "--budget", "50")
    amber("ask", "--runs", runs / "demo", "--validate", "--shown", "2", "--draws", "2")
    amber("matrix", runs / "demo")
    return runs


def evaluate(amber: Amber, runs: Path) -> str:
    return amber("evaluate", "--runs", runs / "demo", "--set", "evaluate.resamples=100").stderr


def section(runs: Path) -> str:
    match = SECTION.search((runs / "demo" / "report.html").read_text())
    return match[0] if match else ""


def test_the_report_answers_each_question_with_a_chart_and_a_page(amber: Amber, found: Path) -> None:
    said = evaluate(amber, found)
    shown = section(found)
    assert "it is not in the report" not in said
    for title in ("How many raters", "Which utterance deserves another rater?", "Trained on one corpus"):
        assert title in shown
    assert shown.count("<svg") >= 3
    figures = re.findall(r'<figure id="([^"]+)"', shown)
    assert len(set(figures)) == len(figures) == 3
    (raters,) = json.loads((found / "demo-curve" / "curve.json").read_text())["findings"]["raters"]
    assert raters in shown
    assert "50 votes on" in shown  # the list is kept beside the validation, which came later
    assert "Asking by expected gain less asking at random" in shown
    links = re.findall(r'<a href="([^"#]+)"', shown)
    assert set(links) == {"../demo-curve/curve.html", "ask.csv", "ask.html", "matrix.html"}
    assert all((found / "demo" / link).is_file() for link in links)
    assert "nothing changed" in evaluate(amber, found)


def test_a_report_without_other_questions_is_as_it_was(amber: Amber, without: Path, demo_cache: Path) -> None:
    """Byte by byte, after a matrix was there and is gone."""
    names = ("report.html", "metrics.json", "table.md", "table.tex")
    before = {name: (without / "demo" / name).read_bytes() for name in names}
    assert b"#questions" not in before["report.html"]
    amber("matrix", without / "demo")
    evaluate(amber, without)
    assert section(without)
    (without / "demo" / "matrix.json").unlink()
    evaluate(amber, without)
    assert {name: (without / "demo" / name).read_bytes() for name in names} == before


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_damaged_or_of_other_runs_is_said_and_not_used(
    amber: Amber, found: Path, tmp_path: Path, name: str
) -> None:
    runs = Path(shutil.copytree(found, tmp_path / "runs"))
    (path,) = runs.glob(f"*/{name}")
    whole, page = path.read_bytes(), next(iter(json.loads(path.read_text())["files"]))
    again = f"run `{COMMANDS[name]}` again; it is not in the report"

    def refused(what: str) -> None:
        said = evaluate(amber, runs)
        assert what in said
        assert again in said
        assert section(runs).count("<h3>") == 2 + section(runs).count("<figcaption><h3>")

    flip(path, len(whole) // 2)
    refused(f"{path}: not what was written")
    path.write_bytes(whole)
    flip(path.parent / page)
    refused(f"{path.parent / page}: missing, or not what was written")
    flip(path.parent / page)
    gone = next(path.parent.glob("soft*/fold1-seed0"))
    shutil.rmtree(gone)
    if name == "curve.json":  # without that run the others can't be evaluated
        refused(f"{path}: the runs of {path.parent.name} are not those it was found of")

"""The tutorials: every command of each, in order, as printed, on what the page describes."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import soundfile
from pages import ROOT, small, walk

from amber.audio import SAMPLE_RATE
from amber.extract.corpora import demo

GERMAN = {"Neutral": "Neutral", "Happiness": "Freude", "Sadness": "Trauer", "Anger": "Ärger"}
SPELLINGS = (str, str.lower, str.upper, "{} ".format)
CLIPS, NEW, RATERS = 60, 4, 3


TUTORIALS = ("tutorial-encoders", "tutorial-ablation", "tutorial-iemocap")
REST = ("tutorial-notebook",)  # has no commands; tests/test_readme.py runs the notebook


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the clips (those of the demo corpus) and the spreadsheet."""
    place, page = tmp_path, (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    for name in ("Aufnahmen", "neu"):
        (place / name).mkdir()
    rows = []
    for number, item in enumerate(demo.make(CLIPS + NEW), 1):
        new = number > CLIPS
        audio = f"neu/n{number - CLIPS:03d}.wav" if new else f"Aufnahmen/k{number:03d}.wav"
        soundfile.write(place / audio, item.waveform(), SAMPLE_RATE)
        said = [GERMAN.get(vote.labels[0], "Sonstiges") for vote in item.utterance.votes[:RATERS]]
        spelt = [SPELLINGS[(number + i) % len(SPELLINGS)](label) for i, label in enumerate(said)]
        if number % 5 == 0:
            spelt[-1] = ""  # a rater who did not answer
        if not new:
            rows.append([f"k{number:03d}", audio, item.utterance.text, item.utterance.speaker, *spelt])
    header = re.search(r"^ +(Clip;.*)$", page, flags=re.MULTILINE)
    assert header
    with (place / "Bewertungen.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows([header[1].split(";"), *rows])
    return place


def test_own_data_from_clips_and_a_spreadsheet_to_predictions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    small(monkeypatch)
    printed = walk("docs/tutorial.md")
    assert (folder / "runs" / "studie" / "report.html").is_file()
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == NEW
    assert {row["label"] for row in rows} <= {"neutral", "joy", "sadness", "anger"}
    assert {row["modalities"] for row in rows} == {"speech"}
    assert "'joy'" in list(printed.values())[-1]


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_in_order(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "tutorial-encoders":
        pytest.importorskip("opensmile", reason="egemaps needs the extra `egemaps`")
    monkeypatch.chdir(tmp_path)
    small(monkeypatch)
    printed = list(walk(f"docs/{name}.md").values())
    if name == "tutorial-encoders":
        assert {"logmel/soft", "egemaps/soft"} <= set(printed[-3].split())
        assert "soft,layer={'speech': 0, 'text': 6}" in printed[-1]
    if name == "tutorial-ablation":
        assert sorted(p.name for p in Path("runs/ablation").iterdir() if p.is_dir()) == [
            "amber2,modality_weight=0.25", "amber2,modality_weight=1.0", "ce", "late,modality_weight=0.25",
            "late,modality_weight=1.0", "soft",
        ]  # fmt: skip
    if name == "tutorial-iemocap":
        assert "amber2" in Path("runs/paper/table.tex").read_text(encoding="utf-8")
        assert Path("runs/with-self-reports/amber2").is_dir()


def test_every_tutorial_is_run() -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("tutorial*.md")}
    assert pages == {"tutorial", *TUTORIALS, *REST}

"""docs/tutorial.md: every command of it, in order, on a folder of clips and the spreadsheet that it describes."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from conftest import environment

from amber.audio import SAMPLE_RATE
from amber.extract.corpora import demo

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
GERMAN = {"Neutral": "Neutral", "Happiness": "Freude", "Sadness": "Trauer", "Anger": "Ärger"}
SPELLINGS = (str, str.lower, str.upper, "{} ".format)
CLIPS, NEW, RATERS = 60, 4, 3


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the clips (those of the demo corpus) and the spreadsheet."""
    place = tmp_path_factory.mktemp("study")
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
    header = re.search(r"^ +(Clip;.*)$", PAGE, flags=re.MULTILINE)
    assert header
    with (place / "Bewertungen.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows([header[1].split(";"), *rows])
    (pipeline,) = blocks("yaml")
    (place / "studie.yaml").write_text(pipeline, encoding="utf-8")
    return place


def test_every_command_of_the_tutorial_runs_in_order(folder: Path) -> None:
    commands = [line for block in blocks("console") for line in block.splitlines() if line]
    assert 0 < len(commands) < 10
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "amber"
        called([sys.executable, "-m", "amber.cli", *arguments], folder)
    assert (folder / "runs" / "studie" / "report.html").is_file()
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == NEW
    assert {row["label"] for row in rows} <= {"neutral", "joy", "sadness", "anger"}
    assert {row["modalities"] for row in rows} == {"speech"}
    (code,) = blocks("python")
    assert "'joy'" in called([sys.executable, "-c", code], folder)


def called(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout

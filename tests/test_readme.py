"""The README and the notebook: a stranger's path through a fresh clone, in order, as printed.

What is licensed, large or out of reach has a stand-in of the same name: a rehearsal in IEMOCAP's layout, tiny models.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
import tiny_models
import tiny_recognisers
from conftest import call
from pages import ROOT, small, walk

from amber.audio import SAMPLE_RATE
from amber.extract.corpora import demo

SKIPPED = {
    "make run": "its command is run before the others",
    "make test": "it runs this test",
    "pip install": "tests/test_wheel.py installs a wheel into an environment of its own",
    "source .venv": "as above",
    "python benchmarks/study.py": "tests/test_study.py calls it",
    "amber export  --runs runs/demo --to published": "tests/test_hub.py has a hub to push to",
    "amber predict --model hf://": "as above",
}


def make_stand_ins(place: Path) -> None:
    """Write tables of recordings, a new recording, and models of the names that the README has."""
    rows = []
    for item in demo.make(30):
        said, name = item.utterance, f"{item.utterance.id}.wav"
        soundfile.write(place / name, item.waveform(), SAMPLE_RATE)
        rows.append([said.id, name, said.text, said.speaker, ";".join(vote.labels[0] for vote in said.votes)])
    rows[3][2] = rows[7][2] = ""  # without a transcript
    with (place / "TABLE.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "audio", "text", "speaker", "votes"], *rows])
    with (place / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "audio"], *(row[:2] for row in rows[:3])])
    shutil.copy(place / rows[0][1], place / "recording.wav")
    tiny_models.save("wav2vec2-group", place / "facebook" / "wav2vec2-base")
    tiny_models.save("whisper", place / "whisper-tiny.en")
    tiny_models.save("bert", place / "bert-base-uncased")
    tiny_recognisers.save("whisper", place / "openai" / "whisper-small")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what a clone has and a reader brings, as the working directory."""
    place = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "pipelines", place / "pipelines")
    shutil.copy(ROOT / "pipeline.yaml", place)
    make_stand_ins(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        small(patch, "train.seeds=[0]", "train.folds=[1]")
        yield place


@pytest.fixture(scope="module")
def printed(clone: Path) -> dict[str, str]:
    (made,) = re.findall(r"^run:.*\n\t\$\(BIN\)/amber (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    done = call(*made.split())
    assert done.returncode == 0, done.stderr
    return {"make run": done.stdout, **walk("README.md", SKIPPED)}


def test_every_command_of_the_readme_runs_in_order(clone: Path, printed: dict[str, str]) -> None:
    assert Path("runs/demo/report.html").is_file()
    assert Path("runs/iemocap/table.tex").is_file()
    assert len(Path("predictions.csv").read_text(encoding="utf-8").splitlines()) == 4
    (answer,) = (text for command, text in printed.items() if command.startswith("amber predict --model runs/demo"))
    assert json.loads(answer)["modalities"] == ["speech", "text"]
    assert "'happy'" in printed[next(command for command in printed if command.startswith("import amber"))]


def test_the_table_of_the_readme_has_the_rows_that_are_printed(printed: dict[str, str]) -> None:
    """The README shows a part of the table; the oracle needs more votes than the small corpus here has."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^    variant .*?\n\n", page, re.DOTALL | re.MULTILINE)
    assert shown
    head, *rows = shown[0].splitlines()
    out = printed["make run"].splitlines()
    assert set(re.split(r"  +", head.strip())) <= set(re.split(r"  +", out[0].strip()))
    assert {row.split()[0] for row in rows if row} - {"oracle"} <= {line.split()[0] for line in out if line}


def test_the_notebook_runs_from_top_to_bottom(clone: Path, printed: dict[str, str]) -> None:
    client = pytest.importorskip("nbclient", reason="the extra `notebook` is not installed")
    import nbformat

    (clone / "docs").mkdir()
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit the notebook without its outputs"
    client.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(clone / "docs")}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    assert "amber2" in outputs[-1]["data"]["text/plain"]

"""The wheel: what it holds, and what it does once installed, outside the checkout."""

from __future__ import annotations

import email
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import environment

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SMALL = ("corpus.options.size=60", "train.epochs=2", "train.seeds=[0]")


def called(*command: object, cwd: Path) -> str:
    """Run a command without the checkout on its path; return what it prints."""
    surroundings = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, env=surroundings, check=False
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel of what git tracks, or will: no leftovers of an earlier build get in."""
    source, to = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("this is no git checkout: what belongs to the project is not known")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            copy = source / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
    # The source distribution, and the wheel from it, as a release is built.
    called(sys.executable, "-m", "build", "--no-isolation", "--outdir", to, cwd=source)
    (built,) = to.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own; return the folder of its commands.

    The dependencies are those of the environment that runs the tests, found through a .pth file: nothing is
    downloaded. Files named .pth that stand there are not read, so an editable install of amber is not seen.
    """
    place = tmp_path_factory.mktemp("environment") / "venv"
    called(sys.executable, "-m", "venv", "--without-pip", place, cwd=place.parent)
    python = place / "bin" / "python"
    (packages,) = place.glob("lib/python*/site-packages")
    installed = [folder for folder in sys.path if Path(folder).name in ("site-packages", "dist-packages")]
    (packages / "dependencies.pth").write_text("\n".join(installed) + "\n", encoding="utf-8")
    called(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-q",
           "--ignore-installed", wheel, cwd=place.parent)  # fmt: skip
    return place / "bin"


def test_the_wheel_holds_every_module_the_page_and_the_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        (metadata,) = (file.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    for folder in ("amber", "extract", "train", "evaluate", "predict"):
        place = "amber" if folder == "amber" else f"amber/{folder}"
        for path in (ROOT / folder).rglob("*.*"):
            if path.suffix in (".py", ".html", ".css", ".js") or path.name == "py.typed":
                assert f"{place}/{path.relative_to(ROOT / folder).as_posix()}" in names
    assert not [name for name in names if not name.startswith(("amber/", "amber_emotion-"))]
    assert any(name.endswith("/LICENSE") for name in names)
    said, project = email.message_from_string(metadata), PROJECT["project"]
    assert (said["Name"], said["License-Expression"]) == (project["name"], project["license"])
    assert said.get_all("Classifier") == project["classifiers"]
    assert said["Requires-Python"] == project["requires-python"]
    assert set(project["optional-dependencies"]) == set(said.get_all("Provides-Extra"))
    assert "amber run" in str(said.get_payload())  # the README is the long description


def test_an_installed_wheel_runs_predicts_and_loads(scripts: Path, tmp_path: Path) -> None:
    """From an empty folder: the demo, a prediction on the command line, and the same one from Python."""
    where = called(scripts / "python", "-c", "import amber.train.stage as s; print(s.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(scripts.parent)
    overrides = [word for value in SMALL for word in ("--set", value)]
    called(scripts / "amber", "run", *overrides, cwd=tmp_path)
    assert "<html" in (tmp_path / "runs" / "demo" / "report.html").read_text(encoding="utf-8")
    said = json.loads(
        called(scripts / "amber", "predict", "--model", "runs/demo", "--text", "what a wonderful day", cwd=tmp_path)
    )
    code = 'import amber; print(amber.load("runs/demo").predict(text="what a wonderful day").distribution)'
    loaded = called(scripts / "python", "-c", code, cwd=tmp_path)
    assert sum(said["distribution"].values()) == pytest.approx(1)
    assert loaded.strip() == str(said["distribution"])

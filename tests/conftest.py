"""What several tests share: the command line, small corpora in a cache, and where the real data is."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# No test is timed: on a busy machine a deadline says nothing of the code.
hypothesis.settings.register_profile("amber", deadline=None)
hypothesis.settings.load_profile("amber")

# A shell ignores interrupts for what it starts in the background, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The tensors here are tiny: threads would only wait for one another. The model hub is out of reach in CI: asking it
# would only cost time. Lines of help and of progress are as long as they like.
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}

from amber import done
from amber.cli import main
from amber.config import Config
from amber.config_file import load
from amber.console import Console

SHARED = Path(__file__).parents[2] / "shared" / "data"
Amber = Callable[..., subprocess.CompletedProcess[str]]
Run = Callable[..., str]

# Files of which most tests train, extract, evaluate or start processes: `make check` leaves them out.
SLOW = {
    "answer", "ask", "audio_files", "batch_invariance", "cache", "cases", "cli", "curve", "dialogue", "docs",
    "encoders", "evaluate", "evaluate_doubt", "evaluate_oracle", "evaluate_outside", "extending_extract", "extract",
    "fit", "flips", "frames", "fuzz", "group", "hdf5", "heads", "hub", "imported", "kills", "missing",
    "modality_dropout", "notebook", "object_storage", "onnx", "opinion_pool", "parallel", "plain_loop", "predict",
    "prior", "questions", "readme", "recognisers", "recordings", "rehearsal", "report", "resume", "rivals",
    "safety", "stopping", "study", "train", "train_cluster", "transcribe", "trust", "tutorials", "ugly_tables",
    "wheel",
}  # fmt: skip

# What takes longest begins first, so that no process is left with it at the end.
FIRST = (
    "resume", "object_storage", "transcribe", "train", "hub", "wheel", "predict", "whisper", "train_cluster", "report",
    "extract", "onnx", "readme", "tutorials", "kills", "group", "trust", "store",
)  # fmt: skip

# One small model a run instead of several, for tests that only need a trained one; the command line's and a file's.
ONE = "train.candidates=[{layer: last, hidden: 16, weight_decay: 0.01}]"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave slow files unread where they are not asked for: reading them takes longer than the fast tests."""
    unasked = config.getoption("-m") == "not slow" and collection_path.stem.removeprefix("test_") in SLOW
    return True if unasked else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files, and begin with those that take longest."""
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem.removeprefix("test_"), len(places)))
    for item in items:
        if item.path.stem.removeprefix("test_") in SLOW:
            item.add_marker(pytest.mark.slow)


def environment() -> dict[str, str]:
    """Return the environment of a process that a test starts."""
    return dict(os.environ)


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, where torch and the rest are imported already."""
    command = [str(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(command)
    return subprocess.CompletedProcess(command, int(end.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def amber() -> Amber:
    """Run the command line in this process, and check its exit code."""

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = call(*arguments)
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def emodb() -> Path:
    """The folder of Emo-DB in the table format."""
    path = SHARED / "emodb"
    if not (path / "table.csv").exists():
        pytest.skip("Emo-DB is not here: it is read from ../shared/data/emodb beside the checkout")
    return path


def demo_config(cache: Path, *overrides: str, size: int = 100) -> Config:
    """Return the configuration of a small demo corpus."""
    return load(None, [f"corpus.options.size={size}", f"features.cache={cache}", *overrides])


@pytest.fixture(scope="session")
def demo_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the features of 100 utterances of the demo corpus; not to be written to."""
    from amber.extract import stage

    cache = tmp_path_factory.mktemp("cache")
    stage.run(demo_config(cache), Console(quiet=True))
    return cache


@pytest.fixture(scope="session")
def both(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of two corpora: `demo`, and `other` of other speakers' utterances; further ones may be added."""
    from amber.extract import stage

    cache = Path(shutil.copytree(demo_cache, tmp_path_factory.mktemp("both") / "cache"))
    stage.run(demo_config(cache, "corpus.name=other", "corpus.options.seed=5", size=60), Console(quiet=True))
    return cache


@pytest.fixture
def cache(demo_cache: Path, tmp_path: Path) -> Path:
    """A cache of the demo corpus that may be written to."""
    return Path(shutil.copytree(demo_cache, tmp_path / "cache"))


@pytest.fixture
def run_cache(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `amber cache` in this process; return what it prints, or, if it is to fail, what it complains of."""

    def call(*arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in ("-q", "cache", *arguments)])
        captured = capfd.readouterr()
        assert end.value.code == code, captured.err
        if code == 2:
            assert len(captured.err.splitlines()) <= 3
        return captured.err if code == 2 else captured.out + captured.err

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def committed(corpus: Path, sets: str) -> int:
    """How many units the matching feature sets have committed; a commit that is still being written is none yet."""
    return sum(path.name.isdigit() for path in corpus.glob(f"{sets}.zarr/commits/c/*"))


def vouch(experiment: Path) -> None:
    """Vouch for an experiment's runs as they are now: for tests that change what runs hold."""
    for path in experiment.glob("*/*/DONE"):
        done.write(path.parent, json.loads(path.read_text())["key"])


def flip(path: Path, place: int = 7) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)

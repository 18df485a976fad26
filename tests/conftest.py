"""What several tests share: the command line, small corpora in a cache, and where the real data is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The tensors here are tiny: threads would only wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"

from amber.config import Config, load
from amber.console import Console

SHARED = Path(__file__).parents[2] / "shared" / "data"
Amber = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    # The model hub is out of reach in CI: asking it would only cost time.
    return {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def amber() -> Amber:
    """Run the command line as a user does: a process of its own."""

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "amber.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
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

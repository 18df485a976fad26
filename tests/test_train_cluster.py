"""Training on a cluster: the same bytes as in one process, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import contents, demo_config, environment

from amber.cli import main
from amber.console import Console
from amber.train import stage

# Groups that take a few tenths of a second each, so that a kill meets one at work.
OPTIONS = ["train.variants=[ce, soft, amber2]", "train.seeds=[0]", "train.folds=[1, 2, 3]", "train.every=50"]
OPTIONS += ["train.steps=250", "train.patience=9", "train.candidates=[{layer: last, hidden: 16, weight_decay: 0.01}]"]


def command(cache: Path, runs: Path, *more: object) -> list[str]:
    options = [part for option in OPTIONS for part in ("--set", option)]
    return ["train", "--features", str(cache), "--runs", str(runs), *options, *map(str, more)]


def bytes_of(runs: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(runs / "demo").items() if ".lock" not in name}


def test_a_killed_worker_costs_no_byte(demo_cache: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "amber.cli", *command(demo_cache, tmp_path / "two", "--workers", 2)]
    process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True)
    stage.run(demo_config(demo_cache, f"train.runs={tmp_path / 'one'}", *OPTIONS), None, Console(quiet=True))
    while process.poll() is None and not list(tmp_path.glob("two/demo/*/fold*/DONE")):
        time.sleep(0.01)
    workers = [pid for pid in children(process.pid) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(workers) == 2, "no worker to kill"
    os.kill(workers[0], signal.SIGKILL)
    left = 9 - len(list(tmp_path.glob("two/demo/*/fold*/DONE")))
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert left > 2, "the kill came too late to cost anything"
    assert "dashboard: http://127.0.0.1:" in said
    assert "train: 9/9" in said
    assert len(list(tmp_path.glob("two/demo/*/fold*/DONE"))) == 9
    assert bytes_of(tmp_path / "two") == bytes_of(tmp_path / "one")


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *children(child)]
    return found


def test_a_scheduler_out_of_reach_and_two_clusters_at_once_are_refused(
    demo_cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for more, says in (
        (("--workers", 1, "--scheduler", "tcp://127.0.0.1:9"), "give one of them"),
        (("--scheduler", "tcp://127.0.0.1:9"), "--scheduler tcp://127.0.0.1:9: can't be reached"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["-q", *command(demo_cache, tmp_path, *more)])
        said = capfd.readouterr().err
        assert end.value.code == 2
        assert says in said
        assert len(said.splitlines()) <= 3

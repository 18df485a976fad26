"""Real kills: what was committed is kept, everything else is done again, and the result has the same bytes."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import Amber, Run, committed, contents, environment
from tiny_models import save

from amber.config_file import load
from amber.console import Console
from amber.errors import RunFailure
from amber.extract import stage
from amber.features.fill import drop_damaged
from amber.features.store import FeatureStore, feature_sets
from amber.features.unit import Status, Unit

ROWS, RECORDINGS = 1300, 12
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of short recordings of different lengths, one of which is broken, and two tiny models."""
    folder = tmp_path_factory.mktemp("corpus")
    random_ = np.random.default_rng(0)
    for i in range(RECORDINGS):
        soundfile.write(folder / f"r{i}.wav", random_.normal(0, 0.1, 4000 + 1000 * i), 16_000)
    (folder / "broken.wav").write_bytes(b"RIFF but no more than that" * 50)
    rows = [f"u{i:04},{'broken' if i == 77 else f'r{i % RECORDINGS}'}.wav,fine .,s{i % 3},1" for i in range(ROWS)]
    (folder / "table.csv").write_text("\n".join(["id,audio,text,speaker,vote_joy", *rows]) + "\n")
    for name in ("wav2vec2-group", "bert"):
        save(name, folder / name)
    return folder


def options(corpus: Path, cache: Path) -> list[str]:
    return [
        "corpus.dataset=table",
        f"corpus.root={corpus}",
        f"features.speech={corpus / 'wav2vec2-group'}",
        f"features.text={corpus / 'bert'}",
        "features.level=frames",
        f"features.cache={cache}",
    ]


def extract(corpus: Path, cache: Path) -> list[stage.Outcome]:
    return stage.run(load(None, options(corpus, cache)), QUIET)


def sets(cache: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(cache / "table").items() if ".zarr" in name}


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache extracted without interruption."""
    cache = tmp_path_factory.mktemp("whole")
    extract(corpus, cache)
    return cache


def test_twenty_kills_cost_no_byte(run_cache: Run, corpus: Path, whole: Path, tmp_path: Path) -> None:
    # A server that has imported everything forks the runs: a kill meets the work, not the imports.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["amber.extract.stage", "amber.extract.encoders.speech", "conftest"])
    when, landed = random.Random(0), []
    while len(landed) < 20:
        process = context.Process(target=extract, args=(corpus, tmp_path))
        process.start()
        before = committed(tmp_path / "table", "*")
        if when.random() < 0.7:  # in the midst of the work; else anywhere from the start on
            while process.is_alive() and committed(tmp_path / "table", "*") == before:
                time.sleep(0.001)
        process.join(when.uniform(0, 0.2))
        if process.exitcode is None:
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            landed.append(committed(tmp_path / "table", "*"))
        else:  # it was done before the kill came: go on with half of the units taken back
            assert process.exitcode == 0
            for store in feature_sets(tmp_path, "table"):
                for number in when.sample(range(store.spec.units), store.spec.units // 2):
                    store._arrays["commits"][number] = 0
    assert len(set(landed)) > 3, f"the kills all came at the same point: {landed}"
    extract(corpus, tmp_path)
    assert sets(tmp_path) == sets(whole)
    assert "no findings" in run_cache("verify", "--features", tmp_path)
    speech, text = feature_sets(tmp_path, "table")
    assert (list(speech.errors()), len(text.errors())) == (["u0077"], 0)


def test_a_killed_worker_costs_no_byte(corpus: Path, whole: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "amber.cli", "extract", "--dataset", "table", "--workers", "2"]
    command += as_options(corpus, tmp_path)
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    while process.poll() is None and committed(tmp_path / "table", "*") < 3:
        time.sleep(0.01)
    workers = [pid for pid in _descendants(process.pid) if "spawn_main" in _command(pid)]
    assert len(workers) >= 2, "no worker to kill"
    os.kill(workers[-1], signal.SIGKILL)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    # A worker that is killed while it writes a file leaves it under another name; the next extraction removes it.
    assert {name: of for name, of in sets(tmp_path).items() if not name.endswith(".partial")} == sets(whole)


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir() if children.exists() else ():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *_descendants(child)]
    return found


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def as_options(corpus: Path, cache: Path) -> list[str]:
    return [part for option in options(corpus, cache) for part in ("--set", option)]


def test_a_scheduler_out_of_reach_is_reported(amber: Amber, corpus: Path, tmp_path: Path) -> None:
    where = ("--dataset", "table", "--scheduler", "tcp://127.0.0.1:9")
    done = amber("-q", "extract", *where, *as_options(corpus, tmp_path), code=2)
    assert "--scheduler tcp://127.0.0.1:9: can't be reached" in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_a_scheduler_that_dies_midway_is_reported_and_costs_no_byte(corpus: Path, whole: Path, tmp_path: Path) -> None:
    where = "tcp://127.0.0.1:28786"
    parts = [["distributed.cli.dask_scheduler", "--port", where.rpartition(":")[2], "--no-dashboard"]]
    parts += [["distributed.cli.dask_worker", where, "--nthreads", "2", "--no-dashboard"]]
    options = {"env": environment(), "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    scheduler, worker = (subprocess.Popen([sys.executable, "-m", *part], **options) for part in parts)  # type: ignore[call-overload]
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "amber.cli", "-q", "extract", "--dataset", "table", "--scheduler", where]
    try:
        for _ in range(30):  # until the scheduler is there
            process = subprocess.Popen(
                [*command, *as_options(corpus, cache)], env=environment(), stderr=subprocess.PIPE, text=True
            )
            while process.poll() is None and committed(cache / "table", "*") < 2:
                time.sleep(0.01)
            if process.poll() is None:
                break
            process.communicate()
        scheduler.kill()
        _, said = process.communicate(timeout=120)
    finally:
        for one in (scheduler, worker):
            one.kill()
            one.wait()
    assert process.returncode == 1, said
    assert "the scheduler stopped or cancelled the work" in said
    assert "Traceback" not in said
    extract(corpus, cache)
    assert sets(cache) == sets(whole)


def test_a_full_disk_ends_the_run_and_keeps_what_is_committed(amber: Amber, corpus: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can't be mounted here: that takes root")
    try:
        done = amber("-q", "extract", "--dataset", "table", *as_options(corpus, small), code=1)
        assert "No space left on device" in done.stderr
        assert len(done.stderr.splitlines()) <= 3
        (store,) = feature_sets(small, "table")
        kept = int(store.committed().sum())
        assert 0 < kept < store.spec.units
        assert drop_damaged(store) == {}
        subprocess.run(["mount", "-o", "remount,size=200m", small], check=True)
        outcomes = extract(corpus, small)
        assert outcomes[0].units_done_now == outcomes[0].units - kept
    finally:
        subprocess.run(["umount", small], check=True)


def test_an_encoder_that_breaks_midway_loses_nothing_that_was_committed(
    corpus: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from amber.extract.encoders import speech

    calls, working = 0, speech.SpeechTransformer.frames

    def breaks(self: speech.SpeechTransformer, batch: list[np.ndarray]) -> list[np.ndarray]:
        nonlocal calls
        calls += 1
        if calls > 40:
            raise RuntimeError("the accelerator is gone")
        return working(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(speech.SpeechTransformer, "frames", breaks)
        with pytest.raises(RunFailure, match="the accelerator is gone"):
            extract(corpus, tmp_path)
    (store,) = feature_sets(tmp_path, "table")
    assert 0 < store.committed().sum() < store.spec.units
    assert len(store.errors()) <= 1
    extract(corpus, tmp_path)
    assert sets(tmp_path) == sets(whole)


def replace_status(location: Path) -> Unit:
    """Return a set's first unit with a failure in it, such as memory that ran out."""
    store = FeatureStore.open(location)
    unit = store.read_unit(0)
    stamps = store.stamps()
    assert stamps is not None
    status, errors = unit.status.copy(), list(unit.errors)
    status[3], errors[3] = Status.FAILED, "out of memory"
    return replace(unit, status=status, errors=errors, stamps=stamps[: len(status)])


def test_failures_are_tried_again_when_asked(corpus: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name in ("wav2vec2-group", "bert", "r0.wav"):
        (tmp_path / name).symlink_to(corpus / name)
    rows = "".join(f"u{i},{'later' if i == 70 else 'r0'}.wav,fine .,s{i % 3},1\n" for i in range(130))
    (tmp_path / "table.csv").write_text("id,audio,text,speaker,vote_joy\n" + rows)
    (tmp_path / "later.wav").write_bytes(b"RIFF but no more than that" * 50)
    config = load(None, options(tmp_path, cache))
    assert list(stage.run(config, QUIET)[0].errors) == ["u70"]
    (tmp_path / "later.wav").write_bytes((corpus / "r3.wav").read_bytes())
    outcome = stage.run(config, QUIET)[0]  # the recording was replaced: nothing needs to be said
    assert (outcome.units_done_now, outcome.errors) == (1, {})
    FeatureStore.open(outcome.location).commit(0, replace_status(outcome.location))
    assert stage.run(config, QUIET)[0].units_done_now == 0
    outcome = stage.run(config, QUIET, retry_failed=True)[0]
    assert (outcome.units_done_now, outcome.errors) == (1, {})
    assert isinstance(FeatureStore.open(outcome.location), FeatureStore)


def test_verify_compares_frame_counts_with_durations(run_cache: Run, corpus: Path, whole: Path, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(whole, tmp_path / "cache"))
    store = feature_sets(cache, "table")[0]
    unit = store.read_unit(3)
    assert unit.lengths is not None
    moved = unit.lengths.copy()
    moved[10], moved[11] = moved[10] - 9, moved[11] + 9
    store.commit(3, replace(unit, lengths=moved))
    found = json.loads(run_cache("verify", "--features", cache, "--json", code=1))["findings"]
    assert [finding["what"].split(":")[0] for finding in found] == ["u0202", "u0203"]

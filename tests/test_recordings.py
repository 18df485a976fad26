"""Replaced recordings: what is extracted again, and that runs on the former features no longer count as done."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ONE, Run

from amber.config import Config
from amber.config_file import load
from amber.console import Console
from amber.errors import UserError
from amber.extract import stage
from amber.features.store import feature_sets
from amber.train import stage as training

ROWS = 130


class Said(Console):
    """A console that keeps remarks and warnings."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def record(path: Path, seconds: float = 0.4, seed: int = 0) -> None:
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000)), 16_000)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 130 recordings in three units, and a cache with its features."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(ROWS):
        record(folder / f"r{i}.wav", seed=i)
    rows = [f"u{i},r{i}.wav,s{i % 10},{i % 3},{(i + 1) % 3}" for i in range(ROWS)]
    (folder / "table.csv").write_text("\n".join(["id,audio,speaker,vote_sad,vote_joy", *rows]) + "\n")
    stage.run(config(folder), Console(quiet=True))
    return folder


@pytest.fixture
def folder(extracted: Path, tmp_path: Path) -> Path:
    """A copy that keeps the times of modification; its table and cache are found beside its recordings."""
    copy = Path(shutil.copytree(extracted, tmp_path / "corpus"))
    stage.run(config(copy), Console(quiet=True))  # the corpus has moved
    return copy


def config(folder: Path, *more: str) -> Config:
    options = (
        "corpus.dataset=table",
        f"corpus.root={folder}",
        "features.speech=logmel",
        f"features.cache={folder / 'cache'}",
        "labels={classes: {sad: [sad], joy: [joy]}, subset: any}",
        "splits={scheme: speaker-folds, k: 3}",
        "train.variants=[speech]",
        "train.seeds=[0]",
        "train.folds=[1]",
        "train.epochs=2",
        ONE,
        f"train.runs={folder / 'runs'}",
    )
    return load(None, [*options, *more])


def extract(folder: Path, **options: bool) -> tuple[int, str]:
    said = Said()
    (outcome,) = stage.run(config(folder), said, **options)
    return outcome.units_done_now, said.text


def test_nothing_is_done_where_nothing_changed(folder: Path) -> None:
    assert extract(folder)[0] == 0
    assert extract(folder, check=True)[0] == 0


@pytest.mark.parametrize("how", ["longer", "another of the same size"])
def test_a_recording_that_was_replaced_is_named_and_its_unit_done_again(folder: Path, run_cache: Run, how: str) -> None:
    record(folder / "r70.wav", 0.8 if how == "longer" else 0.4, seed=999)
    for listed in (
        run_cache("ls", "--features", folder / "cache"),
        run_cache("verify", "--features", folder / "cache"),
    ):
        assert "1 recording changed since they were extracted: r70.wav" in listed
    before = feature_sets(folder / "cache", "table")[0].content()
    units, said = extract(folder)
    assert units == 1
    assert "speech: 1 recording changed since they were extracted: r70.wav" in said
    assert ("12,844 bytes, now 25,644" in said) == (how == "longer")
    store = feature_sets(folder / "cache", "table")[0]
    assert store.content() != before
    assert extract(folder)[0] == 0


def test_a_file_that_was_only_touched_gives_the_same_and_leaves_runs_done(folder: Path) -> None:
    training.run(config(folder), "table", Console(quiet=True))
    os.utime(folder / "r70.wav", (5, 5))
    units, said = extract(folder)
    assert units == 1
    assert "modified 20" in said
    assert training.prepare(config(folder), "table").missing() == []


def test_with_digests_copies_are_known_and_replacements_that_hide_are_found(folder: Path, run_cache: Run) -> None:
    assert extract(folder, check=True)[0] == 0
    os.utime(folder / "r70.wav", (5, 5))
    assert extract(folder) == extract(folder)
    assert extract(folder)[0] == 0
    before = (folder / "r3.wav").stat()
    record(folder / "r3.wav", seed=999)
    os.utime(folder / "r3.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert extract(folder)[0] == 0, "size and time are the same: only a digest tells"
    assert "r3.wav (another content)" in run_cache("verify", "--features", folder / "cache")
    units, said = extract(folder, check=True)
    assert units == 1
    assert "r3.wav (another content)" in said


def test_audio_that_is_gone_is_not_changed(folder: Path) -> None:
    for path in folder.glob("r*.wav"):
        path.rename(path.with_suffix(".away"))
    store = feature_sets(folder / "cache", "table")[0]
    assert training.prepare(config(folder), "table").said == []
    assert store.complete()


def test_a_damaged_stamp_is_found_and_its_unit_done_again(folder: Path, run_cache: Run) -> None:
    path = feature_sets(folder / "cache", "table")[0].location / "stamps" / "c" / "1" / "0"
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    assert "stamps/c/1/0: a chunk is damaged" in run_cache("verify", "--features", folder / "cache", code=1)
    units, said = extract(folder)
    assert units == 1
    assert "what was recorded of it is damaged" in said
    run_cache("verify", "--features", folder / "cache")


def test_runs_on_some_of_the_recordings_are_not_done_when_there_are_more(folder: Path) -> None:
    """20 of 30 recordings became 30: results of 20 are not results of 30."""
    for i in range(0, ROWS, 3):
        (folder / f"r{i}.wav").write_bytes(b"RIFF but no more than that" * 50)
    stage.run(config(folder, "features.max_failures=0.5"), Console(quiet=True))
    few = training.run(config(folder), "table", Console(quiet=True))
    assert few.missing() == []
    assert len(few.data.corpus) == ROWS - len(range(0, ROWS, 3))
    for i in range(0, ROWS, 3):
        record(folder / f"r{i}.wav", seed=i)
    stage.run(config(folder), Console(quiet=True), retry_failed=True)
    said = Said()
    every = training.run(config(folder), "table", said)
    assert len(every.data.corpus) == ROWS
    assert "1 run of another configuration or cache will be replaced" in said.text


def test_training_says_that_recordings_were_replaced(folder: Path) -> None:
    record(folder / "r9.wav", 0.9)
    said = "\n".join(training.plan(config(folder), "table"))
    assert "speech: 1 recording changed since they were extracted: r9.wav (12,844 bytes, now 28,844)" in said


def test_ids_that_are_not_the_utterances_are_refused(folder: Path) -> None:
    store = feature_sets(folder / "cache", "table")[0]
    ids = np.array(store.ids(), dtype=object)
    ids[7] = "another"
    store._arrays["ids"][:] = ids
    with pytest.raises(Exception, match="its ids are not those of the utterances"):
        training.prepare(config(folder), "table")


def test_the_demo_s_temporary_folder_is_this_user_s_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from amber.extract.corpora import demo

    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = demo._private_folder()
    assert folder.stat().st_mode & 0o077 == 0
    assert demo._private_folder() == folder
    folder.chmod(0o777)
    with pytest.raises(UserError, match="not a folder of yours alone"):
        demo._private_folder()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(UserError, match="not a folder of yours alone"):
        demo._private_folder()


def test_demo_audio_of_nearly_the_same_conflict_is_not_the_same(tmp_path: Path) -> None:
    from amber.extract.corpora import Source, demo

    roots = {
        demo.load(Source("demo", "demo", tmp_path, options={"size": 2, "conflict": c})).corpus.root
        for c in (0.3, 0.3000001)
    }
    assert len(roots) == 2

"""Extraction: the same bytes after any interruption, no silent losses, no repeated work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import committed, contents, demo_config, environment

from amber.config_file import load
from amber.console import Console
from amber.corpus import FILE, Corpus
from amber.errors import RunFailure, UserError
from amber.extract import stage
from amber.features.store import FeatureStore, feature_sets
from amber.features.unit import Status

QUIET = Console(quiet=True)


def table(folder: Path, rows: int = 4, broken: tuple[str, ...] = ()) -> Path:
    """Write a table of short noises; `broken` utterances have a file that is no audio."""
    lines = ["id,audio,text,speaker,vote_joy,vote_calm"]
    for i in range(rows):
        uid = f"u{i}"
        if uid in broken:
            (folder / f"{uid}.wav").write_bytes(b"RIFF but no more than that" * 50)
        else:
            soundfile.write(folder / f"{uid}.wav", np.random.default_rng(i).normal(size=4000) * 0.1, 16_000)
        lines.append(f"{uid},{uid}.wav,Words {i},s{i % 3},1,{i % 2}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


def extract(folder: Path, cache: Path, *overrides: str) -> list[stage.Outcome]:
    options = ["corpus.dataset=table", f"corpus.root={folder}", f"features.cache={cache}", *overrides]
    return stage.run(load(None, options), QUIET)


def test_features_are_joined_to_ids_and_run_again_does_nothing(demo_cache: Path) -> None:
    corpus = Corpus.read(demo_cache / "demo" / FILE)
    stores = feature_sets(demo_cache, "demo")
    assert [s.spec.modality for s in stores] == ["speech", "text"]
    for store in stores:
        assert store.ids() == corpus.ids
        assert (store.status() == Status.OK).all()
        assert (np.abs(store.layer(0)).sum(axis=1) > 0).all()
    before = contents(demo_cache)
    outcomes = stage.run(demo_config(demo_cache), QUIET)
    assert [o.units_done_now for o in outcomes] == [0, 0]
    assert contents(demo_cache) == before


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache extracted without interruption, of seven units per set."""
    cache = tmp_path_factory.mktemp("whole")
    stage.run(demo_config(cache, size=400), QUIET)
    return cache


@pytest.mark.parametrize("after", [1, 4])
def test_killed_and_run_again_gives_the_same_bytes(tmp_path: Path, whole: Path, after: int) -> None:
    """SIGKILL as soon as some units are committed, then a second run, against one undisturbed run."""
    (tmp_path / "demo").mkdir()
    for folder in (whole / "demo").glob("audio-*"):
        (tmp_path / "demo" / folder.name).symlink_to(folder)  # the audio is not what is tested
    command = [sys.executable, "-m", "amber.cli", "extract", "--dataset", "demo", "--speech", "logmel"]
    command += ["--text", "minilm", "--set", "corpus.options.size=400", "--features", str(tmp_path)]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        done = committed(tmp_path / "demo", "speech-*")
        if done >= after:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert after <= done < 7, "the kill came too late to test anything"
    outcomes = stage.run(demo_config(tmp_path, size=400), QUIET)
    assert 0 < outcomes[0].units_done_now < 7
    for outcome in outcomes:
        name = outcome.location.name
        assert contents(tmp_path / "demo" / name) == contents(whole / "demo" / name)


def test_a_broken_file_is_counted_by_name_and_the_others_go_on(tmp_path: Path) -> None:
    table(tmp_path, broken=("u2",))
    speech, text = extract(tmp_path, tmp_path / "cache")
    assert speech.counts == {"absent": 0, "ok": 3, "failed": 1, "truncated": 0}
    assert list(speech.errors) == ["u2"]
    assert "u2.wav: can't be read" in speech.errors["u2"]
    assert text.counts["ok"] == 4


def test_too_many_failures_end_the_run_with_the_first_shown(tmp_path: Path) -> None:
    table(tmp_path, rows=10, broken=("u2", "u5", "u7"))
    with pytest.raises(RunFailure, match=r"3 utterances failed.*max-failures(.|\n)*u2 \(u2.wav"):
        extract(tmp_path, tmp_path / "cache")
    # What was found out is kept, and allowed is allowed.
    speech, _ = extract(tmp_path, tmp_path / "cache", "features.max_failures=0.5")
    assert (speech.counts["failed"], speech.units_done_now) == (3, 0)


def test_no_audio_is_absent_rather_than_failed(tmp_path: Path) -> None:
    path = table(tmp_path)
    path.write_text(path.read_text().replace("u1,u1.wav,", "u1,,").replace("Words 3", ""))
    speech, text = extract(tmp_path, tmp_path / "cache")
    assert (speech.counts["absent"], speech.counts["ok"]) == (1, 3)
    assert (text.counts["absent"], text.counts["ok"]) == (1, 3)


def test_a_change_of_labels_extracts_nothing_again(tmp_path: Path) -> None:
    path = table(tmp_path)
    extract(tmp_path, tmp_path / "cache")
    path.write_text(path.read_text().replace(",1,0", ",0,4"))
    assert [o.units_done_now for o in extract(tmp_path, tmp_path / "cache")] == [0, 0]
    votes = Corpus.read(tmp_path / "cache" / "table" / FILE).votes()
    assert len(votes.utterance) == 12


def test_a_change_of_text_extracts_only_text_again(tmp_path: Path) -> None:
    path = table(tmp_path)
    extract(tmp_path, tmp_path / "cache")
    path.write_text(path.read_text().replace("Words 3", "Other words"))
    assert [o.units_done_now for o in extract(tmp_path, tmp_path / "cache")] == [0, 1]


def test_a_mistake_leaves_nothing_behind(tmp_path: Path) -> None:
    table(tmp_path)
    for override in ("features.speech=logmell", "features.layers=77", "corpus.name=../x", "features.device=tpu9"):
        with pytest.raises(UserError):
            extract(tmp_path, tmp_path / "cache", override)
    assert not (tmp_path / "cache").exists()


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    lines = stage.plan(demo_config(tmp_path / "cache"))
    assert "100 utterances" in lines[0]
    assert "0 of 2 units cached" in lines[1]
    assert not (tmp_path / "cache").exists()


def test_a_set_of_other_utterances_is_not_taken_for_this_one(demo_cache: Path) -> None:
    """Features are found by spec: another size of corpus has another name."""
    names = {s.location.name for s in feature_sets(demo_cache, "demo")}
    loaded = stage.load_corpus(demo_config(demo_cache, size=90))
    work = stage.survey(demo_config(demo_cache, size=90), loaded.corpus)
    assert not names & {w.spec.name for w in work}
    assert all(FeatureStore.open(s.location).complete() for s in feature_sets(demo_cache, "demo"))

"""`amber cache`: what is listed, what is found damaged and what is deleted."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, contents, demo_config, flip

from amber.console import Console
from amber.corpus import FILE, Corpus
from amber.errors import UserError
from amber.extract import stage
from amber.features.store import FeatureStore, feature_sets
from amber.train import stage as training


def damage(store: FeatureStore, how: str) -> None:
    chunk = Path(store.location, "pooled", "c", "1", "0", "0")
    commits = Path(store.location, "commits", "c", "1")
    match how:
        case "flipped":
            flip(chunk)
        case "cut short":
            chunk.write_bytes(chunk.read_bytes()[:50])
        case "gone":
            chunk.unlink()
        case "another's":
            shutil.copy(chunk.parents[2] / "0" / "0" / "0", chunk)
        case "status flipped":
            flip(Path(store.location, "status", "c", "1"))
        case "status gone":
            Path(store.location, "status", "c", "1").unlink()
        case "commit":
            commits.write_bytes(commits.read_bytes()[:5])


# --- ls


def test_ls_lists_what_is_there(run_cache: Run, cache: Path) -> None:
    (found,) = json.loads(run_cache("ls", "--features", cache, "--json"))
    assert (found["dataset"], found["utterances"], found["synthetic"]) == ("demo", 100, True)
    speech, text = found["features"]
    assert (speech["modality"], speech["encoder"], speech["state"]) == ("speech", "logmel", "current")
    assert (text["units"], text["committed"], text["counts"]["ok"]) == (2, 2, 100)
    assert text["bytes"] == sum(len(b) for b in contents(cache / "demo" / text["name"]).values())
    assert "100 ok" in run_cache("ls", "--features", cache)


def test_ls_says_what_is_stale_half_and_unreadable(run_cache: Run, cache: Path) -> None:
    speech, text = (s.location for s in feature_sets(cache, "demo"))
    corpus = Corpus.read(cache / "demo" / FILE)
    corpus.take(np.arange(99)).write(cache / "demo" / FILE)
    (text / "zarr.json").unlink()
    (cache / "demo" / "text-x-12345678.zarr").mkdir()
    (cache / "demo" / "text-x-12345678.zarr" / "zarr.json").write_text("{")
    states = [f["state"] for f in json.loads(run_cache("ls", "--features", cache, "--json"))[0]["features"]]
    assert states == ["stale", "half", "unreadable"]
    assert "unreadable" in run_cache("ls", "--features", cache)
    assert "no dataset" in run_cache("ls", "--features", speech)
    assert "no such cache" in run_cache("ls", "--features", cache / "none", code=2)


# --- verify and repair


def test_a_sound_cache_is_clean_and_left_as_it_was(run_cache: Run, cache: Path) -> None:
    before = contents(cache)
    assert "2 feature sets, 4 committed units: no findings" in run_cache("verify", "--features", cache)
    assert contents(cache) == before


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("flipped", "pooled/c/1/0/0: a chunk is damaged"),
        ("cut short", "pooled/c/1/0/0: a chunk is damaged"),
        ("gone", "pooled/c/1/0/0: a chunk is missing"),
        ("another's", "not what was committed"),
        ("status flipped", "status/c/1: a chunk is damaged"),
        ("status gone", "status/c/1: a chunk is missing"),
        ("commit", None),
    ],
)
def test_damage_is_named_and_extract_repairs_that_unit_alone(
    run_cache: Run, cache: Path, how: str, says: str | None
) -> None:
    store = feature_sets(cache, "demo")[0]
    before = contents(store.location)
    damage(store, how)
    if says:
        (finding,) = json.loads(run_cache("verify", "--features", cache, "--json", code=1))["findings"]
        assert finding["where"] == f"demo/{store.location.name}"
        assert finding["what"].startswith(f"unit 1 ({store.ids()[64]} to {store.ids()[99]}): ")
        assert says in finding["what"]
    else:  # a commit that can't be read is none
        assert "not complete: 1 of 2 units" in run_cache("verify", "--features", cache)
    outcomes = stage.run(demo_config(cache), Console(quiet=True))
    assert [o.units_done_now for o in outcomes] == [1, 0]
    assert contents(store.location) == before
    run_cache("verify", "--features", cache)


def test_damaged_metadata_are_named_and_cost_no_unit(run_cache: Run, cache: Path) -> None:
    store = feature_sets(cache, "demo")[0]
    path = Path(store.location, "pooled", "zarr.json")
    whole = path.read_bytes()
    path.write_text(whole.decode().replace('"float16"', '"float32"'))
    assert "pooled/zarr.json can't be used: it is damaged" in run_cache("verify", "--features", cache, code=1)
    with pytest.raises(Exception, match=r"pooled/zarr\.json can't be used: it is damaged"):
        stage.run(demo_config(cache), Console(quiet=True))
    path.write_bytes(whole)
    assert FeatureStore.open(store.location).complete()


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_damaged_ids_are_named_and_extract_writes_them_again(run_cache: Run, cache: Path, how: str) -> None:
    store = feature_sets(cache, "demo")[0]
    before = contents(store.location)
    path = Path(store.location, "ids", "c", "0")
    path.write_bytes(path.read_bytes()[:20]) if how == "damaged" else path.unlink()
    assert f"ids: a chunk is {how}" in run_cache("verify", "--features", cache, code=1)
    assert [o.units_done_now for o in stage.run(demo_config(cache), Console(quiet=True))] == [0, 0]
    assert contents(store.location) == before


def test_other_ids_and_another_name_are_found(run_cache: Run, cache: Path) -> None:
    store = feature_sets(cache, "demo")[1]
    array = store._arrays["ids"]
    array[:] = np.array(store.ids()[::-1], dtype=object)
    found = [f["what"] for f in json.loads(run_cache("verify", "--features", cache, "--json", code=1))["findings"]]
    assert any("its ids are not those of utterances.parquet" in what for what in found)
    store.location.rename(cache / "demo" / "text-other-00000000.zarr")
    found = [f["what"] for f in json.loads(run_cache("verify", "--features", cache, "--json", code=1))["findings"]]
    assert any("folder's name is not that of its spec" in what for what in found)


@pytest.mark.parametrize("how", ["copied", "renamed"])
def test_a_dataset_s_folder_by_another_name_is_refused(run_cache: Run, cache: Path, tmp_path: Path, how: str) -> None:
    if how == "copied":
        shutil.copytree(cache / "demo", cache / "other")
    else:
        (cache / "demo").rename(cache / "other")
    says = "other: the folder is called other and holds the dataset demo"
    with pytest.raises(UserError, match=says):
        training.plan(demo_config(cache, f"train.runs={tmp_path}"), "other")
    assert says in run_cache("export", "--to", tmp_path / "f.h5", "--features", cache, "--dataset", "other", code=2)
    assert says in run_cache("ls", "--features", cache)
    assert says in run_cache("verify", "--features", cache, code=1)
    assert "nothing to delete" in run_cache("gc", "--features", cache)


def test_what_is_not_complete_is_no_damage(run_cache: Run, cache: Path) -> None:
    feature_sets(cache, "demo")[0]._arrays["commits"][1] = 0
    assert "not complete: 1 of 2 units" in run_cache("verify", "--features", cache)
    (cache / "demo" / FILE).write_bytes(b"PAR1 no more")
    assert "can't be read" in run_cache("verify", "--features", cache, code=1)


# --- gc


@pytest.fixture
def littered(cache: Path) -> Path:
    """The cache with a set of an earlier list of utterances and one whose laying out was cut short."""
    stage.run(demo_config(cache, "features.speech=logmel", size=90), Console(quiet=True))
    stage.run(demo_config(cache), Console(quiet=True))
    half = cache / "demo" / "speech-half-00000000.zarr"
    (half / "ids").mkdir(parents=True)
    return cache


def names(cache: Path) -> set[str]:
    return {path.name for path in (cache / "demo").iterdir()}


def test_gc_asks_and_deletes_only_what_is_of_other_utterances(run_cache: Run, littered: Path) -> None:
    before, current = names(littered), {e.location.name for e in _current(littered)}
    said = run_cache("gc", "--features", littered)
    assert "of other utterances" in said
    assert "was never laid out whole" in said
    assert "give --yes" in said
    assert names(littered) == before
    assert "3 feature sets deleted" in run_cache("gc", "--features", littered, "--yes")
    assert {n for n in names(littered) if n.endswith(".zarr")} == current
    assert {n for n in before if not n.endswith(".zarr")} <= names(littered)
    assert "nothing to delete" in run_cache("gc", "--features", littered, "--yes")


@pytest.mark.parametrize(("answer", "left"), [("n", 2), ("y", 0)])
def test_gc_does_what_is_answered(
    run_cache: Run, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, left: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    (tmp_path / "other.yaml").write_text("corpus: {name: other}\n")
    assert "Delete 2 feature sets" in run_cache("gc", "--features", cache, "--pipeline", tmp_path / "other.yaml")
    assert len(feature_sets(cache, "demo")) == left


def _current(cache: Path) -> list[FeatureStore]:
    corpus = Corpus.read(cache / "demo" / FILE)
    return [s for s in feature_sets(cache, "demo") if s.spec.inputs == corpus.input_hash(s.spec.modality)]


def test_gc_keeps_what_a_pipeline_names(run_cache: Run, cache: Path, tmp_path: Path) -> None:
    speech, text = (s.location for s in feature_sets(cache, "demo"))
    (tmp_path / "a.yaml").write_text("features: {speech: logmel, text: bert-base-uncased}\n")
    (tmp_path / "b.yaml").write_text("corpus: {name: other}\n")
    said = run_cache("gc", "--features", cache, "--pipeline", tmp_path / "a.yaml", "--pipeline", tmp_path / "b.yaml")
    assert f"{text}: " in said
    assert "no pipeline names it" in said
    assert str(speech) not in said
    (tmp_path / "c.yaml").write_text("train: {epochs: 3}\n")
    assert "nothing to delete" in run_cache("gc", "--features", cache, "--pipeline", tmp_path / "c.yaml")
    run_cache("gc", "--features", cache, "--pipeline", tmp_path / "none.yaml", code=2)


def test_gc_deletes_nothing_outside_the_cache_and_nothing_that_it_can_t_judge(run_cache: Run, cache: Path) -> None:
    outside = cache.parent / "speech-half-00000000.zarr"
    outside.mkdir()
    (cache / "demo" / outside.name).symlink_to(outside)
    assert "a link out of the cache" in run_cache("gc", "--features", cache, "--yes", code=2)
    assert outside.is_dir()
    (cache / "demo" / outside.name).unlink()
    (cache / "demo" / FILE).unlink()
    assert ": kept: " in run_cache("gc", "--features", cache, "--yes")
    assert len(feature_sets(cache, "demo")) == 2

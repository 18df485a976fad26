"""What stands can be trusted: what was changed since it was finished is named, and never believed."""

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
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ONE, Amber, Run, contents, demo_config, flip, vouch

from amber import corpus as contract
from amber import done, predictions, seal
from amber.config import Config, EvaluateOptions
from amber.console import Console
from amber.corpus import Corpus
from amber.errors import RunFailure, UserError
from amber.evaluate import stage as evaluation
from amber.evaluate.report import latex, tables
from amber.extract import stage as extraction
from amber.features import catalog as caches
from amber.features import layout
from amber.features.store import FeatureStore, feature_sets
from amber.lock import held
from amber.train import stage as training

QUIET = Console(quiet=True)
OPTIONS = EvaluateOptions(resamples=100)
RUN = "amber2/fold1-seed0"


def config(cache: Path, runs: Path, *more: str) -> Config:
    quick = ("train.epochs=2", ONE, "train.seeds=[0]", "train.folds=[1]", "train.variants=[soft, amber2]")
    return demo_config(cache, *quick, "labels.subset=any", f"train.runs={runs}", *more)


@pytest.fixture(scope="module")
def trained(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    training.run(config(demo_cache, runs), None, QUIET)
    evaluation.run([runs / "demo"], OPTIONS, QUIET)
    return runs / "demo"


@pytest.fixture
def experiment(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / "demo"))


# --- finished runs


def damage(folder: Path, how: str) -> str:
    """Do something to a run; return the name of what was damaged."""
    run = folder / RUN
    match how.partition(":")[::2]:
        case ("flip", name):
            flip(run / name, (run / name).stat().st_size // 2)
        case ("delete", name):
            (run / name).unlink()
        case ("garbage", name):
            (run / name).write_bytes(b"\0{]garbage")
        case ("empty", name):
            (run / name).write_bytes(b"")
        case ("another's", name):
            shutil.copy(folder / "soft" / "fold1-seed0" / name, run / name)
    return how.partition(":")[2]


FILES = ("config.yaml", "env.json", "metrics.jsonl", "predictions.parquet")
MODEL = ("model/heads.safetensors", "model/config.json", "model/README.md")
DAMAGE = [
    *(f"flip:{name}" for name in (*FILES, *MODEL, "DONE")),
    *(f"delete:{name}" for name in (*FILES, *MODEL)),
    *(f"garbage:{name}" for name in (*FILES, "model/config.json", "DONE")),
    *(f"empty:{name}" for name in ("config.yaml", "metrics.jsonl", "DONE")),
    *(f"another's:{name}" for name in ("predictions.parquet", "model/heads.safetensors")),
]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_run_is_named_and_is_not_done(experiment: Path, demo_cache: Path, how: str) -> None:
    name = damage(experiment, how)
    with pytest.raises(UserError, match=f"{RUN}/{name}|{RUN}: {name}") as refused:
        evaluation.run([experiment], OPTIONS, QUIET)
    assert len(str(refused.value).splitlines()) <= 3
    assert "amber train" in str(refused.value)
    missing = training.prepare(config(demo_cache, experiment.parent), None).missing()
    assert [run.path for run in missing] == [RUN]


def test_only_the_damaged_run_is_trained_again(
    experiment: Path, trained: Path, demo_cache: Path, amber: Amber, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(experiment / "soft")
    damage(experiment, "flip:predictions.parquet")
    training.run(config(demo_cache, experiment.parent), None, QUIET)
    assert "1 damaged run trained again" in capfd.readouterr().err
    assert contents(experiment / "soft") == before
    file = f"{RUN}/predictions.parquet"
    assert (experiment / file).read_bytes() == (trained / file).read_bytes()
    evaluation.run([experiment], OPTIONS, QUIET)


def test_a_run_in_another_s_place_is_named(experiment: Path, demo_cache: Path) -> None:
    shutil.rmtree(experiment / RUN)
    shutil.copytree(experiment / "soft" / "fold1-seed0", experiment / RUN)
    with pytest.raises(UserError, match=r"holds the run soft/fold1-seed0"):
        evaluation.run([experiment], OPTIONS, QUIET)
    assert len(training.prepare(config(demo_cache, experiment.parent), None).missing()) == 1


def test_runs_of_an_earlier_version_are_read_with_a_warning_and_trained_again(
    experiment: Path, demo_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in experiment.glob("*/*/DONE"):
        path.write_text(json.loads(path.read_text())["key"] + "\n")
    (experiment / "metrics.json").unlink()
    evaluation.run([experiment], OPTIONS, QUIET)
    assert "2 runs trained by an earlier version, which kept no digests" in capfd.readouterr().err
    assert len(training.prepare(config(demo_cache, experiment.parent), None).missing()) == 2
    (experiment / RUN / "config.yaml").write_text("{")
    with pytest.raises(UserError, match=r"config\.yaml: damaged"):
        evaluation.run([experiment], OPTIONS, QUIET)


@pytest.mark.parametrize("head", ["student", "text"])
def test_no_head_is_left_out_in_silence(experiment: Path, head: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = experiment / RUN / predictions.FILE
    found = predictions.read(path)
    found.p[np.flatnonzero(found.keys["head"] == head)[3]] = np.nan
    predictions.write(path, found)
    vouch(experiment)
    with pytest.raises(UserError, match=f"p of 1 rows is no distribution, first of {head} on demo_"):
        evaluation.run([experiment], OPTIONS, QUIET)


def test_predictions_of_another_run_are_refused_though_they_are_vouched_for(experiment: Path) -> None:
    damage(experiment, "another's:predictions.parquet")
    vouch(experiment)
    with pytest.raises(UserError, match="holds predictions of another run, demo/"):
        evaluation.run([experiment], OPTIONS, QUIET)


# --- results


@pytest.mark.parametrize("name", ["metrics.json", "table.md", "table.tex", "report.html"])
def test_results_that_were_changed_are_said_and_written_again(
    experiment: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = (experiment / name).read_bytes()
    evaluation.run([experiment], OPTIONS, QUIET)
    assert (experiment / name).stat().st_mtime_ns  # evaluated where the copy lies
    whole = (experiment / name).read_bytes()
    flip(experiment / name, len(whole) // 3)
    found = evaluation.run([experiment], OPTIONS, QUIET).metrics
    assert "evaluating again" in capfd.readouterr().err
    assert (experiment / name).read_bytes() == whole
    assert found == json.loads((experiment / "metrics.json").read_text())


def test_results_follow_the_words_and_recordings_that_they_show(
    experiment: Path, cache: Path, demo_cache: Path
) -> None:
    for path in experiment.glob("*/*/env.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "cache": str(cache)}))
    vouch(experiment)
    key = evaluation.run([experiment], OPTIONS, QUIET).metrics["key"]
    path = cache / "demo" / contract.FILE
    corpus = Corpus.read(path)
    words = ["other words", *corpus.column("text")[1:]]
    place = corpus.table.column_names.index("text")
    corpus.table = corpus.table.set_column(place, "text", [words])
    corpus.write(path)
    assert evaluation.run([experiment], OPTIONS, QUIET).metrics["key"] != key


def test_names_are_escaped() -> None:
    assert latex._tex(r"a\b{c}$x^2~y_1 <z>|") == (
        r"a\textbackslash{}b\{c\}\$x\textasciicircum{}2\textasciitilde{}y\_1 \textless{}z\textgreater{}\textbar{}"
    )
    assert tables._markdown(["a|b"], [["c"]]).splitlines()[0] == r"| a\|b |"


# --- utterances and what lies beside them


def test_no_flipped_bit_in_utterances_is_read_as_something_else(cache: Path) -> None:
    path = cache / "demo" / contract.FILE
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"amber extract|can't be read"):
            Corpus.read(path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1" * 100, None])
def test_utterances_that_are_garbage_are_written_anew(cache: Path, content: bytes | None, run_cache: Run) -> None:
    path = cache / "demo" / contract.FILE
    extraction.run(demo_config(cache), QUIET)  # the copy lies elsewhere than the corpus says
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert path.name in run_cache("verify", "--features", cache, code=1)
    assert [o.units_done_now for o in extraction.run(demo_config(cache), QUIET)] == [0, 0]
    assert path.read_bytes() == whole
    run_cache("verify", "--features", cache)


def test_utterances_of_an_earlier_version_are_read_and_written_anew_by_the_next_extract(cache: Path) -> None:
    path = cache / "demo" / contract.FILE
    extraction.run(demo_config(cache), QUIET)  # the copy lies elsewhere than the corpus says
    whole = path.read_bytes()
    downgrade_utterances(path)
    assert seal.is_whole(path.read_bytes()) is None
    assert len(Corpus.read(path)) == 100
    extraction.run(demo_config(cache), QUIET)
    assert path.read_bytes() == whole


def downgrade_utterances(path: Path) -> None:
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"amber"]) | {"schema_version": 1}
    pq.write_table(table.replace_schema_metadata({"amber": json.dumps(about)}), path)


def test_a_digest_can_not_be_taken_away(cache: Path) -> None:
    path = cache / "demo" / contract.FILE
    path.write_bytes(path.read_bytes().replace(seal.MARK.encode(), b"sha255:"))
    with pytest.raises(UserError, match="damaged"):
        Corpus.read(path)


def test_a_changed_ledger_is_found_and_written_anew(cache: Path, run_cache: Run) -> None:
    path = cache / "demo" / contract.LEDGER
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 9)):
        flip(path, place)
        if seal.is_whole(path.read_bytes()) is not None:
            assert "ledger.json is not what was written" in run_cache("verify", "--features", cache, code=1)
        path.write_bytes(whole)
    flip(path, 40)
    extraction.run(demo_config(cache), QUIET)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["ids", "commits"])
def test_flips_in_ids_and_commits_are_noticed_in_training(cache: Path, tmp_path: Path, name: str) -> None:
    for store in feature_sets(cache, "demo"):
        path = store.location / name / "c" / "0"
        whole = path.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 8)):
            flip(path, place)
            with pytest.raises((RunFailure, UserError), match=r"chunk is damaged|not complete"):
                training.prepare(config(cache, tmp_path), None)
            path.write_bytes(whole)


# --- caches of the former format


def downgrade(location: Path) -> None:
    """Make of a feature set what the former version wrote."""
    import zarr

    spec, group = FeatureStore.open(location).spec, zarr.open_group(str(location), mode="r+")
    shutil.rmtree(location / "stamps", ignore_errors=True)
    for name in ("ids", "errors", "commits"):
        values, array = group[name][:], layout.array_layouts(spec)[name]
        group.create_array(
            name,
            shape=array.shape,
            chunks=array.chunks,
            dtype=array.dtype,
            fill_value=array.fill,
            compressors="auto" if array.dtype is str else None,
            overwrite=True,
        )[:] = values
    zarr.open_group(str(location), mode="r+").attrs.put({"spec": spec.model_dump(mode="json")})


@pytest.fixture
def former(cache: Path) -> Path:
    for store in feature_sets(cache, "demo"):
        downgrade(store.location)
    downgrade_utterances(cache / "demo" / contract.FILE)
    return cache


def test_a_cache_of_the_former_format_is_read_and_upgraded_without_extracting_again(
    former: Path, demo_cache: Path, tmp_path: Path, run_cache: Run
) -> None:
    assert all(store.format == 1 for store in feature_sets(former, "demo"))
    run_cache("verify", "--features", former)
    old = training.prepare(config(former, tmp_path), None)
    assert [o.units_done_now for o in extraction.run(demo_config(former), QUIET)] == [0, 0]
    new = training.prepare(config(former, tmp_path), None)
    assert [old.key(run) for run in old.runs] == [new.key(run) for run in new.runs]
    for store in feature_sets(former, "demo"):
        assert contents(store.location) == contents(demo_cache / "demo" / store.location.name)


def test_an_upgrade_that_is_cut_short_anywhere_loses_nothing(
    former: Path, demo_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = layout.ArrayLayout.create

    def dies(self: layout.ArrayLayout, *arguments: object, **options: object) -> object:
        nonlocal left
        made = working(self, *arguments, **options)  # type: ignore[arg-type]
        left -= 1
        if not left:  # the array is there and empty
            raise KeyboardInterrupt
        return made

    for step in range(1, 5):
        left = step
        with monkeypatch.context() as patch:
            patch.setattr(layout.ArrayLayout, "create", dies)
            with pytest.raises(KeyboardInterrupt):
                extraction.run(demo_config(former), QUIET)
    assert [o.units_done_now for o in extraction.run(demo_config(former), QUIET)] == [0, 0]
    for store in feature_sets(former, "demo"):
        assert contents(store.location) == contents(demo_cache / "demo" / store.location.name)


# --- two at a time


@pytest.fixture
def holder() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def hold(folder: Path, name: str, processes: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """Start a process that holds a lock until it is killed."""
    script = (
        "import sys, time; from pathlib import Path; from amber.lock import held\n"
        "with held(Path(sys.argv[1]), sys.argv[2], 'a test', 'wait'):\n    print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, folder, name], stdout=subprocess.PIPE, text=True)
    processes.append(process)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_train_is_refused_by_name_and_a_dead_one_s_lock_is_taken_over(
    experiment: Path, demo_cache: Path, holder: list[subprocess.Popen[str]]
) -> None:
    first = hold(experiment, "train", holder)
    wanted = config(demo_cache, experiment.parent, "train.epochs=1")
    with pytest.raises(UserError, match=rf"process {first.pid} on .*, since 20.*is at work there") as refused:
        training.run(wanted, None, QUIET)
    assert len(str(refused.value).splitlines()) <= 3
    assert len(training.prepare(config(demo_cache, experiment.parent), None).missing()) == 0
    first.send_signal(signal.SIGKILL)
    first.wait()
    training.run(wanted, None, QUIET)
    assert training.prepare(wanted, None).missing() == []


def test_a_second_extract_of_a_set_is_refused_and_gc_spares_what_is_written(
    cache: Path, run_cache: Run, holder: list[subprocess.Popen[str]]
) -> None:
    speech, text = (store.location for store in feature_sets(cache, "demo"))
    first = hold(cache / "demo", speech.name.removesuffix(".zarr"), holder)
    with pytest.raises(UserError, match=f"process {first.pid} "):
        extraction.run(demo_config(cache), QUIET)
    (speech / "zarr.json").unlink()  # as while it is laid out
    (text / "zarr.json").unlink()
    said = run_cache("gc", "--features", cache, "--yes")
    assert f"{speech}: kept: it is being written" in said
    assert "1 feature sets deleted" in said
    assert speech.exists()
    assert not text.exists()


def test_two_that_lay_out_a_set_without_a_lock_take_nothing_from_one_another(
    cache: Path, demo_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on object storage: one finds no layout yet, and until it makes one the other has written and committed."""
    (store, _) = feature_sets(cache, "demo")
    spec, ids, unit = store.spec, store.ids(), store.read_unit(0)
    shutil.rmtree(store.location)
    working = layout.ArrayLayout.create

    def meanwhile(self: layout.ArrayLayout, *arguments: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            FeatureStore.create(store.location.parent, spec, ids).commit(0, unit)
        return working(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(layout.ArrayLayout, "create", meanwhile)
    for others in range(1, 6):
        left = others
        slow = FeatureStore.create(store.location.parent, spec, ids)
        slow.check_layout()
        assert slow.committed().tolist() == [True, False]
        assert slow.read_unit(0).checksum == unit.checksum
        shutil.rmtree(store.location)


def test_no_advice_costs_another_writer_s_work(cache: Path) -> None:
    (store, _) = feature_sets(cache, "demo")
    for name in ("zarr.json", "pooled/zarr.json"):
        whole = (store.location / name).read_bytes()
        (store.location / name).write_bytes(b"{")
        with pytest.raises(RunFailure, match="another process is just writing it") as found:
            training.prepare(config(cache, cache), None)
        assert "delete" not in str(found.value)
        assert len(str(found.value).splitlines()) <= 3
        (store.location / name).write_bytes(whole)


def test_a_lock_on_object_storage_is_none(tmp_path: Path) -> None:
    from amber.location import locate

    with held(locate("memory://bucket/cache/demo"), "x", "a test", "wait"):
        pass
    assert not list(tmp_path.iterdir())


def test_what_is_being_written_elsewhere_is_told_by_its_age(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "is_local", lambda path: False)
    (store, _) = feature_sets(cache, "demo")
    assert not caches.Entry(store.location, "stale", "", store).may_be_in_work()  # it is complete
    store.take_back([1])
    assert caches.Entry(store.location, "stale", "", store).may_be_in_work()
    for path in store.location.rglob("*"):
        os.utime(path, (5, 5))
    assert not caches.Entry(store.location, "stale", "", store).may_be_in_work()


# --- trouble in the middle


def test_a_full_disk_while_training_ends_in_a_line_and_keeps_what_is_done(
    amber: Amber, demo_cache: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can't be mounted here: that takes root")
    try:
        wanted = ("--variants", "soft", "--seeds", "0,1,2", "--set", "train.epochs=2", "--set", ONE)
        command = ("-q", "train", "--features", demo_cache, "--runs", small, *wanted, "--set", "labels.subset=any")
        said = amber(*command, code=1).stderr
        assert "can't be written: No space left on device" in said
        assert len(said.splitlines()) <= 3
        assert not list(small.rglob("*.partial"))
        for path in small.glob("*/*/*/DONE"):
            assert done.read(path.parent).faults(path.parent) == []
        subprocess.run(["mount", "-o", "remount,size=50m", small], check=True)
        amber(*command)
    finally:
        subprocess.run(["umount", small], check=True)


def test_storage_that_goes_away_in_the_middle_is_one_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system in memory that fsspec has, which fails as a bucket does: with an error of its own kind."""
    from fsspec.implementations.memory import MemoryFileSystem

    class GoneError(Exception):
        pass

    calls, working = 0, MemoryFileSystem.pipe_file

    def fails(self: object, *arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 12:
            raise GoneError("the bucket is gone")
        return working(self, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", fails)
    with pytest.raises(RunFailure, match=r"memory://.*: the storage failed: the bucket is gone"):
        extraction.run(demo_config(Path("cache"), "features.cache=memory://gone/cache", size=20), QUIET)


def test_kills_of_two_trainers_leave_only_whole_runs(trained: Path, demo_cache: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["amber.train.stage", "conftest"])
    when, kills = random.Random(0), 0
    wanted = config(demo_cache, tmp_path)
    while kills < 6:
        pair = [context.Process(target=_try_to_train, args=(wanted,)) for _ in range(2)]
        for process in pair:
            process.start()
        time.sleep(when.uniform(0.05, 1.0))
        for process in pair:
            if process.exitcode is None:
                assert process.pid
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.join()
        for path in tmp_path.glob("demo/*/*/DONE"):
            assert done.read(path.parent).faults(path.parent) == []
        if not training.prepare(wanted, None).missing():
            shutil.rmtree(tmp_path / "demo" / "soft")
    training.run(wanted, None, QUIET)
    for run in training.prepare(wanted, None).runs:
        file = f"{run.path}/{predictions.FILE}"
        assert (tmp_path / "demo" / file).read_bytes() == (trained / file).read_bytes()
    assert not list(tmp_path.rglob("*.partial"))


def _try_to_train(wanted: Config) -> None:
    with suppress(UserError):  # the other one is at work there
        training.run(wanted, None, QUIET)

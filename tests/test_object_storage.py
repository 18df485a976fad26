"""The cache on object storage: the same contract, against a real S3 server on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ONE, contents, environment
from tiny_recognisers import save as save_recogniser

from amber.cli import main
from amber.errors import UserError
from amber.predict.model import load

pytest.importorskip("moto", reason="the S3 server of the extra `dev` is not installed")
SIZE = "corpus.options.size=120"


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """A server with an empty bucket; yields the environment in which `s3://` reaches it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", "0"], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr
    address = next(line.split()[-1] for line in process.stderr if "Running on http" in line)
    reached = {
        **environment(),
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    script = "import s3fs; s3fs.S3FileSystem().mkdir('features')"
    subprocess.run([sys.executable, "-c", script], env=reached, check=True)
    # The server's log must be read, or it would block on a full pipe.
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    yield reached
    process.kill()
    process.wait()
    process.stderr.close()
    drain.wait()


def amber(where: dict[str, str], *arguments: object, code: int = 0) -> str:
    command = [sys.executable, "-m", "amber.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=where, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def script(where: dict[str, str], text: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, env=where, check=True
    ).stdout.strip()


def test_the_whole_pipeline_on_a_bucket(bucket: dict[str, str], tmp_path: Path) -> None:
    extract = ("-q", "extract", "--dataset", "demo", "--speech", "logmel", "--text", "minilm", "--set", SIZE)
    amber(bucket, *extract, "--features", "s3://features/cache")
    amber(bucket, *extract, "--features", tmp_path / "cache")
    files = contents(tmp_path / "cache" / "demo")
    local = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if ".zarr" in name}
    listed = script(
        bucket,
        "import s3fs, json, hashlib; fs = s3fs.S3FileSystem(); base = 'features/cache/demo/'\n"
        "found = {p[len(base):]: hashlib.sha256(fs.cat(p)).hexdigest() for p in fs.find(base) if '.zarr' in p}\n"
        "print(json.dumps(found))",
    )
    assert json.loads(listed) == local

    (dataset,) = json.loads(amber(bucket, "cache", "ls", "--features", "s3://features/cache", "--json"))
    assert [f["state"] for f in dataset["features"]] == ["current", "current"]
    assert all(f["bytes"] > 10_000 for f in dataset["features"])
    train = ("-q", "train", "--runs", tmp_path / "runs", "--variants", "soft", "--seeds", "0", "--folds", "1")
    amber(
        bucket,
        *train,
        "--features",
        "s3://features/cache",
        "--set",
        "train.epochs=2",
        "--set",
        ONE,
        "--set",
        "labels.subset=any",
    )
    assert (tmp_path / "runs" / "demo" / "soft" / "fold1-seed0" / "DONE").is_file()


def test_damage_on_a_bucket_is_named_and_only_that_unit_is_done_again(bucket: dict[str, str]) -> None:
    cache = "s3://features/damaged"
    extract = ("extract", "--dataset", "demo", "--speech", "logmel", "--text", "minilm", "--set", SIZE, "--json")
    amber(bucket, "-q", *extract, "--features", cache)
    script(
        bucket,
        "import s3fs; fs = s3fs.S3FileSystem()\n"
        "(path,) = [p for p in fs.find('features/damaged/demo') if '/speech-' in p and p.endswith('pooled/c/1/0/0')]\n"
        "data = bytearray(fs.cat(path)); data[7] ^= 1; fs.pipe(path, bytes(data))",
    )
    assert "unit 1" in amber(bucket, "-q", "cache", "verify", "--features", cache, code=1)
    speech, text = json.loads(amber(bucket, "-q", *extract, "--features", cache))
    assert (speech["units_done_now"], text["units_done_now"]) == (1, 0)
    assert "no findings" in amber(bucket, "-q", "cache", "verify", "--features", cache)
    amber(bucket, "-q", *extract, "--set", "corpus.options.size=60", "--features", cache)  # of other utterances
    assert "2 feature sets deleted" in amber(bucket, "-q", "cache", "gc", "--features", cache, "--yes")
    (dataset,) = json.loads(amber(bucket, "-q", "cache", "ls", "--features", cache, "--json"))
    assert [f["state"] for f in dataset["features"]] == ["current", "current"]


@pytest.mark.parametrize(
    ("changed", "cache", "says"),
    [
        ({}, "s3://nowhere/cache", "no such cache"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://features/cache", "can't be reached: Could not connect"),
        ({}, "s4://features/cache", "can't be reached: Unsupported filesystem"),
    ],
)
def test_storage_that_can_t_be_reached_is_said_in_a_line(
    bucket: dict[str, str], changed: dict[str, str], cache: str, says: str
) -> None:
    said = amber({**bucket, "AWS_MAX_ATTEMPTS": "1", **changed}, "-q", "cache", "ls", "--features", cache, code=2)
    assert f"{cache}: {says}" in said
    assert len(said.splitlines()) <= 3


def test_transcripts_on_a_bucket(bucket: dict[str, str], tmp_path: Path) -> None:
    model = save_recogniser("wav2vec2", tmp_path / "tiny-ctc")
    corpus = ("--dataset", "demo", "--name", "heard", "--set", "corpus.options.size=70")
    for where in ("s3://features/transcribed", str(tmp_path / "cache")):
        said = amber(bucket, "-q", "transcribe", *corpus, "--model", model, "--features", where)
        assert "70 ok (2 of 2 units done now)" in said
        assert "(0 of 2 units done now)" in amber(
            bucket, "-q", "transcribe", *corpus, "--model", model, "--features", where
        )
    listed = script(bucket, "import s3fs; print(s3fs.S3FileSystem().ls('features/transcribed/heard'))")
    assert "transcripts-tiny-ctc-" in listed
    assert ".parts" not in listed
    asked = ("--set", "corpus.transcripts=asr", "--speech", "logmel", "--text", "minilm", "--json")
    found = json.loads(amber(bucket, "-q", "extract", *corpus, *asked, "--features", "s3://features/transcribed"))
    assert [one["counts"]["ok"] for one in found] == [70, 70]


def test_runs_on_a_bucket(
    bucket: dict[str, str], demo_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    files = s3fs.S3FileSystem()
    runs, base = "s3://features/runs", "features/runs/demo"

    def call(*arguments: object, code: int = 0) -> None:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in ("-q", *arguments)])
        assert end.value.code == code

    train = ("train", "--features", demo_cache, "--variants", "ce,soft", "--seeds", 0, "--set", "train.steps=40")
    for where in (tmp_path, runs):
        call(*train, "--set", ONE, "--runs", where)
    local = {name: data for name, data in contents(tmp_path / "demo").items() if ".lock" not in name}
    remote = {path.removeprefix(f"{base}/"): files.cat(path) for path in files.find(base)}
    assert remote == local

    damaged = f"{base}/soft/fold2-seed0/predictions.parquet"
    files.pipe(damaged, files.cat(damaged)[:-1])
    at = {path: about["LastModified"] for path, about in files.find(base, detail=True).items()}
    call("evaluate", "--runs", f"{runs}/demo", code=2)  # it says which
    call(*train, "--set", ONE, "--runs", runs)
    files.invalidate_cache()
    assert {path.removeprefix(f"{base}/"): files.cat(path) for path in files.find(base)} == local
    again = {path for path, about in files.find(base, detail=True).items() if about["LastModified"] != at[path]}
    assert {path.rpartition("fold2-seed0")[0] for path in again} <= {f"{base}/soft/"}

    for where in (runs, tmp_path):
        call("evaluate", "--runs", f"{where}/demo", "--set", "evaluate.resamples=100")
        call("export", "--runs", f"{where}/demo", "--variant", "soft", "--to", tmp_path / f"of-{where == runs}")
        call("ask", "--runs", f"{where}/demo", "--variant", "soft", "--budget", 20)
        call("ask", "--runs", f"{where}/demo", "--variant", "soft", "--validate", "--shown", 2, "--draws", 2)
    for name in ("ask.csv", "ask.html", "ask.json"):
        assert files.cat(f"{base}/{name}") == (tmp_path / "demo" / name).read_bytes()
    call("evaluate", "--runs", f"{runs}/demo", "--set", "evaluate.resamples=100")
    assert b"Which utterance deserves another rater?" in files.cat(f"{base}/report.html")
    figures = json.loads(files.cat(f"{base}/metrics.json"))["summary"]
    assert figures == json.loads((tmp_path / "demo" / "metrics.json").read_text())["summary"]
    assert contents(tmp_path / "of-True" / "members") == contents(tmp_path / "of-False" / "members")
    models = [load(where, "soft") for where in (f"{runs}/demo", tmp_path / "of-True")]
    random = np.random.default_rng(0)
    features = {m: random.normal(size=(3, len(spec.layers), spec.dim)) for m, spec in models[0].specs.items()}
    answers = [model.predict(features)["student"] for model in models]
    assert np.array_equal(*answers)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        load("s3://features/nowhere")

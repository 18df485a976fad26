"""Repeated kills of two processes that write the same: extraction on a disk, training, extraction on a bucket.

    python benchmarks/kills.py [--kills 200] [--seed 0]

Two processes start the same command at once and are killed at random, a third of the kills in each scenario, until the
number is reached; then the command runs to its end. One line per scenario: kills, how often a process was
refused because the other one was at work, files that differ from those of an undisturbed run, and messages
that advise to delete. Exit code 1 if there is one of the last two. The bucket is moto's, and is left out where moto is
not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from amber.config import Config
from amber.config_file import load
from amber.console import Console
from amber.errors import RunFailure, UserError
from amber.extract import stage as extraction
from amber.location import locate
from amber.train import stage as training

QUIET = Console(quiet=True)
ROWS = 1300
Files = dict[str, str]


@dataclass
class Scenario:
    """Work that two processes do at once: a command, the files that it writes, and how to undo some of it."""

    name: str
    work: Callable[[Config], object]
    config: Config
    files: Callable[[], Files]
    undo: Callable[[random.Random], None]
    clean: Files
    longest: float  # seconds until a kill
    kills: int = 0
    said: list[str] = field(default_factory=list)


def attempt(work: Callable[[Config], object], config: Config, log: Path) -> None:
    """Do the work in a process of its own and log its errors."""
    try:
        work(config)
    except (UserError, RunFailure) as error:
        with log.open("a", encoding="utf-8") as file:
            file.write(str(error).replace("\n", " ") + "\n")


def extract(config: Config) -> object:
    """Extract."""
    return extraction.run(config, QUIET)


def train(config: Config) -> object:
    """Train."""
    return training.run(config, "demo", QUIET)


def kill(scenario: Scenario, kills: int, rng: random.Random, folder: Path) -> None:
    """Kill pairs of processes until there were that many kills, then run one to its end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["amber.extract.stage", "amber.train.stage", "amber.extract.encoders.speech"])
    log = folder / f"{scenario.name.replace(' ', '-')}.log"
    while scenario.kills < kills:
        pair = [context.Process(target=attempt, args=(scenario.work, scenario.config, log)) for _ in range(2)]
        for process in pair:
            process.start()
        ended = 0
        for process in pair:
            process.join(rng.uniform(0, scenario.longest))
            if process.exitcode is None and process.pid:
                os.kill(process.pid, signal.SIGKILL)
                scenario.kills += 1
            else:
                ended += 1
            process.join()
        if ended == 2:
            scenario.undo(rng)
    scenario.work(scenario.config)
    scenario.said = log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def table(folder: Path) -> Path:
    """Write a table of texts."""
    path = folder / "table.csv"
    rows = [f"u{i:04},{'fine ' * (1 + i % 9)},s{i % 3},1,2\n" for i in range(ROWS)]
    path.write_text("id,text,speaker,vote_joy,vote_sad\n" + "".join(rows))
    return path


def of_texts(path: Path, cache: str) -> Config:
    """Return the configuration of the extraction."""
    return load(
        None, ["corpus.dataset=table", f"corpus.root={path}", "features.text=minilm", f"features.cache={cache}"]
    )


def digests(cache: str, ending: str = "") -> Files:
    """Return the digests of the files below a place, on a disk or a bucket."""
    root = locate(cache)
    paths = [path for path in root.rglob("*") if path.is_file() and str(path).endswith(ending)]
    inside = {str(path)[len(str(root)) :]: path for path in paths}
    kept = {name: path for name, path in inside.items() if "/.lock" not in name and ".zarr" in name + ending}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in kept.items()}


def take_back(cache: str, rng: random.Random) -> None:
    """Take back some units of every set."""
    from amber.features.store import FeatureStore

    for path in (locate(cache) / "table").iterdir():
        if path.name.endswith(".zarr"):
            store = FeatureStore.open(path)
            store.take_back(rng.sample(range(store.spec.units), store.spec.units // 2))


def scenarios(folder: Path, bucket: str | None) -> Iterator[Scenario]:
    """Yield the scenarios, each with what an undisturbed run leaves."""
    path = table(folder)
    whole = str(folder / "whole")
    extract(of_texts(path, whole))
    clean = digests(whole)
    disk = str(folder / "disk")
    yield Scenario(
        "two writers", extract, of_texts(path, disk), lambda: digests(disk), lambda r: take_back(disk, r), clean, 3.0
    )
    features = str(folder / "features")
    extract(load(None, ["corpus.options.size=100", f"features.cache={features}"]))

    def runs(name: str) -> Config:
        small = ("train.epochs=2", "train.candidates=[{layer: last, hidden: 16, weight_decay: 0.01}]")
        wanted = ("train.seeds=[0, 1]", "labels.subset=any", f"features.cache={features}", *small)
        return load(None, [*wanted, f"train.runs={folder / name}"])

    train(runs("whole-runs"))
    predicted = "predictions.parquet"

    def lose(rng: random.Random) -> None:
        shutil.rmtree(folder / "runs" / "demo" / rng.choice(["ce", "soft", "amber2"]))

    yield Scenario(
        "two trainers",
        train,
        runs("runs"),
        lambda: _below(folder / "runs", predicted),
        lose,
        _below(folder / "whole-runs", predicted),
        2.0,
    )
    if bucket:
        config = of_texts(path, bucket)
        yield Scenario("a bucket", extract, config, lambda: digests(bucket), lambda r: take_back(bucket, r), clean, 6.0)


def _below(folder: Path, name: str) -> Files:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob(name)}


@contextlib.contextmanager
def bucket() -> Iterator[str | None]:
    """Start moto's server and make a bucket; None where it is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("moto", "s3fs")):
        yield None
        return
    command = [sys.executable, "-m", "moto.server", "-p", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr  # noqa: S101 (it is a pipe)
        address = next(line.split()[-1] for line in process.stderr if "Running on" in line)
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        os.environ |= {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        import s3fs

        s3fs.S3FileSystem().mkdir("kills")
        try:
            yield "s3://kills/cache"
        finally:
            process.kill()
            drain.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=12, help="in all; 200 to be sure")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    bad, rng = 0, random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as place, bucket() as there:
        for scenario in scenarios(Path(place), there):
            started = time.monotonic()
            kill(scenario, -(-asked.kills // (3 if there else 2)), rng, Path(place))
            found = scenario.files()
            other = sum(found.get(name) != scenario.clean.get(name) for name in found.keys() | scenario.clean.keys())
            advice = sum("delete" in line for line in scenario.said)
            refused = sum("is at work there" in line for line in scenario.said)
            bad += other + advice
            print(
                f"{scenario.name:14} {scenario.kills:4} kills, {refused} refused, {len(scenario.said) - refused} other "
                f"messages; {other} of {len(scenario.clean)} files differ, {advice} pieces of advice to delete, "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )
            for line in sorted({line for line in scenario.said if "is at work there" not in line})[:5]:
                print(f"    {line[:200]}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

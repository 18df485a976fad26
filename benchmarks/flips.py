"""Which command notices a flipped bit: in each kind of file of a cache, its runs and their results, one at a time.

    python benchmarks/flips.py [--flips 8] [--seed 0]

One line per kind of file: how many flips `amber cache verify`, `amber train` and `amber evaluate` each notice (it is
refused, named, or the run is trained again), how many change nothing that any of them reads, how many `amber extract`
or `amber train` and `amber evaluate`, run again, repair to the same bytes, and how many silently give a wrong result.
Exit code 1 if any do.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from amber.config import Config, EvaluateOptions
from amber.config_file import load
from amber.console import Console
from amber.errors import RunFailure, UserError
from amber.evaluate import stage as evaluation
from amber.extract import stage as extraction
from amber.features.catalog import survey
from amber.features.verify import verify
from amber.train import stage as training
from amber.train.candidates import Layers
from amber.train.context import candidates_of
from amber.train.inputs import Inputs

DATASETS = {"pooled": "demo", "frames": "frames"}  # by level
COLUMNS = ("verify", "train", "evaluate", "no effect", "repaired", "wrong")
OPTIONS = EvaluateOptions(resamples=100)
SMALL = (
    "train.seeds=[0]",
    "train.folds=[1]",
    "train.epochs=1",
    "train.candidates=[{layer: last, hidden: 8, weight_decay: 0.01}]",
)


class Said(Console):
    """A console that keeps warnings."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []

    def warn(self, line: str) -> None:
        """Keep a warning."""
        self.warnings.append(line)


class Setup:
    """A cache of the demo corpus at both levels, its runs and results, and what commands read from them."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.runs, self.table = folder / "cache", folder / "runs", folder / "table.csv"
        rows = [f"u{i},{'fine ' * (i % 7 + 1)},s{i % 6},{i % 3},{(i + 1) % 3}\n" for i in range(70)]
        self.table.write_text("id,text,speaker,vote_sad,vote_joy\n" + "".join(rows))
        for level in DATASETS:
            extraction.run(self.config(level), Said())
            training.run(self.config(level), DATASETS[level], Said())
            evaluation.run([self.runs / level], OPTIONS, Said())
        self.clean = {name: reader()[1] for name, reader in self.readers().items()}

    def config(self, level: str) -> Config:
        """Return the pipeline of a level."""
        of_level = {
            "pooled": ("corpus.options.size=70", "train.variants=[soft]", "labels.subset=any"),
            "frames": (
                "corpus={dataset: table, name: frames}",
                f"corpus.root={self.table}",
                "features.level=frames",
                "train.variants=[text]",
                "labels={classes: {sad: [sad], joy: [joy]}, subset: any}",
                "splits={scheme: speaker-folds, k: 3}",
            ),
        }
        places = (f"features.cache={self.cache}", f"train.runs={self.runs}", f"experiment={level}")
        return load(None, [*of_level[level], *places, *SMALL])

    def readers(self) -> dict[str, Callable[[], tuple[bool, Any]]]:
        """Return the readers, which return whether they noticed damage, and what they read."""
        return {"verify": self._verify, "train": self._train, "evaluate": self._evaluate}

    def _verify(self) -> tuple[bool, Any]:
        verdict = verify(self.cache, survey(self.cache), Said())
        return bool(verdict.faults or verdict.remarks), None

    def _train(self) -> tuple[bool, Any]:
        read: list[Any] = []
        noticed = False
        for level in DATASETS:
            experiment = training.prepare(self.config(level), DATASETS[level])
            noticed |= bool(experiment.missing())
            data = experiment.data
            read += [data.corpus.ids, data.counts.tolist(), data.corpus.column("speaker"), list(experiment.folds)]
            read += [rows.tolist() for fold in experiment.folds.values() for rows in fold.parts().values()]
            inputs = Inputs(data, experiment.folds, "cpu")
            layers: Layers = candidates_of(experiment.runs[0], data)[0].layers
            scaled, scalings = inputs.of(1, layers)
            read += [np.asarray(s.mean).tobytes() for s in scalings.values()]
            read += [x.numpy().tobytes() for x in scaled.values() if hasattr(x, "numpy")]
        return noticed, read

    def _evaluate(self) -> tuple[bool, Any]:
        read, said = [], Said()
        for level in DATASETS:
            metrics = evaluation.run([self.runs / level], OPTIONS, said).metrics
            read.append({k: v for k, v in metrics.items() if k not in ("key", "files", "digest")})
        return bool(said.warnings), read

    def repair(self) -> None:
        """Run again the commands that wrote everything."""
        for level in DATASETS:
            extraction.run(self.config(level), Said())
            training.run(self.config(level), DATASETS[level], Said())
            evaluation.run([self.runs / level], OPTIONS, Said())

    def kinds(self) -> dict[str, list[Path]]:
        """Return the files by kind."""
        found = defaultdict(list)
        for path in sorted([*self.cache.rglob("*"), *self.runs.rglob("*")]):
            if path.is_file() and path.suffix != ".wav" and not path.name.startswith(".") and path.stat().st_size:
                found[_kind(path.relative_to(self.cache.parent))].append(path)
        return dict(found)


def _kind(path: Path) -> str:
    """Return the kind of a file: its name, or the array of a chunk."""
    parts = path.parts[2:]
    if parts[0].endswith(".zarr"):
        return f"set: {parts[1]} chunk" if "c" in parts else f"set: {'array' if len(parts) > 2 else 'group'} zarr.json"
    run = re.fullmatch(r"fold\d+-seed\d+", parts[1]) if len(parts) > 2 else None
    where = "cache" if path.parts[0] == "cache" else "run" if run else "results"
    return f"{where}: {'/'.join(parts[2:]) if run else path.name}"


def flips(setup: Setup, count: int, seed: int, repair: bool = True) -> Iterator[tuple[str, Counter[str]]]:
    """Flip bits, one at a time; yield how often each outcome occurred, by kind of file."""
    rng = random.Random(seed)
    for kind, paths in setup.kinds().items():
        found: Counter[str] = Counter()
        for _ in range(count):
            path = rng.choice(paths)
            whole = path.read_bytes()
            data = bytearray(whole)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            before = _contents(setup.cache.parent)
            path.write_bytes(data)
            found["flips"] += 1
            noticed = False
            for name, reader in setup.readers().items():
                if name == "evaluate":
                    path.write_bytes(data)
                what = _read(reader, setup.clean[name])
                found[name] += what == "noticed"
                found["wrong"] += what == "wrong"
                noticed |= what != "same"
            found["no effect"] += not noticed
            if repair:
                with contextlib.suppress(UserError, RunFailure):
                    path.write_bytes(data)
                    setup.repair()
                    found["repaired"] += _contents(setup.cache.parent) == before
            _restore(setup.cache.parent, before)
        yield kind, found


def _read(reader: Callable[[], tuple[bool, Any]], clean: Any) -> str:
    try:
        noticed, read = reader()
    except (UserError, RunFailure):
        return "noticed"
    return "noticed" if noticed else "same" if read == clean else "wrong"


def _contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and ".lock" not in p.name}


def _restore(folder: Path, before: dict[Path, bytes]) -> None:
    for path, content in before.items():
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for path in _contents(folder).keys() - before.keys():
        path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=8, help="of each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        with contextlib.redirect_stderr(io.StringIO()):
            setup = Setup(Path(place))
        print(f"{'kind of file':32}{'flips':>8}" + "".join(f"{name:>11}" for name in COLUMNS))
        for kind, found in flips(setup, asked.flips, asked.seed):
            print(f"{kind:32}{found['flips']:8}" + "".join(f"{found[name]:11}" for name in COLUMNS), flush=True)
            wrong += found["wrong"]
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

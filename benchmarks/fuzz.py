"""Fuzz every parser with thousands of mutated inputs; each must be read, or refused by a `UserError`.

    python benchmarks/fuzz.py [--mutations 100000] [--parser NAME …] [--seed 0]

One line per parser: uncaught exceptions (with the first of every kind), hangs (over 10 s), processes that died,
peak memory, seconds. Exit code 1 if there was any. Without `--mutations` it is a short run for `make bench`.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

from amber import config_file, predictions
from amber.corpus import Corpus, Utterance, Vote
from amber.errors import UserError
from amber.extract.corpora import Source, load

HANG = 10  # seconds
CHUNK = 2_000  # mutations per process
# What parsers fail on: structure, huge numbers, invalid dates, invalid text.
TOKENS = (
    *(b'"', b"'", b"\n", b"\r", b"\t", b"\0", b"[", b"]", b"{", b"}", b":", b",", b";", b"&a ", b"*a", b"<<: ", b"- "),
    *(b"!!python/object:os.system ", b"2024-13-45", b"0x", b"1e999", b"-1", b"1_0", b".nan", b".inf", b"null", b"~"),
    *(b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8", b"\\ud800", b"\\u0000"),
    *(b"1" * 5000, b"[" * 3000),
)

YAML = b"""experiment: one
corpus: {dataset: demo, options: {size: 100, seed: 3}}
features: {speech: logmel, max_seconds: 30.0, dtype: float16}
labels: {classes: {a: [b, c], d: [e]}, min_votes: 2, smoothing: 0.1}
splits: {scheme: speaker-folds, k: 5}
train: {variants: [ce, soft], seeds: [0, 1], lr: 1e-3, folds: all, candidates: [{layer: last, hidden: 16}]}
objective: {target: soft, divergence: kl}
variants: {mine: {base: soft, train: {lr: 0.1}}}
grid: {train.lr: [0.1, 0.01]}
"""
CSV = b"id,audio,text,speaker,start,end,split,vote_joy,vote_calm,fold\n" + b"".join(
    b'u%d,,"a ""text"", %d",s%d,0.5,%d,train,%d,2,%d\n' % (i, i, i % 3, i + 1, i % 4, i % 2) for i in range(8)
)
JSONL = b"".join(
    b'{"id": "u%d", "text": "w\\u00e9 %d", "speaker": %d, "start": 0.5, "votes": %s}\n' % (i, i, i % 3, votes)
    for i, votes in enumerate(
        (b'[{"rater": "r", "labels": ["a", "b"], "secondary": [], "is_self": false}]', b'{"a": 2}', b'"a;a;b"', b"null")
    )
)


def rows() -> list[Utterance]:
    votes = (Vote("r1", ("joy",)), Vote("r2", ("calm", "joy"), ("awe",), True))
    return [Utterance(f"u{i}", f"{i}.wav", f"text {i}", f"s{i % 3}", votes, extra={"fold": str(i)}) for i in range(20)]


def utterances_file(path: Path) -> None:
    Corpus.of(rows(), name="x").write(path)


def utterances(path: Path) -> None:
    Corpus.read(path).votes()


def parquet_table(path: Path) -> None:
    listed = [{"rater": "r", "labels": ["a", "b"], "secondary": [], "is_self": False}]
    columns = {"id": [f"u{i}" for i in range(20)], "text": ["words"] * 20, "start": [0.5] * 20, "votes": [listed] * 20}
    pq.write_table(pa.table(columns), path)


def workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (("id", "text", "speaker", "start", "votes"), ("u1", "a", "s", 0.5, "joy"), ("u2", "b", 7, None, "joy")):
        book.active.append(row)
    book.save(path)


def predictions_file(path: Path) -> None:
    n, p = 20, np.full((20, 2), 0.5)
    keys = {
        name: np.array([f"{name}{i}" for i in range(n)], object) for name in ("id", "run", "part", "head", "speaker")
    }
    predictions.write(path, predictions.Predictions(("a", "b"), keys, 3 * p, p, np.full(n, np.nan), None, p[0]))


def table(path: Path) -> None:
    loaded = load(Source("table", "fuzz", path.parent / "cache", path, {"inputs": "optional"}))
    loaded.corpus.label_hash()
    loaded.ledger.write(path.parent)


def override(path: Path) -> None:
    config_file.load(None, [path.read_bytes().decode("utf-8", "surrogateescape")])


def whole_config(path: Path) -> None:
    config_file.load(path)


Make = Callable[[Path], object]
PARSERS: dict[str, tuple[str, Make, Make]] = {
    "yaml": ("c.yaml", lambda path: path.write_bytes(YAML), whole_config),
    "set": ("set.txt", lambda path: path.write_bytes(b"labels.classes={a: [b], c: [d, e]}"), override),
    "csv": ("t.csv", lambda path: path.write_bytes(CSV), table),
    "jsonl": ("t.jsonl", lambda path: path.write_bytes(JSONL), table),
    "parquet": ("t.parquet", parquet_table, table),
    "xlsx": ("t.xlsx", workbook, table),
    "utterances": ("u.parquet", utterances_file, utterances),
    "predictions": ("p.parquet", predictions_file, predictions.read),
}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Return content with one to four changes: bits, bytes, tokens, parts removed or repeated."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        at, to = sorted(rng.integers(0, len(data) + 1, size=2).tolist())
        to = min(to, at + int(rng.integers(1, 65)))
        match int(rng.integers(6)):
            case 0 if at < len(data):
                data[at] ^= 1 << int(rng.integers(8))
            case 1 if at < len(data):
                data[at] = int(rng.integers(256))
            case 2:
                data[at:at] = TOKENS[int(rng.integers(len(TOKENS)))]
            case 3:
                del data[at:to]
            case 4:
                data[at:at] = data[at:to]
            case _:
                del data[at if rng.random() < 0.1 else to :]
        if not data:
            break
    return bytes(data)


def work(name: str, seed: int, first: int, count: int, report: Connection) -> None:
    """Try mutations in this process; send the number of each before it, and what went wrong."""

    def too_long(*_: object) -> None:
        raise BaseExceptionGroup("hang", [KeyboardInterrupt()])  # which no parser catches

    signal.signal(signal.SIGALRM, too_long)
    file, make, parse = PARSERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file)
        make(path)
        whole = path.read_bytes()
        parse(path)
        for number in range(first, first + count):
            path.write_bytes(mutated(whole, np.random.default_rng([seed, number])))
            report.send(("at", number))
            signal.alarm(HANG)
            try:
                parse(path)
            except UserError as error:
                if len(str(error).splitlines()) > 3:
                    report.send(("uncaught", f"a message of many lines: {str(error)[:80]!r}"))
            except BaseExceptionGroup:
                report.send(("hang", str(number)))
            except Exception as error:  # noqa: BLE001 (that is what is counted)
                report.send(("uncaught", f"{type(error).__name__}: {str(error)[:80]!r} (mutation {number})"))
            finally:
                signal.alarm(0)
    report.send(("memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000))


def fuzz(name: str, mutations: int, seed: int) -> bool:
    """Fuzz one parser and print what was found; return whether nothing was."""
    found: collections.Counter[str] = collections.Counter()
    firsts: dict[str, str] = {}
    memory, number, started = 0, 0, time.monotonic()
    context = multiprocessing.get_context("spawn")
    while number < mutations:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(name, seed, number, min(CHUNK, mutations - number), theirs))
        process.start()
        theirs.close()
        last = number
        try:
            while True:
                what, value = ours.recv()
                if what == "at":
                    last = value
                elif what == "memory":
                    memory = max(memory, value)
                else:
                    found[what] += 1
                    firsts.setdefault(str(value).split(":")[0], f"{what}: {value}")
        except EOFError:
            process.join()
        number = min(number + CHUNK, mutations) if process.exitcode == 0 else last + 1
        if process.exitcode:
            found["died"] += 1
            firsts.setdefault("died", f"died: exit {process.exitcode} (mutation {last})")
    took = time.monotonic() - started
    counts = f"{found['uncaught']} uncaught, {found['hang']} hangs, {found['died']} died"
    print(f"{name:12} {mutations} mutations: {counts}, {memory} MB, {took:.0f} s", flush=True)
    for first in firsts.values():
        print(f"             {first}")
    return not found.total()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutations", type=int, default=500, help="of each parser")
    parser.add_argument("--parser", action="append", choices=list(PARSERS), help="which; may be given several times")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    clean = [fuzz(name, options.mutations, options.seed) for name in options.parser or PARSERS]
    sys.exit(0 if all(clean) else 1)


if __name__ == "__main__":
    main()

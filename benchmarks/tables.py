"""Time and memory of loading a table of a million rows.

Writes a synthetic table with three named raters per utterance as CSV, JSON Lines and Parquet into a temporary folder,
then loads each in a process of its own: seconds and peak memory per format. Exit code 1 if one takes over 60 s or 1 GB.

    python benchmarks/tables.py [--rows 1000000]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from amber.extract.corpora import Source, load

BAR_SECONDS, BAR_GB = 60.0, 1.0
FORMATS = ("csv", "jsonl", "parquet")


def rows(size: int) -> Iterator[dict[str, object]]:
    """Yield the rows of the table."""
    for i in range(size):
        votes = [{"rater": f"r{(i + k) % 50}", "labels": ["happy" if (i + k) % 3 else "sad"]} for k in range(3)]
        text = f"some sentence number {i} that is spoken"
        yield {"id": f"utt{i:07d}", "text": text, "speaker": f"s{i % 500}", "start": i * 0.5, "votes": votes}


def write(path: Path, size: int) -> None:
    """Write the table in the format of the path's suffix."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows(size))), path)
        return
    with path.open("w", encoding="utf-8") as file:
        if path.suffix == ".csv":
            file.write("id,text,speaker,start,votes\n")
        for row in rows(size):
            votes = ";".join(vote["labels"][0] for vote in row["votes"])  # type: ignore[attr-defined]
            csv = f"{row['id']},{row['text']},{row['speaker']},{row['start']},{votes}"
            file.write((csv if path.suffix == ".csv" else json.dumps(row)) + "\n")


def measure(path: Path) -> None:
    """Load a table and print `seconds GB`."""
    start = time.perf_counter()
    load(Source("table", "table", path.parent / "cache", path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    sys.stdout.write(f"{time.perf_counter() - start:.1f} {peak:.2f}\n")


def main() -> int:
    """Write, load and print a line per format."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.rows)
        return 0
    if options.load:
        measure(options.load)
        return 0
    this, failed = [sys.executable, __file__], False
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            path = Path(folder) / f"table.{name}"
            # In processes of their own, so that neither the writing nor another format counts towards the peak.
            subprocess.run([*this, "--write", str(path), "--rows", str(options.rows)], check=True)
            found = subprocess.run([*this, "--load", str(path)], check=True, capture_output=True)
            seconds, peak = map(float, found.stdout.split())
            failed |= seconds > BAR_SECONDS or peak > BAR_GB
            sys.stdout.write(f"{name}: {options.rows:,} rows in {seconds:.1f} s, peak {peak:.2f} GB\n")
            sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

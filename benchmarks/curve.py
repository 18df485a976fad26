"""How long `amber curve` takes: `python benchmarks/curve.py [--no-shares --size N --variants soft,amber2 …]`.

5,531 utterances with 5 to 9 votes and features of IEMOCAP's size (768 + 768), synthetic and with signal
(`benchmarks/corpora.py`); 5 vote counts, 3 draws, 3 seeds, 5 folds. The command is timed from start to finish, reading,
measuring and writing included, and what it says of the curve is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from corpora import Settings, bring_in, make


def curve(cache: Path, runs: Path, *arguments: str) -> tuple[float, float, float]:
    """Run `amber curve`; return its wall time and processor time in seconds, and its peak memory in GB."""
    command = [sys.executable, "-m", "amber.cli", "curve", "--features", str(cache), "--runs", str(runs), *arguments]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where corpus and runs lie; a temporary folder where absent")
    parser.add_argument("--size", type=int, default=5531)
    parser.add_argument("--votes", default="1,2,3,4,5")
    parser.add_argument("--draws", default="3")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--variants", default="soft")
    parser.add_argument("--no-shares", action="store_true", help="no points with fewer utterances")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "cache").exists():
            make(folder, Settings(size=given.size, layers=1, dim=768, fewest=5, most=9), seed=0)
            bring_in(folder, "curve")
        arguments = ["--votes", given.votes, "--draws", given.draws, "--seeds", given.seeds]
        arguments += ["--variants", given.variants, *(["--no-shares"] if given.no_shares else [])]
        wall, cpu, peak = curve(folder / "cache", folder / "runs", *arguments)
        done = len(list((folder / "runs").glob("*/*/*/DONE")))
        print(f"{done} runs: {wall:.0f} s, {cpu:.0f} s of processor time, peak {peak:.2f} GB")


if __name__ == "__main__":
    main()

"""The table of `benchmarks/flips.py`, cut short: no flipped bit gives a wrong result silently."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # behind the stages, whose names some benchmarks share
import flips

# Where a bit may change nothing: what is not read for a result.
BESIDE = {"cache: ledger.json": "verify", "set: stamps chunk": "verify"}


def test_no_flipped_bit_gives_a_wrong_result(tmp_path: Path) -> None:
    setup = flips.Setup(tmp_path)
    table = dict(flips.flips(setup, 2, seed=1, repair=False))
    assert len(table) >= 23
    for kind, found in table.items():
        assert found["wrong"] == 0, kind
        if "zarr.json" not in kind:  # there, blanks and further keys count for nothing
            noticing = BESIDE.get(kind, "train" if kind.startswith("set") else "evaluate")
            assert found[noticing] == found["flips"], kind

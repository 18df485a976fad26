"""A few of the kills of `benchmarks/kills.py`, on a local disk: two processes write the same, and both are killed."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # behind the stages, whose names some benchmarks share
import kills


def test_two_that_write_the_same_and_are_killed_cost_no_byte(tmp_path: Path) -> None:
    for scenario in kills.scenarios(tmp_path, None):
        kills.kill(scenario, 4, random.Random(1), tmp_path)
        assert scenario.files() == scenario.clean, scenario.name
        assert not any("delete" in line or "damaged" in line for line in scenario.said)

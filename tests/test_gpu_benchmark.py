"""The benchmark of a GPU prints its table on a CPU, too, with tiny models."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # behind the stages, whose names some benchmarks share
import gpu


def test_the_table_is_printed_with_tiny_models(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--tiny", "--device", "cpu"])
    shown = capsys.readouterr().out
    assert shown.startswith("cpu, fp32")
    assert re.findall(r"^\| (\w+) \|(?: [\d.]+ \|){6}$", shown, re.MULTILINE) == ["wav2vec2", "whisper"]
    assert "5 runs trained in" in shown

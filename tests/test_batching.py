"""Batches: every item once, within budget, and little of them padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amber.extract.batching import batches
from amber.extract.encoders import GPU_BATCHES
from amber.extract.encoders.transformer import SPEECH_BUDGET, SPEECH_PADDING


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 2000), st.floats(0, 1))
def test_batches_hold_every_item_once_within_budget_and_padding(
    lengths: list[int], budget: int, padding: float
) -> None:
    found = batches(lengths, budget, padding)
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        held, size = sum(lengths[i] for i in batch), max(lengths[i] for i in batch) * len(batch)
        assert len(batch) == 1 or size <= budget
        assert len(batch) == 1 or size - held <= padding * size + 1e-6


@pytest.mark.parametrize("rows", [64, 105, 256])
@pytest.mark.parametrize(("accelerated", "several"), [(1, 0.99), (GPU_BATCHES, 4)])
def test_little_is_padding_at_msp_podcast_s_durations(rows: int, accelerated: int, several: float) -> None:
    """Units of turns of 1.9 to 12 s, 5.7 s on average; batches still hold several."""
    random = np.random.default_rng(0)
    turns = random.gamma(4.5, 5.7 / 4.5, 40_000)
    units = (turns[(turns >= 1.9) & (turns <= 12)][: 100 * rows].reshape(100, rows) * 16_000).astype(int)
    held, size, count = units.sum(), 0, 0
    for unit in units:
        for batch in batches(unit.tolist(), accelerated * SPEECH_BUDGET, SPEECH_PADDING):
            size += unit[batch].max() * len(batch)
            count += 1
    assert 1 - held / size < 0.05
    assert units.size / count > several

"""What is learned from votes: fractions, pluralities, counts; and votes dropped at random."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amber.labels import distribution, smooth
from amber.train.streams import RATERS, generator
from amber.train.targets import drop_raters, make_targets

COUNTS = torch.tensor([[3.0, 1.0, 0.0], [2.0, 2.0, 1.0], [0.0, 0.0, 4.0]])


def test_soft_targets_are_vote_fractions_and_smoothed_as_labels_are() -> None:
    y, votes = make_targets(COUNTS, "soft", smoothing=0.1)
    assert votes is None
    np.testing.assert_allclose(y, smooth(distribution(COUNTS.double().numpy()), 0.1), rtol=1e-6)


def test_hard_targets_are_the_plurality_the_first_where_classes_tie() -> None:
    y, _ = make_targets(COUNTS, "hard")
    assert y.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_dirichlet_targets_keep_the_number_of_votes() -> None:
    y, votes = make_targets(COUNTS, "dirichlet", smoothing=0.1)
    assert votes is not None
    torch.testing.assert_close(votes.sum(dim=1), COUNTS.sum(dim=1))
    torch.testing.assert_close(votes / votes.sum(dim=1, keepdim=True), y)
    torch.testing.assert_close(make_targets(COUNTS, "dirichlet")[1], COUNTS)


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]), min_size=3, max_size=3), min_size=1, max_size=8),
    st.floats(0.01, 0.99),
    st.integers(0, 1000),
)
def test_dropped_votes_were_there_and_some_always_stay(rows: list[list[float]], rate: float, seed: int) -> None:
    counts = torch.tensor([row for row in rows if sum(row)] or [[1.0, 0.0, 0.0]])[None]
    left = drop_raters(counts, [rate], [generator(seed, RATERS)])
    assert (left <= counts + 1e-6).all()
    assert (left >= 0).all()
    assert (left.sum(dim=-1) > 0).all()


def test_each_vote_is_dropped_with_the_stated_probability() -> None:
    counts = torch.full((1, 20_000, 2), 30.0)
    left = drop_raters(counts, [0.3], [generator(0, RATERS)])
    assert float(left.mean()) == pytest.approx(21.0, abs=0.05)
    # As independent draws, not as a share: the binomial's deviation.
    assert float(left.std()) == pytest.approx((30 * 0.3 * 0.7) ** 0.5, abs=0.05)


def test_what_a_run_drops_is_its_own_and_nothing_at_rate_zero() -> None:
    counts = COUNTS.expand(3, -1, -1)
    both = drop_raters(counts, [0.0, 0.5, 0.5], [generator(s, RATERS) for s in (0, 1, 2)])
    alone = drop_raters(counts[:1], [0.5], [generator(2, RATERS)])
    torch.testing.assert_close(both[0], COUNTS)
    torch.testing.assert_close(both[2], alone[0])

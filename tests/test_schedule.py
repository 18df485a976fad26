"""The schedule in steps: batches, looks at dev, the warm-up, and what the average of the weights is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gamma

from amber.config import Training
from amber.train.schedule import Schedule


def schedule(utterances: int, dev: int = 10, **training: object) -> Schedule:
    return Schedule.of(Training(**training), utterances, dev)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("utterances", "batch"), [(20, 20), (33, 32), (321, 32), (1600, 32), (10_000, 200), (12_800, 256), (264_705, 256)]
)
def test_a_batch_is_a_fiftieth_of_the_part_within_bounds(utterances: int, batch: int) -> None:
    assert schedule(utterances).batch == batch


def test_a_batch_that_is_asked_for_is_taken_but_never_more_than_there_is() -> None:
    assert schedule(1000, batch_size=7).batch == 7
    assert schedule(1000, batch_size=5000).batch == 1000


@settings(max_examples=100)
@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 500), st.none() | st.integers(1, 10_000))
def test_between_two_looks_at_least_as_many_are_learned_from_as_dev_has(
    utterances: int, dev: int, every: int, batch: int | None
) -> None:
    made = schedule(utterances, dev, every=every, batch_size=batch, steps=10**7)
    assert made.every >= every
    assert made.every * made.batch >= dev
    # And not more often than that is dear: one look less would be too few steps or too few utterances.
    assert made.every == every or (made.every - 1) * made.batch < dev


def test_looks_are_every_so_many_steps_and_at_the_end() -> None:
    made = schedule(1000, 10, every=20, steps=50)
    assert [step for step in range(1, made.steps + 1) if made.evaluates(step)] == [20, 40, 50]
    # A training that ends before the first look is looked at once.
    short = schedule(1000, 10**5, every=20, steps=7)
    assert [step for step in range(1, short.steps + 1) if short.evaluates(step)] == [7]


def test_epochs_are_a_cap_on_steps() -> None:
    assert schedule(150, batch_size=32, epochs=3).steps == math.ceil(3 * 150 / 32) == 15
    assert schedule(150, batch_size=32, epochs=3, steps=9).steps == 9
    assert schedule(150, batch_size=32).steps == Training().steps


def test_the_learning_rate_rises_to_its_value_and_stays() -> None:
    made = schedule(1000, warmup=4)
    assert [made.rate(step) for step in (1, 2, 3, 4, 5, 9999)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert schedule(1000, warmup=0).rate(1) == 1


def averaged(made: Schedule, weights: list[torch.Tensor]) -> torch.Tensor:
    # What stands there before the first step is the start, of which nothing may stay.
    means = [torch.full_like(weights[0], 1e3), torch.full_like(weights[0], -1e3)]
    for step, value in enumerate(weights, 1):
        made.average(means, [value, -value], step)
    torch.testing.assert_close(means[0], -means[1])
    return means[0]


def steps_of(number: int, seed: int) -> list[torch.Tensor]:
    drawn = torch.randn(number, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return list(drawn)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 1000))
def test_without_a_power_the_average_is_the_plain_mean(number: int, seed: int) -> None:
    weights = steps_of(number, seed)
    expected = np.mean([w.numpy() for w in weights], axis=0)
    np.testing.assert_allclose(averaged(schedule(100, averaging=0.0), weights), expected, atol=1e-10)


@settings(max_examples=30)
@given(st.integers(1, 40), st.floats(0.0, 12.0), st.integers(0, 1000))
def test_the_average_is_a_mean_in_which_late_steps_weigh_more(number: int, power: float, seed: int) -> None:
    """Step t weighs gamma(t + power) / gamma(t), which for whole powers is t (t + 1) … (t + power - 1)."""
    weights = steps_of(number, seed)
    share = np.array([gamma(step + power) / gamma(step) for step in range(1, number + 1)])
    expected = np.zeros((2, 3))
    for one, value in zip(share / share.sum(), weights, strict=True):
        expected += one * value.numpy()
    np.testing.assert_allclose(averaged(schedule(100, averaging=power), weights), expected, atol=1e-9)


def test_the_average_follows_late_steps_as_a_power_of_the_step_does() -> None:
    """Of many steps, the mean step is (power + 1) / (power + 2) of the way."""
    number = 2000
    weights = [torch.full((1,), float(step), dtype=torch.float64) for step in range(1, number + 1)]
    for power in (0.0, 3.0, 8.0):
        found = float(averaged(schedule(100, averaging=power), weights))
        assert found / number == pytest.approx((power + 1) / (power + 2), abs=1e-3)

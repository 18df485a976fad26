"""Groups on threads: all of them are done, and one failure ends the others."""

from __future__ import annotations

import sys
import time

import pytest
import torch
from threadpoolctl import threadpool_info

from amber.console import Advance
from amber.train.parallel import TURN, for_each, side_by_side, workers_for


def nothing(n: int = 1, note: str = "") -> None: ...


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_is_done_and_threads_are_given_back(workers: int) -> None:
    before, turn, done = torch.get_num_threads(), sys.getswitchinterval(), []
    counted: list[int] = []

    def work(item: int, advance: Advance) -> None:
        assert torch.get_num_threads() == 1
        assert sys.getswitchinterval() == pytest.approx(TURN)
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
        advance(2)
        done.append(item)

    for_each(work, range(20), lambda n=1, note="": counted.append(n), workers, threads=1)
    assert sorted(done) == list(range(20))
    assert sum(counted) == 40
    assert torch.get_num_threads() == before
    assert sys.getswitchinterval() == turn


def test_a_failure_ends_what_goes_on_beside_it() -> None:
    def work(item: int, advance: Advance) -> None:
        if item == 1:
            raise ValueError("the first failure")
        while True:  # ends only because `advance` raises
            advance()

    with pytest.raises(ValueError, match="the first failure"):
        for_each(work, range(10), nothing, workers=2, threads=1)


def test_a_group_a_core_and_all_cores_for_one_group() -> None:
    cores = torch.get_num_threads()
    assert workers_for(100, "cpu") == (cores, 1)
    assert workers_for(1, "cpu") == (1, cores)
    assert workers_for(100, "cuda")[0] == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_done_side_by_side_comes_in_order(workers: int) -> None:
    counted: list[int] = []

    def work(item: int, advance: Advance) -> int:
        time.sleep(0.02 / (1 + item))  # the first ends last
        advance(1)
        return item * item

    found = side_by_side(work, range(5), [3, 0, 4, 1, 2], lambda n=1, note="": counted.append(n), workers)
    assert found == [0, 1, 4, 9, 16]
    assert counted == [1] * 5

"""One unit of work: every utterance is encoded, absent, truncated, or failed with its reason."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_store import spec

from amber.errors import RunFailure
from amber.extract import units
from amber.extract.encoders import memory
from amber.extract.inputs import Recording, Transcript
from amber.extract.units import UnitBuilder
from amber.features.spec import FeatureSpec
from amber.features.unit import Status, Unit


class Echo:
    """An encoder whose features are the numbers that its texts hold; it can't take batches with words in them."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def pooled(self, batch: list[str]) -> np.ndarray:
        self.batches.append(list(batch))
        return np.array([[[float(text)] * 4] * 2 for text in batch], dtype=np.float32)

    def frames(self, batch: list[str]) -> list[np.ndarray]:
        return [np.full((len(text), 2, 4), float(text), dtype=np.float32) for text in batch]

    def truncated(self, batch: list[str]) -> np.ndarray:
        return np.array(["." in text for text in batch])


def encode(texts: list[str | None], made: FeatureSpec, encoder: Echo, budget: int = 100) -> Unit:
    builder = UnitBuilder([None if text is None else Transcript(text) for text in texts], made)
    plan = builder.plan(budget, 0.5)
    with ThreadPoolExecutor(2) as readers:
        assert list(builder.encode(plan, builder.reading(plan, readers), encoder)) == plan
    return builder.unit()


def test_features_that_can_t_be_stored_are_refused_by_name() -> None:
    texts = ["1", "1e6", "nan", None, "2.5"]
    unit = encode(texts, spec(), Echo())
    assert unit.status.tolist() == [1, 2, 2, 0, 3]
    assert unit.errors == ["", "features overflow float16; use --dtype float32", "features are not finite", "", ""]
    assert unit.features[:, 0, 0].tolist() == [1, 0, 0, 0, 2.5]
    assert encode(texts, spec(dtype="float32"), Echo()).status.tolist() == [1, 1, 2, 0, 3]


class Small(Echo):
    """An encoder on a device with room for a few texts."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def pooled(self, batch: list[str]) -> np.ndarray:
        found = super().pooled(batch)
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return found


@pytest.mark.parametrize("room", [1, 2, 3, 5])
def test_a_batch_that_exhausts_the_memory_is_done_in_halves_to_the_same_bytes(room: int) -> None:
    texts = [str(n) for n in range(10, 23)]
    whole, small = Echo(), Small(room)
    expected, found = encode(texts, spec(), whole), encode(texts, spec(), small)
    assert [len(batch) for batch in whole.batches] == [13]
    assert min(len(batch) for batch in small.batches if len(batch) <= room) >= (room + 1) // 2
    assert (found.checksum, found.errors) == (expected.checksum, [""] * 13)


def test_an_utterance_that_does_not_fit_alone_fails_by_name_and_the_others_are_done() -> None:
    class Picky(Small):
        def pooled(self, batch: list[str]) -> np.ndarray:
            self.room = 0 if "13" in batch else 4
            return super().pooled(batch)

    unit = encode(["11", "12", "13", "14"], spec(), Picky(4))
    assert unit.status.tolist() == [1, 1, 2, 1]
    assert unit.errors[2] == "the encoder failed: CUDA out of memory."


def test_a_batch_is_read_back_when_the_next_is_with_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class OnDevice(Echo):
        def pooled(self, batch: list[str]) -> Any:
            events.append(f"encode {batch[0]}")
            return torch.from_numpy(super().pooled(batch))

    def read(features: torch.Tensor) -> np.ndarray:
        events.append(f"read {features[0, 0]:.0f}")
        return features.numpy()

    monkeypatch.setattr(units, "on_processor", read)
    assert encode(["333", "22", "1"], spec(), OnDevice(), budget=3).status.tolist() == [1, 1, 1]
    assert events == ["encode 333", "encode 22", "read 333", "encode 1", "read 22", "read 1"]


def test_a_batch_is_as_large_as_the_free_memory_allows() -> None:
    assert memory.scaled(96_000, used=1 << 28, free=10 << 30) == 96_000 * 40 * 0.6
    assert memory.scaled(96_000, used=1 << 40, free=10 << 30) == 96_000  # less is left to the halving
    assert memory.scaled(96_000, used=0, free=10 << 30) == 96_000  # an encoder that is not on the GPU


def test_what_the_encoder_can_t_take_fails_alone() -> None:
    unit = encode(["1", "oh", "22", "3.5"], spec(), Echo())
    assert unit.status.tolist() == [1, 2, 1, 3]
    assert unit.errors[1] == "the encoder failed: could not convert string to float: 'oh'"
    assert unit.features[:, 1, 3].tolist() == [1, 0, 22, 3.5]


def test_an_encoder_that_takes_nothing_is_not_the_utterances_fault() -> None:
    with pytest.raises(RunFailure, match=r"the encoder failed: could not convert.*for every utterance"):
        encode(["oh", "ah"], spec(), Echo())


@given(st.lists(st.none() | st.integers(0, 2000).map(str), max_size=30), st.integers(0, 30), st.integers(1, 40))
def test_frames_are_each_utterance_s_own(texts: list[str | None], place: int, budget: int) -> None:
    texts = [*texts[:place], "oh", *texts[place:]]
    unit = encode(texts, spec(level="frames"), Echo(), budget)
    for text, frames, status in zip(texts, unit.split(), unit.status, strict=True):
        if text is None or text == "oh":
            assert len(frames) == 0
            assert status == (Status.ABSENT if text is None else Status.FAILED)
        else:
            assert (frames == float(text)).all()
            assert frames.shape == (len(text), 2, 4)


def test_a_file_that_is_gone_when_it_is_read_is_named(tmp_path: Path) -> None:
    builder = UnitBuilder([Recording(tmp_path / "a.wav", 16_000, None, None)], spec())
    assert builder.plan(100, 0.5) == []
    assert builder.unit().errors == ["a.wav: no such file"]

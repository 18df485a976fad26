"""Encoders: what turns audio or text into features.

An encoder is found by name as a `Card`, which says all that a feature set's spec needs, and loaded from it only when
there is something to encode. Adding one is a small class with the methods of `Encoder`, a function that returns its
card, and a test.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from amber.corpus import Modality
from amber.errors import UserError, nearest, some
from amber.machine import Device

ACCELERATED = 26  # times the batch of a CPU that a GPU takes
_BUILT_IN: dict[str, str] = {"logmel": ".acoustic", "egemaps": ".acoustic", "minilm": ".transformer"}


class Encoder(Protocol):
    """Encodes a batch of signals (float32 (T,) each) or of texts, each as it would be encoded alone."""

    def pooled(self, batch: Sequence[Any]) -> NDArray[np.float32]:
        """Return the features of a batch, each item's a mean over its frames or tokens, (B, L, D)."""

    def frames(self, batch: Sequence[Any]) -> list[NDArray[np.float32]]:
        """Return the features of each frame or token, (T, L, D) an item.

        Raises
        ------
        UserError
            If the encoder has one vector an utterance only.

        """

    def truncated(self, batch: Sequence[Any]) -> NDArray[np.bool_]:
        """Return which items are longer than the encoder can take, and are cut, (B,)."""


@dataclass(frozen=True)
class Card:
    """What is known of an encoder before its weights are loaded.

    `layers` are the ones that will be stored, `budget` what a batch may come to in fp32 on a CPU (samples or
    characters, padding included), `padding` the most of a batch that may be padding, and `max_seconds` the longest
    window of audio that it takes at once (None: no limit). `frame_count` tells how many frames a number of samples
    makes, in however many windows (None: texts, and encoders without frames); `has_frames` is false where an utterance
    is one vector.
    `hop` is the number of samples from frame to frame.
    """

    name: str
    revision: str
    modality: Modality
    layers: tuple[int, ...]
    dim: int
    sample_rate: int | None
    max_seconds: float | None
    budget: int
    load: Callable[[Device], Encoder]
    padding: float = 0.05
    frame_count: Callable[[int], int] | None = None
    has_frames: bool = True
    hop: int | None = None

    def budget_on(self, device: Device) -> int:
        """Return what a batch may come to on a device: twice as much where numbers take half the memory."""
        times = 1 if device.name == "cpu" else ACCELERATED
        return times * self.budget * (1 if device.precision == "fp32" else 2)


def find(name: str, modality: Modality, layers: str = "all", max_seconds: float = 30.0) -> Card:
    """Find an encoder.

    Parameters
    ----------
    name
        Built in (`logmel`, `egemaps`, `minilm`), a folder with a model, or a hub name with an optional `@revision`.
    modality
        What it is to encode.
    layers
        `all`, `last` or numbers such as `6,12` (0 is the input to the first layer).
    max_seconds
        Longest window of audio at once.

    Raises
    ------
    UserError
        For an encoder that can't be had or is of the other modality, and for layers that it does not have.

    """
    typo = nearest(name, _BUILT_IN) if name not in _BUILT_IN and not Path(name).exists() else ""
    if typo:
        raise UserError(f"--{modality}: unknown encoder {name!r}{typo}")
    module = importlib.import_module(_BUILT_IN.get(name, ".transformer"), __name__)
    card: Card = module.card(name, modality, layers, max_seconds)
    if card.modality != modality:
        raise UserError(f"--{modality} {name}: encodes {card.modality}, not {modality}")
    return card


def built_in() -> str:
    """Return the names of the built-in encoders, for messages."""
    return some(_BUILT_IN)


def choose_layers(asked: str, count: int, name: str) -> tuple[int, ...]:
    """Turn `all`, `last` or `6,12` into layer numbers of an encoder with `count` layers."""
    if asked == "all":
        return tuple(range(count))
    if asked == "last":
        return (count - 1,)
    try:
        numbers = tuple(sorted({int(part) for part in str(asked).split(",")}))
    except ValueError:
        raise UserError(f"layers: {asked!r} is not `all`, `last` or numbers such as 6,12") from None
    if not all(0 <= number < count for number in numbers):
        raise UserError(f"layers: {name} has layers 0 to {count - 1}, asked for {asked}")
    return numbers

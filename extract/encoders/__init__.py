"""Encoders, which turn audio or text into features.

`find` returns an encoder's `EncoderInfo`, which holds all that a feature set's spec needs; its weights are loaded only
when there is something to encode. Adding an encoder: docs/extending.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from amber.arrays import Mask
from amber.corpus import Modality
from amber.errors import UserError, abbreviate, nearest
from amber.machine import Device

if TYPE_CHECKING:
    from .frame_spans import Features

GPU_BATCHES = 26  # times the batch of a CPU that a GPU takes
# By name, the module whose `info(name, modality, layers, max_seconds)` returns the `EncoderInfo`.
ENCODERS: dict[str, str] = {"logmel": ".acoustic", "egemaps": ".acoustic", "minilm": ".transformer"}


class UnreachableError(UserError):
    """An encoder that is not built in, not in a folder, and can't be had from the model hub."""


class Encoder(Protocol):
    """Encodes a batch of B signals (float32 (T,) each) or texts.

    Each item gets the features that it would get in a batch of its own: an array, or a tensor that a GPU may still be
    computing. An encoder may have a method `prepare`, which is called with each item before its batch is encoded, in
    the threads that read recordings; its batches hold what that returns.
    """

    def pooled(self, batch: Sequence[Any]) -> Features:
        """Return each item's mean over its frames or tokens, (B, L, D)."""

    def frames(self, batch: Sequence[Any]) -> Sequence[Features]:
        """Return the features of every frame or token, one array (T, L, D) per item.

        Raises
        ------
        UserError
            If the encoder has only one vector per utterance.

        """

    def truncated(self, batch: Sequence[Any]) -> Mask:
        """Return which items are longer than the encoder can take and are truncated, (B,)."""


class TokenEncoder(Encoder, Protocol):
    """An encoder of texts (str or `Passage`) token by token."""

    def last(self, batch: Sequence[Any]) -> Features:
        """Return each text's last token, (B, L, D)."""


@dataclass(frozen=True)
class EncoderInfo:
    """What is known of an encoder before its weights are loaded.

    Attributes
    ----------
    name, revision, modality
        What it is called, which version of it this is, and what it encodes.
    layers
        Numbers of the layers that will be stored.
    dim
        Dimensions of a feature vector.
    sample_rate
        Of the signals in Hz; None for texts.
    max_seconds
        Longest window of audio that is encoded at once; None: no limit.
    budget
        Most samples or characters, padding included, in a batch in fp32 on a CPU.
    load
        Loads the encoder on a device.
    padding
        Largest share of a batch that may be padding.
    has_frames
        False if an utterance is one vector.
    hop
        Samples from one frame to the next.
    has_tokens
        True of text models that take an instruction and earlier turns (`Passage`) and have `last`.
    heard
        Returns the samples or characters that the encoder processes of an input with that many.
    margin
        Seconds of silence after a recording that the encoder hears; None: those up to its full length, if it has one.
    trim
        Returns the same encoder with a margin, in seconds; None if it has no full length.

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
    has_frames: bool = True
    hop: int | None = None
    has_tokens: bool = False
    heard: Callable[[int], int] = int
    margin: float | None = None
    trim: Callable[[float], EncoderInfo] | None = None

    def budget_on(self, device: Device) -> int:
        """Return the budget of a batch on a device; half precision takes half the memory."""
        times = 1 if device.name == "cpu" else GPU_BATCHES
        return times * self.budget * (1 if device.precision == "fp32" else 2)


def find(
    name: str, modality: Modality, layers: str = "all", max_seconds: float = 30.0, margin: float | None = None
) -> EncoderInfo:
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
    margin
        Seconds of silence that a Whisper model hears after a recording; None: silence up to its full length.

    Raises
    ------
    UserError
        If there is no such encoder, it encodes the other modality, or it has no such layers.

    """
    typo = nearest(name, ENCODERS) if name not in ENCODERS and not Path(name).exists() else ""
    if typo:
        raise UserError(f"--{modality}: unknown encoder {name!r}{typo}")
    module = importlib.import_module(ENCODERS.get(name) or _family(name), __name__)
    info: EncoderInfo = module.info(name, modality, layers, max_seconds)
    if info.modality != modality:
        raise UserError(f"--{modality} {name}: encodes {info.modality}, not {modality}")
    return info.trim(margin) if margin is not None and info.trim else info


def _family(name: str) -> str:
    """Return the module of the encoder in a folder or on the hub; emotion2vec has files unlike transformers'."""
    last = name.rstrip("/").partition("@")[0].rpartition("/")[2]
    theirs = last.startswith("emotion2vec") or all(Path(name, file).is_file() for file in ("config.yaml", "model.pt"))
    return ".emotion2vec" if theirs and not Path(name, "config.json").is_file() else ".transformer"


def built_in() -> str:
    """Return the names of the built-in encoders, for messages."""
    return abbreviate(ENCODERS)


def choose_layers(asked: str, count: int, name: str) -> tuple[int, ...]:
    """Turn `all`, `last` or `6,12` into layer numbers of the encoder `name`, which has `count` layers.

    Raises
    ------
    UserError
        If it has no such layers.

    """
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

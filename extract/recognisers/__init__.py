"""Speech recognisers, which turn recordings into words: Whisper, and speech models with a CTC head.

`find` returns a recogniser's `RecogniserInfo`; its weights are loaded only when there is something to transcribe.
Decoding is greedy, so an utterance gets the words that it would get in a batch of its own, to the rounding of scores.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from amber.arrays import Integers
from amber.audio import Signal
from amber.errors import UserError, abbreviate
from amber.machine import Device

from ..batching import batches
from ..encoders.pretrained import PretrainedModel, find_model
from ..encoders.transformer import SPEECH_TYPES

CTC_TYPES = tuple(kind for kind in SPEECH_TYPES if kind != "whisper")


class Words(NamedTuple):
    """What was recognised in a recording; `truncated` where the model stopped at its longest text."""

    text: str
    truncated: bool = False


def joined(words: Sequence[Words]) -> Words:
    """Return the words of a signal's pieces as one text, with single blanks."""
    text = " ".join(" ".join(piece.text for piece in words).split())
    return Words(text, any(piece.truncated for piece in words))


class Recogniser(Protocol):
    """Recognises a batch of B signals, float32 (T,) each at 16 kHz."""

    def recognise(self, batch: Sequence[Signal]) -> list[Words]:
        """Return the words of each signal, B in all."""


@dataclass(frozen=True)
class RecogniserInfo:
    """What is known of a recogniser before its weights are loaded.

    Attributes
    ----------
    name, revision
        What it is called, and which version of it this is.
    language
        The language that a multilingual model is told to expect; None: it decides, piece by piece.
    max_seconds
        Longest piece of audio that is recognised at once; longer recordings are cut at quiet places.
    least
        Samples to which the model pads every piece; 0 if it does not.
    budget
        Returns the most samples, padding included, in a batch on a device.
    padding
        Largest share of a batch that may be padding.
    load
        Loads the recogniser on a device.

    """

    name: str
    revision: str
    language: str | None
    max_seconds: float
    least: int
    budget: Callable[[Device], int]
    padding: float
    load: Callable[[Device], Recogniser]

    def plan(self, lengths: Integers, device: Device) -> list[Integers]:
        """Return batches of places (B,) in `lengths` (n,), in samples; recordings of similar length are together."""
        order = np.argsort(-lengths, kind="stable")
        sizes = np.maximum(lengths[order], self.least).tolist()
        return [order[batch] for batch in batches(sizes, self.budget(device), self.padding)]


def find(name: str, language: str | None = None, max_seconds: float = 30.0) -> RecogniserInfo:
    """Find a recogniser.

    Parameters
    ----------
    name
        A folder with a model, or a hub name with an optional `@revision`.
    language
        Its language, such as `de`, for multilingual Whisper models; None: the model decides.
    max_seconds
        Longest piece of audio at once; Whisper takes at most 30 s.

    Raises
    ------
    UserError
        If there is no such model, it is no recogniser, or it knows no languages.

    """
    found = find_model(name)
    module = importlib.import_module(f".{_kind(name, found)}", __name__)
    info: RecogniserInfo = module.info(found, language, max_seconds)
    return info


def _kind(name: str, found: PretrainedModel) -> str:
    """Return which of the modules here recognises with a model."""
    kind, heads = found.config.model_type, found.config.architectures or ()
    if kind == "whisper":
        return "whisper"
    if kind in CTC_TYPES and any(head.endswith("ForCTC") for head in heads):
        return "ctc"
    said = f"a {kind} model without a CTC head" if kind in CTC_TYPES else f"a {kind} model"
    raise UserError(
        f"--model {name}: {said}, not a speech recogniser\n"
        f"recognisers are Whisper models, and these with a CTC head: {abbreviate(CTC_TYPES, 20)}"
    )

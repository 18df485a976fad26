"""One unit of work: read the inputs of its utterances, encode them, and say what became of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from amber.corpus import Corpus
from amber.machine import Device
from amber.store import Status

from . import audio
from .batching import batches
from .encoders import Card, Encoder

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Failure:
    """An input that can't be encoded, and why."""

    reason: str


Input = Any  # a signal, a text, a Failure, or None where the corpus has nothing


@dataclass(frozen=True)
class UnitResult:
    """What a unit comes to: features (n, L, D), status (n,) and reasons (n,)."""

    pooled: NDArray[np.float32]
    status: NDArray[np.uint8]
    errors: list[str]


def readers(corpus: Corpus, card: Card) -> list[Callable[[], Input]]:
    """Return a function per utterance that reads what the encoder needs of it."""
    if card.modality == "text":
        return [partial(_given, text) for text in corpus.column("text")]
    rate = card.sample_rate or 0
    spans = zip(corpus.column("audio"), corpus.column("start"), corpus.column("end"), strict=True)
    root = Path(corpus.root)
    return [partial(_read, root / path if path else None, rate, start, end) for path, start, end in spans]


def encode(inputs: list[Input], card: Card, encoder: Encoder, device: Device, dtype: str) -> UnitResult:
    """Encode the inputs of a unit in batches of similar length.

    Features that are not finite, or that overflow `dtype`, are refused: their utterance failed.
    """
    n = len(inputs)
    pooled = np.zeros((n, len(card.layers), card.dim), dtype=np.float32)
    status = np.full(n, Status.OK, dtype=np.uint8)
    errors = [""] * n
    for i, item in enumerate(inputs):
        if item is None:
            status[i] = Status.ABSENT
        elif isinstance(item, Failure):
            status[i], errors[i] = Status.FAILED, item.reason
    usable = np.flatnonzero(status == Status.OK)
    for batch in batches([len(inputs[i]) for i in usable], card.budget_on(device), card.padding):
        rows = usable[batch]
        encoded = encoder.encode([inputs[i] for i in rows])
        pooled[rows] = encoded.pooled
        status[rows[encoded.truncated]] = Status.TRUNCATED
    limit = float(np.finfo(dtype).max)
    largest = np.abs(pooled).max(axis=(1, 2))
    for i in np.flatnonzero(~(largest <= limit)).tolist():
        finite = np.isfinite(pooled[i]).all()
        status[i] = Status.FAILED
        errors[i] = f"features overflow {dtype}; use --dtype float32" if finite else "features are not finite"
        pooled[i] = 0
    return UnitResult(pooled, status, errors)


def ahead(function: Callable[[T], U], items: Iterable[T], executor: Executor, depth: int) -> Iterator[U]:
    """Yield `function(item)` in order while the next `depth` items are worked on in the background."""
    waiting = []
    for item in items:
        waiting.append(executor.submit(function, item))
        if len(waiting) > depth:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _given(text: str | None) -> Input:
    return text


def _read(path: Path | None, rate: int, start: float | None, end: float | None) -> Input:
    if path is None:
        return None
    try:
        return audio.read(path, rate, start, end)
    except audio.AudioError as error:
        return Failure(f"{path.name}: {error}")

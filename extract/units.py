"""One unit of work: the inputs of its utterances, read and encoded, with the status of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from amber.arrays import Floats32, Integers
from amber.audio import AudioError
from amber.errors import RunFailure
from amber.features.recordings import NONE, stamp
from amber.features.spec import FeatureSpec
from amber.features.unit import Status, Unit

from .batching import batches
from .encoders import Encoder, TokenEncoder
from .encoders.frame_spans import on_processor
from .encoders.memory import in_halves
from .inputs import Input, Recording

AHEAD = 2  # batches that are read while one is encoded
# What models and tokenizers raise for unsuitable inputs; running out of memory with one input is a RuntimeError.
_ENCODER_ERRORS = (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError)

Batch = Integers
Prepare = Callable[[Any], Any]  # what an encoder does to a signal or text ahead


@dataclass(frozen=True)
class Failure:
    """An utterance that can't be encoded, and why."""

    reason: str


class Encoded(NamedTuple):
    """What an encoder made of each input of a batch: its features or a `Failure`, and whether it was truncated."""

    batch: Batch
    found: list[Any]
    is_truncated: list[bool]


class UnitBuilder:
    """Builds the unit of n utterances: `plan` batches, `encode` them as `reading` yields them, return the `unit`."""

    def __init__(self, inputs: Sequence[Input | None], spec: FeatureSpec) -> None:
        self._inputs = inputs
        self._spec = spec
        self._features: list[NDArray[Any] | None] = [None] * len(inputs)
        self._status = np.full(len(inputs), Status.ABSENT, dtype=np.uint8)
        self._errors = [""] * len(inputs)
        self._stamps = [NONE] * len(inputs)
        self._seconds = np.zeros(len(inputs))  # of audio

    @property
    def size(self) -> int:
        """Return the number of utterances, n."""
        return len(self._inputs)

    def plan(self, budget: int, padding: float, heard: Callable[[int], int] = int) -> list[Batch]:
        """Return batches of places of inputs, each batch within `budget`; inputs without a length fail.

        `budget` and `padding` are those of `batches`, `heard` is that of `EncoderInfo`.
        """
        lengths = {}
        for i, item in enumerate(self._inputs):
            if item is None:
                continue
            if isinstance(item, Recording):  # before it is read, so that replacing it later is noticed
                self._stamps[i] = stamp(item.path)
            try:
                length = item.length()
            except AudioError as error:
                self.fail(i, named(item, error))
                continue
            lengths[i] = heard(length)
            if self._spec.sample_rate:
                self._seconds[i] = length / self._spec.sample_rate
        there = np.array(list(lengths), dtype=np.int64)
        return [there[batch] for batch in batches(list(lengths.values()), budget, padding)]

    def seconds(self, batch: Batch) -> float:
        """Return the seconds of audio in a batch that was planned."""
        return float(self._seconds[batch].sum())

    def reading(self, plan: Sequence[Batch], readers: Executor, prepare: Prepare | None = None) -> Iterator[list[Any]]:
        """Start to read the first batches (B,) now, and each further one while those before it are encoded.

        Yields
        ------
        list
            The signals or texts of each batch in order, or what `prepare` made of them, with a `Failure` in place of
            an input that can't be read or prepared.

        """
        waiting: deque[list[Future[Any]]] = deque()
        rest = iter(plan)

        def submit() -> None:
            for batch in rest:
                waiting.append([readers.submit(_prepared, self._inputs[i], prepare) for i in batch])
                return

        for _ in range(AHEAD):
            submit()

        def results() -> Iterator[list[Any]]:
            while waiting:
                futures = waiting.popleft()
                submit()
                yield [future.result() for future in futures]

        return results()

    def encode(self, plan: Sequence[Batch], reading: Iterable[list[Any]], encoder: Encoder) -> Iterator[Batch]:
        """Encode batches as they are read; an utterance fails if the encoder can't encode it alone.

        Parameters
        ----------
        plan, reading
            The batches, and what `reading` returned for them.
        encoder
            What encodes them. A GPU still computes when it returns: results are read when the next batch is with it.

        Yields
        ------
        ndarray
            Each batch, when its features are in the unit.

        Raises
        ------
        RunFailure
            If the encoder fails on every one of several utterances: then the encoder is at fault.

        """
        last: Encoded | None = None
        for batch, items in zip(plan, reading, strict=True):
            encoded = self._encode(batch, items, encoder)
            if last:
                yield self._keep(last)
            last = encoded
        if last:
            yield self._keep(last)

    def _encode(self, batch: Batch, items: Sequence[Any], encoder: Encoder) -> Encoded:
        found, is_truncated = list(items), [False] * len(items)
        read = [place for place, item in enumerate(items) if not isinstance(item, Failure)]
        if read:
            given = [items[place] for place in read]
            encoded = each(self._call(encoder), given)
            if len(encoded) > 1 and all(isinstance(one, Failure) for one in encoded):
                raise RunFailure(f"{self._spec.encoder}: {encoded[0].reason}, for every utterance of a batch")
            for place, one, cut in zip(read, encoded, encoder.truncated(given), strict=True):
                found[place], is_truncated[place] = one, bool(cut)
        return Encoded(batch, found, is_truncated)

    def _keep(self, encoded: Encoded) -> Batch:
        """Keep the features of a batch, once they are computed; an utterance fails if its own can't be stored."""
        for i, one, is_truncated in zip(*encoded, strict=True):
            outcome = one if isinstance(one, Failure) else _storable(on_processor(one), self._spec.dtype)
            if isinstance(outcome, Failure):
                self.fail(i, outcome)
            else:
                self._features[i] = outcome
                self._status[i] = Status.TRUNCATED if is_truncated else Status.OK
        return encoded.batch

    def _call(self, encoder: Encoder) -> Callable[[Sequence[Any]], Any]:
        """Return what makes an encoder's features of the set's level and pooling."""
        if self._spec.level == "frames":
            return encoder.frames
        return cast(TokenEncoder, encoder).last if self._spec.pooling == "last" else encoder.pooled

    def fail(self, i: int, failure: Failure) -> None:
        """Record that utterance `i` failed."""
        self._status[i], self._errors[i] = Status.FAILED, failure.reason

    def unit(self) -> Unit:
        """Return the finished unit."""
        spec, n = self._spec, len(self._inputs)
        vector = (len(spec.layers), spec.dim)
        stamps = np.array(self._stamps, dtype=np.int64).reshape(n, len(NONE)) if spec.sample_rate else None
        if spec.level == "pooled":
            pooled = np.zeros((n, *vector), dtype=spec.dtype)
            for i, features in enumerate(self._features):
                if features is not None:
                    pooled[i] = features
            return Unit(pooled, self._status, self._errors, stamps=stamps)
        frames = [f if f is not None else np.zeros((0, *vector), dtype=spec.dtype) for f in self._features]
        lengths = np.array([len(f) for f in frames], dtype=np.int64)
        return Unit(np.concatenate(frames), self._status, self._errors, lengths, stamps)


def read_input(item: Input) -> Any:
    """Return an input's signal or text, or a `Failure` if it can't be read."""
    try:
        return item.read()
    except AudioError as error:
        return named(item, error)


def _prepared(item: Input, prepare: Prepare | None) -> Any:
    """Return what an encoder makes of an input's signal or text ahead, or a `Failure`."""
    found = read_input(item)
    if prepare is None or isinstance(found, Failure):
        return found
    return each(lambda items: map(prepare, items), [found])[0]


def named(item: Input, error: AudioError) -> Failure:
    """Return the failure of an input, with the name of its file."""
    path = getattr(item, "path", None)
    return Failure(f"{path.name}: {error}" if path else str(error))


def each(call: Callable[[Sequence[Any]], Any], items: Sequence[Any], model: str = "the encoder") -> list[Any]:
    """Give items to a model together, or one by one if that raises; return what it makes or a `Failure` for each.

    Items that exhaust the memory together are given to it in halves.
    """
    try:
        return in_halves(lambda some: list(call(some)), items)
    except _ENCODER_ERRORS as error:
        if len(items) == 1:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            return [Failure(f"{model} failed: {first[:200]}")]
    return [each(call, [item], model)[0] for item in items]


def _storable(features: Floats32, dtype: str) -> NDArray[Any] | Failure:
    """Return features (L, D) or (T, L, D) in the dtype in which they are stored, or why they can't be."""
    largest = np.abs(features).max(initial=0.0)
    if not np.isfinite(largest):
        return Failure("features are not finite")
    if largest > np.finfo(dtype).max:
        return Failure(f"features overflow {dtype}; use --dtype float32")
    return features.astype(dtype)

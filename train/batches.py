"""Batches of one split of a fold: what every kind of features offers, and how pooled ones offer it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from amber.corpus import Modality

from .attention import Padded

Batch = Mapping[Modality, Tensor | Padded]  # (S, B, D), (S, B, L, D), or the frames of B utterances


class Sampler(Protocol):
    """Batches without end, through the split again and again, in S streams of which each has an order of its own."""

    def draw(self) -> tuple[Tensor, Batch]:
        """Return places (S, B) in the split, and the inputs there."""
        ...

    def keep(self, staying: Sequence[int]) -> None:
        """End the streams but those in these places."""
        ...


class FoldSplit(Protocol):
    """The training, dev or test split of a fold on the device: m utterances with their inputs and votes."""

    @property
    def rows(self) -> Tensor:
        """Return the rows of the utterances among all of the experiment, (m,)."""
        ...

    @property
    def counts(self) -> Tensor:
        """Return the votes, (m, C)."""
        ...

    @property
    def inputs(self) -> Mapping[Modality, Tensor]:
        """Return the pooled inputs of all utterances of the experiment, (n, D) or (n, L, D) by modality."""
        ...

    @property
    def shapes(self) -> dict[Modality, tuple[int, ...]]:
        """Return the shape of an utterance by modality, (D,) or (L, D); of frames that of their statistics, (2D,)."""
        ...

    @property
    def frame_dims(self) -> dict[Modality, int]:
        """Return D of the modalities that are frames."""
        ...

    def __len__(self) -> int: ...

    def stream(self, seed: int) -> int:
        """Return the number of the stream of batches that a run with this seed learns from."""
        ...

    def sampler(self, size: int, orders: Sequence[torch.Generator]) -> Sampler:
        """Return a sampler of batches of `size`, with one stream for each of the orders."""
        ...

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield the inputs of all rows in their order, about `size` of them at a time, in one stream."""
        ...


@dataclass(frozen=True)
class PooledSplit:
    """A split whose features are all pooled; `inputs` are shared by the splits of a fold.

    `corpora` are the numbers of the corpora that its batches draw from in equal shares; None: from all alike.
    """

    inputs: Mapping[Modality, Tensor]  # (n, D) or (n, L, D)
    rows: Tensor  # (m,)
    counts: Tensor  # (m, C)
    corpora: Tensor | None = None  # (m,)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shapes(self) -> dict[Modality, tuple[int, ...]]:
        """Return the shape of an utterance, (D,) or (L, D), by modality."""
        return {modality: tuple(x.shape[1:]) for modality, x in self.inputs.items()}

    @property
    def frame_dims(self) -> dict[Modality, int]:
        """Return D of the modalities that are frames: none."""
        return {}

    def stream(self, seed: int) -> int:
        """Return the number of a run's stream of batches: one for each seed."""
        return seed

    def sampler(self, size: int, orders: Sequence[torch.Generator]) -> Sampler:
        """Return a sampler of batches of `size`, with one stream for each of the orders."""
        return PooledSampler(self, size, orders)

    def places_of_corpora(self) -> list[Tensor]:
        """Return the places of each corpus that batches draw from in equal shares; of all utterances, where of none."""
        if self.corpora is None:
            return [torch.arange(len(self), device=self.rows.device)]
        return [(self.corpora == number).nonzero().flatten() for number in sorted(set(self.corpora.tolist()))]

    def shares(self) -> Tensor:
        """Return how often an utterance is in a batch, (m,), relative to the average."""
        found = torch.empty(len(self), device=self.rows.device)
        groups = self.places_of_corpora()
        for places in groups:
            found[places] = len(self) / (len(groups) * len(places))
        return found

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield the inputs of all rows, `size` of them at a time, in one stream."""
        for places in torch.arange(len(self), device=self.rows.device).split(size):  # type: ignore[no-untyped-call]
            yield self.at(places[None])

    def at(self, places: Tensor) -> dict[Modality, Tensor]:
        """Return the inputs (S, B, ...) at places (S, B) in the split, by modality."""
        rows = self.rows[places]
        flat = rows.flatten()  # `index_select` copies rows as a whole, in half of the time of `x[rows]`
        return {m: x.index_select(0, flat).view(*rows.shape, *x.shape[1:]) for m, x in self.inputs.items()}


class PooledSampler:
    """Batches of pooled inputs, always of one size, drawn in equal shares from each corpus of a split that has several.

    What is left of a pass begins the next batch. Where the size can't be divided by K corpora, the shares of a batch
    differ by one, and those of K batches in a row are the same.
    """

    def __init__(self, split: PooledSplit, size: int, orders: Sequence[torch.Generator]) -> None:
        self._split, self._size, self._drawn = split, size, 0
        self._passes = [_Passes(places, orders) for places in split.places_of_corpora()]

    def draw(self) -> tuple[Tensor, Batch]:
        """Return places (S, B) in the split, and the inputs there."""
        share, more = divmod(self._size, len(self._passes))
        first = self._drawn * more  # of the corpora that give one more
        sizes = [share + ((place - first) % len(self._passes) < more) for place in range(len(self._passes))]
        places = torch.cat([one.take(n) for one, n in zip(self._passes, sizes, strict=True)], dim=1)
        self._drawn += 1
        return places, self._split.at(places)

    def keep(self, staying: Sequence[int]) -> None:
        """End the streams but those in these places."""
        for one in self._passes:
            one.keep(staying)


class _Passes:
    """Some places (m,) of a split, again and again, each once before any comes back, in S orders."""

    def __init__(self, places: Tensor, orders: Sequence[torch.Generator]) -> None:
        self._places, self._orders = places, list(orders)
        self._left = torch.empty(len(orders), 0, dtype=torch.int64, device=places.device)  # (S, what is left)

    def take(self, number: int) -> Tensor:
        """Return the next places, (S, number)."""
        while self._left.shape[1] < number:
            order = torch.stack([torch.randperm(len(self._places), generator=one) for one in self._orders])
            self._left = torch.cat([self._left, self._places[order.to(self._places.device)]], dim=1)
        taken, self._left = self._left[:, :number], self._left[:, number:]
        return taken

    def keep(self, staying: Sequence[int]) -> None:
        """End the orders but those in these places."""
        self._orders = [self._orders[place] for place in staying]
        self._left = self._left[list(staying)]

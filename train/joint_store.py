"""Several feature sets of one kind, read as one: the rows of each corpus after those of the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber.arrays import Floats32, Integers
from amber.digest import short_hash
from amber.features.store import FeatureStore

JOINED, APART = "+", "/"  # between the names of corpora; between a corpus's name and an id or a speaker of it


class JointStore(FeatureStore):
    """A view of pooled feature sets with one spec but for the corpus, (N1 + N2 + …, L, D). It is only read.

    Its ids are `<corpus>/<id>`.
    """

    def __init__(self, stores: Sequence[FeatureStore]) -> None:
        self._stores = list(stores)
        specs = [store.spec for store in stores]
        name = JOINED.join(spec.corpus for spec in specs)
        self.spec = specs[0].model_copy(
            update={
                "corpus": name,
                "release": JOINED.join(spec.release for spec in specs),
                "inputs": short_hash([spec.inputs for spec in specs]),
                "size": sum(spec.size for spec in specs),
            }
        )
        self.location = stores[0].location.parent.with_name(name) / self.spec.name

    def ids(self) -> tuple[str, ...]:
        """Return the utterance ids, in row order."""
        return tuple(f"{store.spec.corpus}{APART}{uid}" for store in self._stores for uid in store.ids())

    def content(self) -> str:
        """Return a hash of what each set holds."""
        return short_hash([store.content() for store in self._stores])

    def status(self) -> NDArray[np.uint8]:
        """Return the `Status` of every utterance, (N,)."""
        return np.concatenate([store.status() for store in self._stores])

    def stamps(self) -> Integers | None:
        """Return the stamps of the recordings, (N, 3); None if any of the sets has none."""
        found = [stamps for store in self._stores if (stamps := store.stamps()) is not None]
        return np.concatenate(found) if len(found) == len(self._stores) else None

    def every_layer(self) -> NDArray[Any]:
        """Return `pooled`, (N, L, D)."""
        return np.concatenate([store.every_layer() for store in self._stores])

    def layer(self, index: int) -> NDArray[Any]:
        """Return one stored layer, (N, D)."""
        return np.concatenate([store.layer(index) for store in self._stores])

    def mean_of_layers(self) -> Floats32:
        """Return the mean over the stored layers, (N, D)."""
        return np.concatenate([store.mean_of_layers() for store in self._stores])

    def pieces(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the first row and the features (n, L, D) of pieces, corpus by corpus."""
        first = 0
        for store in self._stores:
            for start, features in store.pieces():
                yield first + start, features
            first += store.spec.size

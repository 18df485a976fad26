"""What is trained on: the utterances of an experiment, their votes joined to their features by id."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber.arrays import Mask
from amber.config import FeatureOptions, Layer
from amber.corpus import Corpus, Modality
from amber.errors import RunFailure, UserError
from amber.features import catalog
from amber.features.store import FeatureStore
from amber.features.unit import USABLE
from amber.labels import LabelSpace, distribution
from amber.location import locate
from amber.outside import Outside

from .asked import refuse_other
from .scaling import reduced_width

# Options that say which of an encoder's feature sets is meant.
PREFERRED = ("level", "pooling", "text_instruction", "text_context")


@dataclass(frozen=True)
class TrainingData:
    """Labelled utterances: n rows of the corpus with counts, and their rows in each feature set.

    The row is -1 where a set has no usable features of an utterance. Only utterances with all of them can be read.
    """

    corpus: Corpus
    space: LabelSpace
    counts: NDArray[np.float64]  # (n, C)
    truth: NDArray[np.float64] | None  # (n, C)
    stores: Mapping[Modality, FeatureStore]
    rows: Mapping[Modality, NDArray[np.int64]]  # (n,) into the store
    stored_lengths: Mapping[Modality, NDArray[np.int64]]  # (N,) frames, of modalities that are frames
    left_out: Mapping[str, int]
    outside: Outside | None = None  # votes of no class
    corpora: NDArray[np.int64] | None = None  # (n,) the number of each one's corpus, in a joint set

    @property
    def y(self) -> NDArray[np.float64]:
        """Return the raters' distributions, (n, C)."""
        return distribution(self.counts)

    def has(self, modalities: Collection[Modality]) -> Mask:
        """Return whether each utterance has usable features in all of these modalities, (n,)."""
        found = np.ones(len(self.corpus), dtype=bool)
        for modality in modalities:
            found &= self.rows[modality] >= 0
        return found

    def having(self, modalities: Sequence[Modality]) -> TrainingData:
        """Return the utterances with usable features in all of these modalities; the others are counted.

        Raises
        ------
        UserError
            If there are none.

        """
        before, left_out = len(self.corpus), {}
        for place, modality in enumerate(modalities, 1):
            there = int(self.has(modalities[:place]).sum())
            before, left_out[f"no {modality} features"] = there, before - there
        if not before:
            what = f"features: none of the {len(self.corpus)} labelled utterances of {self.corpus.name} has"
            if len(modalities) < 2:
                raise UserError(f"{what} {modalities[0]} features; see what `amber extract` said of them")
            raise UserError(
                f"{what} all of its features ({' and '.join(modalities)})\n"
                "train variants that read one of them, or let each use what it reads: --set features.require=read"
            )
        chosen = self.take(np.flatnonzero(self.has(modalities)))
        return replace(chosen, left_out={**self.left_out, **left_out})

    def take(self, rows: NDArray[np.int64]) -> TrainingData:
        """Return the utterances in these rows."""
        return replace(
            self,
            corpus=self.corpus.take(rows),
            counts=self.counts[rows],
            truth=self.truth[rows] if self.truth is not None else None,
            rows={modality: where[rows] for modality, where in self.rows.items()},
            corpora=self.corpora[rows] if self.corpora is not None else None,
        )

    def of(self, modalities: Collection[Modality]) -> TrainingData:
        """Return the same utterances with the features of these modalities alone."""
        return replace(
            self,
            stores={m: self.stores[m] for m in modalities},
            rows={m: self.rows[m] for m in modalities},
            stored_lengths={m: of for m, of in self.stored_lengths.items() if m in modalities},
        )

    def is_frames(self, modality: Modality) -> bool:
        """Return whether a modality's features are frames rather than pooled."""
        return self.stores[modality].spec.level == "frames"

    def lengths(self, modality: Modality) -> NDArray[np.int64]:
        """Return how many frames each utterance has, (n,)."""
        return self.stored_lengths[modality][self.rows[modality]]

    def held(self, modality: Modality) -> tuple[int, ...]:
        """Return the numbers of the layers that a modality's set holds."""
        return self.stores[modality].spec.layers

    def layers(self, modality: Modality, choice: Layer) -> tuple[int, ...]:
        """Return the numbers of the stored layers that a choice reads.

        Raises
        ------
        UserError
            If the set does not hold the layer asked for, or it should learn layers of frames.

        """
        store = self.stores[modality]
        if choice == "learned" and self.is_frames(modality):
            raise UserError(
                f"train.layer: {store.location.name} holds frames, of which no layers are learned; name one"
            )
        return catalog.pick_layers(choice, store.spec)

    def width(self, modality: Modality, choice: Layer) -> int:
        """Return the dimension of what a head sees of a pooled modality."""
        dim = self.stores[modality].spec.dim
        return reduced_width(dim * len(self.held(modality)), len(self.corpus)) if choice == "all" else dim

    def size(self, modality: Modality, choice: Layer) -> int:
        """Return how many bytes training on a layer choice takes: as it is read, and pooled ones scaled to float32.

        Of frames: if they are kept in memory, with those of all utterances of the units that are read.
        """
        spec, layers = self.stores[modality].spec, self.layers(modality, choice)
        if self.is_frames(modality):
            units = np.unique(self.rows[modality] // spec.unit_rows)
            read = np.isin(np.arange(spec.size) // spec.unit_rows, units)
            kept = np.dtype(spec.dtype if len(layers) == 1 else "float32").itemsize
            return int(self.stored_lengths[modality][read].sum()) * spec.dim * kept
        if choice == "all":
            return self.width(modality, choice) * len(self.corpus) * 4
        vectors = len(layers) if choice == "learned" else 1  # of one utterance
        stored = np.dtype("float32" if choice == "mean" else spec.dtype).itemsize
        return spec.dim * vectors * (spec.size * stored + len(self.corpus) * 4)

    def inputs(self, modality: Modality, choice: Layer) -> NDArray[Any]:
        """Read a layer choice of one modality, (n, D) in the order of the utterances; `learned`: all, (n, L, D)."""
        store, rows = self.stores[modality], self.rows[modality]
        if choice == "mean":
            features: NDArray[Any] = store.mean_of_layers()
        elif choice == "learned":
            features = store.every_layer()
        else:
            (number,) = self.layers(modality, choice)
            features = store.layer(store.spec.layers.index(number))
        # Most often the rows are all rows, and a copy would be as large as what was read.
        return features if np.array_equal(rows, np.arange(len(features))) else features[rows]

    def blocks(self, modality: Modality) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Read all layers of a pooled modality piece by piece: rows of the utterances (b,), and (b, L, D)."""
        store, place = self.stores[modality], self.rows[modality]
        row_of = np.full(store.spec.size, -1, dtype=np.int64)
        row_of[place] = np.arange(len(place))
        for start, features in store.pieces():
            rows = row_of[start : start + len(features)]
            there = rows >= 0
            yield (rows, features) if there.all() else (rows[there], features[there])


def find_stores(
    options: FeatureOptions, corpus: Corpus, modalities: Collection[Modality]
) -> dict[Modality, FeatureStore]:
    """Choose the feature set of each modality: the only one there is, or the one that the options name.

    Raises
    ------
    UserError
        If a modality has no inputs at all, the set was made by other options than those given, or as for
        `amber.features.catalog.find_set`.

    """
    found: dict[Modality, FeatureStore] = {}
    for modality in modalities:
        if all(value is None for value in corpus.column("audio" if modality == "speech" else "text")):
            what, other = ("audio", "text") if modality == "speech" else ("transcripts", "speech")
            if modality not in catalog.modalities(locate(options.cache), corpus):
                raise UserError(
                    f"features: {corpus.name} has no {what}; train what needs none: --variants {other},prior"
                )
        asked = getattr(options, modality) if modality in options.model_fields_set else None
        preferred: dict[str, object] = {name: getattr(options, name) for name in PREFERRED}
        if "dtype" in options.model_fields_set:
            preferred["dtype"] = options.dtype
        if asked is not None:  # other encoders have no margin, and are not less wanted for that
            preferred["margin"] = options.heard_margin
        found[modality] = catalog.find_set(locate(options.cache), corpus, modality, asked, preferred)
        refuse_other(options, found[modality].spec)
    return found


def check_ids(stores: Mapping[Modality, FeatureStore], corpus: Corpus) -> None:
    """Raise a `RunFailure` if a feature set is not of the utterances of a corpus, in their order."""
    for store in stores.values():
        if store.ids() != corpus.ids:
            raise RunFailure(f"{store.location}: its ids are not those of the utterances; run `amber extract` again")


def join(corpus: Corpus, space: LabelSpace, stores: Mapping[Modality, FeatureStore]) -> TrainingData:
    """Join all labelled utterances to their features, by id."""
    labelled = space.label(corpus)
    ids = [corpus.ids[row] for row in labelled.rows]
    rows: dict[Modality, NDArray[np.int64]] = {}
    stored_lengths: dict[Modality, NDArray[np.int64]] = {}
    for modality, store in stores.items():
        place = {uid: row for row, uid in enumerate(store.ids())}
        found = np.array([place.get(uid, -1) for uid in ids], dtype=np.int64)
        usable = np.isin(store.status(), USABLE)
        if store.spec.level == "frames":
            stored_lengths[modality] = np.diff(store.spans(), axis=1)[:, 0]
            usable &= stored_lengths[modality] > 0
        rows[modality] = np.where((found >= 0) & usable[found], found, -1)
    return TrainingData(
        corpus=corpus.take(labelled.rows),
        space=space,
        counts=labelled.counts,
        truth=labelled.truth,
        stores=stores,
        rows=rows,
        stored_lengths=stored_lengths,
        left_out=labelled.left_out,
        outside=labelled.outside,
    )

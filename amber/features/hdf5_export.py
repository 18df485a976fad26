"""Exporting features to HDF5, the way other laboratories share them.

The export goes unit by unit, so that memory does not grow with the corpus, and is renamed into place once complete.
`hdf5_import` is the other way; `docs/formats.md` describes the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from amber.console import Console
from amber.corpus import Corpus
from amber.errors import UserError, abbreviate
from amber.features.catalog import pick_layers
from amber.features.store import FeatureStore
from amber.features.unit import USABLE

Pick = Callable[[NDArray[Any]], NDArray[Any]]  # (n, L, D) -> (n, D) or (n, L, D)


def export(
    to: Path, corpus: Corpus, stores: Sequence[FeatureStore], layer: str, console: Console
) -> dict[str, tuple[int, ...]]:
    """Write `/ids` (N,) and one array per set, (N, D) or for all layers (N, L, D), in the set's dtype.

    Utterances without features are rows of NaN and are counted in a warning. The mean over layers is float32.

    Parameters
    ----------
    to
        A new file.
    corpus
        The utterances of the sets.
    stores
        Complete sets, one per modality.
    layer
        `last`, `mean`, `all` or a layer's number.
    console
        Shows progress and warnings.

    Returns
    -------
    dict
        The arrays' shapes by name.

    Raises
    ------
    UserError
        If there are no sets, no such layer, the file exists or its folder does not.
    RunFailure
        If a unit is damaged.

    """
    if not stores:
        raise UserError(f"{corpus.name}: no features of the present utterances; run `amber extract`")
    if to.exists():
        raise UserError(f"--to {to}: exists already; remove it or name another file")
    if not to.parent.is_dir():
        raise UserError(f"--to {to}: there is no folder {to.parent}")
    framed = [store for store in stores if store.spec.level != "pooled"]
    if framed:
        raise UserError(f"{framed[0].location}: holds frames; only pooled features are exported")
    picks = {store.spec.modality: _pick(store, layer) for store in stores}
    partial = to.with_name(to.name + ".partial")
    try:
        with h5py.File(partial, "w") as file:
            file.attrs.update({"dataset": corpus.name, "release": corpus.release, "synthetic": corpus.synthetic})
            file.create_dataset("ids", data=list(corpus.ids), dtype=h5py.string_dtype())
            shapes: dict[str, tuple[int, ...]] = {"ids": (len(corpus),)}
            for store in stores:
                name = store.spec.modality
                shapes[name] = _write(file, store, picks[name], layer, console)
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
    return shapes


def _pick(store: FeatureStore, layer: str) -> Pick:
    """Return the function that picks a layer, `last`, `mean` or `all` of a unit's features."""
    if layer == "learned":
        raise UserError("--layer learned: only training learns a mixture of layers; export them with --layer all")
    read = pick_layers(int(layer) if layer.isdecimal() else layer, store.spec)
    if layer == "all":
        return lambda pooled: pooled
    if layer == "mean":
        return lambda pooled: pooled.astype(np.float32).mean(axis=1)
    place = store.spec.layers.index(read[0])
    return lambda pooled: pooled[:, place]


def _write(file: h5py.File, store: FeatureStore, pick: Pick, layer: str, console: Console) -> tuple[int, ...]:
    spec = store.spec
    probe = pick(np.zeros((1, len(spec.layers), spec.dim), dtype=spec.dtype))
    array = file.create_dataset(spec.modality, shape=(spec.size, *probe.shape[1:]), dtype=probe.dtype)
    array.attrs.update({"spec": json.dumps(spec.model_dump(mode="json")), "layer": layer})
    units = len(store.committed())
    with console.progress(f"export {spec.modality}", units) as advance:
        for number in range(units):
            rows, unit = store.unit(number), store.read_unit(number)
            values = pick(unit.features).copy()
            values[~np.isin(unit.status, USABLE)] = np.nan
            array[rows.start : rows.stop] = values
            advance()
    missing = np.flatnonzero(~np.isin(store.status(), USABLE))
    if len(missing):
        ids = store.ids()
        console.warn(
            f"{spec.modality}: {len(missing)} rows of NaN, no features: {abbreviate(ids[row] for row in missing)}"
        )
    return tuple(array.shape)

"""Features as plain HDF5 arrays, the way other laboratories share them: places in such files, and the export.

The export goes unit by unit, so that memory does not grow with the corpus, and is renamed into place when it is whole.
`amber.features.hdf5_import` is the other way; `docs/formats.md` describes the files.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from amber.console import Console
from amber.corpus import Corpus
from amber.errors import UserError, printable, some
from amber.features.catalog import pick_layers
from amber.features.store import FeatureStore
from amber.features.unit import USABLE

LARGEST_RATIO = 2_000  # of what an array claims to its file: the best that compression does is about 1,000
LARGEST_BLOCK = 1 << 30  # bytes that are read at once, at least: a chunk, and a row
MOST_LINKS = 16  # from one to the next

Pick = Callable[[NDArray[Any]], NDArray[Any]]  # (n, L, D) -> (n, D) or (n, L, D)


@dataclass(frozen=True)
class Place:
    """A dataset in an HDF5 file, and the option that named it."""

    option: str
    file: Path
    inner: str

    @classmethod
    def parse(cls, option: str, text: str) -> Place:
        """Read `FILE:/PATH`.

        Raises
        ------
        UserError
            If there is no `:` with something on both sides.

        """
        file, _, inner = text.rpartition(":")
        if not file or not inner.strip("/"):
            raise UserError(f"{option} {text}: write it as FILE:/PATH, such as features.h5:/speech")
        return cls(option, Path(file), inner.strip("/"))

    def __str__(self) -> str:
        return f"{self.file}:/{self.inner}"

    def open(self, files: ExitStack) -> h5py.Dataset:
        """Open the dataset until `files` closes.

        Raises
        ------
        UserError
            If there is no such file, it is not HDF5, or it holds no such dataset (the message lists what it holds);
            if the dataset draws on other files, or claims more than its own can hold.

        """
        if not self.file.is_file():
            raise UserError(f"{self.option} {self}: no such file")
        with reading(self):
            file = files.enter_context(h5py.File(self.file, "r"))
            found = _followed(file, self.inner, self)
            if isinstance(found, h5py.Dataset):
                _refuse_stranger(found, self.file.stat().st_size, self)
                return found
            there: list[str] = []
            file.visititems(lambda name, item: there.append(f"/{name}") if isinstance(item, h5py.Dataset) else None)
        what = "is a group" if isinstance(found, h5py.Group) else "is not there"
        holds = f"the file holds {some(map(printable, there), 9) or 'nothing'}"
        raise UserError(f"{self.option} {self.file}: /{self.inner} {what}; {holds}")


@contextmanager
def reading(place: Place) -> Iterator[None]:
    """Turn what h5py raises for a damaged or foreign file into a `UserError`."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{place.option} {place}: can't be read as HDF5: {printable(reason)[:200]}") from None


def _followed(file: h5py.File, inner: str, place: Place) -> Any:
    """Return what lies at a path of a file, or None; links that lead out of the file are refused, not opened."""
    node: Any = file
    names, hops = deque(inner.split("/")), 0
    while names:
        name = names.popleft()
        if not name or name == ".":
            continue
        link = node.get(name, getlink=True) if isinstance(node, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            other = printable(link.filename)
            raise UserError(f"{place.option} {place}: a link to another file, {other!r}; not followed")
        if isinstance(link, h5py.SoftLink):
            hops += 1
            if hops > MOST_LINKS:
                raise UserError(f"{place.option} {place}: a link that leads to itself")
            node = file if link.path.startswith("/") else node
            names.extendleft(reversed(link.path.split("/")))
        elif link is None:
            return None
        else:
            node = node[name]
    return node


def _refuse_stranger(found: h5py.Dataset, size: int, place: Place) -> None:
    """Refuse a dataset whose values lie in other files, or that claims more than its file can hold."""
    if found.external:
        raise UserError(f"{place.option} {place}: its values are in another file, {found.external[0][0]!r}; not read")
    if found.is_virtual:
        raise UserError(f"{place.option} {place}: a virtual dataset, made of others; store the values themselves")
    if found.shape is None:
        raise UserError(f"{place.option} {place}: an empty dataset, without a shape")
    claimed = math.prod(found.shape) * found.dtype.itemsize
    if claimed > LARGEST_RATIO * size:
        raise UserError(f"{place.option} {place}: claims {found.shape} values, which {size:,} bytes can't hold")
    chunk = math.prod(found.chunks or (0,)) * found.dtype.itemsize
    row = math.prod(found.shape[1:]) * found.dtype.itemsize
    if max(chunk, row) > LARGEST_BLOCK:
        raise UserError(f"{place.option} {place}: a chunk or row of {max(chunk, row) / 1e9:.1f} GB; too much at a time")


def export(
    to: Path, corpus: Corpus, stores: Sequence[FeatureStore], layer: str, console: Console
) -> dict[str, tuple[int, ...]]:
    """Write `/ids` (N,) and an array for each set, (N, D) or for all layers (N, L, D), in the set's dtype.

    Utterances without features are rows of NaN, counted in a warning. The mean over layers is float32.

    Parameters
    ----------
    to
        A new file.
    corpus
        The utterances that the sets are of.
    stores
        Complete sets, one a modality.
    layer
        `last`, `mean`, `all` or a layer's number.
    console
        Where progress and warnings go.

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
    if layer == "learned":
        raise UserError("--layer learned: only training learns a mixture of layers; export them with --layer all")
    read = pick_layers(int(layer) if layer.isdecimal() else layer, store)
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
        console.warn(f"{spec.modality}: {len(missing)} rows of NaN, no features: {some(ids[row] for row in missing)}")
    return tuple(array.shape)

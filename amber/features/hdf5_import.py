"""Importing features that were computed elsewhere: a dataset from a table of votes and arrays in HDF5 files.

Everything is checked before anything is written; the same command finishes an import that was killed. The arrays are
read block by block, once to check and hash them and once to store them, so that memory does not grow with them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from amber.arrays import Mask
from amber.console import Advance, Console
from amber.corpus import FILE, Corpus, Ledger, Modality
from amber.errors import UserError, abbreviate, count
from amber.features.catalog import read_corpus
from amber.features.fill import fill
from amber.features.hdf5_array import Hdf5Array
from amber.features.hdf5_path import Hdf5Path, reading
from amber.features.spec import UNKNOWN, FeatureSpec
from amber.features.store import FeatureStore, writing
from amber.features.unit import Status, Unit
from amber.names import fold


@dataclass(frozen=True)
class _Content:
    """What one reading of an array shows: a hash of it, and which rows are finite, (M,)."""

    revision: str
    finite: Mask


def import_(
    corpus: Corpus,
    ledger: Ledger,
    places: Mapping[Modality, Hdf5Path],
    ids_place: Hdf5Path | None,
    folder: Path,
    console: Console,
) -> list[str]:
    """Make a dataset of utterances and of arrays with their features; a repeated call does only what is missing.

    Parameters
    ----------
    corpus, ledger
        The utterances, and the account of how they were read, which is added to.
    places
        Features (M, D) or (M, L, D) by modality. float16 is kept, other numbers become float32. An utterance
        whose row is not finite fails.
    ids_place
        The ids (M,) of the arrays' rows; an utterance that is not among them has no features. None: the rows are
        the utterances in their order.
    folder
        The dataset's folder in the cache.
    console
        Shows progress and warnings.

    Returns
    -------
    list
        One line per feature set.

    Raises
    ------
    UserError
        If something is missing or does not fit; then nothing is written.

    """
    if not places:
        raise UserError("amber cache import: say where the features are, with --speech, --text or both")
    former, _ = read_corpus(folder)
    if former and former.ids != corpus.ids and former.root != corpus.root:
        raise UserError(f"--dataset: {folder} holds other utterances ({former.root}); choose another name")
    with ExitStack() as files:
        ids = _read_ids(ids_place, files) if ids_place else None
        arrays = {modality: _open(place, corpus, ids, files) for modality, place in places.items()}
        if ids:
            _account_for(corpus, ids, ledger, console)
        else:
            for place in places.values():
                _check_order(place, corpus, files, console)
        synthetic = any(array.is_synthetic() for array in arrays.values())
        corpus.synthetic = corpus.synthetic or synthetic
        for modality, array in arrays.items():
            if array.shape[0] > 1 and not array.is_ours():
                console.warn(
                    f"{modality}: {array.place} {array.source.shape} is taken as {array.axes()}; "
                    "if an axis is time, average over it first"
                )
        contents = {modality: _read_through(array, ids, console) for modality, array in arrays.items()}
        if not corpus.is_at(folder / FILE, former):
            corpus.write(folder / FILE)
        ledger.write(folder)
        return [_store(corpus, modality, arrays[modality], contents[modality], folder, console) for modality in arrays]


def _read_ids(place: Hdf5Path, files: ExitStack) -> list[str]:
    ids = _read_strings(place, files)
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise UserError(f"{place.option} {place}: {count(len(twice), 'id')} there more than once: {abbreviate(twice)}")
    return ids


def _read_strings(place: Hdf5Path, files: ExitStack) -> list[str]:
    source = place.open(files)
    with reading(place):
        is_strings = source.ndim == 1 and h5py.check_string_dtype(source.dtype) is not None
    if not is_strings:
        raise UserError(f"{place.option} {place}: ids must be strings (N,), found {source.dtype} {source.shape}")
    with reading(place):
        try:
            return [name.strip() for name in source.asstr("utf-8")[:].tolist()]
        except UnicodeDecodeError:
            raise UserError(f"{place.option} {place}: ids must be UTF-8") from None


def _open(place: Hdf5Path, corpus: Corpus, ids: list[str] | None, files: ExitStack) -> Hdf5Array:
    source, where = place.open(files), f"{place.option} {place}"
    with reading(place):
        kind = source.dtype.kind
    if kind not in "fiu" or source.ndim not in (2, 3) or 0 in source.shape:
        raise UserError(f"{where}: features must be numbers (N, D) or (N, L, D), found {source.dtype} {source.shape}")
    if ids is None:
        if len(source) != len(corpus):
            swapped = source.shape[1] == len(corpus)
            raise UserError(
                f"{where}: {len(source)} rows, but {len(corpus)} in the table; join by id with --ids FILE:/PATH"
                + ("\nits second axis is as long as the table: are the axes swapped?" if swapped else "")
            )
        return Hdf5Array(place, source, np.arange(len(corpus)))
    if len(source) != len(ids):
        raise UserError(f"{where}: {len(source)} rows, but {len(ids)} ids")
    row_of = {name: row for row, name in enumerate(ids)}
    return Hdf5Array(place, source, np.array([row_of.get(name, -1) for name in corpus.ids], dtype=np.int64))


def _check_order(place: Hdf5Path, corpus: Corpus, files: ExitStack, console: Console) -> None:
    """Refuse to join by position if `/ids` in the array's file says otherwise; warn if it names no utterance at all."""
    beside = Hdf5Path(place.option, place.file, "ids")
    try:
        if not beside.is_there():
            return
        ids = _read_strings(beside, files)
    except UserError as error:
        console.warn(f"{error}; {place} is joined to the table by position")
        return
    if ids == list(corpus.ids):
        return
    if set(ids) & set(corpus.ids):
        raise UserError(
            f"{place.option} {place}: its rows are those of {beside}, which are others than the table's or in another "
            f"order\ngive --ids {beside}, or rename /ids if it isn't of these rows"
        )
    console.warn(
        f"{beside}: none of these ids ({abbreviate(ids, 3)}) is in the table ({abbreviate(corpus.ids, 3)}); {place} is "
        "joined to it by position"
    )


def _account_for(corpus: Corpus, ids: list[str], ledger: Ledger, console: Console) -> None:
    """File the ids that only the file or only the table has."""
    known, given = set(corpus.ids), set(ids)
    if not known & given:
        raise UserError(
            f"--ids: none of them ({abbreviate(ids, 3)}) is in the table ({abbreviate(corpus.ids, 3)})"
            f"{_alike(known, given)}"
        )
    for what, lone in (
        ("features of ids that are not in the table", [name for name in ids if name not in known]),
        ("without features", [name for name in corpus.ids if name not in given]),
    ):
        ledger.add(what, *lone)
        if lone:
            console.warn(f"{what}: {len(lone)} ({abbreviate(lone)}){_alike(known - given, given - known)}")


def _alike(known: set[str], given: set[str]) -> str:
    """Return a hint for ids that would match but for their spelling."""
    spelled = {fold(name): name for name in known}
    for name in sorted(given):
        for how, key in (("case, blanks or accents", fold(name)), ("an ending or folder", fold(Path(name).stem))):
            if key in spelled:
                return f"\n{name!r} and {spelled[key]!r} differ in {how} only: write them alike"
    return ""


def _read_through(array: Hdf5Array, ids: list[str] | None, console: Console) -> _Content:
    """Read an array once. Its hash covers the ids: the same rows of other utterances are other features."""
    digest = hashlib.sha256(json.dumps([array.dtype, array.source.shape, ids]).encode())
    finite = np.zeros(len(array.source), dtype=bool)
    with console.progress(f"{array.place}: reading", len(finite)) as advance:
        for rows in array.blocks():
            block = array.read(rows)
            digest.update(block.tobytes())
            finite[rows] = np.isfinite(block).all(axis=(1, 2))
            advance(len(rows))
    if not finite[array.rows[array.rows >= 0]].any():
        raise UserError(f"{array.place.option} {array.place}: no row is finite in {array.dtype}")
    return _Content(digest.hexdigest()[:16], finite)


def _store(
    corpus: Corpus, modality: Modality, array: Hdf5Array, content: _Content, folder: Path, console: Console
) -> str:
    """Write one feature set and return a line about it."""
    spec = _spec(corpus, modality, array, content)
    with writing(folder, spec.name):
        store = FeatureStore.create(folder, spec, corpus.ids)

        def commit(missing: Sequence[int], advance: Advance) -> None:
            for number in missing:
                rows = store.unit(number)
                store.commit(number, _unit(array, content, rows))
                advance(len(rows))

        done_now = fill(store, commit, console, f"import {modality}")
    failed = list(store.errors())
    if failed:
        console.warn(f"{modality}: {count(len(failed), 'row')} not finite in {array.dtype} ({abbreviate(failed)})")
    counts = ", ".join(f"{count} {status}" for status, count in store.counts().items() if count)
    return f"{store.location}: {array.axes()}: {counts} ({done_now} of {count(spec.units, 'unit')} done now)"


def _unit(array: Hdf5Array, content: _Content, span: range) -> Unit:
    """Return the unit of the utterances in `span`."""
    source = array.rows[span.start : span.stop]
    usable = np.flatnonzero((source >= 0) & content.finite[source])
    pooled = np.zeros((len(span), *array.shape), dtype=array.dtype)
    pooled[usable] = array.read(source[usable])
    status = np.full(len(span), Status.FAILED, dtype=np.uint8)
    status[usable] = Status.OK
    status[source < 0] = Status.ABSENT
    reason = f"the row in {array.place.file.name}:/{array.place.inner} is not finite in {array.dtype}"
    return Unit(pooled, status, [reason if value == Status.FAILED else "" for value in status])


def _spec(corpus: Corpus, modality: Modality, array: Hdf5Array, content: _Content) -> FeatureSpec:
    layers, dim = array.shape
    return FeatureSpec(
        corpus=corpus.name,
        release=corpus.release,
        inputs=corpus.input_hash(modality),
        size=len(corpus),
        modality=modality,
        encoder=f"import-{array.place.inner.replace('/', '-')}",
        revision=content.revision,
        layers=tuple(range(layers)),
        dim=dim,
        level="pooled",
        pooling=UNKNOWN,
        sample_rate=None,
        max_seconds=None,
        dtype=array.dtype,
        precision=UNKNOWN,
    )

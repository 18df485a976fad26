"""What is on disk, opened in a notebook: features as arrays; votes and predictions as data frames."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from amber import done, parquet, predictions
from amber.corpus import MODALITIES, Corpus, Modality
from amber.errors import UserError
from amber.features import catalog
from amber.location import locate


@dataclass(frozen=True)
class FeatureArrays:
    """The features of a dataset's N utterances.

    Attributes
    ----------
    ids
        Ids (N,), in the order of the rows.
    speech, text
        Pooled features (N, L, D), float16 or float32; None where the cache has none of that modality. Rows of
        utterances without features are zero.
    status
        By modality, (N,): 0 absent, 1 ok, 2 failed, 3 truncated.
    layers
        By modality, the numbers of the L layers.

    """

    ids: NDArray[np.object_]
    speech: NDArray[Any] | None
    text: NDArray[Any] | None
    status: Mapping[Modality, NDArray[np.uint8]]
    layers: Mapping[Modality, tuple[int, ...]]


def load_features(
    cache: str | Path = "cache/", dataset: str | None = None, speech: str | None = None, text: str | None = None
) -> FeatureArrays:
    """Load the pooled features of a dataset into memory.

    Parameters
    ----------
    cache
        The feature cache, a folder or a bucket.
    dataset
        The dataset; None for the only one.
    speech, text
        Names of feature sets or encoders, where the cache has several; None for the only one.

    Raises
    ------
    UserError
        If there is no such dataset, a set is not complete or holds frames, or several fit.

    """
    where = locate(cache)
    corpus = catalog.find_corpus(where, dataset)
    asked: dict[Modality, str | None] = {"speech": speech, "text": text}
    held = catalog.modalities(where, corpus)
    wanted = [modality for modality in MODALITIES if asked[modality] or modality in held]
    there = {modality: catalog.find_set(where, corpus, modality, asked[modality]) for modality in wanted}
    for store in there.values():
        if store.spec.level != "pooled":
            raise UserError(f"{store.location}: holds frames; read them with amber.features.store.FeatureStore")
    arrays = {m: store.every_layer() for m, store in there.items()}
    return FeatureArrays(
        ids=np.array(corpus.ids, dtype=object),
        speech=arrays.get("speech"),
        text=arrays.get("text"),
        status={m: store.status() for m, store in there.items()},
        layers={m: store.spec.layers for m, store in there.items()},
    )


def load_votes(cache: str | Path = "cache/", dataset: str | None = None) -> Any:
    """Load the raw votes of a dataset, one row per vote and label.

    Returns
    -------
    pandas.DataFrame or polars.DataFrame
        Columns `id, rater, label, secondary, is_self`; pandas if it is installed, else polars, else a pyarrow table.

    Raises
    ------
    UserError
        If there is no such dataset, or several and none is named.

    """
    return data_frame(_votes_table(catalog.find_corpus(locate(cache), dataset)))


def load_predictions(runs: str | Path) -> Any:
    """Load the predictions of all finished runs below a folder: a run, a variant or an experiment.

    Returns
    -------
    pandas.DataFrame or polars.DataFrame
        The columns of `predictions.parquet` (docs/formats.md), one row per utterance, part and head; see `load_votes`.

    Raises
    ------
    UserError
        If there are no finished runs, or a file of one is not as it was written or is of another version.

    """
    found = sorted(path.parent for path in locate(runs).rglob(done.FILE))
    finished = [run for run in found if not run.name.startswith(".")]  # those are what a kill leaves
    if not finished:
        raise UserError(f"{runs}: no finished runs there; give the folder of a run or an experiment")
    for run in finished:
        done.refuse_damaged(run)
        predictions.read(run / predictions.FILE)  # refuses those of another version
    tables = [parquet.read(run / predictions.FILE).replace_schema_metadata(None) for run in finished]
    return data_frame(pa.concat_tables(tables, promote_options="default"))


def data_frame(table: pa.Table) -> Any:
    """Return a table as a data frame of the library that is installed: pandas, else polars, else as it is."""
    if importlib.util.find_spec("pandas"):
        return table.to_pandas()
    if importlib.util.find_spec("polars"):
        return importlib.import_module("polars").from_arrow(table)
    return table


def _votes_table(corpus: Corpus) -> pa.Table:
    """Return one row per label of a vote, the primary ones first."""
    votes = corpus.votes()
    of_vote = np.concatenate([votes.label_vote, votes.secondary_vote])
    label = np.concatenate([votes.labels, votes.secondary])
    return pa.table(
        {
            "id": corpus.table["id"].take(pa.array(votes.utterance[of_vote])),
            "rater": votes.rater.take(pa.array(of_vote)),
            "label": pa.array(votes.names, pa.string()).take(pa.array(label)),
            "secondary": pa.array(np.arange(len(label)) >= len(votes.labels)),
            "is_self": pa.array(votes.is_self[of_vote]),
        }
    )

"""Loading an experiment: the predictions of its runs, joined by utterance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from amber import predictions as contract
from amber.arrays import Floats, Integers
from amber.console import Advance
from amber.corpus import Corpus
from amber.errors import UserError, abbreviate
from amber.predictions import STUDENT, Predictions

from .ensemble import of_variants
from .experiment import CALIBRATED, TEMPERATURE, Experiment, FinishedRun, base
from .utterance_info import utterance_info

TOLERANCE = 1e-3  # by which a distribution's sum may differ from 1
IDENTITY = ("dataset", "variant", "fold", "seed")
Read = list[tuple[FinishedRun, Predictions]]  # rows of every run


def load(name: str, runs: list[FinishedRun], corpus: Corpus | None, advance: Advance) -> Experiment:
    """Load the predictions of runs, and what the corpus tells of the utterances.

    Raises
    ------
    UserError
        If folds of one variant and seed test the same utterance twice, or variants test different utterances, or
        against different votes.

    """
    read: Read = []
    dev: Read = []
    for run in runs:
        found = contract.read(run.folder / contract.FILE)
        _check_predictions(run, found)
        read.append((run, found.of(part="test")))
        dev.append((run, found.of(part="dev", head=STUDENT)))
        advance(1, run.variant)
    differ = any(run.utterances.get("require") == "read" for run in runs)
    experiment = _of_different(name, read, corpus) if differ else _joined(name, read, corpus)
    trained = dict.fromkeys(run.variant for run in runs)
    ensemble, why_not = of_variants(dev, {variant: experiment.mean(variant) for variant in trained}, experiment.folds)
    left_out = [*experiment.left_out, *([why_not] if why_not else [])]
    return replace(experiment, of_variants=ensemble, left_out=left_out)


def _of_different(name: str, read: Read, corpus: Corpus | None) -> Experiment:
    """Join variants that test different utterances: on those that all of them test, and each on its own.

    Raises
    ------
    UserError
        If variants are there in different folds, or test no utterance in common.

    """
    alike: dict[tuple[str, ...], Read] = {}
    for run, found in read:
        alike.setdefault(tuple(run.utterances.get("have", ())), []).append((run, found))
    together = {have: _joined(name, of, None) for have, of in alike.items()}  # refused where one of them lacks a run
    folds = {have: {run.fold for run in one.runs} for have, one in together.items()}
    common = set.intersection(*(set(one.ids.tolist()) for one in together.values()))
    if len(set(map(frozenset, folds.values()))) > 1:
        raise UserError(f"{name}: not the same folds in every variant; finish the missing ones with `amber train`")
    if not common:
        raise UserError(
            f"{name}: no utterance is tested by every variant, so they can't be compared\n"
            "train those that read the same under names of their own: --set experiment=NAME"
        )
    kept = [(run, found.where(np.isin(found.keys["id"], list(common)))) for run, found in read]
    own = {variant: one for one in together.values() for variant in one.variants}
    return replace(_joined(name, kept, corpus), own=own)


def _joined(name: str, read: Read, corpus: Corpus | None) -> Experiment:
    """Join the test rows of runs by utterance; the errors are those of `load`."""
    runs = [run for run, _ in read]
    classes = read[0][1].classes
    for run, found in read:
        if found.classes != classes:
            raise UserError(f"{run.folder}: its classes are {found.classes}, those of others {classes}")
    id_columns = [pa.array(found.keys["id"], pa.string()) for _, found in read]
    ids = np.array(sorted(pa.chunked_array(id_columns).unique().to_pylist()), dtype=object)
    universe = pa.array(ids, pa.string())
    rows = [pc.index_in(column, universe).to_numpy().astype(np.int64) for column in id_columns]
    _check_coverage(name, read, rows, len(ids))
    heads, weights, left_out = _heads(read, rows, len(ids))
    speakers, folds, counts, truth = _facts(read, rows, ids)
    seeds = {variant: list(dict.fromkeys(run.seed for run in runs if run.variant == variant)) for variant in heads}
    experiment = Experiment(
        name=name,
        runs=runs,
        classes=classes,
        ids=ids,
        speakers=speakers,
        counts=counts,
        folds=folds,
        truth=truth,
        priors={run.fold: found.prior for run, found in reversed(read) if found.prior is not None},
        seeds=seeds,
        heads=heads,
        weights=weights,
        info=utterance_info(ids, corpus),
        left_out=left_out,
    )
    return with_temperature(experiment)


def with_temperature(experiment: Experiment) -> Experiment:
    """Add `soft + temperature` after `soft`, where its runs hold a temperature-scaled copy of the student.

    The temperature is fitted on dev by each run, so the variant has the seeds of `soft` and is tested like any other.
    """
    heads, seeds = {}, dict(experiment.seeds)
    for variant, of in experiment.heads.items():
        if base(variant) != "soft" or CALIBRATED not in of:
            heads[variant] = of
            continue
        scaled = f"{variant.removesuffix('soft')}{TEMPERATURE}"
        heads[variant] = {name: p for name, p in of.items() if name != CALIBRATED}
        heads[scaled] = {STUDENT: of[CALIBRATED]}
        seeds[scaled] = experiment.seeds[variant]
    return replace(experiment, heads=heads, seeds=seeds)


def _check_predictions(run: FinishedRun, predictions: Predictions) -> None:
    """Refuse predictions of another run, and rows that are no distributions: no head is left out for them."""
    path = run.folder / contract.FILE
    name = contract.run_name(*(run.config[key] if key != "dataset" else run.config[key]["name"] for key in IDENTITY))
    others = predictions.keys["run"][predictions.keys["run"] != name]
    if len(others):
        raise UserError(f"{path}: holds predictions of another run, {others[0]}; train the run again")
    for what, values in (("p", predictions.p), ("n", predictions.counts)):
        whole = np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1)
        total = values.sum(axis=1)
        wrong = np.flatnonzero(~(whole & (np.abs(total - 1) <= TOLERANCE if what == "p" else total > 0)))
        if len(wrong):
            head, uid = predictions.keys["head"][wrong[0]], predictions.keys["id"][wrong[0]]
            raise UserError(
                f"{path}: {what} of {len(wrong)} rows is no distribution, first of {head} on {uid}; train the run again"
            )


def _check_coverage(name: str, read: Read, rows: Sequence[Integers], n: int) -> None:
    """Refuse students of a variant and seed that do not predict each of the n utterances exactly once."""
    tested: dict[str, Integers] = {}
    for (run, found), of in zip(read, rows, strict=True):
        where = f"{run.variant} seed {run.seed}"
        students = of[found.keys["head"] == STUDENT]
        tested[where] = tested.get(where, np.zeros(n, dtype=np.int64)) + np.bincount(students, minlength=n)
    for where, times in tested.items():
        if times.max(initial=0) > 1:
            raise UserError(f"{name}: {where}: an utterance is tested in two folds")
    short = [f"{where} ({times.sum()} of {n})" for where, times in tested.items() if times.sum() < n]
    if short:
        raise UserError(
            f"{name}: not the same test utterances in every variant and seed: {abbreviate(short)}\n"
            "finish the missing folds with `amber train`, or move the incomplete runs away"
        )


def _facts(
    read: Read, rows: Sequence[Integers], ids: NDArray[np.object_]
) -> tuple[NDArray[np.object_], Integers, Floats, Floats | None]:
    """Return each utterance's speaker and fold, (N,), counts and, where it is known, truth, (N, C), as first seen."""
    classes = read[0][1].counts.shape[1]
    speakers, folds = np.full(len(ids), None, dtype=object), np.zeros(len(ids), dtype=np.int64)
    counts, truth = np.full((len(ids), classes), np.nan), np.full((len(ids), classes), np.nan)
    for (run, found), of in zip(reversed(read), reversed(rows), strict=True):
        speakers[of], folds[of], counts[of] = found.keys["speaker"], run.fold, found.counts
        truth[of] = np.nan if found.truth is None else found.truth
    for (run, found), of in zip(read, rows, strict=True):
        wrong = np.flatnonzero(np.abs(counts[of] - found.counts).max(axis=1, initial=0.0) > 1e-9)
        if len(wrong):
            uid = found.keys["id"][wrong[0]]
            raise UserError(f"{run.folder}: the votes on {uid} are not those that other runs saw")
    return speakers, folds, counts, None if np.isnan(truth).any() else truth


def _heads(
    read: Read, rows: Sequence[Integers], n: int
) -> tuple[dict[str, dict[str, Floats]], dict[str, dict[str, Floats]], list[str]]:
    """Return the heads that every run of a variant has, the student first, (S, N, C) each.

    Also returns the experts' weights (S, N), and a line for each head that only some runs of a variant have.
    """
    heads: dict[str, dict[str, Floats]] = {}
    weights: dict[str, dict[str, Floats]] = {}
    left_out: list[str] = []
    for variant in dict.fromkeys(run.variant for run, _ in read):
        own = [(run.seed, found, of) for (run, found), of in zip(read, rows, strict=True) if run.variant == variant]
        seeds = list(dict.fromkeys(seed for seed, _, _ in own))
        names = dict.fromkeys(head for _, found, _ in own for head in found.keys["head"].tolist())
        heads[variant], weights[variant] = {}, {}
        for head in sorted(names, key=lambda name: name != STUDENT):
            p = np.full((len(seeds), n, own[0][1].p.shape[1]), np.nan)
            weight = np.full((len(seeds), n), np.nan)
            for seed, found, of in own:
                here = found.keys["head"] == head
                place = seeds.index(seed)
                p[place, of[here]], weight[place, of[here]] = found.p[here], found.weight[here]
            if np.isnan(p).any():
                left_out.append(f"{variant}: head {head}: not in all of its runs")
                continue
            heads[variant][head] = p
            if not np.isnan(weight).any():
                weights[variant][head] = weight
    return heads, weights, left_out

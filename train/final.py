"""One model of a variant on all utterances of an experiment, by what its folds' models chose on their dev parts.

Nothing is left to decide by: each candidate trains as many steps as the median of its best steps over folds and seeds
(a ridge regression takes none), and its weight in the pool of a head, temperature included, is the mean of its weights
there. So the model has learned from every utterance, and no figure of its own can be had: the figures of the folds'
models stand for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amber import done, run_config
from amber.config import LabelOptions, Objective, Training
from amber.config_file import validated
from amber.console import Console, ignore
from amber.corpus import Modality
from amber.errors import UserError
from amber.features.catalog import find_corpus, find_set
from amber.features.store import FeatureStore
from amber.labels import LabelSpace
from amber.location import absolute, locate
from amber.machine import choose, environment
from amber.splits import Fold

from .candidates import structures
from .context import FoldContext
from .dataset import TrainingData, join
from .fit import fit
from .group import Component, TrainedRun
from .inputs import Inputs
from .matrix import Run, Variant, run_key
from .member import Member, Record, score_of
from .plan import context_of
from .results import RunMetadata, write_model

MODELS = ("heads", "pool")  # others choose more on dev than steps and weights


@dataclass(frozen=True)
class Choice:
    """What the folds chose of one candidate: its steps, its weights by head, and those of its heads in the student."""

    number: int
    steps: int
    weights: dict[str, float]
    in_student: dict[str, float]


def train_final(runs: Sequence[Path], cache: str | None, to: Path, console: Console) -> dict[str, Any]:
    """Train the final model of runs that differ in fold and seed alone, and write it into a model folder.

    Parameters
    ----------
    runs
        The folders of all runs of a variant.
    cache
        The feature cache; None for the one that the runs read.
    to
        The folder, which is made.
    console
        Where progress goes.

    Returns
    -------
    dict
        What is to be said of the model: utterances, seed, and each candidate's steps.

    Raises
    ------
    UserError
        If the variant chooses more than steps and weights on dev, the cache is not there, or what it holds is not what
        the runs learned from.

    """
    config = run_config.read(runs[0])
    if config["model"] not in MODELS:
        raise UserError(
            f"--final: {config['variant']} ({config['model']}) chooses more on dev than steps and weights\n"
            "export the models of its folds, which answer together: leave out --final"
        )
    if "seen" in config:
        raise UserError(
            f"--final: {config['variant']} learned from a part of the votes (train.votes, train.share)\n"
            "export a variant that learned from all of them"
        )
    variant = Variant(
        config["variant"],
        validated(Objective, config["objective"], f"{runs[0]}: objective"),
        validated(Training, config["train"], f"{runs[0]}: train"),
        config["model"],
    )
    where = cache or json.loads((runs[0] / "env.json").read_text(encoding="utf-8")).get("cache", "")
    data = _utterances(runs[0], config, variant, where)
    rows, none = np.arange(len(data.corpus)), np.arange(0)
    fold = Fold(0, "all utterances", train=rows, dev=none, test=none)
    run = Run(variant, fold=0, seed=min(int(path.name.rpartition("seed")[2]) for path in runs))
    device, choices = choose("auto").name, _choices(runs, variant.training)
    with console.progress("train on all", len(choices)) as advance:
        context = FoldContext(data, fold, Inputs(data, {0: fold}, device), device, advance)
        components = _fit(run, choices, context)
    temperatures = [_model(path)["temperature"] for path in runs]
    known = [value for value in temperatures if value is not None]
    trained = TrainedRun(run, components, [], {}, float(np.mean(known)) if known else None)
    specs = {modality: store.spec.model_dump(mode="json") for modality, store in data.stores.items()}
    about = {**environment(), "cache": str(absolute(locate(where)))}
    to.mkdir(parents=True)
    write_model(to, trained, data, RunMetadata(config["experiment"], {}, specs, about))
    steps = {str(place): choice.steps for place, choice in enumerate(choices, 1)}  # by number in the model's config
    return {"utterances": len(rows), "seed": run.seed, "runs": len(runs), "steps": steps}


def _utterances(run: Path, config: Mapping[str, Any], variant: Variant, where: str) -> TrainingData:
    """Return the utterances of a run's experiment."""
    if not where or not locate(where).is_dir():
        raise UserError(f"--final: the feature cache {where or 'of these runs'} is not there; give it with --features")
    if "corpora" in config["dataset"]:
        raise UserError("--final: runs on several corpora have no final model yet; export without --final")
    corpus = find_corpus(locate(where), config["dataset"]["name"])
    stores: dict[Modality, FeatureStore] = {
        modality: find_set(locate(where), corpus, modality, name) for modality, name in config["features"].items()
    }
    space = LabelSpace(LabelOptions.model_validate(config["labels"]), tuple(_model(run)["classes"]))
    have = config.get("utterances", {}).get("have", list(stores))
    data = join(corpus, space, stores).having(have)
    key = run_key(Run(variant, config["fold"], config["seed"]), context_of(corpus, config, data))
    if key != done.read(run).key:
        raise UserError(
            f"--final: {where} does not hold what {run} learned from: votes, features or amber itself changed\n"
            "run the same `amber train` again first"
        )
    return data


def _choices(runs: Sequence[Path], training: Training) -> list[Choice]:
    """Return what the runs chose of each candidate that weighs anything in any of them."""
    steps: dict[int, list[float]] = {}
    for run in runs:
        for number, record in _best(run, training.stop).items():
            steps.setdefault(number, []).append(record.get("step", 0))
    models = [_model(run) for run in runs]
    found = []
    for number in sorted({one["number"] for model in models for one in model["candidates"]}):
        own = [one["weights"] for model in models for one in model["candidates"] if one["number"] == number]
        heads = list(own[0])
        student = [weights["student"] for weights in own]
        of_all = {head: [weights[head] for weights in own] for head in heads if head != "student"}
        weights = {head: sum(values) / len(runs) for head, values in of_all.items()}
        in_student: dict[str, float] = {}
        if isinstance(student[0], dict):
            in_student = {head: sum(one[head] for one in student) / len(runs) for head in student[0]}
        else:
            weights["student"] = sum(student) / len(runs)
        found.append(Choice(number, round(float(np.median(steps[number]))), weights, in_student))
    return found


def _best(run: Path, rule: str) -> dict[int, Record]:
    """Return each candidate's best evaluation in a run, by its number."""
    found: dict[int, Record] = {}
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record: Record = json.loads(line)
        number = int(record["candidate"])
        if number not in found or score_of(record, rule) > score_of(found[number], rule):
            found[number] = record
    return found


def _fit(run: Run, choices: Sequence[Choice], context: FoldContext) -> list[Component]:
    """Train each candidate as many steps as the folds chose; return the components in the order of the choices."""
    by_number = {choice.number: choice for choice in choices}
    numbered = list(enumerate(context.candidates(run), 1))
    number_of = {candidate: number for number, candidate in numbered}
    components: dict[int, Component] = {}
    chosen = [candidate for number, candidate in numbered if number in by_number]
    for structure in structures(chosen, run.variant.training.modality_dropout):
        part, _, _, scalings = context.splits(structure[0].layers, run)
        members = [Member(run, one, steps=by_number[number_of[one]].steps) for one in structure]
        for chunk in context.chunks(members):
            for member, fitted in zip(chunk, fit(chunk, part, None, ignore, context.smoothing), strict=True):
                choice = by_number[number_of[member.candidate]]
                components[choice.number] = Component(
                    member.candidate, fitted, scalings, choice.weights, choice.in_student
                )
            context.advance(len(chunk), run.variant.name)
    return [components[choice.number] for choice in choices]


def _model(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))
    return found

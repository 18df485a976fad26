"""Testing an experiment's models on other corpora of the cache.

The models of all folds answer together, per variant and seed: the mean of their distributions. Together they learned
from every utterance of their own corpus, and from none of the other. What they say is written like any run, into an
experiment of its own, `<experiment>-on-<dataset>`, as fold 1; it holds no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from amber import done, predictions
from amber.arrays import Floats
from amber.config import Config, LabelOptions
from amber.console import Console
from amber.corpus import Modality
from amber.digest import short_hash
from amber.errors import UserError
from amber.features.catalog import find_corpus
from amber.location import locate
from amber.lock import held
from amber.predictions import Predictions

from .alike import refuse_different, space_of
from .dataset import TrainingData, find_stores, join
from .joint import names_of as joint_names
from .matrix import Run
from .plan import TrainingPlan
from .run_folder import fault, remove_partial, write_whole
from .saved import SavedModel
from .utterances import Utterances, divide, lines, used

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Target:
    """A corpus that models are tested on, in their classes and features: the utterances that each variant is tested on.

    Which those are is decided as in training (`features.require`); their folds are empty.
    """

    name: str
    folder: Path
    parts: list[Utterances]
    require: str

    def of(self, run: Run) -> Utterances:
        """Return the utterances that a run's variant is tested on."""
        return next(part for part in self.parts if run.variant in part.variants)


def targets(plan: TrainingPlan, config: Config, dataset: str | None) -> list[Target]:
    """Read and check the corpora that a configuration tests on, before anything trains.

    Raises
    ------
    UserError
        If a corpus is not in the cache, its classes are not the models' or its features are made otherwise.

    """
    learned = joint_names(dataset)  # whose labels stand in `transfer`, too
    others = {name: options for name, options in config.transfer.items() if name not in learned}
    return [_target(plan, config, name, options) for name, options in others.items()]


def test(plan: TrainingPlan, target: Target, console: Console) -> None:
    """Test every variant and seed of a plan on a corpus, unless that is done."""
    together: dict[tuple[str, int], list[Run]] = {}
    for run in plan.runs:
        together.setdefault((run.variant.name, run.seed), []).append(run)
    elsewhere = "wait until it has ended, or train under another name with --set experiment=NAME"
    with held(target.folder, "train", "`amber train` writes one experiment at a time", elsewhere):
        remove_partial(target.folder)
        missing = []
        for (variant, seed), runs in together.items():
            folder, key = target.folder / variant / f"fold1-seed{seed}", _key(plan, target, runs)
            if fault(folder, key) is not None:
                missing.append((folder, key, runs))
        if not missing:
            console.say(f"{target.folder}: all {len(together)} are done")
            return
        for line in lines(target.parts):
            console.say(f"{target.folder.name}: {line}")
        with console.progress(f"test on {target.name}", len(missing)) as advance:
            for part in target.parts:
                here = [one for one in missing if target.of(one[2][0]) is part]
                features = {m: part.data.inputs(m, "learned") for m in part.data.stores} if here else {}
                for folder, key, runs in here:
                    _test(plan, target, runs, features, folder, key)
                    advance(1, runs[0].variant.name)


def _target(plan: TrainingPlan, config: Config, name: str, options: LabelOptions) -> Target:
    where = f"transfer.{name}"
    if name == plan.data.corpus.name:
        raise UserError(f"{where}: the models learn from it; its own test parts are tested anyway")
    corpus = find_corpus(locate(config.features.cache), name)
    space = space_of(plan.data.space, options, corpus, where)
    stores = find_stores(config.features, corpus, list(plan.data.stores))
    for modality, store in stores.items():
        if plan.data.is_frames(modality):
            raise UserError(f"{where}: models of frames can't be tested on other corpora yet; use pooled features")
        refuse_different(where, plan.data.stores[modality].spec, store.spec, modality)
    everyone, require = join(corpus, space, stores), config.features.require
    all_variants = [variant for part in plan.parts for variant in part.utterances.variants]
    data = used(everyone, all_variants, require)
    parts = divide(data, {}, all_variants, require, len(everyone.corpus))
    return Target(name, plan.folder.with_name(f"{plan.name}-on-{name}"), parts, require)


def _key(plan: TrainingPlan, target: Target, runs: Sequence[Run]) -> str:
    """Return the hash of what the answers of some runs depend on: the runs as they are, and the other corpus."""
    data = target.of(runs[0]).data
    parts = [
        SCHEMA_VERSION,
        [done.read(plan.folder / run.path).digest for run in runs],
        data.corpus.label_hash(),
        data.space.options.model_dump(mode="json"),
        {modality: store.content() for modality, store in data.stores.items()},
        data.corpus.ids,
    ]
    return short_hash(parts)


def _test(
    plan: TrainingPlan,
    target: Target,
    runs: Sequence[Run],
    features: Mapping[Modality, np.ndarray[Any, Any]],
    folder: Path,
    key: str,
) -> None:
    models = [SavedModel.read(plan.folder / run.path / "model") for run in runs]
    data = target.of(runs[0]).data
    answers = [model.predict(features, len(data.corpus)) for model in models]
    heads = [head for head in answers[0] if all(head in answer for answer in answers)]
    p = {head: np.mean([one[head] for one in answers], axis=0) for head in heads}
    found = _predictions(plan, data, runs[0], p)
    config = _described(plan, target, runs)

    def fill(partial: Path) -> None:
        written = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        (partial / "config.yaml").write_text(written, encoding="utf-8")
        about = {"key": key, "seed": runs[0].seed, **plan.part(runs[0]).metadata.environment}
        (partial / "env.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        (partial / "metrics.jsonl").write_text("", encoding="utf-8")
        predictions.write(partial / predictions.FILE, found)

    write_whole(folder, key, fill)


def _predictions(plan: TrainingPlan, data: TrainingData, run: Run, p: Mapping[str, Floats]) -> Predictions:
    n = len(data.corpus)
    shared = {
        "id": np.array(data.corpus.ids, dtype=object),
        "run": np.full(n, predictions.run_name(data.corpus.name, run.variant.name, 1, run.seed), dtype=object),
        "part": np.full(n, "test", dtype=object),
        "speaker": np.array(data.corpus.column("speaker"), dtype=object),
    }
    prior = plan.data.y.mean(axis=0)
    return predictions.concatenate(
        [
            Predictions(
                data.space.classes,
                {**shared, "head": np.full(n, head, dtype=object)},
                data.counts,
                of_head,
                np.full(n, np.nan),
                data.truth,
                prior,
            )
            for head, of_head in p.items()
        ]
    )


def _described(plan: TrainingPlan, target: Target, runs: Sequence[Run]) -> dict[str, Any]:
    """Return the configuration that a run on another corpus records."""
    run, own = runs[0], plan.part(runs[0]).metadata.sections
    utterances = target.of(run)
    corpus, stores = utterances.data.corpus, utterances.data.stores
    trained = {"experiment": plan.name, "folds": [one.fold for one in runs]}
    trained |= {key: own[key] for key in ("dataset", "labels", "splits")}
    return {
        "experiment": target.folder.name,
        "variant": run.variant.name,
        "model": run.variant.model,
        "fold": 1,
        "seed": run.seed,
        "dataset": {"name": corpus.name, "release": corpus.release, "synthetic": corpus.synthetic},
        "features": {modality: store.spec.name for modality, store in stores.items()},
        "utterances": utterances.described(target.require),
        "labels": utterances.data.space.options.model_dump(mode="json"),
        "splits": {"scheme": "all of another corpus", "trained_on": trained},
        "objective": run.variant.objective.model_dump(mode="json"),
        "train": run.variant.training.model_dump(mode="json"),
    }

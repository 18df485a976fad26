"""The files of a run: configuration, environment, evaluations on dev, predictions and model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from amber import predictions as contract
from amber.arrays import Floats
from amber.corpus import Modality
from amber.predictions import STUDENT, Predictions, concatenate
from amber.splits import Fold

from . import run_folder
from .calibration import scaled
from .dataset import TrainingData
from .group import Component, TrainedRun
from .matrix import TRAINED, Run
from .member import TrainedMember
from .objective import expert_weights

ATTENTIVE = "attentive-statistics"  # what makes one vector of frames
SMALLEST = 1e-12  # floor of a probability whose logarithm is taken
CALIBRATED = "student-calibrated"  # the head under which the student's predictions stand after temperature scaling


@dataclass(frozen=True)
class RunMetadata:
    """What all runs of an experiment record: names, resolved sections, feature specs and environment."""

    experiment: str
    sections: Mapping[str, Any]
    features: Mapping[Modality, Any]
    environment: Mapping[str, Any]


def write_run(
    folder: Path,
    key: str,
    trained: TrainedRun,
    fold: Fold,
    data: TrainingData,
    metadata: RunMetadata,
) -> None:
    """Write a finished run as `run_folder.write_whole` does."""
    run_folder.write_whole(folder, key, lambda partial: _write_files(partial, key, trained, fold, data, metadata))


def _write_files(
    partial: Path, key: str, trained: TrainedRun, fold: Fold, data: TrainingData, metadata: RunMetadata
) -> None:
    run = trained.run
    config = {
        "experiment": metadata.experiment,
        "variant": run.variant.name,
        "model": run.variant.model,
        "fold": run.fold,
        "seed": run.seed,
        **metadata.sections,
        "objective": run.variant.objective.model_dump(mode="json"),
        "train": run.variant.training.model_dump(mode="json"),
    }
    if run.variant.training.votes or run.variant.training.share < 1:
        config["seen"] = {part: _seen(data, rows) for part, rows in (("train", fold.train), ("dev", fold.dev))}
    _write_yaml(partial / "config.yaml", config)
    _write_json(
        partial / "env.json", {"key": key, "seed": run.seed, **metadata.environment, "features": metadata.features}
    )
    lines = [json.dumps(record) for record in trained.records]
    (partial / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    parts = {"dev": fold.dev, "test": fold.test}
    prior = data.y[fold.train].mean(axis=0)
    predictions = predictions_of(run, data, parts, trained.probabilities, prior, trained.temperature)
    contract.write(partial / contract.FILE, predictions)
    (partial / "model").mkdir()
    write_model(partial / "model", trained, data, metadata)


def _seen(data: TrainingData, rows: NDArray[np.int64]) -> dict[str, float]:
    """Return how many utterances, and how many of their votes, a run saw of a part."""
    return {"utterances": len(rows), "votes": round(float(data.counts[rows].sum()), 3)}


def predictions_of(
    run: Run,
    data: TrainingData,
    parts: Mapping[str, NDArray[np.int64]],
    probabilities: Mapping[str, Floats],
    prior: Floats,
    temperature: float | None = None,
) -> Predictions:
    """Put a run's probabilities into the contract's columns.

    Parameters
    ----------
    run
        Whose predictions they are.
    data
        The experiment's utterances.
    parts
        Rows of `data` by part (dev, test).
    probabilities
        By head, (rows of all parts in order, C).
    prior
        Mean rater distribution of the training part, (C,).
    temperature
        Of the student, if it was calibrated: its scaled predictions then stand beside the others.

    """
    rows = np.concatenate(list(parts.values()))
    part = np.repeat(list(parts), [len(r) for r in parts.values()])
    name = contract.run_name(data.corpus.name, run.variant.name, run.fold, run.seed)
    shared: dict[str, NDArray[Any]] = {
        "id": np.array(data.corpus.ids, dtype=object)[rows],
        "run": np.full(len(rows), name, dtype=object),
        "part": part.astype(object),
        "speaker": np.array(data.corpus.column("speaker"), dtype=object)[rows],
    }
    truth = data.truth[rows] if data.truth is not None else None
    weights = expert_weights_of(run, data.y[rows], probabilities)
    student = run.variant.leading
    named = {STUDENT if head == student else head: p for head, p in probabilities.items()}
    if temperature is not None:
        named[CALIBRATED] = scaled(probabilities[student], temperature)
    of_heads = []
    for head, p in named.items():
        keys = {**shared, "head": np.full(len(rows), head, dtype=object)}
        weight = weights.get(head, np.full(len(rows), np.nan))
        of_heads.append(Predictions(data.space.classes, keys, data.counts[rows], p, weight, truth, prior))
    return concatenate(of_heads)


def expert_weights_of(run: Run, y: Floats, probabilities: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return how far the objective trusts each expert with each utterance, (n,) by head; nothing if none guides.

    The weights follow from the run's final predictions (n, C) and the raters' distributions y (n, C).
    """
    objective = run.variant.objective
    experts = {head: p for head, p in probabilities.items() if head != run.variant.leading}
    if len(experts) < 2 or not objective.modality_weight or run.variant.model not in TRAINED:
        return {}
    log_p = torch.from_numpy(np.log(np.maximum(np.stack(list(experts.values())), SMALLEST)))  # (M, n, C)
    temperature = torch.tensor(objective.temperature, dtype=log_p.dtype)
    found = expert_weights(objective.weighting, objective.divergence, torch.from_numpy(y), log_p, temperature)
    return dict(zip(experts, found.numpy(), strict=True))


def write_model(folder: Path, trained: TrainedRun, data: TrainingData, metadata: RunMetadata) -> None:
    """Write the candidates that weigh anything, numbered as in `metrics.jsonl`, and what it takes to use them.

    The folder is there already.
    """
    variant = trained.run.variant
    tensors: dict[str, Tensor] = {}
    written = []
    for number, one in enumerate(trained.components, 1):
        if not any(one.weights.values()):
            continue
        tensors |= {f"{number}.{name}": value.contiguous() for name, value in one.fitted.state.items()}
        for (modality, layer), scaling in zip(one.candidate.layers, one.scalings.values(), strict=True):
            parts = {"mean": scaling.mean, "std": scaling.std, "projection": scaling.projection}
            of = {f"scaling.{modality}.{layer}.{k}": torch.from_numpy(v) for k, v in parts.items() if v is not None}
            tensors |= {name: value for name, value in of.items() if value.numel()}
        weights = {**one.weights, "student": one.in_student} if one.in_student else one.weights
        layers = _layer_weights(one.fitted, data)
        written.append({"number": number, **one.candidate.described(), "weights": weights, "layer_weights": layers})
    (folder / "heads.safetensors").write_bytes(save(tensors))
    prior = trained.prior
    config = {
        "classes": list(data.space.classes),
        "labels": data.space.options.model_dump(mode="json"),
        "model": variant.model,
        "heads": list(variant.heads),
        "student": variant.objective.student,
        "modality_dropout": variant.training.modality_dropout,
        "candidates": written,
        "pooling": {
            m: ATTENTIVE if spec["level"] == "frames" else spec["pooling"] for m, spec in metadata.features.items()
        },
        "temperature": trained.temperature,
        "prior": {"raters": prior.raters, "weights": prior.weights.tolist()} if prior else None,
        "features": metadata.features,
    }
    _write_json(folder / "config.json", config)
    (folder / "README.md").write_text(_card(trained, data, metadata), encoding="utf-8")


def _layer_weights(fitted: TrainedMember, data: TrainingData) -> dict[str, dict[str, float]]:
    """Return what each stored layer weighs in a learned mixture, by modality and layer number."""
    found = {}
    for modality, store in data.stores.items():
        logits = fitted.state.get(f"mix.{modality}")  # (L,)
        if logits is not None:
            numbers = map(str, store.spec.layers)
            found[str(modality)] = dict(zip(numbers, logits.softmax(dim=0).tolist(), strict=True))
    return found


def _named_weights(component: Component) -> dict[str, float]:
    return component.weights | {f"student, {head}": weight for head, weight in component.in_student.items()}


def _card(trained: TrainedRun, data: TrainingData, metadata: RunMetadata) -> str:
    run = trained.run
    synthetic = "\n**Trained on synthetic data: not for use on real speech.**\n" if data.corpus.synthetic else ""
    student = run.variant.objective.student
    heads = f"Heads: {', '.join(run.variant.heads)}; the student is `{student}`."
    if run.variant.model == "pool":
        heads = f"Heads: {', '.join(run.variant.heads)}; the student is their geometric pool."
    what = (
        heads
        if run.variant.model in TRAINED
        else f"A rival of heads, `{run.variant.model}`, in the place of `{student}`."
    )
    features = "\n".join(
        f"- {modality}: {spec['encoder']} ({spec['revision']})" for modality, spec in metadata.features.items()
    )
    used = "\n".join(
        f"- {', '.join(f'{name} {value}' for name, value in one.candidate.described().items())}: weight "
        f"{', '.join(f'{weight:.2f} ({head})' for head, weight in _named_weights(one).items())}"
        for one in trained.components
        if any(one.weights.values())
    )
    return (
        f"# {run.variant.name}, fold {run.fold}, seed {run.seed}\n{synthetic}\n"
        f"Emotion distribution over {', '.join(data.space.classes)}, trained by amber on {data.corpus.name}"
        f"{' ' + data.corpus.release if data.corpus.release else ''}, experiment `{metadata.experiment}`.\n\n"
        f"Frozen features:\n{features}\n\n"
        f"{what}\n\n"
        f"Candidates, pooled geometrically with weights from dev:\n{used}\n\n"
        "Test figures: `amber evaluate`.\n\n"
        "Emotions are what raters heard in these recordings, not what speakers felt. Not for decisions about people.\n"
    )


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_yaml(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True), encoding="utf-8")

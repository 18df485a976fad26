"""A run's folder: configuration, surroundings, epochs, predictions and model, with `DONE` written last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors.torch import save_file

from amber import predictions as contract
from amber.corpus import Modality
from amber.predictions import STUDENT, Predictions, concatenate

from .calibration import scaled
from .data import Data, Scaling
from .fit import Fitted
from .matrix import Run

DONE = "DONE"
ATTENTIVE = "attentive-statistics"  # what makes one vector of frames
CALIBRATED = "student-calibrated"  # the head under which the student's predictions stand after temperature scaling


@dataclass(frozen=True)
class Facts:
    """What all runs of an experiment record: names, resolved sections, feature specs and surroundings."""

    experiment: str
    sections: Mapping[str, Any]
    features: Mapping[Modality, Any]
    surroundings: Mapping[str, Any]


def is_done(folder: Path, key: str) -> bool:
    """Return whether a folder holds the finished run with this key."""
    done = folder / DONE
    return done.is_file() and done.read_text(encoding="utf-8").strip() == key


def write_run(
    folder: Path,
    key: str,
    fitted: Fitted,
    predictions: Predictions,
    scalings: Mapping[Modality, Scaling],
    data: Data,
    facts: Facts,
    temperature: float | None = None,
) -> None:
    """Write a finished run: into a folder beside it, then in place of whatever stood there."""
    run = fitted.run
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "model").mkdir(parents=True)
    config = {
        "experiment": facts.experiment,
        "variant": run.variant.name,
        "model": run.variant.model,
        "fold": run.fold,
        "seed": run.seed,
        **facts.sections,
        "objective": run.variant.objective.model_dump(mode="json"),
        "train": run.variant.training.model_dump(mode="json"),
    }
    _write_yaml(partial / "config.yaml", config)
    _write_json(partial / "env.json", {"key": key, "seed": run.seed, **facts.surroundings, "features": facts.features})
    lines = [json.dumps(epoch) for epoch in fitted.epochs]
    (partial / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    contract.write(partial / contract.FILE, predictions)
    _write_model(partial / "model", fitted, scalings, data, facts, temperature)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    (folder / DONE).write_text(key + "\n", encoding="utf-8")


def predictions_of(
    run: Run,
    data: Data,
    parts: Mapping[str, NDArray[np.int64]],
    probabilities: Mapping[str, NDArray[np.float64]],
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
    temperature
        Of the student, if it was calibrated: its scaled predictions then stand beside the others.

    """
    rows = np.concatenate(list(parts.values()))
    part = np.repeat(list(parts), [len(r) for r in parts.values()])
    ids = np.array(data.corpus.ids, dtype=object)[rows]
    speakers = np.array(data.corpus.column("speaker"), dtype=object)[rows]
    shared: dict[str, NDArray[Any]] = {
        "id": ids,
        "dataset": np.full(len(rows), data.corpus.name, dtype=object),
        "variant": np.full(len(rows), run.variant.name, dtype=object),
        "fold": np.full(len(rows), run.fold, dtype=np.int32),
        "seed": np.full(len(rows), run.seed, dtype=np.int64),
        "part": part.astype(object),
        "speaker": speakers,
        "n_votes": data.counts[rows].sum(axis=1),
    }
    truth = data.truth[rows] if data.truth is not None else None
    student = run.variant.objective.student
    named = {STUDENT if head == student else head: p for head, p in probabilities.items()}
    if temperature is not None:
        named[CALIBRATED] = scaled(probabilities[student], temperature)
    of_heads = []
    for name, p in named.items():
        keys = {**shared, "head": np.full(len(rows), name, dtype=object)}
        of_heads.append(Predictions(data.space.classes, keys, data.y[rows], p, truth))
    return concatenate(of_heads)


def _write_model(
    folder: Path,
    fitted: Fitted,
    scalings: Mapping[Modality, Scaling],
    data: Data,
    facts: Facts,
    temperature: float | None,
) -> None:
    variant = fitted.run.variant
    save_file({name: value.contiguous() for name, value in fitted.state.items()}, folder / "heads.safetensors")
    config = {
        "classes": list(data.space.classes),
        "labels": data.space.options.model_dump(mode="json"),
        "model": variant.model,
        "heads": list(variant.heads),
        "student": variant.objective.student,
        "hidden": variant.training.hidden,
        "layer": variant.training.layer,
        "pooling": {
            m: ATTENTIVE if spec["level"] == "frames" else spec["pooling"] for m, spec in facts.features.items()
        },
        "layer_weights": _layer_weights(fitted, data),
        "temperature": temperature,
        "features": facts.features,
        "standardisation": {
            modality: {"mean": s.mean.tolist(), "deviation": s.deviation.tolist()} for modality, s in scalings.items()
        },
    }
    # Every vector of D is normalised to mean 0 and deviation 1 after it is standardised: see `Scaling.apply`.
    _write_json(folder / "config.json", config)
    (folder / "README.md").write_text(_card(fitted, data, facts), encoding="utf-8")


def _layer_weights(fitted: Fitted, data: Data) -> dict[str, dict[str, float]]:
    """Return what each stored layer weighs in a learned mixture, by modality and layer number."""
    found = {}
    for modality, store in data.stores.items():
        logits = fitted.state.get(f"mix.{modality}")  # (L,)
        if logits is not None:
            numbers = map(str, store.spec.layers)
            found[str(modality)] = dict(zip(numbers, logits.softmax(dim=0).tolist(), strict=True))
    return found


def _card(fitted: Fitted, data: Data, facts: Facts) -> str:
    run, best = fitted.run, fitted.epochs[fitted.best - 1]
    made_up = "\n**Trained on synthetic data: not for use on real speech.**\n" if data.corpus.synthetic else ""
    student = run.variant.objective.student
    heads = f"Heads: {', '.join(run.variant.heads)}; the student is `{student}`."
    of_heads = run.variant.model == "heads"
    unit = "epoch" if of_heads else "candidate"
    what = heads if of_heads else f"A rival of heads, `{run.variant.model}`, in the place of `{student}`."
    features = "\n".join(
        f"- {modality}: {spec['encoder']} ({spec['revision']})" for modality, spec in facts.features.items()
    )
    return (
        f"# {run.variant.name}, fold {run.fold}, seed {run.seed}\n{made_up}\n"
        f"Emotion distribution over {', '.join(data.space.classes)}, trained by amber on {data.corpus.name}"
        f"{' ' + data.corpus.release if data.corpus.release else ''}, experiment `{facts.experiment}`.\n\n"
        f"Frozen features:\n{features}\n\n"
        f"{what}\n\n"
        f"Best {unit} {fitted.best} of {len(fitted.epochs)}: dev BC {best['dev_bc']:.3f}, "
        f"dev accuracy {best['dev_accuracy']:.3f}. Test figures: `amber evaluate`.\n\n"
        "Emotions are what raters heard in these recordings, not what speakers felt. Not for decisions about people.\n"
    )


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_yaml(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True), encoding="utf-8")

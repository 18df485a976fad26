"""A run's model read back from its folder (`model/`), to be applied to features."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from amber.arrays import Floats
from amber.config import HeadName
from amber.corpus import Modality
from amber.errors import UserError
from amber.features.catalog import pick_layers
from amber.features.spec import FeatureSpec
from amber.opinion_pool import pool

from . import rivals
from .attention import Padded
from .frames import padded
from .head_names import INPUTS, inputs_of, read_by
from .heads import Heads
from .matrix import TRAINED
from .scaling import Scaling

ROWS = 4096  # utterances that are scored at once, to bound memory
Features = NDArray[Any] | Sequence[NDArray[Any]]  # (n, L, D) of level *pooled*; n times (T, L, D) of level *frames*


@dataclass(frozen=True)
class SavedCandidate:
    """One candidate of a run's model: layer choice and scaling by modality, weights by head, and its parameters."""

    layers: Mapping[Modality, Any]
    scalings: Mapping[Modality, Scaling]
    weights: Mapping[str, Any]
    hidden: int
    mixture: bool
    reads: Modality | None
    state: Mapping[str, Tensor]

    def inputs(self, modality: Modality, features: Features, spec: FeatureSpec) -> Tensor | Padded:
        """Return the scaled inputs of n utterances in this candidate's layers: (n, D), (n, L, D), or padded frames."""
        scaling, choice = self.scalings[modality], self.layers[modality]
        if spec.level == "frames":
            chosen = [spec.layers.index(number) for number in pick_layers(choice, spec)]
            return padded([_mean(one[:, chosen]) for one in features], scaling, torch.device("cpu"))
        pooled = np.asarray(features)
        if choice == "mean":
            return scaling.apply(_mean(pooled))
        if choice in ("all", "learned"):
            return scaling.apply(pooled)
        (number,) = pick_layers(choice, spec)
        return scaling.apply(pooled[:, spec.layers.index(number)])

    def zeros(self, modality: Modality, n: int, spec: FeatureSpec) -> Tensor | Padded:
        """Return what stands in the place of a modality that n utterances do not have, as `inputs` gives one."""
        scaling = self.scalings[modality]
        if spec.level == "frames":
            return padded([np.zeros((1, spec.dim), dtype=np.float32)] * n, scaling, torch.device("cpu"))
        return torch.zeros(n, *(scaling.mean.shape if scaling.projection is None else (scaling.width,)))

    def log_probabilities(
        self,
        names: Sequence[HeadName],
        features: Mapping[Modality, Features],
        specs: Mapping[Modality, FeatureSpec],
        classes: int,
    ) -> dict[HeadName, Floats]:
        """Return the log-probabilities of n utterances by head, (n, C); heads see zeros where features are missing."""
        n = len(next(iter(features.values())))
        read = {
            m: self.inputs(m, features[m], specs[m]) if m in features else self.zeros(m, n, specs[m])
            for m in inputs_of(names)
        }
        present = {m: torch.full((1, n), m in features) for m in read} if read.keys() - features.keys() else None
        dims = {m: 2 * x.frames.shape[-1] if isinstance(x, Padded) else x.shape[-1] for m, x in read.items()}
        layers = {m: x.shape[1] for m, x in read.items() if isinstance(x, Tensor) and x.dim() == 3}
        frames = {m: x.frames.shape[-1] for m, x in read.items() if isinstance(x, Padded)}
        heads = Heads(names, dims, self.hidden, classes, [0], layers, frames, self.mixture, [self.reads])
        unread = {f"heads.{h}.weight1.{m}" for h in names for m in INPUTS[h] if m not in read_by(h, self.reads)}
        heads.load([{name: zeros if name in unread else self.state[name] for name, zeros in heads.state_of(0).items()}])
        batch = {m: x if isinstance(x, Padded) else x[None] for m, x in read.items()}  # one stream
        with torch.no_grad():
            found = heads(batch, [1], present=present)
            return {name: found[name][0].double().numpy() for name in names}


@dataclass(frozen=True)
class SavedModel:
    """A run's model: its classes, the features that it reads, its heads, and the candidates they are pooled from."""

    classes: tuple[str, ...]
    specs: Mapping[Modality, FeatureSpec]
    kind: str
    heads: tuple[HeadName, ...]
    student: HeadName
    modality_dropout: float  # above 0, heads on both modalities have learned to answer with one
    candidates: tuple[SavedCandidate, ...]

    @classmethod
    def read(cls, folder: Path) -> SavedModel:
        """Read a model folder.

        Raises
        ------
        UserError
            If it is missing, damaged, or another version wrote it.

        """
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = load((folder / "heads.safetensors").read_bytes())
            specs = {m: FeatureSpec.model_validate(spec) for m, spec in config["features"].items()}
            return cls(
                classes=tuple(config["classes"]),
                specs=specs,
                kind=config["model"],
                heads=tuple(config["heads"]),
                student=config["student"],
                modality_dropout=config.get("modality_dropout", 0.0),
                candidates=tuple(_candidate(one, tensors) for one in config["candidates"]),
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise UserError(f"{folder}: not a model that this version of amber reads ({reason})") from error

    def answering(self, modalities: Collection[Modality]) -> tuple[HeadName, ...]:
        """Return the heads that can answer where these modalities are there."""
        if not any(candidate.layers for candidate in self.candidates):
            return self.heads  # they read nothing
        there = set(modalities)
        either = self.modality_dropout > 0 and self.kind in TRAINED
        return tuple(
            head for head in self.heads if set(INPUTS[head]) <= there or (either and set(INPUTS[head]) & there)
        )

    def predict(self, features: Mapping[Modality, Features], size: int | None = None) -> dict[str, Floats]:
        """Return the distributions of n utterances by head, (n, C) each; the student's under `student` if it answers.

        Parameters
        ----------
        features
            By modality, in the layers that the specs name: (n, L, D) of level *pooled*, n arrays (T, L, D) of level
            *frames*. A modality may be missing: the heads that need it then don't answer, but for those that have
            learned to do without (`train.modality_dropout`).
        size
            n, which a model that reads nothing has to be told.

        """
        names = self.answering(list(features))
        if not names:
            return {}
        n = size if size is not None else len(next(iter(features.values())))
        pieces = [self._predict(names, _piece(features, start), min(ROWS, n - start)) for start in range(0, n, ROWS)]
        return {head: np.concatenate([piece[head] for piece in pieces]) for head in pieces[0]}

    def _predict(self, names: Sequence[HeadName], features: Mapping[Modality, Features], n: int) -> dict[str, Floats]:
        if self.kind not in TRAINED:
            (only,) = self.candidates
            read = [only.inputs(m, features[m], self.specs[m]) for m in INPUTS[self.student]] if only.layers else []
            x = torch.cat([one.flatten(1) for one in read if isinstance(one, Tensor)], dim=-1) if read else None
            x = x if x is not None else torch.empty(n, 0)
            p = rivals.probabilities(dict(only.state), x).double()
            return {"student": (p / p.sum(dim=-1, keepdim=True)).numpy()}
        log_p: dict[HeadName, list[Floats]] = {}
        for candidate in self.candidates:
            for head, values in candidate.log_probabilities(names, features, self.specs, len(self.classes)).items():
                log_p.setdefault(head, []).append(values)
        return self._pooled({head: np.stack(values) for head, values in log_p.items()}, features)

    def _pooled(self, log_p: Mapping[HeadName, Floats], there: Collection[Modality]) -> dict[str, Floats]:
        """Pool the candidates of each head: log-probabilities (K, n, C) by head -> distributions (n, C).

        Of candidates whose head reads one modality alone, those have a say of which it is there.
        """
        found: dict[str, Floats] = {}
        for head, values in log_p.items():
            name = "student" if head == self.student and self.kind != "pool" else head
            weights = np.array([candidate.weights[name] for candidate in self.candidates])
            blind = [not set(read_by(head, candidate.reads)) & set(there) for candidate in self.candidates]
            left = np.where(blind, 0.0, weights)
            found[name] = np.exp(pool(values, left * weights.sum() / left.sum() if left.any() else weights))
        if self.kind == "pool" and set(log_p) == set(self.heads):
            of_heads = [[candidate.weights["student"][head] for candidate in self.candidates] for head in log_p]
            every = np.concatenate(list(log_p.values()))
            found["student"] = np.exp(pool(every, np.concatenate(of_heads)))
        return found


def _candidate(one: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> SavedCandidate:
    prefix = f"{one['number']}."
    return SavedCandidate(
        layers=one["layer"],
        scalings={m: _scaling(tensors, f"scaling.{m}.{layer}.") for m, layer in one["layer"].items()},
        weights=one["weights"],
        hidden=one["hidden"],
        mixture=one["mixture"],
        reads=one.get("reads"),  # earlier versions had no such candidates
        state={name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)},
    )


def _scaling(tensors: Mapping[str, Tensor], prefix: str) -> Scaling:
    """Return the scaling whose tensors have a prefix; without a projection, `all` puts layers side by side."""
    parts = {name: tensors[prefix + name].numpy() for name in ("mean", "std")}
    projection = tensors.get(f"{prefix}projection")
    if projection is not None:
        return Scaling(**parts, projection=projection.numpy())
    side_by_side = prefix.endswith(".all.")
    return Scaling(**parts, projection=np.zeros((0, 0), dtype=np.float32) if side_by_side else None)


def _mean(layers: NDArray[Any]) -> NDArray[np.float32]:
    """Return the mean over layers (n, L, D) -> (n, D), as training computes it."""
    return np.asarray(layers.mean(axis=1, dtype=np.float32)) if layers.shape[1] > 1 else layers[:, 0]


def _piece(features: Mapping[Modality, Features], start: int) -> dict[Modality, Features]:
    return {modality: values[start : start + ROWS] for modality, values in features.items()}

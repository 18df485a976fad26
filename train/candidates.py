"""The candidates of a run: the small models that it trains side by side, each with its layers, width and penalty.

Which of them suits a corpus depends on its size and on its features, so dev decides: `train.select` (see
`amber/opinion_pool.py`). Candidates that differ in their penalty alone train on one run axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amber.config import CandidateOptions, Layer, LayerChoice, Training
from amber.corpus import Modality
from amber.errors import UserError

Layers = tuple[tuple[Modality, Layer], ...]  # the layer choice of each modality


@dataclass(frozen=True)
class Candidate:
    """One model of a run: its layer choice by modality, hidden units (0: linear), dropout and L2 penalty.

    `mixture`: a head that reads two modalities is a mixture of one head for each (`heads.Mixture`). `reads`: of two
    modalities it reads this one alone. `ridge`: it is solved in closed form, and has a penalty of its own.
    """

    layers: Layers
    hidden: int
    dropout: float
    weight_decay: float
    mixture: bool = False
    reads: Modality | None = None
    ridge: bool = False

    def described(self) -> dict[str, Any]:
        """Return the candidate as it is written into files."""
        return {
            "layer": dict(self.layers),
            "hidden": self.hidden,
            "dropout": self.dropout,
            "weight_decay": self.weight_decay,
            "mixture": self.mixture,
            "reads": self.reads,
            "ridge": self.ridge,
        }


def candidates(
    training: Training, held: Mapping[Modality, tuple[int, ...]], frames: Collection[Modality]
) -> list[Candidate]:
    """Resolve the candidates of a training.

    Parameters
    ----------
    training
        The options: its `candidates`, and what it says of all of them.
    held
        The numbers of the layers that the feature set of each modality holds, for those that are read.
    frames
        Modalities whose features are frames: theirs can't be put side by side, and what pools them has to learn, which
        a ridge regression can't; nor can it learn layers.

    Returns
    -------
    list of Candidate
        In the order in which they train, by which they are numbered. Without repetition: choices that read the same
        layers are one, a linear head has no dropout, and where one modality is read there is nothing to mix or to
        choose.

    Raises
    ------
    UserError
        If none is left.

    """
    found: dict[Candidate, None] = {}
    left_out = 0
    for options in training.candidates:
        hidden = options.hidden if training.hidden is None else training.hidden
        dropout = options.dropout if training.dropout is None else training.dropout
        ridge = options.ridge and not hidden and training.weight_decay is None  # it has a penalty of its own
        penalties = [0.0] if ridge else _penalties(options, training)
        for choice, penalty in itertools.product(layer_choices(options, training), penalties):
            layers = tuple((modality, _resolved(layer_of(choice, modality), held[modality])) for modality in held)
            side_by_side = any(layer == "all" and modality in frames for modality, layer in layers)
            learned = bool(frames) or any(layer == "learned" for _, layer in layers)
            if side_by_side or (ridge and learned):
                left_out += 1
                continue
            reads = options.reads if len(layers) > 1 else None
            mixture = options.mixture and len(layers) > 1 and not reads and not ridge
            found[Candidate(layers, hidden, dropout if hidden else 0.0, penalty, mixture, reads, ridge)] = None
    if not found:
        raise UserError(
            f"train.candidates: all {left_out} put layers side by side (`all`) or are ridge regressions\n"
            "of frames, or with learned layers, name one layer and no ridge"
        )
    return [one for kind in structures(list(found), training.modality_dropout) for one in kind]


def structures(found: Sequence[Candidate], modality_dropout: float = 0.0) -> list[list[Candidate]]:
    """Group candidates that train in one step, those of one layer choice after another.

    Where modalities are dropped, candidates that read one train apart: they lose none.
    """

    def key(one: Candidate) -> tuple[object, ...]:
        apart = modality_dropout > 0 and one.reads is not None
        return str(one.layers), one.ridge, one.mixture, one.hidden, one.dropout, apart

    return [list(same) for _, same in itertools.groupby(sorted(found, key=key), key=key)]


def longest_first(kinds: Sequence[Sequence[Candidate]]) -> list[int]:
    """Return the places of kinds of candidates of one layer choice, about by how long they train.

    Mixtures take most steps. A ridge regression takes none, and of a large corpus it looks at a part.
    """
    return sorted(range(len(kinds)), key=lambda place: (kinds[place][0].ridge, -place))


def layer_of(choice: LayerChoice, modality: Modality) -> Layer:
    """Return a layer choice for one modality; `last` where it is by modality and names others only."""
    return choice.get(modality, "last") if isinstance(choice, dict) else choice


def layer_choices(options: CandidateOptions, training: Training) -> list[LayerChoice]:
    """Return the layer choices of some candidates: their own, or the one that the training has for all."""
    if training.layer is not None:
        return [training.layer]
    return options.layer if isinstance(options.layer, list) else [options.layer]


def _penalties(options: CandidateOptions, training: Training) -> list[float]:
    if training.weight_decay is not None:
        return [training.weight_decay]
    return options.weight_decay if isinstance(options.weight_decay, list) else [options.weight_decay]


def _resolved(choice: Layer, held: tuple[int, ...]) -> Layer:
    return "last" if len(held) == 1 and choice in ("mean", "all", "learned") else choice

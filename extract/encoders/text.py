"""Frozen text models: the states of an utterance's tokens in every chosen layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from amber.arrays import Floats32, Mask
from amber.machine import Device

from .forward import hidden_states, to_device
from .frame_spans import FrameSpan, join, pool
from .pretrained import PretrainedModel

SHIFTED = ("roberta", "xlm-roberta", "mpnet")  # families whose positions start at the padding token's number + 1


class TextTransformer:
    """A text model; features are of an utterance's tokens, special tokens included."""

    def __init__(self, pretrained: PretrainedModel, layers: tuple[int, ...], device: Device) -> None:
        self._tokenizer = pretrained.tokenizer()
        self._tokenizer.padding_side = "right"
        self._model = to_device(pretrained.model(), device)
        self._layers = layers
        self._device = device
        self._limit = min(self._tokenizer.model_max_length, _positions(self._model))

    def pooled(self, batch: Sequence[str]) -> Floats32:
        """Return each text's mean over its tokens, (B, L, D)."""
        return pool(self._spans(batch), len(batch))

    def frames(self, batch: Sequence[str]) -> list[Floats32]:
        """Return the states of all tokens, one array (T, L, D) per text."""
        return join(self._spans(batch), len(batch))

    def truncated(self, batch: Sequence[str]) -> Mask:
        """Return which texts have more tokens than the model has positions, (B,)."""
        return np.array([len(ids) > self._limit for ids in self._tokenizer(list(batch))["input_ids"]], dtype=bool)

    def _spans(self, batch: Sequence[str]) -> Iterator[FrameSpan]:
        tokens = self._tokenizer(
            list(batch), padding=True, truncation=True, max_length=self._limit, return_tensors="pt"
        )
        states = hidden_states(self._model, dict(tokens), self._device)
        for item, length in enumerate(tokens["attention_mask"].sum(dim=1).tolist()):
            yield FrameSpan(item, 0, [states[k][item, :length] for k in self._layers])


def _positions(model: Any) -> int:
    """Return the number of tokens for which a model has positions."""
    positions = int(getattr(model.config, "max_position_embeddings", 512))
    return positions - model.embeddings.padding_idx - 1 if model.config.model_type in SHIFTED else positions

"""Text models, frozen: every chosen layer's states of an utterance's tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber.machine import Device

from .forward import hidden_states, place
from .hub import Source
from .pieces import Piece, join, pool

SHIFTED = ("roberta", "xlm-roberta", "mpnet")  # positions count from the padding token's number + 1


class TextTransformer:
    """A text model; features are of an utterance's tokens, special tokens included."""

    def __init__(self, source: Source, layers: tuple[int, ...], device: Device) -> None:
        self._tokenizer = source.tokenizer()
        self._tokenizer.padding_side = "right"
        self._model = place(source.model(), device)
        self._layers = layers
        self._device = device
        self._limit = min(self._tokenizer.model_max_length, _positions(self._model))

    def pooled(self, batch: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts, each pooled over its tokens, (B, L, D)."""
        return pool(self._pieces(batch), len(batch))

    def frames(self, batch: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the states of each text's tokens, each (T, L, D)."""
        return join(self._pieces(batch), len(batch))

    def truncated(self, batch: Sequence[str]) -> NDArray[np.bool_]:
        """Return which texts have more tokens than the model has positions."""
        return np.array([len(ids) > self._limit for ids in self._tokenizer(list(batch))["input_ids"]], dtype=bool)

    def _pieces(self, batch: Sequence[str]) -> Iterator[Piece]:
        tokens = self._tokenizer(
            list(batch), padding=True, truncation=True, max_length=self._limit, return_tensors="pt"
        )
        states = hidden_states(self._model, dict(tokens), self._device)
        for item, length in enumerate(tokens["attention_mask"].sum(dim=1).tolist()):
            yield Piece(item, 0, [states[k][item, :length] for k in self._layers])


def _positions(model: Any) -> int:
    """Return how many tokens a model has positions for."""
    positions = int(getattr(model.config, "max_position_embeddings", 512))
    return positions - model.embeddings.padding_idx - 1 if model.config.model_type in SHIFTED else positions

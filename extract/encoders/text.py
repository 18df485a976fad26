"""Frozen text models, encoders and decoders: the states of an utterance's tokens in every chosen layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from amber.arrays import Mask
from amber.machine import Device

from .forward import hidden_states, to_device
from .frame_spans import Features, FrameSpan, join, pool
from .passage import Passage, TokenReader
from .pretrained import PretrainedModel

# Families whose positions start at the padding token's number + 1.
SHIFTED = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet")


class TextTransformer:
    """A text model; features are of an utterance's own tokens (see `TokenReader`).

    Padding stands on the right: there a decoder's causal mask already keeps it from every token, and positions count
    from the text's beginning.
    """

    def __init__(
        self, pretrained: PretrainedModel, layers: tuple[int, ...], device: Device, is_decoder: bool = False
    ) -> None:
        self._tokenizer = pretrained.tokenizer()
        self._tokenizer.padding_side = "right"
        if is_decoder and self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token  # of no effect: padding is masked
        model = pretrained.model()
        if is_decoder:
            model.config.use_cache = False
        self._model = to_device(model, device)
        self._layers = layers
        self._device = device
        limit = min(self._tokenizer.model_max_length, _positions(self._model))
        self._reader = TokenReader(self._tokenizer, limit, is_decoder)

    def pooled(self, batch: Sequence[str | Passage]) -> Features:
        """Return each text's mean over its tokens, (B, L, D)."""
        return pool(self._spans(batch), len(batch))

    def last(self, batch: Sequence[str | Passage]) -> Features:
        """Return each text's last token, (B, L, D)."""
        ends = (FrameSpan(span.item, 0, [states[-1:] for states in span.states]) for span in self._spans(batch))
        return pool(ends, len(batch))

    def frames(self, batch: Sequence[str | Passage]) -> list[Features]:
        """Return the states of all tokens, one array (T, L, D) per text."""
        return join(self._spans(batch), len(batch))

    def truncated(self, batch: Sequence[str | Passage]) -> Mask:
        """Return which texts, with what stands before them, have more tokens than the model has positions, (B,)."""
        return np.array([tokens.is_cut for tokens in self._reader.read(batch)], dtype=bool)

    def _spans(self, batch: Sequence[str | Passage]) -> Iterator[FrameSpan]:
        read = self._reader.read(batch)
        padded = self._tokenizer.pad({"input_ids": [tokens.ids for tokens in read]}, return_tensors="pt")
        states = hidden_states(self._model, dict(padded), self._device)
        for item, tokens in enumerate(read):
            yield FrameSpan(item, 0, [states[k][item, tokens.first : len(tokens.ids)] for k in self._layers])


def _positions(model: Any) -> int:
    """Return the number of tokens for which a model has positions."""
    positions = int(getattr(model.config, "max_position_embeddings", 512))
    return positions - model.embeddings.padding_idx - 1 if model.config.model_type in SHIFTED else positions

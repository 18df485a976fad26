"""Whisper's encoder on recordings of any length up to its 30 s.

Transformers' own forward pass takes 30 s only and has no attention mask. This one is made of the same modules. At 30 s
it computes the same; of a shorter input it uses the first positions, and padding is hidden from attention.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput


class WhisperEncoder(nn.Module):
    """The modules of a Whisper encoder of transformers', `encoder`."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self._encoder = encoder
        # Transformers before 5 asks for a mask of heads, too.
        asked = inspect.signature(type(encoder.layers[0]).forward).parameters
        self._options = {"layer_head_mask": None} if "layer_head_mask" in asked else {}

    def forward(
        self, input_features: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = True
    ) -> BaseModelOutput:
        """Return the hidden states of log-mel features.

        Parameters
        ----------
        input_features
            (B, T, bands) with an even number of frames, zeros beyond an item's own.
        attention_mask
            (B, T), 0 beyond an item's own frames, whose number is even; None: all are its own.
        output_hidden_states
            Whether the inputs of all layers are returned, too.

        Returns
        -------
        BaseModelOutput
            States (B, T / 2, D). Zeros beyond an item's end are what the convolutions pad with, so that padding does
            not reach its own positions there.

        """
        encoder = self._encoder
        states = functional.gelu(encoder.conv1(input_features.transpose(1, 2)))
        states = functional.gelu(encoder.conv2(states)).transpose(1, 2)  # (B, T / 2, D)
        states = states + encoder.embed_positions.weight[: states.shape[1]]
        mask = attention_mask[:, None, None, ::2].bool() if attention_mask is not None else None  # (B, 1, 1, T / 2)
        found = [states]
        for layer in encoder.layers:
            made = layer(states, attention_mask=mask, **self._options)
            states = made[0] if isinstance(made, tuple) else made  # transformers before 5 returns a tuple
            found.append(states)
        found[-1] = encoder.layer_norm(states)
        return BaseModelOutput(
            last_hidden_state=found[-1], hidden_states=tuple(found) if output_hidden_states else None
        )

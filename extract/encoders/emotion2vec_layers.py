"""The hidden states of a model of emotion2vec, with padding hidden.

The package's attention takes a mask of padding. In two other places padding would change the result: the stack of
positional convolutions, and in models with `extractor_mode: default` the norm over time after the first convolution.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from .convolution import Convolution
from .masking import MaskedGroupNorm, TrueLengths


class Emotion2vecLayers(nn.Module):
    """A model of the package's, `model`; padding lies beyond `lengths`, which are read at each forward pass."""

    def __init__(self, model: Any, config: Any, lengths: TrueLengths, *, products: bool) -> None:
        super().__init__()
        self._model = model
        self._states: list[Tensor] = []
        audio = model.modality_encoders["AUDIO"]
        self._extra = audio.modality_cfg.num_extra_tokens
        _hide_padding(audio, config, lengths)
        for layer in audio.local_encoder.conv_layers if products else ():
            layer[0] = Convolution(layer[0])
        blocks = [*audio.context_encoder.blocks, *model.blocks]
        blocks[0].register_forward_pre_hook(lambda module, inputs: self._keep(inputs[0]))
        for block in blocks:
            block.register_forward_hook(lambda module, inputs, output: self._keep(output[0]))

    def _keep(self, states: Tensor) -> None:
        self._states.append(states[:, self._extra :])

    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = True
    ) -> BaseModelOutput:
        """Return the input to the first block and the output of every block of signals (B, samples), each (B, T, D).

        `attention_mask` is (B, samples), 0 on padding. The last state is the model's own output, after the final
        normalisation where there is one; the model's extra tokens are in none.
        """
        self._states = []
        padding = None if attention_mask is None else attention_mask == 0
        last = self._model.extract_features(input_values, padding_mask=padding)["x"]
        states, self._states = self._states, []
        states[-1] = last
        return BaseModelOutput(last_hidden_state=last, hidden_states=tuple(states) if output_hidden_states else None)


def _hide_padding(audio: Any, config: Any, lengths: TrueLengths) -> None:
    kernels, strides = tuple(config.conv_kernel), tuple(config.conv_stride)

    def zero(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:  # inputs: one tensor (B, D, T)
        for item, frames in zip(inputs[0], lengths.frames(kernels, strides), strict=True):
            item[:, frames:] = 0

    for module in audio.relative_positional_encoder.modules():
        if isinstance(module, nn.Conv1d):
            module.register_forward_pre_hook(zero)
    first = audio.local_encoder.conv_layers[0]
    for place, module in enumerate(first):
        if isinstance(module, nn.GroupNorm):
            first[place] = MaskedGroupNorm(module, lambda: lengths.frames(kernels[:1], strides[:1]))

"""Padding hidden from speech models in the two places that their attention mask does not cover.

The mask hides padded frames from attention, and Hugging Face's models zero them before the first positional
convolution. In two other places padding changes the result: of 0.3 s of audio batched with 6 s, by 2 to 6 (largest
difference in the hidden states of the tests' models). This module corrects both:

- the GroupNorm after the first convolution of `feat_extract_norm="group"` models (wav2vec2-base, HuBERT-base,
  WavLM-base ...) takes its statistics over time, padding included. The convolutions are unpadded, so a frame
  of the signal is computed from its own samples only; only the statistics are affected.
- data2vec-audio stacks several positional convolutions, and the first one's output on padding is no longer zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from .framing import conv_frames


class TrueLengths:
    """The number of samples of each item of the current batch, without padding; set before every forward pass."""

    def __init__(self) -> None:
        self._samples: list[int] = []

    def set(self, samples: Sequence[int]) -> None:
        """Set the number of samples of each item of the next batch."""
        self._samples = list(samples)

    def frames(self, kernels: Sequence[int], strides: Sequence[int]) -> list[int]:
        """Return the number of frames of each item after unpadded convolutions."""
        return [conv_frames(samples, kernels, strides) for samples in self._samples]


class MaskedGroupNorm(nn.Module):
    """A GroupNorm over time with the parameters of `norm`, computed over each item's own frames only."""

    def __init__(self, norm: nn.Module, frames: Callable[[], list[int]]) -> None:
        super().__init__()
        self._norm = norm
        self._frames = frames

    def forward(self, states: Tensor) -> Tensor:  # (B, C, T)
        """Normalise (B, C, T) over each item's own frames, possibly in place; padding is left unchanged."""
        counts = self._frames()
        if min(counts) == states.shape[-1]:
            whole: Tensor = self._norm(states)
            return whole
        # Item by item: the same arithmetic as for the item alone, and no copy of the largest tensor.
        for item, frames in zip(states, counts, strict=True):
            item[:, :frames] = self._norm(item[None, :, :frames])[0]
        return states


def hide_padding(model: Any, lengths: TrueLengths) -> None:
    """Hide padding beyond `lengths`, which are read at each forward pass, from a convolutional speech model."""
    config = model.config
    kernels, strides = tuple(config.conv_kernel), tuple(config.conv_stride)
    if getattr(config, "feat_extract_norm", "") == "group":
        first = model.feature_extractor.conv_layers[0]
        first.layer_norm = MaskedGroupNorm(first.layer_norm, lambda: lengths.frames(kernels[:1], strides[:1]))
    if config.model_type == "data2vec-audio":

        def zero(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:  # inputs: one tensor (B, D, T)
            for item, frames in zip(inputs[0], lengths.frames(kernels, strides), strict=True):
                item[:, frames:] = 0

        for layer in model.encoder.pos_conv_embed.layers:
            layer.register_forward_pre_hook(zero)

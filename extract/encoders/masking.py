"""Padding made invisible to speech models where their attention mask does not reach.

An attention mask hides padded frames from attention, and Hugging Face's models zero them before the first positional
convolution. Two places are left where 0.3 s of audio beside 6 s change by 2 to 6 (the largest difference in the hidden
states of the tests' models), and this module mends both:

- the GroupNorm after the first convolution of `feat_extract_norm="group"` models (wav2vec2-base, HuBERT-base,
  WavLM-base ...) takes its statistics over time, padding included. The convolutions themselves have no padding, so
  that a true frame is computed from true samples only: the statistics are all that leaks.
- data2vec-audio stacks several positional convolutions; what the first makes of padding is not zero any more when the
  second reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from .framing import conv_frames


class TrueLengths:
    """The samples of each item of the batch at hand, without padding; set before every forward pass."""

    def __init__(self) -> None:
        self._samples: list[int] = []

    def set(self, samples: Sequence[int]) -> None:
        """Say how many samples each item of the next batch has."""
        self._samples = list(samples)

    def frames(self, kernels: Sequence[int], strides: Sequence[int]) -> list[int]:
        """Return how many frames the items have after convolutions."""
        return [conv_frames(samples, kernels, strides) for samples in self._samples]


class MaskedGroupNorm(nn.Module):
    """A GroupNorm over time, with the parameters of another, that counts each item's true frames only."""

    def __init__(self, norm: nn.Module, frames: Callable[[], list[int]]) -> None:
        super().__init__()
        self._norm = norm
        self._frames = frames

    def forward(self, states: Tensor) -> Tensor:  # (B, C, T)
        """Normalise each item over its own frames, perhaps in place; what lies beyond them stays as it is."""
        counts = self._frames()
        if min(counts) == states.shape[-1]:
            whole: Tensor = self._norm(states)
            return whole
        # Item by item it is the arithmetic of the item alone, and no second copy of the largest tensor there is.
        for item, frames in zip(states, counts, strict=True):
            item[:, :frames] = self._norm(item[None, :, :frames])[0]
        return states


def hide_padding(model: Any, lengths: TrueLengths) -> None:
    """Make a convolutional speech model blind to padding beyond the `lengths`, which it reads at each forward pass."""
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

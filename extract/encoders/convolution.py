"""The convolutions of speech models on a CPU as matrix products, with a frame's channels contiguous in memory.

A convolution of kernel k and stride s over frames is the sum of ceil(k / s) matrix products: rows of s neighbouring
frames, contiguous in memory, times the matching part of the weights. For wav2vec2-base this is faster than torch's
convolution in float32 and several times as fast in bfloat16 (docs/performance.md). The modules
here take and return (B, C, T) as torch's do, as views of (B, T, C).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Convolution(nn.Module):
    """An unpadded 1-d convolution with the parameters of `convolution`."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self._kernel, self._stride = convolution.kernel_size[0], convolution.stride[0]
        weight = convolution.weight.detach().permute(2, 1, 0)  # (K, C, C')
        # With one channel, overlapping rows of a whole kernel, though copied, are faster than many tiny products.
        taps = self._kernel if convolution.in_channels == 1 else self._stride
        self._parts = nn.ParameterList(
            nn.Parameter(weight[k : k + taps].flatten(0, 1).contiguous(), requires_grad=False)  # (taps x C, C')
            for k in range(0, self._kernel, taps)
        )
        self._bias = convolution.bias

    def forward(self, states: Tensor) -> Tensor:
        """Convolve (B, C, T) to (B, C', T')."""
        rows = states.transpose(1, 2).contiguous()  # (B, T, C)
        _, time, channels = rows.shape
        frames = (time - self._kernel) // self._stride + 1
        result = rows.new_empty(len(rows), frames, self._parts[0].shape[1])  # (B, T', C')
        for item, out in zip(rows, result, strict=True):
            start = item.storage_offset()
            for number, part in enumerate(self._parts):
                taken = item.as_strided((frames, len(part)), (self._stride * channels, 1), start)
                out.addmm_(taken, part, beta=min(number, 1))  # beta 0: the uninitialised memory is not read
                start += len(part)
            if self._bias is not None:
                out += self._bias
        return result.transpose(1, 2)


class ChannelNorm(nn.Module):
    """A GroupNorm whose groups are single channels, with the parameters of `norm`."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self._norm = norm

    def forward(self, states: Tensor) -> Tensor:  # (B, C, T)
        """Normalise each channel of each item of (B, C, T) over time."""
        weight, bias, eps = self._norm.weight, self._norm.bias, self._norm.eps
        # For one item this is batch normalisation in training mode; torch's GroupNorm would reorder the memory.
        done = [
            functional.batch_norm(item.T, None, None, weight, bias, training=True, eps=eps)  # (T, C)
            for item in states
        ]
        return (done[0][None] if len(done) == 1 else torch.stack(done)).transpose(1, 2)


class Gelu(nn.Module):
    """The exact GELU, in place: copying the largest tensors would cost more than the function itself."""

    def forward(self, states: Tensor) -> Tensor:
        """Overwrite and return the states (B, C, T)."""
        changed: Tensor = torch.ops.aten.gelu_(states)
        return changed


def use_products(model: Any) -> None:
    """Replace the convolutions of a speech model's feature encoder by matrix products."""
    for layer in model.feature_extractor.conv_layers:
        layer.conv = Convolution(layer.conv)
        if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
            layer.layer_norm = ChannelNorm(layer.layer_norm)
        if model.config.feat_extract_activation == "gelu":
            layer.activation = Gelu()

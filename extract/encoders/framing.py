"""How the frames of a speech model lie over the samples of a signal, from its configuration alone.

In every family, what a signal has from a whole number of strides on has as many frames as the same samples have
alone: windows that begin on a stride can be rejoined frame by frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

RATE = 16_000  # Hz; every family here was trained at it
MEL_WINDOW, MEL_HOP = 400, 160  # samples; 25 and 10 ms
OVERLAP = 2.0  # seconds that neighbouring windows of long audio share


@dataclass(frozen=True)
class Framing:
    """Frames of a speech model.

    `stride` is the number of samples from frame to frame, `least` the fewest samples that make one, `count` tells how
    many any number of samples makes, and `fixed` is the length to which the model pads all that it hears.
    """

    stride: int
    least: int
    count: Callable[[int], int]
    fixed: int | None = None

    def frames(self, samples: int) -> int:
        """Return how many frames a signal has, in however many windows it is encoded."""
        return self.count(max(samples, self.least))

    def window(self, max_seconds: float) -> tuple[int, int]:
        """Return the length and the overlap of windows, in samples: whole strides.

        Half an overlap is long enough for all that the frames before it hear.
        """
        asked = max(int(max_seconds * RATE), 4 * (self.stride + self.least))
        window = min(asked, self.fixed or asked) // self.stride * self.stride
        overlap = min(int(OVERLAP * RATE), window // 2) // (2 * self.stride) * (2 * self.stride)
        return window, overlap


def framing(config: Any) -> Framing:
    """Return the framing of a speech model that has this configuration."""
    if config.model_type == "whisper":
        stride = 2 * MEL_HOP
        return Framing(stride, 1, lambda samples: -(-samples // stride), config.max_source_positions * stride)
    if config.model_type == "wav2vec2-bert":
        # Two mel frames, which must lie within the signal, to a frame of the model.
        return Framing(2 * MEL_HOP, MEL_WINDOW + MEL_HOP, lambda samples: _mel_frames(samples) // 2)
    kernels, strides = tuple(config.conv_kernel), tuple(config.conv_stride)
    stride, least = 1, 1
    for kernel, step in zip(reversed(kernels), reversed(strides), strict=True):
        least = (least - 1) * step + kernel
        stride *= step
    return Framing(stride, least, partial(conv_frames, kernels=kernels, strides=strides))


def conv_frames(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many frames convolutions without padding make of a signal."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def _mel_frames(samples: int) -> int:
    return (samples - MEL_WINDOW) // MEL_HOP + 1

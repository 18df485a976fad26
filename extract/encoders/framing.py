"""How a speech model's frames lie over the samples of a signal, from its configuration alone.

In every family, the rest of a signal after a whole number of strides makes as many frames as it would make alone, so
windows that begin on a stride can be joined again frame by frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from amber.audio import SAMPLE_RATE

MEL_WINDOW, MEL_HOP = 400, 160  # samples; 25 and 10 ms
OVERLAP = 2.0  # seconds that neighbouring windows of long audio share


@dataclass(frozen=True)
class Framing:
    """The frames of a speech model.

    Attributes
    ----------
    stride
        Samples from one frame to the next.
    least
        Fewest samples that make a frame.
    count
        Returns the number of frames of a number of samples, at least `least`.
    fixed
        Most samples that the model takes; None if there is no limit.
    margin
        Samples of silence that the model hears after a signal; None: silence up to `fixed`, if there is such.

    """

    stride: int
    least: int
    count: Callable[[int], int]
    fixed: int | None = None
    margin: int | None = None

    def heard(self, samples: int) -> int:
        """Return the samples that the model processes for a number of samples, in whole strides if with silence."""
        if self.fixed is None:
            return samples
        if self.margin is None:
            return self.fixed
        return min(-(-(samples + self.margin) // self.stride) * self.stride, self.fixed)

    def window(self, max_seconds: float) -> tuple[int, int]:
        """Return the length and the overlap of windows in samples, both whole strides.

        Half an overlap covers the receptive field of the frames next to it.
        """
        asked = max(int(max_seconds * SAMPLE_RATE), 4 * (self.stride + self.least))
        window = min(asked, self.fixed or asked) // self.stride * self.stride
        overlap = min(int(OVERLAP * SAMPLE_RATE), window // 2) // (2 * self.stride) * (2 * self.stride)
        return window, overlap


def framing(config: Any) -> Framing:
    """Return the framing of a speech model with a configuration of transformers'."""
    if config.model_type == "whisper":
        stride = 2 * MEL_HOP
        return Framing(stride, 1, lambda samples: -(-samples // stride), config.max_source_positions * stride)
    if config.model_type == "wav2vec2-bert":
        # One frame of the model per two mel frames, which must lie within the signal.
        return Framing(2 * MEL_HOP, MEL_WINDOW + MEL_HOP, lambda samples: _mel_frames(samples) // 2)
    kernels, strides = tuple(config.conv_kernel), tuple(config.conv_stride)
    stride, least = 1, 1
    for kernel, step in zip(reversed(kernels), reversed(strides), strict=True):
        least = (least - 1) * step + kernel
        stride *= step
    return Framing(stride, least, partial(conv_frames, kernels=kernels, strides=strides))


def conv_frames(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return the number of frames after unpadded convolutions over a number of samples."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def _mel_frames(samples: int) -> int:
    return (samples - MEL_WINDOW) // MEL_HOP + 1

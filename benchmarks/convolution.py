"""A convolution as matrix products against torch's: `python benchmarks/convolution.py`.

The seven convolutions of wav2vec2-base on 5.7 s of audio, each the median of repeats, in float32 and in bfloat16.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from amber.extract.encoders.convolution import Convolution

CHANNELS = 512
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)


def seconds(call: Callable[[], object], repeats: int = 15) -> float:
    spent = []
    for _ in range(repeats + 1):  # the first is not counted
        started = time.perf_counter()
        call()
        spent.append(time.perf_counter() - started)
    return float(np.median(spent[1:]))


@torch.inference_mode()
def main() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        theirs, ours = 0.0, 0.0
        states = torch.randn(1, 1, int(5.7 * 16_000)).to(dtype)  # (B, C, T)
        for kernel, stride in zip(KERNELS, STRIDES, strict=True):
            torchs = nn.Conv1d(states.shape[1], CHANNELS, kernel, stride, bias=False).to(dtype)
            products = Convolution(torchs)
            by_frame = states.transpose(1, 2).contiguous().transpose(1, 2)  # as the one before it left them
            theirs += seconds(lambda run=torchs, x=states: run(x))  # type: ignore[misc]
            ours += seconds(lambda run=products, x=by_frame: run(x))  # type: ignore[misc]
            states = torchs(states)
        print(f"{dtype}: torch {theirs * 1e3:.1f} ms · products {ours * 1e3:.1f} ms · ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()

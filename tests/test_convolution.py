"""Convolutions as matrix products give what torch's own convolutions, norms and GELU give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from amber.extract.encoders.convolution import ChannelNorm, Convolution, Gelu

SIZES = st.tuples(*[st.integers(1, n) for n in (3, 5, 6, 7, 4)])  # items, channels in, channels out, kernel, stride


def states(items: int, channels: int, time: int, by_frame: bool) -> Tensor:
    """Return random states (B, C, T), whose memory is (B, T, C) if asked for."""
    made = torch.randn(items, channels, time, generator=torch.Generator().manual_seed(0))
    return made.transpose(1, 2).contiguous().transpose(1, 2) if by_frame else made


@given(SIZES, st.integers(0, 20), st.booleans(), st.booleans())
def test_convolution_is_torchs(sizes: tuple[int, int, int, int, int], more: int, bias: bool, by_frame: bool) -> None:
    items, channels, out, kernel, stride = sizes
    torchs = nn.Conv1d(channels, out, kernel, stride, bias=bias)
    given_states = states(items, channels, kernel + more, by_frame)
    with torch.inference_mode():
        torch.testing.assert_close(Convolution(torchs)(given_states), torchs(given_states), atol=1e-5, rtol=1e-5)


@given(st.integers(1, 3), st.integers(1, 5), st.integers(2, 20), st.booleans())
def test_channel_norm_is_torchs_group_norm(items: int, channels: int, time: int, by_frame: bool) -> None:
    torchs = nn.GroupNorm(channels, channels)
    nn.init.normal_(torchs.weight)
    nn.init.normal_(torchs.bias)
    given_states = states(items, channels, time, by_frame)
    with torch.inference_mode():
        torch.testing.assert_close(ChannelNorm(torchs)(given_states), torchs(given_states), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("by_frame", [False, True])
def test_gelu_is_the_exact_one(by_frame: bool) -> None:
    given_states = states(2, 3, 5, by_frame)
    expected = nn.functional.gelu(given_states)
    torch.testing.assert_close(Gelu()(given_states), expected)

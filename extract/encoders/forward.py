"""A model on a device in a given precision, and the hidden states of all of its layers."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import torch
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from amber.machine import Device

# The whole model computes in this type: on processors that have bfloat16, autocast took 1.3 times as long for
# wav2vec2-base, 2.6 times for BERT and 6 times for WavLM, and came no closer to float32.
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def to_device(model: Any, device: Device) -> Any:
    """Move a model to a device, in the device's precision."""
    for module in model.modules():
        # Weights computed from others (weight normalisation) are computed once, in float32, not in every pass.
        for name in list(module.parametrizations) if is_parametrized(module) else ():
            remove_parametrizations(module, name)
    return model.to(device.name, TYPES[device.precision])


def hidden_states(model: Any, inputs: dict[str, torch.Tensor], device: Device) -> tuple[torch.Tensor, ...]:
    """Return the input to a model's first layer and the output of every layer, one tensor (B, T, D) each.

    `inputs` are the model's own, padded: (B, T), (B, T, bands) or (B, bands, T), and an attention mask where needed.

    The last is the model's own output, after the final normalisation where there is one.
    """
    output = outputs(model, inputs, device, output_hidden_states=True)
    # Versions of transformers differ in whether `hidden_states` ends before or after that normalisation.
    return (*output.hidden_states[:-1], output.last_hidden_state)


def outputs(model: Any, inputs: dict[str, torch.Tensor], device: Device, **options: bool) -> Any:
    """Return what a model makes of its inputs (see `hidden_states`), with options of its own."""
    moved = _moved(inputs, device)
    with torch.inference_mode(), warnings.catch_warnings():
        # WavLM adds a mask to a bias of another type, which torch supports but warns of as deprecated.
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask and attn_mask")
        return model(**moved, **options)


def _moved(inputs: dict[str, torch.Tensor], device: Device) -> dict[str, torch.Tensor]:
    """Return inputs on a device, in its precision; to a GPU from pinned memory, on a stream that only copies."""
    dtypes = {name: TYPES[device.precision] if x.is_floating_point() else x.dtype for name, x in inputs.items()}
    if not device.name.startswith("cuda"):
        return {name: x.to(device.name, dtypes[name]) for name, x in inputs.items()}
    copying, computing = _copying(device.name), torch.cuda.current_stream(device.name)
    with torch.cuda.stream(copying):
        moved = {name: x.pin_memory().to(device.name, non_blocking=True) for name, x in inputs.items()}
        moved = {name: x.to(dtypes[name]) for name, x in moved.items()}
    computing.wait_stream(copying)
    for x in moved.values():
        x.record_stream(computing)  # its memory is not reused before the model has read it
    return moved


@lru_cache
def _copying(device: str) -> Any:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

"""The machine at hand: which device and precision to use, and what a run should record of its environment."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from typing import Any, Literal

from amber import __version__
from amber.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]
_RECORDED = ("torch", "transformers", "numpy", "scipy", "scikit-learn", "zarr", "pyarrow", "soundfile", "soxr")


@dataclass(frozen=True)
class Device:
    """A torch device, the precision of arithmetic on it, and why these were chosen."""

    name: str
    precision: Precision
    reason: str


def set_thread_defaults() -> None:
    """Set defaults of threads and caches in the environment, before libraries read them; the user's values stay."""
    # On a shared machine, threads that spin for long while they wait slow one another down; threads that sleep at once
    # wake late (docs/LOG.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # Batches rarely have the same shape twice, so the per-shape caches of oneDNN and torch only take memory. By default
    # their bounds are larger than a run needs.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "16")


def choose(device: str, precision: str = "fp32") -> Device:
    """Resolve `auto` for device and precision on this machine.

    Raises
    ------
    UserError
        If the device can't be used, or not with the precision.

    """
    import torch  # late, so that commands which need no tensors start at once

    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        reason = "a GPU was found" if name != "cpu" else "no GPU was found"
    else:
        name, reason = device, "as asked"
        try:
            torch.empty(1, device=name)
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise UserError(f"device {device!r} can't be used here ({first}); use `auto` or `cpu`") from None
    chosen = _precision(precision, name)
    return Device(name, chosen, reason)


def _precision(precision: str, device: str) -> Precision:
    if precision == "auto":
        import torch

        if not device.startswith("cuda"):
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if precision == "fp16" and device == "cpu":
        raise UserError("precision fp16 is for GPUs; use fp32 or bf16 on a CPU")
    return "bf16" if precision == "bf16" else "fp16" if precision == "fp16" else "fp32"


def environment() -> dict[str, Any]:
    """Return versions and hardware, as recorded with every run."""
    import torch

    return {
        "amber": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: importlib.metadata.version(name) for name in _RECORDED},
    }

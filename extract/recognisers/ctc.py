"""Speech models with a CTC head (Graves et al., 2006), such as wav2vec 2.0, decoded greedily."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from amber.audio import SAMPLE_RATE, Signal
from amber.errors import UserError
from amber.machine import Device

from ..batching import batches
from ..encoders import GPU_BATCHES
from ..encoders.convolution import use_products
from ..encoders.forward import outputs, to_device
from ..encoders.framing import Framing, framing
from ..encoders.masking import TrueLengths, hide_padding
from ..encoders.preprocessing import at_least, preprocessing
from ..encoders.pretrained import PretrainedModel
from ..encoders.transformer import SPEECH_BUDGET, SPEECH_PADDING
from . import Recogniser, RecogniserInfo, Words, joined
from .pieces import pieces


def info(found: PretrainedModel, language: str | None, max_seconds: float) -> RecogniserInfo:
    """Return what is known of a model with a CTC head."""
    if language is not None:
        raise UserError(f"--language {language}: {found.name} is a CTC model, which knows one language; leave it out")
    frames = framing(found.config)
    window, _ = frames.window(max_seconds)

    def budget(device: Device) -> int:
        if _adapted(found.config):
            return 1  # behind an adapter padding can't be told from speech: one by one
        return SPEECH_BUDGET * (1 if device.name == "cpu" else GPU_BATCHES)

    def load(device: Device) -> Recogniser:
        return CTC(found, device, frames, window, budget(device))

    return RecogniserInfo(
        name=found.name,
        revision=found.revision,
        language=None,
        max_seconds=window / SAMPLE_RATE,
        least=frames.least,
        budget=budget,
        padding=SPEECH_PADDING,
        load=load,
    )


class CTC:
    """A model with a CTC head on signals at 16 kHz; pieces of at most `window` samples are recognised at once."""

    def __init__(self, found: PretrainedModel, device: Device, frames: Framing, window: int, budget: int) -> None:
        extractor, self._tokenizer = found.extractor(), found.tokenizer()
        if extractor.sampling_rate != SAMPLE_RATE:
            raise UserError(
                f"{found.name}: takes audio at {extractor.sampling_rate} Hz; only {SAMPLE_RATE} Hz is supported"
            )
        model = found.model("AutoModelForCTC")
        self._lengths = TrueLengths()
        self._preprocessing = preprocessing(found.config.model_type, extractor, frames)
        if found.config.model_type != "wav2vec2-bert":
            base = model.base_model
            if device.name == "cpu":
                use_products(base)
            hide_padding(base, self._lengths)
        self._model = to_device(model, device)
        self._blank = found.config.pad_token_id
        self._adapted = _adapted(found.config)
        self._device, self._framing, self._window, self._budget = device, frames, window, budget

    def recognise(self, batch: Sequence[Signal]) -> list[Words]:
        """Return the words of each signal (T,)."""
        signals = [at_least(self._preprocessing.whole(signal), self._framing.least) for signal in batch]
        cut = [(place, piece) for place, signal in enumerate(signals) for piece in pieces(signal, self._window)]
        found: dict[int, str] = {}
        for chosen in batches([len(piece) for _, piece in cut], self._budget, padding=1.0):
            found |= zip(chosen.tolist(), self._decode([cut[i][1] for i in chosen]), strict=True)
        texts: list[list[Words]] = [[] for _ in batch]
        for number, (place, _) in enumerate(cut):
            texts[place].append(Words(found[number]))
        return [joined(words) for words in texts]

    def _decode(self, waveforms: list[Signal]) -> list[str]:
        """Return the text of pieces (T,): the likeliest token of every frame, without repeats, then without blanks."""
        waveforms = [at_least(waveform, self._framing.least) for waveform in waveforms]
        self._lengths.set([len(waveform) for waveform in waveforms])
        inputs = self._preprocessing.batch([self._preprocessing.window(waveform) for waveform in waveforms])
        logits: Any = outputs(self._model, inputs, self._device).logits  # (B, T, tokens)
        best: torch.Tensor = logits.argmax(dim=-1).cpu()
        counts = [best.shape[1] if self._adapted else self._framing.count(len(w)) for w in waveforms]
        return [self._text(row[:count]) for row, count in zip(best, counts, strict=True)]

    def _text(self, tokens: torch.Tensor) -> str:
        """Return the text of the tokens of a piece's frames, (T,)."""
        # The tokenizer's own grouping drops special tokens first, so that `ll` around one becomes `l`.
        kept = [token for token in torch.unique_consecutive(tokens).tolist() if token != self._blank]
        text: str = self._tokenizer.decode(kept, skip_special_tokens=True, group_tokens=False)
        return text


def _adapted(config: Any) -> bool:
    """Return whether there is an adapter between a model's frames and its head."""
    return bool(getattr(config, "add_adapter", False))

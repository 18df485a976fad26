"""Frozen Hugging Face transformers: speech and text models, from the hub or a local folder.

An utterance gets the features that it would get in a batch of its own (see `masking`). The tests check this for every
model type listed here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from amber.audio import SAMPLE_RATE
from amber.corpus import Modality
from amber.errors import UserError, abbreviate
from amber.machine import Device

from . import Encoder, EncoderInfo, choose_layers
from .framing import framing
from .pretrained import PretrainedModel, find_model

SPEECH_TYPES = (
    "wav2vec2",
    "hubert",
    "wavlm",
    "data2vec-audio",
    "unispeech",
    "unispeech-sat",
    "wav2vec2-bert",
    "whisper",
)
TEXT_TYPES = (
    "bert",
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "rembert",
    "distilbert",
    "deberta",
    "deberta-v2",
    "modernbert",
    "mpnet",
    "electra",
)
DECODER_TYPES = ("qwen2", "qwen3", "mistral", "llama", "gemma2", "gemma3_text")  # language models that embed texts
# Size of a batch on a CPU in fp32, padding included. Larger batches were no faster and take more memory (docs/LOG.md).
SPEECH_BUDGET = 6 * SAMPLE_RATE  # samples
WHISPER_BUDGET = 30 * SAMPLE_RATE  # samples: those of its full length
TEXT_BUDGET = 16_384  # characters
# Largest share of padding in a batch. Texts are short: many small batches would cost more than the padding.
SPEECH_PADDING, TEXT_PADDING = 0.05, 0.25


def info(name: str, modality: Modality, layers: str, max_seconds: float) -> EncoderInfo:
    """Return what is known of a model, given by folder, hub name (with `@revision`) or as `minilm`."""
    found = find_model(name)
    kind = found.config.model_type
    if kind not in SPEECH_TYPES + TEXT_TYPES + DECODER_TYPES:
        raise UserError(
            f"--{modality} {name}: models of type {kind} are not supported\n"
            f"speech: {abbreviate(SPEECH_TYPES, 20)}; text: {abbreviate(TEXT_TYPES + DECODER_TYPES, 30)}"
        )
    if kind in DECODER_TYPES and "AutoModel" in (getattr(found.config, "auto_map", None) or {}):
        raise UserError(
            f"--{modality} {name}: has code of its own for a {kind} model, which amber does not run; without it the "
            "features\nwould be others than the model's (its attention may look both ways); choose another encoder"
        )
    if modality == "speech" and kind not in SPEECH_TYPES:
        raise UserError(
            f"--speech {name}: a {kind} model, not a speech model; supported: {abbreviate(SPEECH_TYPES, 20)}"
        )
    numbers = choose_layers(layers, found.config.num_hidden_layers + 1, name)
    return speech_info(found, numbers, max_seconds) if kind in SPEECH_TYPES else _text(found, numbers)


def speech_info(
    found: PretrainedModel, layers: tuple[int, ...], max_seconds: float, margin: float | None = None
) -> EncoderInfo:
    """Return what is known of a speech model; `margin`: see `EncoderInfo`."""
    frames = framing(found.config)
    if margin is not None:
        frames = replace(frames, margin=round(margin * SAMPLE_RATE))
    window, _ = frames.window(max_seconds)
    # With an adapter, the model's output would not be that of its last layer.
    found.config.add_adapter = False

    def load(device: Device) -> Encoder:
        from .speech import SpeechTransformer

        return SpeechTransformer(found, layers, device, frames, max_seconds, made.budget_on(device))

    made = EncoderInfo(
        name=found.name,
        revision=found.revision,
        modality="speech",
        layers=layers,
        dim=found.config.hidden_size,
        sample_rate=SAMPLE_RATE,
        max_seconds=window / SAMPLE_RATE,
        budget=SPEECH_BUDGET if frames.fixed is None else WHISPER_BUDGET,
        load=load,
        padding=SPEECH_PADDING,
        hop=frames.stride,
        heard=frames.heard,
        margin=margin,
        trim=None if frames.fixed is None else partial(speech_info, found, layers, max_seconds),
    )
    return made


def _text(found: PretrainedModel, layers: tuple[int, ...]) -> EncoderInfo:
    def load(device: Device) -> Encoder:
        from .text import TextTransformer

        return TextTransformer(found, layers, device, found.config.model_type in DECODER_TYPES)

    return EncoderInfo(
        name=found.name,
        revision=found.revision,
        modality="text",
        layers=layers,
        dim=found.config.hidden_size,
        sample_rate=None,
        max_seconds=None,
        budget=TEXT_BUDGET,
        load=load,
        padding=TEXT_PADDING,
        has_tokens=True,
    )

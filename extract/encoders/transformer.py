"""Hugging Face transformers, frozen: speech models and text models, from the hub or a local folder.

An utterance is encoded as it would be alone, whatever it is batched with: see `masking`. The types named here are the
ones for which the tests hold this.
"""

from __future__ import annotations

from amber.corpus import Modality
from amber.errors import UserError, some
from amber.machine import Device

from . import Card, Encoder, choose_layers
from .framing import RATE, framing
from .hub import Source, source

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
    "distilbert",
    "deberta",
    "deberta-v2",
    "modernbert",
    "mpnet",
    "electra",
)
# What a batch may come to on a CPU in fp32, padding included. Longer batches were no faster there, and take more memory
# (docs/LOG.md).
SPEECH_BUDGET = 6 * RATE  # samples
TEXT_BUDGET = 16_384  # characters
# Most of a batch that may be padding. Texts are short: for them many small batches cost more than the padding saved.
SPEECH_PADDING, TEXT_PADDING = 0.05, 0.25


def card(name: str, modality: Modality, layers: str, max_seconds: float) -> Card:
    """Return the card of a model given by folder, hub name (with `@revision`) or as `minilm`."""
    found = source(name)
    kind = found.config.model_type
    if kind not in SPEECH_TYPES + TEXT_TYPES:
        raise UserError(
            f"--{modality} {name}: models of type {kind} are not known here\n"
            f"speech: {some(SPEECH_TYPES, 20)}; text: {some(TEXT_TYPES, 20)}"
        )
    if modality == "speech" and kind not in SPEECH_TYPES:
        raise UserError(f"--speech {name}: a {kind} model; speech models known: {some(SPEECH_TYPES, 20)}")
    numbers = choose_layers(layers, found.config.num_hidden_layers + 1, name)
    return _speech(found, numbers, max_seconds) if kind in SPEECH_TYPES else _text(found, numbers)


def _speech(found: Source, layers: tuple[int, ...], max_seconds: float) -> Card:
    frames = framing(found.config)
    window, _ = frames.window(max_seconds)
    # With an adapter, the model's output would not be that of its last layer.
    found.config.add_adapter = False

    def load(device: Device) -> Encoder:
        from .speech import SpeechTransformer

        return SpeechTransformer(found, layers, device, frames, max_seconds, made.budget_on(device))

    made = Card(
        name=found.name,
        revision=found.revision,
        modality="speech",
        layers=layers,
        dim=found.config.hidden_size,
        sample_rate=RATE,
        max_seconds=window / RATE,
        budget=SPEECH_BUDGET,
        load=load,
        padding=SPEECH_PADDING,
        frame_count=frames.frames,
        hop=frames.stride,
    )
    return made


def _text(found: Source, layers: tuple[int, ...]) -> Card:
    def load(device: Device) -> Encoder:
        from .text import TextTransformer

        return TextTransformer(found, layers, device)

    return Card(
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
    )

"""Speech recognisers with few and random weights, saved as folders: a Whisper model, and CTC models of every family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tiny_models import CONV, GROUP, LAYER, SIZE, enliven, whisper

LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'")
VOCABULARY = {"vocab_size": len(LETTERS), "pad_token_id": 0}

CTC = {
    "wav2vec2": (hf.Wav2Vec2ForCTC, hf.Wav2Vec2Config, GROUP),
    "hubert": (hf.HubertForCTC, hf.HubertConfig, LAYER),
    "wavlm": (hf.WavLMForCTC, hf.WavLMConfig, GROUP),
    "data2vec": (hf.Data2VecAudioForCTC, hf.Data2VecAudioConfig, {**SIZE, **CONV, "num_conv_pos_embeddings": 5}),
    "wav2vec2-bert": (hf.Wav2Vec2BertForCTC, hf.Wav2Vec2BertConfig, {**SIZE, "add_adapter": True}),
}


def save(name: str, folder: Path) -> Path:
    """Save a tiny recogniser, as a hub repository holds it."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    if name == "whisper":
        config = whisper()[0].config
        config.max_target_positions = 40
        model, extractor = hf.WhisperForConditionalGeneration(config), hf.WhisperFeatureExtractor(chunk_length=8)
        _words(config.vocab_size).save_pretrained(folder)
        model.generation_config.no_timestamps_token_id = 3
    else:
        made, config, options = CTC[name]
        model = made(config(**options, **VOCABULARY))
        masks = options.get("feat_extract_norm") == "layer"
        extractor = (
            hf.SeamlessM4TFeatureExtractor(padding_value=1)
            if name == "wav2vec2-bert"
            else hf.Wav2Vec2FeatureExtractor(return_attention_mask=masks)
        )
        vocabulary = folder / "vocab.json"
        vocabulary.write_text(json.dumps({letter: i for i, letter in enumerate(LETTERS)}))
        hf.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)
    extractor.save_pretrained(folder)
    enliven(model)
    if name == "whisper":
        _listen(model)
    model.save_pretrained(folder)
    return folder


def _listen(model: Any) -> None:
    """Make a random Whisper's tokens depend on what it hears and on their place, not on the token before alone."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                weight.mul_(8)
        model.model.decoder.embed_tokens.weight.mul_(0.1)
        model.model.decoder.embed_positions.weight.mul_(10)
        model.model.decoder.layer_norm.bias.zero_()
        model.model.encoder.embed_positions.weight.mul_(0.3)


def _words(size: int) -> Any:
    from tokenizers import Tokenizer, models

    words = ["<pad>", "<start>", "<end>", *(f"w{i}" for i in range(size - 3))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<pad>"))
    special = dict(zip(("pad_token", "bos_token", "eos_token"), words, strict=False))
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)

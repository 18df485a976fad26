"""Models of every family's architecture, with few and random weights, saved as folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
# 16 channels a group: with 8, oneDNN on processors with AMX computes a bfloat16 convolution wrongly (docs/LOG.md).
CONV = {"conv_dim": (16,) * 7, "num_conv_pos_embedding_groups": 2}
GROUP = {**SIZE, **CONV, "num_conv_pos_embeddings": 16}
LAYER = {**GROUP, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WORDS = ("get", "out", "of", "here", "i", "miss", "her", "so", "much", "every", "day", "year", "fine", ".", ",", "!")

Make = Callable[[], tuple[Any, Any]]  # a model and its feature extractor


def conv(model: Any, config: Any, **options: Any) -> Make:
    """Return the maker of a model on waveforms."""
    masks = options.get("feat_extract_norm") == "layer"
    return lambda: (model(config(**options)), hf.Wav2Vec2FeatureExtractor(return_attention_mask=masks))


def mel_pairs() -> tuple[Any, Any]:
    return hf.Wav2Vec2BertModel(hf.Wav2Vec2BertConfig(**SIZE)), hf.SeamlessM4TFeatureExtractor(padding_value=1)


def whisper() -> tuple[Any, Any]:
    config = hf.WhisperConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=400,
        vocab_size=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return hf.WhisperModel(config), hf.WhisperFeatureExtractor(chunk_length=8)


SPEECH: dict[str, Make] = {
    "wav2vec2-group": conv(hf.Wav2Vec2Model, hf.Wav2Vec2Config, **GROUP),
    "wav2vec2-layer": conv(hf.Wav2Vec2Model, hf.Wav2Vec2Config, **LAYER),
    "hubert-group": conv(hf.HubertModel, hf.HubertConfig, **GROUP),
    "hubert-layer": conv(hf.HubertModel, hf.HubertConfig, **LAYER),
    "wavlm-group": conv(hf.WavLMModel, hf.WavLMConfig, **GROUP),
    "wavlm-layer": conv(hf.WavLMModel, hf.WavLMConfig, **LAYER),
    "unispeech-group": conv(hf.UniSpeechModel, hf.UniSpeechConfig, **GROUP),
    "unispeech-layer": conv(hf.UniSpeechModel, hf.UniSpeechConfig, **LAYER),
    "unispeech-sat-group": conv(hf.UniSpeechSatModel, hf.UniSpeechSatConfig, **GROUP),
    "unispeech-sat-layer": conv(hf.UniSpeechSatModel, hf.UniSpeechSatConfig, **LAYER),
    "wav2vec2-adapter": conv(hf.Wav2Vec2Model, hf.Wav2Vec2Config, **GROUP, add_adapter=True),
    "data2vec-audio": conv(hf.Data2VecAudioModel, hf.Data2VecAudioConfig, **SIZE, **CONV, num_conv_pos_embeddings=5),
    "wav2vec2-bert": mel_pairs,
    "whisper": whisper,
}


def text(model: Any, config: Any, **options: Any) -> Callable[[], Any]:
    """Return the maker of a model on texts."""
    return lambda: model(config(vocab_size=len(WORDS) + 4, pad_token_id=0, max_position_embeddings=64, **options))


DISENTANGLED = {
    **SIZE,
    "relative_attention": True,
    "max_relative_positions": -1,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}
TEXT: dict[str, Callable[[], Any]] = {
    "bert": text(hf.BertModel, hf.BertConfig, **SIZE),
    "roberta": text(hf.RobertaModel, hf.RobertaConfig, **SIZE),
    "xlm-roberta": text(hf.XLMRobertaModel, hf.XLMRobertaConfig, **SIZE),
    "distilbert": text(hf.DistilBertModel, hf.DistilBertConfig, dim=32, n_layers=2, n_heads=2, hidden_dim=64),
    "deberta": text(hf.DebertaModel, hf.DebertaConfig, **DISENTANGLED),
    "deberta-v2": text(
        hf.DebertaV2Model, hf.DebertaV2Config, **DISENTANGLED, conv_kernel_size=3, conv_act="gelu", position_buckets=8
    ),
    "deberta-v3": text(
        hf.DebertaV2Model,
        hf.DebertaV2Config,
        **DISENTANGLED,
        position_buckets=8,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
    ),
    "modernbert": text(
        hf.ModernBertModel,
        hf.ModernBertConfig,
        **SIZE,
        local_attention=8,
        cls_token_id=2,
        sep_token_id=3,
        bos_token_id=2,
        eos_token_id=3,
    ),
    "mpnet": text(hf.MPNetModel, hf.MPNetConfig, **SIZE),
    "electra": text(hf.ElectraModel, hf.ElectraConfig, **SIZE, embedding_size=16),
    "xlm-roberta-xl": text(hf.XLMRobertaXLModel, hf.XLMRobertaXLConfig, **SIZE),
    "camembert": text(hf.CamembertModel, hf.CamembertConfig, **SIZE),
    "rembert": text(hf.RemBertModel, hf.RemBertConfig, **SIZE, input_embedding_size=16, output_embedding_size=16),
}
KEYS = {**SIZE, "num_key_value_heads": 1, "head_dim": 16, "eos_token_id": 3, "bos_token_id": 2}
DECODERS: dict[str, Callable[[], Any]] = {
    "qwen2": lambda: hf.Qwen2Model(hf.Qwen2Config(vocab_size=512, max_position_embeddings=64, **KEYS)),
    "qwen3": text(hf.Qwen3Model, hf.Qwen3Config, **KEYS),
    "mistral": text(hf.MistralModel, hf.MistralConfig, **KEYS, sliding_window=16),
    "llama": text(hf.LlamaModel, hf.LlamaConfig, **KEYS),
    "gemma2": text(hf.Gemma2Model, hf.Gemma2Config, **KEYS, sliding_window=16),
    "gemma3_text": text(
        hf.Gemma3TextModel, hf.Gemma3TextConfig, **KEYS, sliding_window=16, use_bidirectional_attention=True
    ),
}
TEXT |= DECODERS
CLOSING = ("qwen3", "gemma3_text")  # decoders whose tokenizers close every text, as Qwen3-Embedding's does
OPENING = tuple(name for name in DECODERS if name != "qwen2")  # decoders whose tokenizers open every text


def save(name: str, folder: Path) -> Path:
    """Save a tiny model, as a hub repository holds it."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    if name in SPEECH:
        model, extractor = SPEECH[name]()
        extractor.save_pretrained(folder)
    else:
        model = TEXT[name]()
        _tokenizer(name).save_pretrained(folder)
    enliven(model)
    model.save_pretrained(folder)
    return folder


def enliven(model: Any) -> None:
    """Give a model weights and biases as large as trained ones: what padding does must not drown in rounding."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name.lower() and weight.dim() == 1:
                weight.add_(torch.randn_like(weight) * 0.2)
            else:
                fan_in = weight[0].numel() if weight.dim() > 1 else 25
                weight.copy_(torch.randn_like(weight) * fan_in**-0.5)


def _bytes_tokenizer() -> Any:
    """Return Qwen2's tokenizer of bytes, with each word one token: for its models no other is loaded."""
    from tokenizers import pre_tokenizers

    tokens = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pre_tokenizers.ByteLevel.alphabet()])
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        for end in range(1, len(word)):
            merges[word[:end], word[end]] = tokens[word[: end + 1]] = None
        merges["Ġ", word] = tokens[f"Ġ{word}"] = None
    vocabulary = {token: number for number, token in enumerate(tokens)}
    special = {"unk_token": "[UNK]", "eos_token": "[SEP]", "pad_token": "[PAD]"}
    return hf.Qwen2Tokenizer(vocabulary, list(merges), **special)


def _tokenizer(name: str) -> Any:
    if name == "qwen2":
        return _bytes_tokenizer()
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if name in DECODERS:
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    words = [*special.values(), *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, special["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    closing = " [SEP]" if name not in DECODERS or name in CLOSING else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"[CLS] $A{closing}", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)

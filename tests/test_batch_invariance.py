"""Design decision 5: whatever the batch, an utterance gets what it would get alone, in every family of models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_models import CLOSING, DECODERS, OPENING, SPEECH, TEXT, WORDS, save

from amber.errors import UserError
from amber.extract.encoders import EncoderInfo, find, speech, transformer
from amber.extract.encoders.forward import hidden_states
from amber.extract.encoders.framing import Framing, framing
from amber.extract.encoders.passage import Passage
from amber.extract.encoders.windows import windows
from amber.machine import Device, choose

Array = NDArray[np.float32]
BAR = 1e-4  # largest difference in float32
COSINE = 0.999  # least agreement of bfloat16 with float32

RANDOM = np.random.default_rng(0)
# 25 ms is the shortest that the reader lets through.
SIGNALS = [RANDOM.normal(0, 0.1, int(s * 16_000)).astype(np.float32) for s in (0.3, 6.0, 2.93, 0.025)]
TEXTS = [" ".join(RANDOM.choice(WORDS, n)) for n in (1, 50, 7, 20)] + [""]


@pytest.fixture(autouse=True)
def one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all signals into one batch: a smaller budget would keep the long from the short."""
    monkeypatch.setattr(transformer, "SPEECH_BUDGET", 40 * 16_000)
    monkeypatch.setattr(transformer, "WHISPER_BUDGET", 40 * 16_000)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny models by name, each made when first asked for."""
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else save(name, root / name)

    return folder


def frame_count(folder: Path, signal: Array) -> int:
    """Return how many frames a model has of a signal."""
    from transformers import AutoConfig

    frames = framing(AutoConfig.from_pretrained(folder))
    return frames.count(max(len(signal), frames.least))


def speech_alone(folder: Path, signal: Array, frames: int) -> Array:
    """Return the hidden states that transformers itself gives for one signal, (T, L, D)."""
    from transformers import AutoFeatureExtractor, AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    if model.config.model_type == "wav2vec2-bert":
        signal = np.pad(signal, (0, max(0, 560 - len(signal))))  # its extractor needs two mel frames
    inputs = dict(AutoFeatureExtractor.from_pretrained(folder)(signal, sampling_rate=16_000, return_tensors="pt"))
    if "input_values" in inputs:
        return states(model, {"input_values": inputs["input_values"]})
    return states(model.get_encoder() if model.config.model_type == "whisper" else model, inputs)[:frames]


def whisper_alone(folder: Path, signal: Array, frames: int, margin: float) -> Array:
    """Return the hidden states that transformers gives for a signal with a margin, (T, L, D).

    Its encoder takes one length only: here it is told that this is the signal's.
    """
    from transformers import AutoFeatureExtractor, AutoModel

    encoder = AutoModel.from_pretrained(folder).eval().get_encoder()
    whole = -(-(len(signal) + round(margin * 16_000)) // 320)
    length = min(whole, encoder.config.max_source_positions)
    encoder.config.max_source_positions = length
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(encoder.embed_positions.weight[:length])
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    padded = np.pad(signal, (0, length * 320 - len(signal)))
    found = extractor(padded, sampling_rate=16_000, return_tensors="pt", max_length=len(padded))
    return states(encoder, {"input_features": found.input_features})[:frames]


def text_alone(folder: Path, text: str) -> Array:
    """Return the hidden states that transformers itself gives for one text, (T, L, D)."""
    from transformers import AutoModel, AutoTokenizer

    closed = text if folder.name not in DECODERS or folder.name in CLOSING else f"{text}[SEP]"
    tokens = AutoTokenizer.from_pretrained(folder)(closed, return_tensors="pt")
    return states(AutoModel.from_pretrained(folder).eval(), dict(tokens))[1 if folder.name in OPENING else 0 :]


def states(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> Array:
    with torch.inference_mode():
        output = model(**inputs, output_hidden_states=True)
    return np.asarray(torch.cat((*output.hidden_states[:-1], output.last_hidden_state)).transpose(0, 1).numpy())


def check(info: EncoderInfo, batch: list, alone: list[Array]) -> None:  # type: ignore[type-arg]
    """Check frames and means of a padded batch against what each item has alone, and bfloat16 against float32."""
    encoder = info.load(choose("cpu"))
    pooled, frames = encoder.pooled(batch), encoder.frames(batch)
    assert [len(f) for f in frames] == [len(a) for a in alone]
    for mean, found, expected in zip(pooled, frames, alone, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=BAR)
        np.testing.assert_allclose(mean, expected.mean(axis=0), rtol=0, atol=BAR)
    half = info.load(choose("cpu", "bf16")).pooled(batch)  # (B, L, D)
    norms = np.linalg.norm(half, axis=2) * np.linalg.norm(pooled, axis=2)
    assert ((half * pooled).sum(axis=2) / norms).min() >= COSINE


@pytest.mark.parametrize("name", [name for name in SPEECH if name != "wav2vec2-adapter"])
def test_speech_in_a_padded_batch_is_what_it_is_alone(models: Callable[[str], Path], name: str) -> None:
    info = find(str(models(name)), "speech")
    alone = [speech_alone(models(name), signal, frame_count(models(name), signal)) for signal in SIGNALS]
    check(info, SIGNALS, alone)


@pytest.mark.parametrize("margin", [0.0, 1.0, 30.0])
def test_trimmed_whisper_in_a_padded_batch_is_what_it_is_alone(models: Callable[[str], Path], margin: float) -> None:
    info = find(str(models("whisper")), "speech", margin=margin)
    counts = [frame_count(models("whisper"), signal) for signal in SIGNALS]
    alone = [whisper_alone(models("whisper"), s, count, margin) for s, count in zip(SIGNALS, counts, strict=True)]
    check(info, SIGNALS, alone)


def test_without_the_mask_neighbours_change_trimmed_whisper(models: Callable[[str], Path]) -> None:
    encoder = find(str(models("whisper")), "speech", margin=0.0).load(choose("cpu"))
    together = encoder.frames(SIGNALS)[0]
    batch = encoder._preprocessing.batch  # type: ignore[attr-defined]

    class Unmasked:
        def batch(self, items: list[Array]) -> dict[str, torch.Tensor]:
            return {"input_features": batch(items)["input_features"]}

    prepared = [encoder.prepare(signal) for signal in SIGNALS]  # type: ignore[attr-defined]
    encoder._preprocessing = Unmasked()  # type: ignore[attr-defined]
    assert np.abs(encoder.frames(prepared)[0] - together).max() > 100 * BAR


@pytest.mark.parametrize("name", TEXT)
def test_text_in_a_padded_batch_is_what_it_is_alone(models: Callable[[str], Path], name: str) -> None:
    check(find(str(models(name)), "text"), TEXTS, [text_alone(models(name), text) for text in TEXTS])


@pytest.mark.parametrize("name", TEXT)
def test_a_text_beyond_the_positions_is_cut_to_them(models: Callable[[str], Path], name: str) -> None:
    encoder = find(str(models(name)), "text").load(choose("cpu"))
    assert encoder.truncated(["fine", "day " * 100]).tolist() == [False, True]
    shifted = dict.fromkeys(("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert"), 63) | {"mpnet": 62}
    special = 1 if name in DECODERS else 2  # among the features
    lengths = [len(frames) for frames in encoder.frames(["fine", "day " * 100])]
    assert lengths == [1 + special, shifted.get(name, 64) - (name in OPENING)]


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "qwen3", "mistral"])
def test_context_is_attended_to_and_not_pooled(models: Callable[[str], Path], name: str) -> None:
    """Of a passage, features are those that transformers gives to the text's own tokens, the last among them."""
    encoder = find(str(models(name)), "text").load(choose("cpu"))
    joint = "\n" if name in DECODERS else " [SEP] "
    passages = [Passage("miss her", "get out : ", ("fine .", "every day")), Passage("", "", ("so much",)), "fine"]
    wholes = [f"get out : fine .{joint}every day{joint}miss her", f"so much{joint}", "fine"]
    expected = [text_alone(models(name), whole) for whole in wholes]
    own = [3, 1, len(expected[2])]  # the words and what closes them
    found = encoder.frames(passages)
    assert [len(frames) for frames in found] == own
    for frames, mean, last, alone, count in zip(
        found,
        encoder.pooled(passages),
        encoder.last(passages),
        expected,
        own,
        strict=True,  # type: ignore[attr-defined]
    ):
        np.testing.assert_allclose(frames, alone[-count:], rtol=0, atol=BAR)
        np.testing.assert_allclose(mean, alone[-count:].mean(axis=0), rtol=0, atol=BAR)
        np.testing.assert_allclose(last, alone[-1], rtol=0, atol=BAR)


@pytest.mark.parametrize("name", ["bert", "qwen2"])
def test_what_is_too_long_loses_its_oldest_turns_then_its_end(models: Callable[[str], Path], name: str) -> None:
    encoder = find(str(models(name)), "text").load(choose("cpu"))
    old, near, text = " day" * 40, " much" * 30, " fine" * 20
    passages = [Passage(text, "", (old, near)), Passage(text, "", (near,)), Passage(" fine" * 70, "get :", (near,))]
    assert encoder.truncated(passages).tolist() == [True, False, True]
    first, same, cut = encoder.frames(passages)
    assert len(first) == 21
    np.testing.assert_allclose(first, same, rtol=0, atol=BAR)
    assert len(cut) == 64 - 3  # the positions but for the opening token and the instruction
    with pytest.raises(ValueError, match="no room for the text"):
        encoder.frames([Passage("fine", "day " * 80)])


def test_a_decoder_with_code_of_its_own_is_refused(models: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(models("qwen2"), tmp_path / "own")
    config = json.loads((tmp_path / "own" / "config.json").read_text())
    (tmp_path / "own" / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "own.Model"}}))
    with pytest.raises(UserError, match="code of its own"):
        find(str(tmp_path / "own"), "text")


@pytest.mark.parametrize("name", [*(name for name in SPEECH if name.endswith("group")), "data2vec-audio"])
def test_without_the_masks_neighbours_change_the_features(
    models: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention masks alone do not do it: 0.3 s beside 6 s would be off by more than ten thousand times the bar."""
    monkeypatch.setattr(speech, "hide_padding", lambda *_: None)
    info = find(str(models(name)), "speech")
    encoder = info.load(choose("cpu"))
    together, alone = encoder.frames(SIGNALS)[0], encoder.frames(SIGNALS[:1])[0]
    assert np.abs(together - alone).max() > 10_000 * BAR


def test_an_adapter_s_output_does_not_take_the_last_layer_s_place(models: Callable[[str], Path]) -> None:
    info = find(str(models("wav2vec2-adapter")), "speech", "last")
    frames = info.load(choose("cpu")).frames(SIGNALS)
    assert [len(f) for f in frames] == [frame_count(models("wav2vec2-adapter"), s) for s in SIGNALS]


@pytest.mark.parametrize("name", ["wav2vec2-group", "data2vec-audio", "wavlm-layer", "wav2vec2-bert", "whisper"])
def test_windows_are_rejoined_frame_by_frame(models: Callable[[str], Path], name: str) -> None:
    """Every frame of long audio is what its window gives alone, in its place, and none is missing or repeated."""
    info = find(str(models(name)), "speech", max_seconds=4.0)
    assert info.max_seconds == 4.0
    signal = RANDOM.normal(0, 0.1, 11 * 16_000 + 77).astype(np.float32)
    encoder = info.load(choose("cpu"))
    # Or a window would not be what it is alone.
    encoder._preprocessing = replace(encoder._preprocessing, whole=lambda signal: signal)  # type: ignore[attr-defined]
    (frames,) = encoder.frames([signal])
    assert len(frames) == frame_count(models(name), signal)
    found = list(windows(len(signal), 4 * 16_000, 2 * 16_000))
    assert len(found) == 5
    for start, stop, first, last in found:
        (alone,) = encoder.frames([signal[start:stop]])
        ends = len(frames) if last == len(signal) else last // 320
        part = frames[first // 320 : ends]
        np.testing.assert_allclose(part, alone[(first - start) // 320 :][: len(part)], rtol=0, atol=BAR)
    pooled = encoder.pooled([signal, SIGNALS[0]])[0]
    np.testing.assert_allclose(pooled, frames.mean(axis=0), rtol=0, atol=BAR)


@pytest.mark.parametrize("name", ["wav2vec2-group", "whisper"])
def test_ten_minutes_are_encoded_a_bounded_batch_at_a_time(
    models: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = find(str(models(name)), "speech", "last")
    encoded: list[int] = []

    def spy(model: Any, inputs: dict[str, torch.Tensor], device: Device) -> tuple[torch.Tensor, ...]:
        values = next(iter(inputs.values()))
        encoded.append(values.numel() if name != "whisper" else len(values) * 8 * 16_000)
        return hidden_states(model, inputs, device)

    monkeypatch.setattr(speech, "hidden_states", spy)
    minutes = np.tile(SIGNALS[1], 100)
    assert np.isfinite(info.load(choose("cpu")).pooled([minutes])).all()
    assert len(minutes) <= sum(encoded) < 2 * len(minutes)
    assert max(encoded) <= info.budget


def framings() -> list[Framing]:
    from transformers import Wav2Vec2BertConfig, Wav2Vec2Config, WhisperConfig

    odd = Wav2Vec2Config(conv_dim=(8, 8), conv_kernel=(7, 4), conv_stride=(3, 2))
    return [framing(config) for config in (Wav2Vec2Config(), Wav2Vec2BertConfig(), WhisperConfig(), odd)]


@given(st.sampled_from(framings()), st.integers(1, 900_000), st.floats(0.001, 1) | st.floats(1, 40))
def test_windows_have_as_many_frames_as_the_whole(framing: Framing, samples: int, max_seconds: float) -> None:
    samples = max(samples, framing.least)
    window, overlap = framing.window(max_seconds)
    stride = framing.stride
    samples = min(samples, 300 * window)
    total = 0
    for start, stop, first, last in windows(samples, window, overlap):
        assert start % stride == 0
        assert first % stride == 0
        assert last % stride == 0 or last == samples
        frames = framing.count(stop - start)
        assert frames >= 1
        total += (frames if last == stop else (last - start) // stride) - (first - start) // stride
        assert last == stop or frames >= (last - start) // stride
    assert total == framing.count(samples)


def test_a_frame_takes_the_samples_that_transformers_says() -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    assert framings()[0].least == 400
    with torch.device("meta"):
        model = Wav2Vec2Model(Wav2Vec2Config())
    for samples in (400, 719, 720, 16_000, 95_999):
        assert framings()[0].count(samples) == int(model._get_feat_extract_output_lengths(samples))

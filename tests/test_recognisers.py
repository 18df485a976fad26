"""Recognisers: the words of an utterance do not depend on its batch, and are those of transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers as hf
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import save as save_encoder
from tiny_recognisers import CTC, LETTERS, save

from amber.errors import UserError
from amber.extract.recognisers import find
from amber.extract.recognisers.pieces import pieces
from amber.machine import choose

CPU = choose("cpu")
REAL = SHARED / "whisper-tiny.en"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny recognisers by name, each made when first asked for."""
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        place = root / f"tiny-{name}"
        return place if place.exists() else save(name, place)

    return folder


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=int(seconds * 16_000)).astype(np.float32) * 0.1


def tones(seconds: float, seed: int) -> np.ndarray:
    """Return rising tones of random frequencies, so that a random model hears differences."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    pitches = np.random.default_rng(seed).uniform(100, 6000, size=3)
    waves = sum(np.sin(2 * np.pi * pitch * time * (1 + time / 5)) for pitch in pitches)
    return 0.1 * waves.astype(np.float32) + 0.03 * noise(seconds, seed)


SIGNALS = [tones(seconds, seed) for seed, seconds in enumerate((3.0, 0.3, 1.1, 12.5, 0.03, 3.0))]


@pytest.mark.parametrize("name", ["whisper", *CTC])
def test_words_do_not_depend_on_the_batch(models: Callable[[str], Path], name: str) -> None:
    recogniser = find(str(models(name)), max_seconds=5).load(CPU)  # of 12.5 s, in pieces
    together = recogniser.recognise(SIGNALS)
    alone = [recogniser.recognise([signal])[0] for signal in SIGNALS]
    assert together == alone
    assert len({words.text for words in together}) >= 4, together


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wav2vec2-bert"])
def test_ctc_words_are_those_of_transformers(models: Callable[[str], Path], name: str) -> None:
    folder = models(name)
    model = hf.AutoModelForCTC.from_pretrained(folder).eval()
    extractor = hf.AutoFeatureExtractor.from_pretrained(folder)
    for signal, words in zip(SIGNALS[:3], find(str(folder)).load(CPU).recognise(SIGNALS[:3]), strict=True):
        with torch.inference_mode():
            inputs = extractor(signal, sampling_rate=16_000, return_tensors="pt")
            best = model(**inputs).logits[0].argmax(-1).tolist()
        kept = [k for k, before in zip(best, [-1, *best], strict=False) if k != before and k >= 4]  # no special tokens
        text = "".join(LETTERS[k] for k in kept).replace("|", " ")
        assert words.text == " ".join(text.split())


def test_a_text_that_whisper_does_not_end_is_said_to_be_cut(models: Callable[[str], Path]) -> None:
    recogniser = find(str(models("whisper"))).load(CPU)
    for words in recogniser.recognise(SIGNALS[:3]):
        assert words.truncated
        assert 18 <= len(words.text.split()) <= 20  # half of the model's 40 tokens, some of which are no words
    decoder = recogniser._model.model.decoder  # one that ends every text at once
    with torch.no_grad():
        decoder.layer_norm.bias.copy_(1000 * decoder.embed_tokens.weight[2])
    assert [tuple(words) for words in recogniser.recognise(SIGNALS[:3])] == [("", False)] * 3


@pytest.mark.skipif(not REAL.is_dir(), reason="whisper-tiny.en is not here: it is read from ../shared/data")
def test_a_real_whisper_reads_real_speech() -> None:
    clips = sorted((SHARED / "crema-d" / "flac").glob("1001_*.flac"))
    signals = [soundfile.read(clip, dtype="float32")[0] for clip in clips]
    recogniser = find(str(REAL)).load(CPU)
    together = recogniser.recognise(signals)
    # What SOURCE.md there says that transformers' own pipeline reads.
    assert together[0].text == "Don't forget a jacket!"
    assert together == [recogniser.recognise([signal])[0] for signal in signals]
    assert not any(words.truncated for words in together)


@given(st.integers(1, 5000), st.integers(100, 3000), st.integers(0, 9))
def test_pieces_are_the_signal(length: int, most: int, seed: int) -> None:
    signal = noise(1, seed)[:length]
    found = list(pieces(signal, most))
    assert np.array_equal(np.concatenate(found), signal)
    assert all(0 < len(piece) <= most for piece in found)
    assert all(len(piece) >= most - most // 4 for piece in found[:-1])


def test_a_cut_lies_in_a_pause() -> None:
    signal = noise(10)
    signal[80_000:88_000] = 0  # 5.0 to 5.5 s
    first, *_ = pieces(signal, 6 * 16_000)
    assert 80_000 < len(first) < 88_000


def test_what_is_no_recogniser_is_refused(models: Callable[[str], Path], tmp_path: Path) -> None:
    for name, said in (("wav2vec2-group", "without a CTC head"), ("bert", "a bert model")):
        with pytest.raises(UserError, match=said) as error:
            find(str(save_encoder(name, tmp_path / name)))
        assert len(str(error.value).splitlines()) <= 3
    with pytest.raises(UserError, match="one language"):
        find(str(models("wav2vec2")), language="de")
    with pytest.raises(UserError, match="one language"):
        find(str(models("whisper")), language="de").load(CPU)

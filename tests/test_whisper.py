"""Whisper as an encoder: full and trimmed context, with real weights where they are here."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import SHARED
from test_extract import table
from tiny_models import save

from amber import console
from amber.config_file import load
from amber.console import Console
from amber.corpus import FILE, Corpus
from amber.errors import UserError
from amber.extract import stage
from amber.extract.encoders import find
from amber.features.catalog import find_set
from amber.features.store import feature_sets
from amber.machine import choose
from amber.names import model_name
from amber.train.dataset import find_stores

EMODB, WHISPER = SHARED / "emodb", SHARED / "whisper-tiny.en"
CLIPS = 20


@pytest.mark.slow
@pytest.mark.skipif(
    not (WHISPER.is_dir() and EMODB.is_dir()), reason="whisper-tiny.en and Emo-DB are not here: ../shared/data"
)
def test_real_weights_give_what_transformers_gives_and_trimmed_clips_do_not_see_one_another() -> None:
    from transformers import AutoFeatureExtractor, AutoModel

    paths = sorted((EMODB / "flac").iterdir())
    signals = [soundfile.read(path, dtype="float32")[0] for path in paths[:: len(paths) // CLIPS][:CLIPS]]
    model = AutoModel.from_pretrained(WHISPER).eval().float().get_encoder()
    extractor = AutoFeatureExtractor.from_pretrained(WHISPER)
    pooled = find(str(WHISPER), "speech").load(choose("cpu")).pooled(signals)  # (B, L, D)
    for signal, found in zip(signals, pooled, strict=True):
        features = extractor(signal, sampling_rate=16_000, return_tensors="pt").input_features
        with torch.inference_mode():
            output = model(features, output_hidden_states=True)
        states = torch.cat((*output.hidden_states[:-1], output.last_hidden_state))[:, : -(-len(signal) // 320)]
        expected = states.mean(dim=1).numpy()
        assert (distance(found, expected) < 1e-4).all()
    trimmed = find(str(WHISPER), "speech", margin=1.0).load(choose("cpu"))
    together = trimmed.pooled(signals)
    assert (distance(together, np.concatenate([trimmed.pooled([signal]) for signal in signals])) < 1e-4).all()
    assert (distance(together, pooled) > 1e-3).any()  # it is not full under another name


def distance(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the distance of vectors over the length of what is expected."""
    return np.asarray(np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Whisper in a folder whose name says nothing."""
    return save("whisper", tmp_path_factory.mktemp("models") / "out")


def config(folder: Path, model: Path, *overrides: str) -> list[str]:
    options = ["corpus.dataset=table", f"corpus.root={folder}", f"features.cache={folder / 'cache'}"]
    return [*options, f"features.speech={model}", *overrides]


def test_contexts_live_side_by_side_and_are_found_by_the_model_s_name(tmp_path: Path, model: Path) -> None:
    table(tmp_path)
    wanted = {None: ["context=full"], 0.5: ["context=trimmed", "margin=0.5"]}
    for overrides in wanted.values():
        options = load(None, config(tmp_path, model, *(f"features.{value}" for value in overrides)))
        stage.run(options, Console(quiet=True))
    stores = [s for s in feature_sets(tmp_path / "cache", "table") if s.spec.modality == "speech"]
    assert {store.spec.margin for store in stores} == set(wanted)
    assert {store.spec.encoder for store in stores} == {"whisper-32x2"}
    corpus = Corpus.read(tmp_path / "cache" / "table" / FILE)
    for asked in (str(model), "whisper-32x2"):
        with pytest.raises(UserError, match="several speech sets"):
            find_set(tmp_path / "cache", corpus, "speech", asked)
    for store in stores:
        assert find_set(tmp_path / "cache", corpus, "speech", store.location.name).spec == store.spec
        context = wanted[store.spec.margin]
        options = load(None, config(tmp_path, model, *(f"features.{value}" for value in context))).features
        assert find_stores(options, corpus, ["speech"])["speech"].spec == store.spec


def test_a_set_without_a_margin_keeps_the_name_that_it_had() -> None:
    from test_store import spec

    assert "margin" not in spec().model_dump()
    assert spec(margin=1.0).key != spec().key
    assert spec(margin=1.0) == type(spec())(**spec(margin=1.0).model_dump())


def test_progress_has_the_rate(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "PLAIN_INTERVAL", 0.0)
    table(tmp_path, rows=8)
    stage.run(load(None, config(tmp_path, model)), Console())
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("speech: ")]
    assert any(re.fullmatch(r"speech: \d/8  \d+ s(, .+ left)?  [\d.e+]+ x realtime", line) for line in lines), lines
    assert re.fullmatch(r"speech: 8/8  \d+ s  [\d.e+]+ x realtime", lines[-1])


@pytest.mark.parametrize(
    ("folder", "config", "name"),
    [
        ("whisper-tiny.en", '{"_name_or_path": "openai/whisper-small", "model_type": "whisper"}', "whisper-tiny.en"),
        ("e5-base", '{"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12}', "e5-base"),
        ("out", '{"_name_or_path": "openai/whisper-tiny.en", "model_type": "whisper"}', "whisper-tiny.en"),
        ("checkpoint-500", '{"_name_or_path": "/home/me/out", "model_type": "wavlm"}', "wavlm"),
        ("a" * 40, '{"model_type": "whisper", "d_model": 384, "encoder_layers": 4}', "whisper-384x4"),
        ("model_final", "[]", "model_final"),
        ("out2", "{", "out2"),
        ("模型", '{"model_type": "bert"}', "模型"),
    ],
)
def test_a_folder_is_called_by_what_its_model_is(tmp_path: Path, folder: str, config: str, name: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "config.json").write_text(config)
    assert model_name(str(tmp_path / folder)) == name
    assert model_name(f"somebody/{folder}") == f"somebody/{folder}"  # on the hub

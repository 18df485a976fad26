"""emotion2vec, through a tiny random model made by the package funasr; skipped where it is not installed."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amber.errors import UserError
from amber.extract.encoders import emotion2vec, find
from amber.machine import choose

HAS_FUNASR = importlib.util.find_spec("funasr") is not None
needs_funasr = pytest.mark.skipif(not HAS_FUNASR, reason="the extra emotion2vec (the package funasr) is not installed")

# The keys of the published models' configuration that the package reads, with tiny sizes.
CONFIG = """
model: Emotion2vec
model_conf:
    depth: 2
    start_drop_path_rate: 0.0
    end_drop_path_rate: 0.0
    num_heads: 4
    norm_eps: 1e-05
    norm_affine: true
    encoder_dropout: 0.1
    post_mlp_drop: 0.1
    attention_dropout: 0.1
    activation_dropout: 0.0
    dropout_input: 0.0
    layerdrop: 0.05
    embed_dim: 16
    mlp_ratio: 2.0
    layer_norm_first: false
    end_of_block_targets: false
    clone_batch: 8
    normalize: true
    modalities:
        audio:
            type: AUDIO
            prenet_depth: 1
            prenet_layerdrop: 0.05
            prenet_dropout: 0.1
            start_drop_path_rate: 0.0
            end_drop_path_rate: 0.0
            num_extra_tokens: 3
            init_extra_token_zero: false
            use_alibi_encoder: true
            alibi_scale: 1.0
            learned_alibi: false
            learned_alibi_scale: true
            learned_alibi_scale_per_head: true
            learned_alibi_scale_per_layer: false
            num_alibi_heads: 4
            model_depth: 2
            local_grad_mult: 1.0
            extractor_mode: layer_norm
            feature_encoder_spec: '[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8,2,2)] + [(8,2,2)]'
            conv_pos_width: 15
            conv_pos_groups: 2
            conv_pos_depth: 3
            conv_pos_pre_ln: false
            decoder: {decoder_dim: 8, decoder_groups: 2, decoder_kernel: 3, decoder_layers: 1}
"""


def package_model(config: str) -> Any:
    """Return a random model as the package itself makes it from a configuration."""
    made = emotion2vec._package()
    conf = __import__("omegaconf").OmegaConf.create(config).model_conf
    conf.modalities.audio.decoder = None
    torch.manual_seed(0)
    return made.Emotion2vec(model_conf=conf).eval()


def folder_of(place: Path, config: str = CONFIG) -> tuple[Path, Any]:
    place.mkdir()
    (place / "config.yaml").write_text(config)
    model = package_model(config)
    extra = {"proj.weight": torch.zeros(9, 16), "modality_encoders.AUDIO.decoder.proj.bias": torch.zeros(8)}
    torch.save({"model": {**model.state_dict(), **extra}}, place / "model.pt")
    return place, model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return folder_of(tmp_path_factory.mktemp("models") / "emotion2vec_tiny")


def noise(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.01, 0.1, size=int(seconds * 16_000)).astype(np.float32)


SIGNALS = [
    noise(0.3, 1),
    noise(2.0, 2),
    noise(1.234, 3) * np.float32(0.01),
]  # the last so quiet that the norm's eps counts


def own(model: Any, signal: np.ndarray) -> np.ndarray:
    """Return the frames (T, D) that the package's own inference takes the mean of."""
    source = torch.from_numpy(signal)
    with torch.inference_mode():
        source = torch.nn.functional.layer_norm(source, source.shape)
        frames: np.ndarray = model.extract_features(source[None], padding_mask=None)["x"][0].numpy()
    return frames


@needs_funasr
@pytest.mark.parametrize(
    "change",
    [("", ""), ("layer_norm_first: false", "layer_norm_first: true"), ("mode: layer_norm", "mode: default")],
    ids=["published", "norm-first", "group-norm"],
)
def test_features_are_the_package_s_own_whatever_the_batch(change: tuple[str, str], tmp_path: Path) -> None:
    folder, model = folder_of(tmp_path / "emotion2vec_tiny", CONFIG.replace(*change))
    info = find(str(folder), "speech")
    assert (info.name, info.layers, info.dim) == ("emotion2vec_tiny", (0, 1, 2, 3), 16)
    encoder = info.load(choose("cpu"))
    pooled, frames = encoder.pooled(SIGNALS), encoder.frames(SIGNALS)
    for i, signal in enumerate(SIGNALS):
        alone = encoder.frames([signal])[0]
        np.testing.assert_allclose(frames[i], alone, atol=1e-4)
        np.testing.assert_allclose(pooled[i], frames[i].mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(alone[:, -1], own(model, signal), atol=1e-4)
    apart = np.abs(np.diff(frames[1], axis=1)).mean(axis=(0, 2))
    assert (apart > 1e-2).all()  # no layer is another's copy


@needs_funasr
def test_every_layer_is_the_output_of_its_block(tiny: tuple[Path, Any]) -> None:
    folder, model = tiny
    seen: list[np.ndarray] = []
    blocks = [*model.modality_encoders["AUDIO"].context_encoder.blocks, *model.blocks]
    handles = [b.register_forward_hook(lambda m, i, o: seen.append(o[0][0, 3:].numpy())) for b in blocks]
    own(model, SIGNALS[0])
    for handle in handles:
        handle.remove()
    frames = find(str(folder), "speech", "1,2,3").load(choose("cpu")).frames([SIGNALS[0]])[0]
    np.testing.assert_allclose(frames, np.stack(seen, axis=1), atol=1e-4)


@needs_funasr
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("blocks.1.mlp.fc1.weight"), "its weights lack blocks.1.mlp.fc1.weight"),
        (lambda state: state.update({"blocks.2.x": torch.zeros(1)}), r"do not fit config.yaml: it has no blocks.2.x"),
        (lambda state: state.update({"blocks.1.norm1.bias": torch.zeros(3)}), "can't be loaded"),
        (lambda state: state.update({"cfg": Path("x")}), "can't be loaded"),  # an object, which would need code
    ],
)
def test_weights_that_do_not_fit_are_refused(tiny: tuple[Path, Any], change: Any, says: str, tmp_path: Path) -> None:
    state = dict(tiny[1].state_dict())
    change(state)
    (tmp_path / "config.yaml").write_text(CONFIG)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UserError, match=says) as error:
        find(str(tmp_path), "speech").load(choose("cpu"))
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("[(8, 10, 5)] +", '__import__("os").system("false") or'), "is not a list of convolutions"),
        (("norm_eps: 1e-05", "norm_eps: ${oc.env:HOME}"), "is not a plain value"),
        (("embed_dim: 16", "other: 16"), "no 'embed_dim'"),
        (("embed_dim: 16", "embed_dim: 1000000000"), "hidden_size 1000000000"),
        ((CONFIG, "model: x"), "no 'model_conf'"),
        ((CONFIG, "- x"), "not the configuration of an emotion2vec model"),
    ],
)
def test_a_configuration_that_is_not_one(
    change: tuple[str, str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emotion2vec, "_need_package", lambda name: None)
    (tmp_path / "config.yaml").write_text(CONFIG.replace(*change))
    (tmp_path / "model.pt").touch()
    with pytest.raises(UserError, match=says.replace("{", r"\{")) as error:
        find(str(tmp_path), "speech")
    assert len(str(error.value).splitlines()) == 1


def test_a_missing_package_and_a_wrong_folder_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "emotion2vec_base"
    folder.mkdir()
    monkeypatch.setitem(sys.modules, "funasr", None)
    with pytest.raises(UserError, match=r"needs the package funasr: pip install '\.\[emotion2vec\]'"):
        find(str(folder), "speech")
    monkeypatch.setattr(emotion2vec, "_need_package", lambda name: None)
    with pytest.raises(UserError, match=r"no config\.yaml and no model\.pt"):
        find(str(folder), "speech")


def test_a_hub_name_that_can_t_be_reached_is_said_as_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emotion2vec, "_need_package", lambda name: None)
    with pytest.raises(UserError, match="can't be had from the model hub") as error:
        find("nobody/emotion2vec-that-is-not-there", "speech")
    assert len(str(error.value).splitlines()) == 3


@needs_funasr
def test_a_model_in_the_hub_s_cache_needs_no_network(
    tiny: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, repository = "0123456789abcdef" * 2 + "01234567", tmp_path / "models--lab--emotion2vec_tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(tiny[0], repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    info = find("lab/emotion2vec_tiny", "speech", "last")
    assert (info.name, info.revision, info.layers) == ("lab/emotion2vec_tiny", commit, (3,))
    expected = find(str(tiny[0]), "speech", "last").load(choose("cpu")).pooled(SIGNALS)
    np.testing.assert_array_equal(info.load(choose("cpu")).pooled(SIGNALS), expected)

"""`amber export --onnx`: the graph gives what the model in torch gives, on the features as the cache stores them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from conftest import Amber, demo_config, flip

from amber.console import Console
from amber.errors import UserError
from amber.features.store import feature_sets
from amber.predict import export as exporting
from amber.predict import model, onnx
from amber.train import stage as training
from amber.train.saved import SavedCandidate, SavedModel

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

QUIET = Console(quiet=True)
# Every kind of candidate: linear and not, one layer, their mean, side by side, learned, a gated mixture, and one
# that reads one modality.
CANDIDATES = """train.candidates=[
    {layer: last, hidden: 0, weight_decay: 0.01}, {layer: mean, hidden: 8, weight_decay: 0.01},
    {layer: all, mixture: true, weight_decay: 0.01}, {layer: learned, hidden: 4, mixture: true, weight_decay: 0.01},
    {layer: last, weight_decay: 0.01, reads: text}]"""


RIVALS = "train.candidates=[{layer: all, mixture: true}]"  # what is no head can't learn layers
TRAINED = ("ce", "amber2", "speech", "pool")


@pytest.fixture(scope="module")
def runs(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    shared = ("train.epochs=30", "train.seeds=[0]", "train.folds=[1, 2]", "labels.subset=any", f"train.runs={folder}")
    for name, candidates, variants in (
        ("heads", CANDIDATES, ",".join(TRAINED)),
        ("rivals", RIVALS, "logistic, mlp, ridge, prior"),
    ):
        overrides = (*shared, f"experiment={name}", candidates, f"train.variants=[{variants}]")
        training.run(demo_config(demo_cache, *overrides), None, QUIET)
    return folder


@pytest.mark.parametrize("variant", ["ce", "amber2", "speech", "pool", "logistic", "mlp", "ridge"])
def test_the_graph_gives_what_torch_gives(runs: Path, demo_cache: Path, tmp_path: Path, variant: str) -> None:
    target = tmp_path / "bundle"
    experiment = runs / ("heads" if variant in TRAINED else "rivals")
    exporting.run(experiment, variant, target, exporting.Options(onnx=True), QUIET)
    loaded = model.load(target)
    session = onnxruntime.InferenceSession(target / "heads.onnx", providers=["CPUExecutionProvider"])
    stored = {
        m: np.asarray(zarr.open_group(one, mode="r")["pooled"])
        for m in loaded.modalities
        for one in demo_cache.glob(f"demo/{m}-*.zarr")
    }
    expected = loaded.predict(stored)
    names = [one.name for one in session.get_outputs()]
    given = {f"{modality}_features": x.astype(np.float32) for modality, x in stored.items()}
    read = {one.name: given[one.name] for one in session.get_inputs()}
    found = dict(zip(names, session.run(names, read), strict=True))
    assert found.keys() == expected.keys()
    for head, p in expected.items():
        assert np.ptp(p, axis=0).max() > 1e-3  # the features matter
        np.testing.assert_allclose(found[head], p, atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(loaded.classes)


def test_frames_kernels_and_a_missing_package_are_refused(
    demo_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = next(store.spec for store in feature_sets(demo_cache, "demo") if store.spec.modality == "speech")
    frames = {"speech": speech.model_copy(update={"level": "frames"})}
    kernel = SavedCandidate({}, {}, {}, hidden=0, mixture=False, reads=None, state={"support": torch.zeros(2, 3)})
    for specs, kind, candidates, says in (
        (frames, "heads", (), "reads frames of speech; only pooled features can be exported"),
        ({"speech": speech}, "svm", (kernel,), "svm has no ONNX graph"),
    ):
        made = SavedModel(("a", "b"), specs, kind, ("speech",), "speech", 0.0, candidates)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=says):
            onnx.write(tmp_path / "heads.onnx", [made])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="needs the package onnx"):
        onnx.write(tmp_path / "heads.onnx", [made])
    assert not list(tmp_path.iterdir())


def test_what_has_no_graph_is_refused_and_a_changed_one_too(runs: Path, amber: Amber, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="prior has no ONNX graph"):
        exporting.run(runs / "rivals", "prior", tmp_path / "bundle", exporting.Options(onnx=True), QUIET)
    assert not list(tmp_path.iterdir())
    target = tmp_path / "bundle"
    amber("export", "--runs", runs / "heads", "--variant", "ce", "--to", target, "--onnx")
    flip(target / "heads.onnx", 100)
    with pytest.raises(UserError, match=r"heads\.onnx"):
        model.load(target)

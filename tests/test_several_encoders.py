"""Several speech encoders: one pass over the audio, the sets that each alone would make, one report on their layers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import contents, demo_config
from tiny_models import save

from amber import encoder_table
from amber.cli import main
from amber.console import Console
from amber.errors import UserError
from amber.extract import audio, stage
from amber.extract.engine import Engine
from amber.extract.inputs import Kept
from amber.features import spec
from amber.features.store import FeatureStore

QUIET = Console(quiet=True)
ROWS = 40


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Encoders of one layer and of several, with units of different sizes."""
    root = tmp_path_factory.mktemp("models")
    return ["logmel", str(save("wav2vec2-group", root / "tiny-wav2vec2"))]


@pytest.fixture(scope="module", autouse=True)
def small_units() -> Iterator[None]:
    """Let 40 utterances make several units, of sizes that differ between the encoders."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("UNIT_BYTES", 4000), ("UNIT_ROWS", (8, 64)), ("UNITS_WANTED", 1)):
            patch.setattr(spec, name, value)
        yield


@pytest.fixture(scope="module")
def together(models: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that was filled in one pass; every recording was decoded once."""
    cache, decoded = tmp_path_factory.mktemp("together"), Counter[str]()
    decode = audio.read

    def count(path: Path, *of: Any) -> Any:
        decoded[path.name] += 1
        return decode(path, *of)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio, "read", count)
        outcomes = stage.run(configured(cache, models), QUIET)
    assert [outcome.modality for outcome in outcomes] == ["speech", "speech", "text"]
    assert outcomes[0].units != outcomes[1].units > 1
    assert decoded.total() == len(decoded) == ROWS
    return cache


def configured(cache: Path, models: list[str], *more: str) -> Any:
    return demo_config(cache, f"features.encoders={json.dumps(models)}", *more, size=ROWS)


def sets_in(cache: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(cache / "demo").items() if name.startswith("speech-")}


def test_the_sets_are_those_that_each_encoder_makes_alone(models: list[str], together: Path, tmp_path: Path) -> None:
    for model in models:
        stage.run(demo_config(tmp_path, f"features.speech={model}", size=ROWS), QUIET)
    alone, found = sets_in(tmp_path), sets_in(together)
    assert alone.keys() == found.keys()
    assert [name for name in alone if alone[name] != found[name]] == []


def test_only_what_is_missing_is_done(models: list[str], together: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sets_in(together)
    assert [one.units_done_now for one in stage.run(configured(together, models), QUIET)] == [0, 0, 0]
    stores = [FeatureStore.open(path) for path in sorted((together / "demo").glob("speech-*"))]
    stores[0].take_back([0])
    stores[1].take_back([0, 1])
    read = Counter[str]()
    decode = audio.read
    monkeypatch.setattr(audio, "read", lambda path, *of: (read.update([path.name]), decode(path, *of))[1])
    outcomes = stage.run(configured(together, models), QUIET)
    assert sorted(one.units_done_now for one in outcomes) == [0, 1, 2]
    rows = {*stores[0].unit(0), *stores[1].unit(0), *stores[1].unit(1)}
    assert read.total() == len(read) == len(rows)
    assert sets_in(together) == before


def test_batches_are_fitted_to_what_all_loaded_models_leave(
    models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    make, fit = Engine.__init__, Engine.fit_budget

    def noted_make(self: Engine, *arguments: Any) -> None:
        make(self, *arguments)
        events.append("loaded")

    def noted_fit(self: Engine) -> None:
        events.append("fitted")
        fit(self)

    monkeypatch.setattr(Engine, "__init__", noted_make)
    monkeypatch.setattr(Engine, "fit_budget", noted_fit)
    stage.run(configured(tmp_path, models, "features.text=none"), QUIET)
    assert events == ["loaded", "loaded", "fitted", "fitted"]


def test_what_one_encoder_does_to_a_signal_no_other_sees() -> None:
    kept, calls = Kept(3), []

    def decode() -> np.ndarray:
        calls.append(1)
        return np.ones(4, dtype=np.float32)

    for _ in range(3):
        signal = kept.read(decode)
        assert signal.tolist() == [1, 1, 1, 1]
        signal *= 2
    assert calls == [1]
    assert kept._signal is None  # the last reader takes it away


def test_one_command_reports_on_every_layer_of_every_encoder(
    models: list[str], together: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = tmp_path / "encoders.yaml"
    pipeline.write_text(
        f"experiment: which\ncorpus: {{options: {{size: {ROWS}}}}}\n"
        f"features: {{cache: {together}, encoders: {json.dumps(models)}}}\n"
        "train: {variants: [speech], seeds: [0], folds: [1], steps: 20, "
        "candidates: [{layer: last, weight_decay: 0.1}], "
        f"runs: {tmp_path / 'runs'}}}\n"
    )
    with pytest.raises(SystemExit) as end:
        main(["-q", "run", str(pipeline)])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    names = ("speech", "speech-layer0", "speech-layer1", "speech-layer2", "speech-learned")
    assert all(f"which-tiny-wav2vec2/{name} " in shown for name in names)
    assert "which-logmel/speech " in shown
    assert "which-logmel/speech-" not in shown  # it has one layer
    assert (tmp_path / "runs" / "which-logmel+which-tiny-wav2vec2" / "report.html").is_file()
    config = json.loads((tmp_path / "runs/which-tiny-wav2vec2/speech-layer1/fold1-seed0/model/config.json").read_text())
    assert {tuple(one["layer"].items()) for one in config["candidates"]} == {(("speech", 1),)}


def test_experiments_of_two_versions_of_an_encoder_have_names_of_their_own(models: list[str], together: Path) -> None:
    one = FeatureStore.open(next(iter((together / "demo").glob("speech-tiny-wav2vec2*")))).spec
    other = one.model_copy(update={"revision": "other"})
    found = encoder_table.experiments(configured(together, models), "a", [one, other])
    assert [made.experiment for made in found] == [f"a-tiny-wav2vec2-{one.key}", f"a-tiny-wav2vec2-{other.key}"]
    assert [made.features.speech for made in found] == [one.name, other.name]


def test_an_encoder_named_twice_is_refused(models: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="extracted twice"):
        stage.run(configured(tmp_path, ["logmel", "logmel"]), QUIET)


def test_a_plan_needs_no_hub(models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = configured(tmp_path, ["logmel", "somebody/some-model"], "features.text=somebody/other")
    lines = stage.plan(config)
    assert lines[1].startswith("  speech: logmel, 1 layer of 240, pooled, ")
    assert lines[2].startswith("  speech: somebody/some-model, not checked: it is not here (reason: ")
    assert lines[3].startswith("  text: somebody/other, not checked")
    with pytest.raises(UserError, match="can't be had from the model hub"):
        stage.run(config, QUIET)
    assert not any(tmp_path.iterdir())


def test_a_plan_says_of_each_encoder_its_shape_and_whether_it_is_cached(models: list[str], together: Path) -> None:
    lines = stage.plan(configured(together, models, "features.text=none", "features.layers=last"))
    cached, new = lines[1:]  # the one layer of logmel is its last
    logmel, other = sorted((together / "demo").glob("speech-*"))
    of = FeatureStore.open(logmel).spec
    assert cached.startswith(f"  speech: logmel, 1 layer of {of.dim}, pooled, ")
    assert cached.endswith(f": cached, {of.units} of {of.units} units cached")
    assert new.startswith(f"  speech: tiny-wav2vec2, 1 layer of {FeatureStore.open(other).spec.dim}, pooled, ")
    assert ": new, 0 of " in new

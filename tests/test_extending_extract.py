"""The examples of docs/extending.md for a corpus and an encoder, run as they stand there on three recordings."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from amber.config_file import load
from amber.console import Console
from amber.extract import checks, corpora, encoders, stage
from amber.features.store import FeatureStore, feature_sets

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
LEVELS = {"u1": 0.1, "u2": 0.2, "u3": 0.4}  # amplitude by recording


def example(heading: str) -> tuple[str, str, str]:
    """Return the code below a heading, and the name and the module that its line of registration has."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    ((name, module),) = re.findall(r'`"(\w+)": "\.(\w+)"`', section)
    return code, name, module


@pytest.fixture
def extended(monkeypatch: pytest.MonkeyPatch) -> None:
    """An amber with both examples, each in its package and registered by its one line."""
    for heading, package, registry in (
        ("A corpus", corpora, corpora.LOADERS),
        ("An encoder", encoders, encoders.ENCODERS),
    ):
        code, name, module = example(heading)
        lines = [line for line in code.splitlines() if line.strip()]
        assert len(lines) < 30
        spec = importlib.util.spec_from_loader(f"{package.__name__}.{module}", loader=None)
        assert spec
        made = importlib.util.module_from_spec(spec)
        exec(compile(code, f"{module}.py", "exec"), made.__dict__)  # noqa: S102 (the page is ours)
        monkeypatch.setitem(sys.modules, spec.name, made)
        monkeypatch.setitem(registry, name, f".{module}")


def extract(folder: Path, level: str) -> FeatureStore:
    """Write the corpus, extract it and return the one feature set."""
    (folder / "audio").mkdir()
    for uid, amplitude in LEVELS.items():
        tone = amplitude * np.sin(2 * np.pi * 200 * np.arange(8_000) / 16_000)
        soundfile.write(folder / "audio" / f"anna_{uid}.wav", tone, 16_000)
    rows = [f"anna_{uid},{rater},{emotion}" for uid in LEVELS for rater, emotion in (("r1", "joy"), ("r2", "calm"))]
    (folder / "votes.csv").write_text("\n".join(["file,rater,emotion", *rows, "torn"]) + "\n")
    options = ["corpus.dataset=moods", f"corpus.root={folder}", "features.speech=energy", f"features.level={level}"]
    (outcome,) = stage.run(load(None, [*options, f"features.cache={folder / 'cache'}"]), Console(quiet=True))
    assert outcome.counts == {"absent": 0, "ok": 3, "failed": 0, "truncated": 0}
    (store,) = feature_sets(folder / "cache", "moods")
    return store


@pytest.mark.usefixtures("extended")
def test_the_corpus_and_the_encoder_of_the_page_are_extracted(tmp_path: Path) -> None:
    store = extract(tmp_path, "pooled")
    assert store.ids() == ("anna_u1", "anna_u2", "anna_u3")
    assert store.spec.encoder == "energy"
    energy = store.layer(0)[:, 0].astype(float)
    np.testing.assert_allclose(np.diff(energy), 2 * np.log(2), atol=0.01)  # twice the amplitude
    ledger = json.loads((tmp_path / "cache" / "moods" / "ledger.json").read_text())
    assert ledger["entries"]["failed"] == ["votes.csv:8"]
    report = checks.run(corpora.Source("moods", "moods", tmp_path / "cache" / "moods", tmp_path))
    assert report.passed
    assert "3 audio files sampled: 16 kHz mono" in report.text()


@pytest.mark.usefixtures("extended")
def test_the_encoder_of_the_page_has_frames(tmp_path: Path) -> None:
    store = extract(tmp_path, "frames")
    assert [len(frames) for frames in store.read_unit(0).split()] == [50, 50, 50]  # half a second
    assert store.spec.hop == 160

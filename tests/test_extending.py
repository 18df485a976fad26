"""The examples of docs/extending.md, as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amber.config import EvaluateOptions
from amber.console import Console
from amber.evaluate import metrics, strata
from amber.evaluate.analysis import analyse
from amber.evaluate.experiment import Experiment, FinishedRun, UtteranceInfo
from amber.evaluate.report import page, tables, text
from amber.evaluate.results import MetricsFile, Results

DOCS = Path(__file__).parents[1] / "docs"


def example(heading: str) -> dict[str, Any]:
    """Run the code block below a heading; return the names that it defines."""
    written = (DOCS / "extending.md").read_text().partition(f"## {heading}\n")[2]
    (code,) = re.findall(r"```python\n(.*?)```", written, re.DOTALL)[:1]
    assert len(code.splitlines()) < 30
    names: dict[str, Any] = {}
    exec(compile(code, heading, "exec"), names)  # noqa: S102
    return names


def experiment() -> Experiment:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(5, [0.4, 0.3, 0.2, 0.1], size=200).astype(float)
    p = {name: rng.dirichlet(np.ones(4), size=(2, 200)) for name in ("ce", "soft")}
    shared = {
        "dataset": {"name": "invented", "release": "", "synthetic": True},
        "labels": {**dict.fromkeys(("preset", "raters", "multiple", "other", "subset"), "any"), "classes": {},
                   "min_votes": 1, "smoothing": 0.0},
        "splits": {"scheme": "k-fold"},
    }  # fmt: skip
    runs = [FinishedRun(Path("nowhere"), "key", {**shared, "fold": 1, "seed": s}, v) for v in p for s in (0, 1)]
    return Experiment(
        name="invented",
        runs=runs,
        classes=("a", "b", "c", "d"),
        ids=np.array([f"u{i:03d}" for i in range(200)], dtype=object),
        speakers=np.array([f"s{i % 8}" for i in range(200)], dtype=object),
        counts=counts,
        folds=np.ones(200, dtype=np.int64),
        truth=None,
        priors={},
        seeds={"ce": [0, 1], "soft": [0, 1]},
        heads={name: {"student": of} for name, of in p.items()},
        weights={"ce": {}, "soft": {}},
        info=UtteranceInfo.unknown(200),
    )


def evaluated(of: Experiment, monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[Results, str]:
    """Return results and report; without runs on disk there are no learning curves."""
    monkeypatch.setattr(FinishedRun, "checks", lambda run: [])
    levels = strata.divide(of)
    results = analyse(of, levels, EvaluateOptions(resamples=200), Console(quiet=True))
    return results, page.render(of, levels, results, folder)


def test_a_metric_is_added_in_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, example("A metric")["METRIC"]))
    of = experiment()
    results, report = evaluated(of, monkeypatch, tmp_path)
    expected = np.minimum(of.y, of.students("soft")).sum(axis=2).mean()
    assert results.summary["soft"]["overlap"].mean == pytest.approx(expected)
    assert results.summary["soft"]["overlap"].ci is not None
    assert results.raters.figures["overlap"].mean < 1
    assert results.oracle.figures["overlap"].mean > expected
    assert "Overlap ↑" in tables.markdown(results, []).splitlines()[0]
    assert "Overlap ↑" in report
    stored = results.model_dump(mode="json", exclude_unset=True)
    assert stored["metrics"]["overlap"]["higher_is_better"] is True
    compared = [c for c in results.versus.comparisons if c.metric == "overlap"]
    assert {c.level for c in compared} >= {"all", "low", "mid"}
    assert all(c.effect is not None for c in compared)
    assert any("in Overlap" in line for line in text.not_supported(results))


def test_a_stratum_is_added_in_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(strata, "STRATA", (*strata.STRATA, example("A stratum")["STRATUM"]))
    of = experiment()
    results, report = evaluated(of, monkeypatch, tmp_path)
    frequent = results.strata["prevalence"]["frequent class"]
    classes = of.y.argmax(axis=1)
    assert frequent.n == np.bincount(classes).max()
    assert frequent.n + results.strata["prevalence"]["other class"].n == 200
    assert frequent.variants["soft"]["bc"].ci is not None
    assert "frequent class" in tables.markdown(results, [])
    assert "Whether the raters&#39; class is the most frequent." in report
    assert 'id="stratum-prevalence"' in report


def test_the_example_of_metrics_json_is_of_its_schema(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The part that docs/formats.md shows replaces that of results, which must then still be valid."""
    (block,) = re.findall(
        r"^    (\{\"schema\".*?)^\(cut short\)", (DOCS / "formats.md").read_text(), re.DOTALL | re.MULTILINE
    )
    shown = json.loads(block)
    results, _ = evaluated(experiment(), monkeypatch, tmp_path)
    stored = results.model_dump(mode="json", exclude_unset=True)
    rest = {"key": "", "amber": "", "files": {}, "digest": ""}
    assert set(shown) <= set(MetricsFile.model_fields) | {"schema"}
    found = MetricsFile.model_validate({**stored, **rest, **shown})
    assert set(shown["versus"]["comparisons"][0]) == set(stored["versus"]["comparisons"][0])
    assert found.summary["soft"]["bc"].ci == (0.8343, 0.8549)

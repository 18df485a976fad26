"""Evaluation from stored predictions alone: figures recomputed from outside, runs that can't be compared, the page."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ONE, Amber, demo_config, vouch
from sklearn import metrics as sk

from amber import predictions
from amber.config import EvaluateOptions
from amber.console import Console
from amber.errors import UserError
from amber.evaluate import stage
from amber.evaluate.ensemble import of_variants
from amber.evaluate.experiment import OF_VARIANTS
from amber.evaluate.report import tables, text
from amber.evaluate.report.latex import latex as in_latex
from amber.evaluate.results import Dataset
from amber.opinion_pool import fit_weights
from amber.train import stage as training

QUIET = Console(quiet=True)
OPTIONS = EvaluateOptions(resamples=500)


@pytest.fixture(scope="module")
def experiment(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    # What calibration adds is added by the tests that are about it.
    quick = ("train.epochs=2", ONE, "train.seeds=[0, 1]", "train.calibrate=false")
    overrides = (*quick, "labels.subset=any", f"train.runs={runs}")
    training.run(demo_config(demo_cache, *overrides), None, QUIET)
    return runs / "demo"


@pytest.fixture
def copy(experiment: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(experiment, tmp_path / "demo"))


def test_figures_recomputed_from_outside(copy: Path) -> None:
    found = stage.run([copy], OPTIONS, QUIET).metrics
    written = json.loads((copy / "metrics.json").read_text())
    assert written == json.loads(json.dumps(found))
    for variant in ("ce", "soft", "amber2"):
        by_seed = []
        for seed in (0, 1):
            frame = pq.ParquetDataset(sorted(copy.glob(f"{variant}/fold*-seed{seed}/predictions.parquet"))).read()
            rows = [r for r in frame.to_pylist() if r["part"] == "test" and r["head"] == "student"]
            assert len({r["id"] for r in rows}) == len(rows) == 100
            n, p = (np.array([[r[f"{k}_{c}"] for c in found["classes"]] for r in rows]) for k in "np")
            y = n / n.sum(axis=1, keepdims=True)
            truth, pred = np.argmax(y, axis=1), np.argmax(p, axis=1)
            bc = np.sqrt(np.array(y) * np.array(p)).sum(axis=1).mean()
            by_seed.append([bc, sk.accuracy_score(truth, pred), sk.f1_score(truth, pred, average="weighted")])
        for name, values in zip(("bc", "accuracy", "f1_weighted"), np.transpose(by_seed), strict=True):
            assert found["summary"][variant][name]["mean"] == pytest.approx(values.mean(), abs=1e-9)
            assert found["summary"][variant][name]["std"] == pytest.approx(values.std(ddof=1), abs=1e-9)
            low, high = found["summary"][variant][name]["ci"]
            assert low <= values.mean() <= high
    assert sum(level["n"] for level in found["strata"]["ambiguity"].values()) == 100
    assert sum(level["n"] for level in found["strata"]["agreement"].values()) == 100
    assert set(found["ensembles"]) == {"ce ensemble", "soft ensemble", "amber2 ensemble", OF_VARIANTS}
    assert set(found["truth"]) == {"ce", "soft", "amber2", *found["ensembles"]}


def test_evaluated_before_is_not_evaluated_again_unless_something_changed(copy: Path) -> None:
    stage.run([copy], OPTIONS, QUIET)
    before = (copy / "report.html").stat().st_mtime_ns
    stage.run([copy], OPTIONS, QUIET)
    assert (copy / "report.html").stat().st_mtime_ns == before
    stage.run([copy], EvaluateOptions(resamples=400), QUIET)
    assert (copy / "report.html").stat().st_mtime_ns > before
    (copy / "table.md").unlink()
    stage.run([copy], EvaluateOptions(resamples=400), QUIET)
    assert (copy / "table.md").is_file()


def test_an_incomplete_run_does_not_count(copy: Path) -> None:
    for fold in range(1, 6):
        (copy / "soft" / f"fold{fold}-seed1" / "DONE").unlink()
    found = stage.run([copy], OPTIONS, QUIET).metrics
    assert found["summary"]["soft"]["bc"]["std"] is None
    assert found["uncertainty"]["one_seed"] == ["soft"]
    assert list(found["ensembles"]) == ["ce ensemble", "amber2 ensemble", OF_VARIANTS]
    assert "soft: one seed" in (copy / "table.md").read_text()
    assert "soft: one seed" in (copy / "report.html").read_text()
    assert not any("soft" in (c["variant"], c["reference"]) for c in found["versus"]["comparisons"] if c["supported"])
    assert found["summary"]["ce"]["bc"]["std"] > 0


def test_variants_tested_on_different_utterances_are_refused(copy: Path) -> None:
    (copy / "soft" / "fold3-seed1" / "DONE").unlink()
    with pytest.raises(UserError, match=r"not the same test utterances.*soft seed 1 \(80 of 100\)"):
        stage.run([copy], OPTIONS, QUIET)


def test_runs_under_other_labels_are_refused(copy: Path) -> None:
    path = copy / "soft" / "fold3-seed1" / "config.yaml"
    path.write_text(path.read_text().replace("smoothing: 0.0", "smoothing: 0.1"))
    vouch(copy)
    with pytest.raises(UserError, match="differ in labels"):
        stage.run([copy], OPTIONS, QUIET)


def test_no_runs(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        stage.run([tmp_path / "none"], OPTIONS, QUIET)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no finished runs there; there are demo"):
        stage.run([tmp_path / "empty"], OPTIONS, QUIET)


def test_several_experiments_side_by_side(copy: Path, amber: Amber) -> None:
    other = copy.with_name("another")  # its name sorts first: the order typed counts
    shutil.copytree(copy, other)
    both = ("evaluate", "--set", "evaluate.resamples=200", "--runs", copy, other, "--json")
    found = json.loads(amber("-q", *both).stdout)
    assert list(found["summary"]) == [
        "demo/ce",
        "another/ce",
        "demo/soft",
        "another/soft",
        "demo/amber2",
        "another/amber2",
    ]
    assert (copy.parent / "demo+another" / "report.html").is_file()
    asked = {(c["variant"], c["reference"]) for c in found["versus"]["comparisons"]}
    assert asked == {("another/ce", "demo/ce"), ("another/soft", "demo/soft"), ("another/amber2", "demo/amber2")}
    # They are copies: nothing is claimed.
    assert not any(c["supported"] for c in found["versus"]["comparisons"])
    twice = ("evaluate", "--set", "evaluate.resamples=200", "--runs", copy, "--runs", other)
    assert "No difference between variants is supported" in amber("-q", *twice).stdout
    for path in other.glob("*/*/config.yaml"):
        path.write_text(path.read_text().replace("smoothing: 0.0", "smoothing: 0.1"))
    vouch(other)
    apart = amber("-q", *both)
    assert "another differs from demo in labels" in apart.stderr
    assert set(json.loads(apart.stdout)) == {"demo", "another"}
    assert "two experiments are called demo" in amber("-q", "evaluate", "--runs", copy, copy, code=2).stderr
    assert "say which experiment" in amber("-q", "evaluate", code=2).stderr


def test_a_calibrated_copy_of_the_student_stands_beside_it_and_changes_nothing_else(copy: Path) -> None:
    before = stage.run([copy], OPTIONS, QUIET).metrics
    for path in copy.glob("amber2/*/predictions.parquet"):
        found = predictions.read(path)
        student = found.of(head="student")
        cooler = student.p**0.5 / (student.p**0.5).sum(axis=1, keepdims=True)
        head = np.full(len(student), "student-calibrated", dtype=object)
        predictions.write(
            path, predictions.concatenate([found, replace(student, p=cooler, keys={**student.keys, "head": head})])
        )
    vouch(copy)
    after = stage.run([copy], OPTIONS, QUIET).metrics
    assert list(after["calibration"]) == ["ce", "soft", "amber2", "amber2 (calibrated)"]
    assert after["calibration"]["amber2 (calibrated)"]["ece"] != after["calibration"]["amber2"]["ece"]
    del after["calibration"]["amber2 (calibrated)"]
    for found in (before, after):
        for name in ("key", "files", "digest"):  # of what was read and written
            del found[name]
    assert after == before
    assert "amber2 (calibrated)" in (copy / "report.html").read_text()


def test_soft_with_a_temperature_is_a_variant_beside_the_others(copy: Path) -> None:
    for path in copy.glob("soft/*/predictions.parquet"):
        found = predictions.read(path)
        student = found.of(head="student")
        cooler = student.p**0.5 / (student.p**0.5).sum(axis=1, keepdims=True)
        head = np.full(len(student), "student-calibrated", dtype=object)
        scaled = replace(student, p=cooler, keys={**student.keys, "head": head})
        predictions.write(path, predictions.concatenate([found, scaled]))
    vouch(copy)
    found = stage.run([copy], OPTIONS, QUIET).metrics
    assert list(found["summary"]) == ["ce", "soft", "soft + temperature", "amber2"]
    assert list(found["calibration"]) == list(found["summary"])
    soft, scaled = (found["summary"][name] for name in ("soft", "soft + temperature"))
    assert scaled["accuracy"]["mean"] == soft["accuracy"]["mean"]
    assert scaled["nll_per_vote"] != soft["nll_per_vote"]
    assert scaled["nll_per_vote"]["std"] > 0
    asked = {(c["variant"], c["reference"]) for c in found["versus"]["comparisons"]}
    own = {("soft + temperature", "ce"), ("soft + temperature", "soft"), ("amber2", "soft + temperature")}
    assert own <= asked
    assert "soft + temperature ensemble" in found["ensembles"]
    for file in ("table.md", "report.html"):
        assert "soft + temperature" in (copy / file).read_text()


def test_an_ensemble_is_the_mean_over_seeds_and_is_not_tested(copy: Path) -> None:
    found = stage.run([copy], OPTIONS, QUIET).metrics
    by_seed = []
    for seed in (0, 1):
        frame = pq.ParquetDataset(sorted(copy.glob(f"soft/fold*-seed{seed}/predictions.parquet"))).read().to_pylist()
        rows = sorted((r for r in frame if (r["part"], r["head"]) == ("test", "student")), key=lambda r: r["id"])
        n, p = (np.array([[r[f"{k}_{c}"] for c in found["classes"]] for r in rows]) for k in "np")
        y = n / n.sum(axis=1, keepdims=True)
        by_seed.append(p)
    figure = found["ensembles"]["soft ensemble"]["bc"]
    assert figure["mean"] == pytest.approx(np.sqrt(y * np.mean(by_seed, axis=0)).sum(axis=1).mean())
    assert figure["std"] is None
    assert not any("ensemble" in c["variant"] for c in found["versus"]["comparisons"])
    assert "soft ensemble" in (copy / "table.md").read_text()


def test_the_ensemble_of_variants_is_weighted_on_each_fold_s_dev_part(copy: Path) -> None:
    found = stage.run([copy], OPTIONS, QUIET).metrics
    variants = ["ce", "soft", "amber2"]
    hit, weights = [], []
    for fold in range(1, 6):
        rows = {
            variant: [
                pq.read_table(copy / variant / f"fold{fold}-seed{seed}" / predictions.FILE).to_pylist()
                for seed in (0, 1)
            ]
            for variant in variants
        }

        def means(part: str, of: dict = rows) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
            p = []
            for variant in variants:
                by_seed = []
                for file in of[variant]:
                    here = sorted(
                        (r for r in file if (r["part"], r["head"]) == (part, "student")), key=lambda r: r["id"]
                    )
                    by_seed.append([[r[f"p_{c}"] for c in found["classes"]] for r in here])
                p.append(np.mean(by_seed, axis=0))
            return np.log(p), np.array([[r[f"n_{c}"] for c in found["classes"]] for r in here])

        log_p, counts = means("dev")
        weights.append(fit_weights(log_p, counts))
        log_p, counts = means("test")
        pooled = np.exp(np.tensordot(weights[-1], log_p, axes=1))
        pooled /= pooled.sum(axis=1, keepdims=True)
        hit += np.sqrt(pooled * counts / counts.sum(axis=1, keepdims=True)).sum(axis=1).tolist()
    assert found["ensembles"][OF_VARIANTS]["bc"]["mean"] == pytest.approx(np.mean(hit))
    assert list(found["ensemble_weights"].values()) == pytest.approx(np.mean(weights, axis=0).tolist())
    assert "The ensemble of variants pools all of them" in (copy / "table.md").read_text()


def test_there_is_no_ensemble_of_variants_without_dev_utterances_in_common(copy: Path) -> None:
    for path in copy.glob(f"soft/fold2-*/{predictions.FILE}"):
        found = predictions.read(path)
        predictions.write(path, found.where(found.keys["part"] != "dev"))
    vouch(copy)
    metrics = stage.run([copy], OPTIONS, QUIET).metrics
    assert OF_VARIANTS not in metrics["ensembles"]
    assert "ensemble_weights" not in metrics
    many = {f"v{k}": np.full((4, 3), 1 / 3) for k in range(51)}
    assert "50 are the most" in of_variants([], many, np.ones(4, dtype=np.int64))[1]


def test_the_oracle_and_raters_stand_below_the_variants(copy: Path) -> None:
    evaluation = stage.run([copy], OPTIONS, QUIET)
    found = evaluation.metrics
    assert found["oracle"]["n"] == found["raters"]["n"] + found["raters"]["left_out"] == 100
    names = [row[0] for row in tables.references(evaluation.results)]
    assert names == ["uniform", "prior", "majority", "raters against raters", "oracle", "best answer"]
    assert found["oracle"]["best"]["bc"]["mean"] > found["oracle"]["figures"]["bc"]["mean"]
    assert abs(found["oracle"]["figures"]["brier_corrected"]["mean"]) < 0.03  # of the truth it is 0
    for levels in found["strata"].values():
        assert sum(level["oracle"]["n"] for level in levels.values() if level["n"]) == 100
    for file in ("table.md", "table.tex", "report.html"):
        written = (copy / file).read_text()
        assert "raters against raters" in written
        assert "oracle" in written
        assert "ceiling" not in written


def test_the_paper_s_figures_stand_beside_ours_on_its_corpora_and_never_beside_synthetic_data(copy: Path) -> None:
    results = stage.run([copy], OPTIONS, QUIET).results
    assert results
    for synthetic in (True, False):
        ours = results.model_copy(update={"dataset": Dataset(name="iemocap", release="", synthetic=synthetic)})
        said = text.caption(ours)
        table, latex = tables.markdown(ours, said), in_latex(ours, said)
        assert ("| AmbER2 (abstract) | 0.830 | 0.670 |  |  |  | 0.683 | 0.675 |  |  |" in table) is not synthetic
        assert ("AmbER2 (abstract) & 0.830 & 0.670" in latex) is not synthetic
        assert any("The paper's class set" in line for line in said) is not synthetic
        assert any("say nothing about real speech" in line for line in said) is synthetic
    assert not set(latex) & set("↑↓±−²%_") - {"%", "_"}
    assert not re.search(r"(?<!\\)[%_&](?! )", latex.partition(r"\caption")[2])
    podcast = results.model_copy(update={"dataset": Dataset(name="msp-podcast", release="1.11", synthetic=False)})
    assert any("MSP-Podcast" in line for line in text.caption(podcast))


def test_votes_that_differ_between_runs_are_refused(copy: Path) -> None:
    path = copy / "soft" / "fold1-seed0" / predictions.FILE
    found = predictions.read(path)
    predictions.write(path, replace(found, counts=found.counts[:, ::-1]))
    vouch(copy)
    with pytest.raises(UserError, match=r"the votes on .* are not those that other runs saw"):
        stage.run([copy], OPTIONS, QUIET)


class Page(html.parser.HTMLParser):
    """Collects what a page would load, and checks that its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith(("data:", "#"))]
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_page_that_loads_nothing_and_says_that_it_is_synthetic(copy: Path) -> None:
    stage.run([copy], OPTIONS, QUIET)
    text = (copy / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.loads == []
    assert page.open == []
    assert "Synthetic data" in text
    assert not re.search(r"\b(nan|inf|None|undefined)\b", text.partition("<script")[0])
    assert "Synthetic data" in (copy / "table.md").read_text()
    assert r"\begin{tabular}" in (copy / "table.tex").read_text()


def test_transcripts_are_shown_as_text_and_never_run(copy: Path, demo_cache: Path, tmp_path: Path) -> None:
    from amber.corpus import FILE, Corpus
    from amber.extract.corpora import demo

    cache = tmp_path / "cache"
    evil = [replace(i.utterance, text="<script>alert(1)</script>") for i in demo.make(100)]
    Corpus.of(evil, name="demo", classes=demo.CLASSES).write(cache / "demo" / FILE)
    for path in copy.glob("*/*/env.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "cache": str(cache)}))
    vouch(copy)
    stage.run([copy], OPTIONS, QUIET)
    text = (copy / "report.html").read_text()
    assert "<script>alert" not in text
    assert "\\u003cscript\\u003ealert" in text


def test_predictions_survive_their_file(tmp_path: Path, experiment: Path) -> None:
    path = experiment / "amber2" / "fold1-seed0" / predictions.FILE
    found = predictions.read(path)
    predictions.write(tmp_path / "p.parquet", found)
    assert pq.read_table(tmp_path / "p.parquet").equals(pq.read_table(path))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="can't be read"):
        predictions.read(tmp_path / "broken.parquet")
    pq.write_table(pq.read_table(path).drop_columns("run"), tmp_path / "lacking.parquet")
    with pytest.raises(UserError, match="lacks run"):
        predictions.read(tmp_path / "lacking.parquet")

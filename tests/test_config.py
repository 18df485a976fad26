"""The configuration: every key has a default, and a mistake is named with its fix."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from amber.cli import main
from amber.config import Config
from amber.config_file import load
from amber.errors import UserError

ROOT = Path(__file__).parents[1]


def write(folder: Path, text: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_may_hold_one_section(tmp_path: Path) -> None:
    config = load(write(tmp_path, "labels: {preset: crema-6}"), ["train.seeds=[4]", "train.lr=1e-4"])
    assert (config.labels.preset, config.train.seeds, config.train.lr) == ("crema-6", [4], 1e-4)
    assert load(write(tmp_path, "")) == load() == Config()


def test_a_dump_reads_back() -> None:
    overrides = ["variants.mine={base: amber2, objective: {divergence: js}}", "grid={objective.rater_weight: [1, 2]}"]
    config = load(None, [*overrides, "train.candidates=[{layer: {text: 1}, mixture: true}, {hidden: 8}]"])
    assert [one.mixture for one in config.train.candidates] == [True, False]
    assert Config.model_validate(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


@pytest.mark.parametrize("path", [ROOT / "pipeline.yaml", *sorted((ROOT / "pipelines").glob("*.yaml"))], ids=str)
def test_the_pipelines_that_ship_are_valid(path: Path) -> None:
    load(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("labels: {presett: x}", "unknown key 'labels.presett'; did you mean 'preset'"),
        ("trian: {}", "unknown key 'trian'; did you mean 'train'"),
        ("variants: {mine: {objectiv: {}}}", "did you mean 'objective'"),
        ("train: {lr: fast}", "train.lr"),
        ("train: {epochs: 0}", "train.epochs"),
        ("train: {lr: 1, lr: 2}", "'lr' is given twice"),
        ("train: [", "not valid YAML in line 1"),
        ("- train", "expected sections"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        load(write(tmp_path, text))
    assert str(error.value).startswith(str(tmp_path))
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.parametrize("override", ["train.lr", "=3", "train..lr=3", "train.lr.x=3", "train.lr=[", "train.lr=fast"])
def test_mistakes_in_an_override(override: str) -> None:
    with pytest.raises(UserError):
        load(None, ["train.lr=0.1", override])


@pytest.mark.parametrize(
    "override",
    [
        "train.seeds=[]",
        "train.variants=[]",
        "train.folds=[]",
        "train.candidates=[]",
        "train.candidates=[{layer: []}]",
        "train.candidates=[{weight_decay: []}]",
        "grid={train.lr: []}",
    ],
)
def test_an_empty_list_that_leaves_nothing_to_do_is_refused(override: str) -> None:
    with pytest.raises(UserError, match="an empty list leaves nothing to do"):
        load(None, [override])


@pytest.mark.parametrize("option", ["--seeds", "--variants", "--folds"])
def test_an_option_that_names_none_is_refused(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "--features", str(tmp_path), option, ""])
    assert end.value.code == 2
    assert "an empty list leaves nothing to do" in capsys.readouterr().err


def test_a_map_changes_a_section_and_replaces_a_value(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "train: {seeds: [7], lr: 0.5}\nlabels: {classes: {a: [x], b: [y]}}\ngrid: {train.lr: [1, 2]}\n",
    )
    made = load(path, ["train={lr: 0.1, steps: 5}", "labels.classes={c: [z]}", "grid={train.steps: [3]}"])
    assert (made.train.seeds, made.train.lr, made.train.steps) == ([7], 0.1, 5)
    assert made.labels.classes == {"c": ["z"]}
    assert made.grid == {"train.steps": [3]}
    assert load(path, ["labels.classes.c=[z]"]).labels.classes == {"a": ["x"], "b": ["y"], "c": ["z"]}


def test_a_map_in_the_place_of_a_section_has_its_mistakes_named() -> None:
    for override, says in (("train={lrr: 1}", "did you mean 'lr'"), ("train=5", "train: "), ("train={lr: [", "--set")):
        with pytest.raises(UserError, match=says):
            load(None, [override])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be read"):
        load(tmp_path / "none.yaml")

"""The configuration reference: `docs/config.md`, `amber config` and `amber variants`."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Amber
from pydantic import BaseModel

from amber import reference
from amber.config import Config

PAGE = Path(__file__).parents[1] / "docs" / "config.md"


def names(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        below = isinstance(kind, type) and issubclass(kind, BaseModel)
        found += names(kind, f"{prefix}{name}.") if below else [f"{prefix}{name}"]  # type: ignore[arg-type]
    return found


def test_the_page_names_every_key_with_its_meaning() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.markdown()
    assert [key.name for key in reference.every_key()] == names(Config)
    for key in reference.every_key():
        assert f"| `{key.name}` |" in PAGE.read_text(encoding="utf-8")
        assert len(key.meaning) > 8


def test_config_prints_a_key_a_section_and_a_hint(amber: Amber) -> None:
    assert amber("config", "train.lr").stdout.splitlines()[0] == "train.lr = 0.002"
    assert amber("config", "objective").stdout.count("read by: train") == 10
    assert "did you mean 'train.lr'" in amber("config", "train.rl", code=2).stderr


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("train.lr", "train.lr = 0.5  ({file})"),
        ("objective.temperature", "objective.temperature = 1.0  (--set objective.temperature=1)"),
        ("splits.k", "splits.k = 5  (default)"),
        ("objective.target", 'ce: objective.target = "hard"  (the variant\'s definition)'),
        ("objective.modality_weight", "amber2,modality_weight=0.25: objective.modality_weight = 0.25  (grid)"),
    ],
)
def test_resolved_says_where_each_value_comes_from(amber: Amber, tmp_path: Path, asked: str, line: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("train: {lr: 0.5}\ngrid: {objective.modality_weight: [0.25]}\n")
    found = amber("config", asked, "--resolved", "--config", file, "--set", "objective.temperature=1").stdout
    assert line.format(file=file) in found.splitlines()


@pytest.mark.parametrize(
    ("overrides", "asked", "line"),
    [
        (["train={lr: 0.1}"], "train.lr", "train.lr = 0.1  (--set train={{lr: 0.1}})"),
        (["train={lr: 0.1}"], "train.seeds", "train.seeds = [7]  ({file})"),
        (["train={seeds: [8]}"], "train.seeds", "train.seeds = [8]  (--set train={{seeds: [8]}})"),
        (["train.seeds=[8]", "train.seeds=[9]"], "train.seeds", "train.seeds = [9]  (--set train.seeds=[9])"),
        (["labels.classes={a: [b], c: [d]}"], "labels.classes", "(--set labels.classes={{a: [b], c: [d]}})"),
        (["labels.classes.sad=[s]"], "labels.classes", "({file}, --set labels.classes.sad=[s])"),
        (["labels.classes.happy=[h]"], "labels.classes", "(--set labels.classes.happy=[h])"),
        (["labels.classes=null"], "labels.classes", "labels.classes = null  (--set labels.classes=null)"),
        ([], "grid", "({file})"),
        ([], "transfer", "transfer = {{}}  (default)"),
    ],
)
def test_resolved_names_the_source_of_maps_and_what_they_replace(
    amber: Amber, tmp_path: Path, overrides: list[str], asked: str, line: str
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "train: {seeds: [7]}\nlabels: {classes: {happy: [joy]}}\ngrid: {objective.modality_weight: [0.25]}\n"
    )
    given = [part for override in overrides for part in ("--set", override)]
    found = amber("config", asked, "--resolved", "--config", file, *given).stdout
    assert found.splitlines()[0].endswith(line.format(file=file))


def test_variants_are_listed_with_what_defines_them(amber: Amber) -> None:
    lines = amber("variants", "--set", "variants={mine: {base: amber2, train: {lr: 0.1}}}").stdout.splitlines()
    assert any(line.startswith("ce ") and 'objective.target="hard"' in line for line in lines)
    assert lines[-1].split() == ["mine", "base:", "amber2,", "train.lr=0.1"]

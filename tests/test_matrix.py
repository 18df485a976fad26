"""The matrix of runs: what the variants are, what a grid makes of them, and what makes a run another run."""

from __future__ import annotations

from pathlib import Path

import pytest

from amber.config_file import load
from amber.errors import UserError
from amber.train import matrix


def resolved(*overrides: str) -> dict[str, matrix.Variant]:
    return {v.name: v for v in matrix.variants(load(None, list(overrides)))}


def test_the_variants_of_the_design() -> None:
    every = resolved(f"train.variants={list(matrix.BUILT_IN)}")
    assert set(every) >= {"ce", "soft", "modality", "amber2", "amber2-uniform", "amber2-js", "speech", "text"}
    assert set(every) >= {"amber2-speech", "amber2-text"}
    assert (every["ce"].objective.target, every["ce"].heads) == ("hard", ("fusion",))
    assert (every["soft"].objective.target, every["soft"].heads) == ("soft", ("fusion",))
    assert every["amber2"].objective == load().objective
    assert len(every["amber2"].heads) == 3
    assert (every["modality"].objective.target, every["modality"].objective.modality_weight) == ("hard", 0.5)
    assert (every["speech"].objective.student, every["speech"].heads) == ("speech", ("speech",))
    assert (every["amber2-prior"].model, every["pool"].model) == ("cross-fit", "pool")
    for name in ("amber2-prior", "pool"):
        assert (every[name].objective.modality_weight, every[name].objective.experts_weight) == (0, 1)
        assert len(every[name].heads) == 3
    # All heads are pooled into the prior, the student's own among them, and count in the score on dev.
    assert every["amber2-prior"].experts.heads == every["amber2-prior"].experts.scored == matrix.HEADS
    assert every["amber2-prior"].scored == ("fusion",)
    assert (every["amber2-text"].objective.student, len(every["amber2-text"].heads)) == ("text", 3)


def test_a_variant_of_one_s_own_stands_on_its_bases() -> None:
    overrides = [
        "variants.a={base: amber2-js, objective: {modality_weight: 0.2}}",
        "variants.b={base: a, objective: {modality_weight: 0.9}, train: {hidden: 8}}",
        "train.variants=[a, b]",
        "objective.temperature=2",
    ]
    a, b = resolved(*overrides).values()
    assert (a.objective.divergence, a.objective.modality_weight, a.training.hidden) == ("js", 0.2, None)
    assert (b.objective.divergence, b.objective.modality_weight, b.training.hidden) == ("js", 0.9, 8)
    assert a.objective.temperature == b.objective.temperature == 2


def test_a_grid_multiplies() -> None:
    made = resolved(
        "train.variants=[amber2]",
        "grid={objective.modality_weight: [0.25, 0.5], train.layer: [last, mean]}",
    )
    assert list(made) == [
        "amber2,modality_weight=0.25,layer=last",
        "amber2,modality_weight=0.25,layer=mean",
        "amber2,modality_weight=0.5,layer=last",
        "amber2,modality_weight=0.5,layer=mean",
    ]
    assert made["amber2,modality_weight=0.5,layer=mean"].training.layer == "mean"


GRID = "grid={objective.modality_weight: [0.25, 0.5]}"


def said(*overrides: str) -> list[str]:
    return matrix.without_effect(load(None, list(overrides)))


def test_a_grid_does_not_change_what_defines_a_variant_and_equal_points_are_one() -> None:
    made = resolved("train.variants=[ce, soft, amber2]", GRID)
    assert list(made) == ["ce", "soft", "amber2,modality_weight=0.25", "amber2,modality_weight=0.5"]
    for name in ("ce", "soft"):
        # Nothing of it is guided, and no expert is there that never learns.
        assert made[name] == resolved(f"train.variants=[{name}]")[name]
        assert (made[name].objective.modality_weight, made[name].heads) == (0, ("fusion",))
    assert made["amber2,modality_weight=0.25"].objective.modality_weight == 0.25
    assert said("train.variants=[ce, soft, amber2]", GRID) == [
        f"objective.modality_weight has no effect on {name}: points of the grid that differ in nothing else are one"
        for name in ("ce", "soft")
    ]


def test_points_of_a_key_that_a_variant_does_not_read_are_one() -> None:
    grid = "grid={objective.temperature: [0.25, 1], train.lr: [0.1, 0.2]}"
    made = resolved("train.variants=[soft, amber2, ridge]", grid)
    assert list(made) == [
        "soft,lr=0.1", "soft,lr=0.2",
        *(f"amber2,temperature={t},lr={lr}" for t in ("0.25", "1") for lr in ("0.1", "0.2")),
        "ridge",
    ]  # fmt: skip
    assert made["ridge"] == resolved("train.variants=[ridge]")["ridge"]
    assert said("train.variants=[soft, amber2, ridge]", grid) == [
        "objective.temperature has no effect on soft: points of the grid that differ in nothing else are one",
        "objective.temperature, train.lr has no effect on ridge: "
        "points of the grid that differ in nothing else are one",
    ]


def test_an_override_that_a_variant_of_one_s_own_fixes_is_said() -> None:
    own = ("variants.a={base: soft, train: {hidden: 8}}", "train.variants=[a, soft]")
    assert said(*own, "train.hidden=4") == [
        "train.hidden has no effect on a, which fixes it; define a variant of your own"
    ]
    assert said(*own, "train.hidden=8") == []


def test_keys_that_no_variant_reads_are_said_once() -> None:
    for override, key in (
        ("train.draw=3", "train.draw"),
        ("train.modality_dropout=0.5", "train.modality_dropout"),
        ("objective.temperature=2", "objective.temperature"),
    ):
        assert said("train.variants=[speech, text]", override) == [f"{key} has no effect on any variant here"]
    assert said("train.variants=[speech, amber2]", "train.modality_dropout=0.5", "objective.temperature=2") == []
    assert said("train.variants=[speech]", "train.draw=3", "train.votes=2") == []
    assert said("train.variants=[speech]", "train.draw=0", "train.modality_dropout=0") == []


def test_points_that_differ_in_something_else_stay_apart() -> None:
    made = resolved("train.variants=[ce]", "grid={objective.modality_weight: [0.25, 0.5], train.lr: [0.1, 0.2]}")
    assert {name: v.training.lr for name, v in made.items()} == {"ce,lr=0.1": 0.1, "ce,lr=0.2": 0.2}


@pytest.mark.parametrize("name", matrix.BUILT_IN)
def test_no_grid_and_no_override_changes_what_a_built_in_variant_fixes(name: str) -> None:
    others = {"target": "dirichlet", "student": "text", "divergence": "hellinger", "weighting": "confidence",
              "modality_weight": 0.125, "experts_weight": 0.75}  # fmt: skip
    (plain,) = resolved(f"train.variants=[{name}]").values()
    for key, value in others.items():
        by_set = resolved(f"train.variants=[{name}]", f"objective.{key}={value}").values()
        by_grid = resolved(f"train.variants=[{name}]", f"grid={{objective.{key}: [{value}]}}").values()
        fixed = key in matrix.BUILT_IN[name].objective
        # Rivals read the target and the student alone; without guidance no expert is weighed.
        idle = plain.model not in matrix.TRAINED or (key == "weighting" and plain.objective.modality_weight == 0)
        for made in by_set:
            assert getattr(made.objective, key) == (getattr(plain.objective, key) if fixed else value)
        for made in by_grid:
            assert getattr(made.objective, key) == (getattr(plain.objective, key) if fixed or idle else value)
        # To ask for what it is anyway is not in vain.
        in_vain = getattr(plain.objective, key) != value if fixed else idle
        assert bool(said(f"train.variants=[{name}]", f"objective.{key}={value}")) == in_vain
        assert bool(said(f"train.variants=[{name}]", f"grid={{objective.{key}: [{value}]}}")) == (fixed or idle)


def test_the_student_is_every_built_in_variant_s_own_and_that_is_said() -> None:
    overrides = [f"train.variants={list(matrix.BUILT_IN)}", "objective.student=speech"]
    made = resolved(*overrides)
    assert {name for name, v in made.items() if v.objective.student == "speech"} == {"speech", "amber2-speech"}
    lines = said(*overrides)
    assert len(lines) == len(matrix.BUILT_IN) - 2
    assert all(line.startswith("objective.student has no effect on") and "define a variant" in line for line in lines)
    assert said("train.variants=[soft]", "objective.student=fusion") == []


def test_a_variant_of_one_s_own_fixes_what_it_says_of_training_too() -> None:
    own = ("variants.a={base: soft, train: {hidden: 8}}", "train.variants=[a, soft]")
    made = resolved(*own, "grid={train.hidden: [2, 4]}")
    assert {name: v.training.hidden for name, v in made.items()} == {"a": 8, "soft,hidden=2": 2, "soft,hidden=4": 4}
    assert said(*own, "grid={train.hidden: [2, 4]}") == [
        "train.hidden has no effect on a: points of the grid that differ in nothing else are one"
    ]


def test_a_file_yields_to_an_override_that_to_a_grid_and_that_to_a_variant(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "objective: {temperature: 2, rater_weight: 2, experts_weight: 2}\n"
        "train: {variants: [mine], patience: 2, steps: 2, every: 2, lr: 2}\n"
        "grid: {objective.experts_weight: [4], train.every: [4], train.lr: [4]}\n"
        "variants: {mine: {base: amber2, train: {lr: 5}}}\n"
    )
    overrides = [
        "objective.rater_weight=3",
        "objective.experts_weight=3",
        "train.steps=3",
        "train.every=3",
        "train.lr=3",
    ]
    (made,) = matrix.variants(load(path, overrides))
    assert (made.objective.temperature, made.objective.rater_weight, made.objective.experts_weight) == (2, 3, 4)
    assert (made.training.patience, made.training.steps, made.training.every, made.training.lr) == (2, 3, 4, 5)
    assert made.name == "mine,experts_weight=4,every=4"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["objective.modality_weight=0"],
            r"amber2: objective\.modality_weight is 0, which leaves no guidance; train `soft`",
        ),
        (
            ["objective.experts_weight=0"],
            r"amber2: objective\.experts_weight is 0: .* guided by experts that never learn",
        ),
        (["grid={objective.experts_weight: [1, 0]}"], r"amber2,experts_weight=0: objective\.experts_weight is 0"),
    ],
)
def test_guidance_that_would_be_none_is_refused(overrides: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        resolved("train.variants=[ce, amber2]", *overrides)
    # What does not depend on it trains.
    if not overrides[0].startswith("grid"):
        assert resolved("train.variants=[ce, soft, amber2-prior, pool]", *overrides)


@pytest.mark.parametrize("name", ["ce", "soft", "speech", "pool", "amber2-prior"])
def test_a_student_that_nothing_teaches_is_refused(name: str) -> None:
    for zero in ("objective.rater_weight=0", "grid={objective.rater_weight: [1, 0]}"):
        with pytest.raises(UserError, match=rf"variant {name}.*: objective.rater_weight is 0, .* no guidance"):
            resolved(f"train.variants=[{name}]", zero)
    # Experts teach a guided student, and nothing of a rival depends on it.
    assert resolved("train.variants=[amber2, modality, prior, logistic]", "objective.rater_weight=0")


MANY = [{"layer": "last", "hidden": 16, "dropout": 0.25, "weight_decay": 0.01}] * 5


def test_a_name_that_a_folder_can_have_stays() -> None:
    made = resolved("train.variants=[ce]", f"grid={{train.candidates: [{MANY[:3]}]}}")
    assert list(made) == [f"ce,candidates={MANY[:3]}"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["train.variants=[amber]"], "did you mean 'amber2'"),
        (["train.variants=[ce, ce]"], "run twice"),
        (["variants.a={base: b}", "variants.b={base: a}", "train.variants=[a]"], "a -> b -> a is a circle"),
        (["variants.a={base: nope}", "train.variants=[a]"], "variants.a.base"),
        (["variants.a={objective: {divergense: js}}", "train.variants=[a]"], "did you mean 'divergence'"),
        (["variants.a={train: {epochs: -1}}", "train.variants=[a]"], "variant a: train: epochs"),
        (["grid={objective.modalty: [1]}"], "did you mean 'objective.modality_weight'"),
        (["grid={labels.other: [drop]}"], "unknown key 'labels.other'"),
        (["variants={'a/b': {}}", "train.variants=['a/b']"], "letters, digits"),
        (
            [f"grid={{train.candidates: [{MANY}]}}"],
            r"variant ce,candidates=\[\{'layer'.*: its folder's name would have 3",
        ),
        ([f"variants={{{'é' * 128}: {{}}}}", f"train.variants=[{'é' * 128}]"], "would have 256 bytes, of 255 at most"),
    ],
)
def test_mistakes_are_named(overrides: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        resolved(*overrides)


def test_the_key_covers_what_a_result_depends_on() -> None:
    def key(*overrides: str, fold: int = 1, seed: int = 0, **context: str) -> str:
        (variant,) = resolved("train.variants=[amber2]", *overrides).values()
        return matrix.run_key(matrix.Run(variant, fold, seed), {"features": "f", **context})

    others = [
        key("objective.modality_weight=0.4"),
        key("train.lr=0.1"),
        key(fold=2),
        key(seed=1),
        key(features="g"),
    ]
    assert key() == key()
    assert len({key(), *others}) == 6


def test_folds_that_are_not_there() -> None:
    assert matrix.chosen_folds(load(), [2, 1]) == [1, 2]
    assert matrix.chosen_folds(load(None, ["train.folds=[2]"]), [1, 2]) == [2]
    with pytest.raises(UserError, match="no fold 7; there are 1, 2"):
        matrix.chosen_folds(load(None, ["train.folds=[1, 7]"]), [1, 2])

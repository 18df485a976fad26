"""The matrix of runs: what the variants are, what a grid makes of them, and what makes a run another run."""

from __future__ import annotations

import pytest

from amber.config import load
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
    assert (every["modality"].objective.target, every["modality"].objective.modality) == ("hard", 0.5)
    assert (every["speech"].objective.student, every["speech"].heads) == ("speech", ("speech",))
    assert (every["amber2-prior"].model, every["pool"].model) == ("cross-fit", "pool")
    for name in ("amber2-prior", "pool"):
        assert (every[name].objective.modality, every[name].objective.experts) == (0, 1)
        assert len(every[name].heads) == 3
    assert every["amber2-prior"].experts.heads == ("speech", "text")
    assert (every["amber2-text"].objective.student, len(every["amber2-text"].heads)) == ("text", 3)


def test_a_variant_of_one_s_own_stands_on_its_bases() -> None:
    overrides = [
        "variants.a={base: amber2-js, objective: {modality: 0.2}}",
        "variants.b={base: a, objective: {modality: 0.9}, train: {hidden: 8}}",
        "train.variants=[a, b]",
        "objective.temperature=2",
    ]
    a, b = resolved(*overrides).values()
    assert (a.objective.divergence, a.objective.modality, a.training.hidden) == ("js", 0.2, None)
    assert (b.objective.divergence, b.objective.modality, b.training.hidden) == ("js", 0.9, 8)
    assert a.objective.temperature == b.objective.temperature == 2


def test_a_grid_multiplies() -> None:
    made = resolved("train.variants=[amber2]", "grid={objective.modality: [0.25, 0.5], train.layer: [last, mean]}")
    assert list(made) == [
        "amber2,modality=0.25,layer=last",
        "amber2,modality=0.25,layer=mean",
        "amber2,modality=0.5,layer=last",
        "amber2,modality=0.5,layer=mean",
    ]
    assert made["amber2,modality=0.5,layer=mean"].training.layer == "mean"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["train.variants=[amber]"], "did you mean 'amber2'"),
        (["train.variants=[ce, ce]"], "run twice"),
        (["variants.a={base: b}", "variants.b={base: a}", "train.variants=[a]"], "a -> b -> a is a circle"),
        (["variants.a={base: nope}", "train.variants=[a]"], "variants.a.base"),
        (["variants.a={objective: {divergense: js}}", "train.variants=[a]"], "did you mean 'divergence'"),
        (["variants.a={train: {epochs: -1}}", "train.variants=[a]"], "variant a: train: epochs"),
        (["grid={objective.modalty: [1]}"], "did you mean 'objective.modality'"),
        (["grid={labels.other: [drop]}"], "unknown key 'labels.other'"),
        (["variants={'a/b': {}}", "train.variants=['a/b']"], "letters, digits"),
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
        key("objective.modality=0.4"),
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

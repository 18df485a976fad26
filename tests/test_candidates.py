"""The candidates of a run: what the options resolve to on the features that there are."""

from __future__ import annotations

from collections import Counter

import pytest

from amber.config import Training
from amber.config_file import load
from amber.corpus import Modality
from amber.errors import UserError
from amber.train.candidates import Candidate, candidates, longest_first, structures

ONE_LAYER: dict[Modality, tuple[int, ...]] = {"speech": (0,), "text": (12,)}
MANY: dict[Modality, tuple[int, ...]] = {"speech": (0, 6, 12), "text": (1, 2)}


def training(*overrides: str) -> Training:
    options = load(None, [f"train.{override}" for override in overrides]).train
    return Training(**{key: value for key, value in options.model_dump().items() if key in Training.model_fields})


def made(
    *overrides: str, held: dict[Modality, tuple[int, ...]] = MANY, frames: tuple[Modality, ...] = ()
) -> list[Candidate]:
    return candidates(training(*overrides), held, frames)


def both(layer: str) -> tuple[tuple[str, str], ...]:
    return (("speech", layer), ("text", layer))


def test_the_defaults_are_linear_heads_of_several_kinds_and_a_perceptron() -> None:
    found = made()
    assert Counter((c.layers, c.hidden, c.mixture, c.reads) for c in found if not c.ridge) == {
        (both("all"), 0, False, None): 3,
        (both("last"), 0, False, None): 3,
        (both("mean"), 0, False, None): 3,
        (both("all"), 0, True, None): 2,
        (both("all"), 128, False, None): 1,
        (both("all"), 0, False, "speech"): 1,
        (both("all"), 0, False, "text"): 1,
    }
    assert [c for c in found if c.ridge] == [
        Candidate(both(layer), 0, 0.0, 0.0, ridge=True) for layer in ("all", "last", "mean")
    ]
    linear = [c for c in found if not c.hidden and not c.mixture and not c.reads and not c.ridge]
    assert {c.weight_decay for c in linear} == {0.01, 0.1, 1.0}
    assert {c.weight_decay for c in found if c.mixture} == {0.03, 0.1}
    assert {c.weight_decay for c in found if c.hidden} == {0.03}


def test_where_one_modality_is_read_there_is_nothing_to_mix_or_to_choose() -> None:
    found = made(held={"text": (1, 2)})
    assert not any(c.mixture or c.reads for c in found)
    # What is then a linear head's twin is not trained twice.
    on_all = sorted((c.hidden, c.weight_decay) for c in found if c.layers == (("text", "all"),))
    assert on_all == [(0, 0.0), (0, 0.01), (0, 0.03), (0, 0.1), (0, 1.0), (128, 0.03)]
    own = "candidates=[{layer: last, weight_decay: 1}, {layer: last, weight_decay: 1, mixture: true}]"
    assert [c.mixture for c in made(own)] == [False, True]
    assert [c.mixture for c in made(own, held={"speech": (0,)})] == [False]


def test_a_candidate_is_written_with_what_kind_of_head_it_is() -> None:
    (one,) = made("candidates=[{layer: last, hidden: 8, dropout: 0.1, weight_decay: 1, mixture: true}]")
    assert one.described() == {
        "layer": {"speech": "last", "text": "last"},
        "hidden": 8,
        "dropout": 0.1,
        "weight_decay": 1,
        "mixture": True,
        "reads": None,
        "ridge": False,
    }
    (alone,) = made("candidates=[{layer: last, weight_decay: 1, mixture: true, reads: text}]")
    assert alone.described()["reads"] == "text"
    assert not alone.described()["mixture"]  # of one


def test_of_one_stored_layer_every_choice_is_the_same() -> None:
    found = made(held=ONE_LAYER)
    assert {c.layers for c in found} == {both("last")}
    assert sorted((c.hidden, c.mixture, c.reads or "", c.weight_decay) for c in found) == [
        (0, False, "", 0.0),  # the ridge regression
        (0, False, "", 0.01),
        (0, False, "", 0.1),
        (0, False, "", 1.0),
        (0, False, "speech", 0.1),
        (0, False, "text", 0.1),
        (0, True, "", 0.03),
        (0, True, "", 0.1),
        (128, False, "", 0.03),
    ]
    learned = made("layer=learned", held=ONE_LAYER)
    assert {c.layers for c in learned} == {both("last")}
    # One modality with several layers is enough for the choices to differ.
    mixed = made(held={"speech": (0,), "text": (1, 2)})
    assert {c.layers for c in mixed} == {(("speech", "last"), ("text", t)) for t in ("all", "last", "mean")}


def test_what_is_said_of_all_candidates_is_true_of_all() -> None:
    assert {c.layers for c in made("layer=mean")} == {both("mean")}
    assert len(made("layer=mean")) == 3 + 1 + 2 + 1 + 2
    assert {c.hidden for c in made("hidden=8")} == {8}
    assert {c.hidden for c in made("hidden=0")} == {0}
    assert {c.weight_decay for c in made("weight_decay=0.7")} == {0.7}
    assert len(made("weight_decay=0.7")) == 3 + 1 + 1 + 2
    assert {c.dropout for c in made("hidden=8", "dropout=0.2")} == {0.2}
    assert made("layer=last", "hidden=8", "dropout=0.1", "weight_decay=0") == [
        Candidate(both("last"), 8, 0.1, 0.0, mixture, reads)  # type: ignore[arg-type]
        for mixture, reads in ((False, None), (False, "speech"), (False, "text"), (True, None))
    ]


def test_a_linear_head_has_no_dropout_and_so_is_one_whatever_the_dropout() -> None:
    assert {(c.hidden, c.dropout) for c in made()} == {(0, 0.0), (128, 0.5)}
    twice = "candidates=[{layer: last, weight_decay: 1, dropout: 0.5}, {layer: last, weight_decay: 1, dropout: 0.1}]"
    assert len(made(twice)) == 1


def test_a_choice_by_modality() -> None:
    found = made("layer={text: 1}", "hidden=0", "weight_decay=1")
    assert {one.layers for one in found} == {(("speech", "last"), ("text", 1))}
    lists = "candidates=[{layer: [{speech: 6, text: mean}, last], hidden: 4, weight_decay: [1, 2]}]"
    assert [(c.layers, c.weight_decay) for c in made(lists)] == [
        (both("last"), 1),
        (both("last"), 2),
        ((("speech", 6), ("text", "mean")), 1),
        ((("speech", 6), ("text", "mean")), 2),
    ]
    # Only of modalities that are read.
    assert {c.layers for c in made("layer={text: 1}", held={"text": (1, 2)})} == {(("text", 1),)}


def test_what_trains_in_one_step_differs_in_penalty_and_reading_alone() -> None:
    kinds = structures(made())
    assert len(kinds) == 8  # linear ones and a ridge regression on three layer choices, mixtures and a perceptron
    for kind in kinds:
        assert len({(c.layers, c.hidden, c.dropout, c.mixture, c.ridge) for c in kind}) == 1
    assert Counter(c.reads for kind in kinds for c in kind)["text"] == 1
    assert any(len({c.reads for c in kind}) == 3 for kind in kinds)
    # Where modalities are dropped, what reads one of them loses none.
    apart = structures(made(), modality_dropout=0.1)
    assert len(apart) == 9
    assert [sorted(c.reads for c in kind if c.reads) for kind in apart if kind[0].reads] == [["speech", "text"]]
    assert all(len({c.reads is None for c in kind}) == 1 for kind in apart)


def test_of_kinds_that_train_side_by_side_a_ridge_regression_begins_last() -> None:
    kinds = [kind for kind in structures(made()) if kind[0].layers == both("all")]
    begin = [kinds[place][0] for place in longest_first(kinds)]
    assert [(c.mixture, c.hidden, c.ridge) for c in begin] == [
        (True, 0, False),
        (False, 128, False),
        (False, 0, False),
        (False, 0, True),
    ]


def test_frames_are_not_put_side_by_side() -> None:
    found = made(frames=("speech",))
    assert {c.layers for c in found} == {both("last"), both("mean")}
    assert {c.hidden for c in found} == {0}
    # Unless there is but one layer, which is the last.
    assert {c.hidden for c in made(frames=("speech",), held=ONE_LAYER)} == {0, 128}
    with pytest.raises(UserError, match=r"train\.candidates: all 9 put layers side by side(.|\n)*name one layer"):
        made("layer=all", frames=("speech", "text"))


def test_a_ridge_regression_learns_neither_layers_nor_the_pooling_of_frames_and_has_no_hidden_units() -> None:
    own = "candidates=[{ridge: true, layer: last}, {layer: last, weight_decay: 0.1}]"
    assert [c.ridge for c in made(own)] == [False, True]
    assert [c.ridge for c in made(own, "layer=mean")] == [False, True]
    assert [c.ridge for c in made(own, "layer=learned")] == [False]
    assert [c.ridge for c in made(own, frames=("text",))] == [False]
    # What is said of all candidates makes it a head like others.
    assert {(c.ridge, c.hidden) for c in made(own, "hidden=4")} == {(False, 4)}
    assert {(c.ridge, c.weight_decay) for c in made(own, "weight_decay=2")} == {(False, 2)}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.candidates=[]", "train.candidates"),
        ("train.candidates=[{hiden: 3}]", "did you mean 'hidden'"),
        ("train.candidates=[{layer: frist}]", "train.candidates.0.layer"),
        ("train.candidates=[{weight_decay: -1}]", "train.candidates.0.weight_decay"),
        ("train.candidates=[{dropout: 1}]", "train.candidates.0.dropout"),
        ("train.candidates=[{mixture: often}]", "train.candidates.0.mixture"),
        ("train.candidates=[{mixtures: true}]", "did you mean 'mixture'"),
        ("train.candidates=[{ridge: true, hidden: 3}]", "candidates.0: a ridge regression has no hidden units"),
        ("train.candidates=[{ridge: true, mixture: true}]", "candidates.0: a ridge regression has no hidden units"),
        ("train.select=all", "train.select"),
    ],
)
def test_mistakes_are_named(override: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load(None, [override])

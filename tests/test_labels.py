"""From votes to distributions: every option against a case worked by hand, and what must hold for any votes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amber.config import LabelOptions
from amber.corpus import Corpus, Utterance, Vote
from amber.errors import UserError
from amber.labels import PRESETS, LabelSpace, distribution, smooth

FOUR = PRESETS["iemocap-4"].classes
NAMES = ["Neutral", "Happiness", "Excited", "Sadness", "Anger", "Frustration", "Other"]


def corpus(*votes: list[Vote], consensus: list[str | None] | None = None, **about: object) -> Corpus:
    labels = consensus or [None] * len(votes)
    rows = [
        Utterance(id=f"u{i}", audio=None, text=None, speaker="s", votes=tuple(v), consensus=label)
        for i, (v, label) in enumerate(zip(votes, labels, strict=True))
    ]
    return Corpus.of(rows, name="test", **about)


def votes(*labels: str) -> list[Vote]:
    """One vote a rater; several labels of one rater are joined by +."""
    return [Vote(f"r{i}", tuple(label.split("+"))) for i, label in enumerate(labels)]


def counted(of: Corpus, **options: object) -> np.ndarray:
    chosen = LabelOptions(**{"classes": FOUR, "subset": "any", **options})
    return LabelSpace.resolve(chosen, of).count(of.votes()).inside


CASE = [
    Vote("e1", ("Happiness", "Excited")),
    Vote("e2", ("Anger", "Frustration")),
    Vote("e3", (" neutral ",), secondary=("Sadness", "Neutral")),
    Vote("f1", ("Anger",), is_self=True),
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [  # neutral, happy, sad, angry (, other)
        ({}, [1, 1, 0, 1]),
        ({"raters": "all"}, [1, 1, 0, 2]),
        ({"multiple": "repeat"}, [1, 2, 0, 1]),
        ({"multiple": "split"}, [1, 1, 0, 0.5]),
        ({"multiple": "first"}, [1, 1, 0, 1]),
        ({"other": "keep"}, [1, 1, 0, 1, 1]),
        ({"other": "keep", "multiple": "split"}, [1, 1, 0, 0.5, 0.5]),
        ({"secondary": 0.5}, [1, 1, 0.5, 1]),
        ({"secondary": 1.0, "multiple": "split"}, [0.5, 1, 0.5, 0.5]),
        ({"secondary": 0.5, "multiple": "first"}, [1, 1, 0.5, 1]),
    ],
)
def test_options_by_hand(options: dict[str, object], expected: list[float]) -> None:
    np.testing.assert_allclose(counted(corpus(CASE), **options)[0], expected)


def test_first_takes_the_label_named_first() -> None:
    of = corpus(votes("Frustration+Anger", "Anger+Frustration"))
    np.testing.assert_array_equal(counted(of, multiple="first")[0], [0, 0, 0, 1])


def test_subsets() -> None:
    cases = [votes("Anger"), votes("Anger", "Other"), votes("Anger", "Other", "Other"), votes("Other"), []]
    of = corpus(*cases, consensus=["ang", None, "oth", "oth", "ang"], consensus_names={"ang": "Anger", "oth": "Other"})

    def kept(subset: str, **more: object) -> list[int]:
        options = LabelOptions(**{"classes": FOUR, "subset": subset, **more})
        return LabelSpace.resolve(options, of).label(of).rows.tolist()

    assert kept("any") == [0, 1, 2]
    assert kept("majority") == [0, 1]
    assert kept("complete") == [0]
    assert kept("complete", multiple="first") == [0]
    assert kept("consensus") == [0]  # the last has the label but no vote that counts
    assert kept("consensus", other="keep") == [0, 2, 3]
    assert kept("any", min_votes=1, other="keep") == [0, 1, 2, 3]
    assert kept("any", min_votes=2, other="keep") == [1, 2]


def test_what_is_left_out_is_counted() -> None:
    of = corpus(votes("Anger"), votes("Other"), votes("Anger", "Anger"))
    space = LabelSpace.resolve(LabelOptions(classes=FOUR, subset="any", min_votes=2), of)
    assert list(space.label(of).left_out.values()) == [1, 1]


def test_classes_come_from_the_votes_where_nothing_names_them() -> None:
    space = LabelSpace.resolve(LabelOptions(), corpus(votes("joy", "calm", "Other-tired")))
    assert space.classes == ("calm", "joy")


def test_truth_follows_the_classes() -> None:
    rows = [Utterance("u", None, None, "s", tuple(votes("A")), truth=(0.1, 0.2, 0.3, 0.4))]
    of = Corpus.of(rows, name="test", classes=("A", "B", "C", "D"))
    space = LabelSpace.resolve(LabelOptions(classes={"x": ["A", "b"], "y": ["C"]}), of)
    np.testing.assert_allclose(space.label(of).truth, [[0.5, 0.5]])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"preset": "iemocap4"}, "did you mean 'iemocap-4'"),
        ({"preset": "iemocap-4", "classes": {"a": ["Anger"]}}, "not both"),
        ({"classes": {"a": ["Anger"], "b": ["anger"]}}, "in two classes"),
        ({"classes": {"a": ["Anger"]}}, "at least two classes"),
        ({"classes": FOUR, "subset": "consensus"}, "no consensus labels"),
        ({"classes": {"other": ["x"], "b": ["Anger"]}, "other": "keep"}, "already"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        LabelSpace.resolve(LabelOptions(**options), corpus(votes("Anger")))


def test_no_utterance_left_says_what_the_votes_are() -> None:
    of = corpus(votes("joy"))
    with pytest.raises(UserError, match="the votes say: joy"):
        LabelSpace.resolve(LabelOptions(classes=FOUR), of).label(of)


def test_a_row_without_votes_has_no_distribution() -> None:
    with pytest.raises(ValueError, match="no distribution"):
        distribution(np.zeros((1, 3)))


a_vote = st.builds(
    Vote,
    rater=st.sampled_from([f"r{i}" for i in range(9)]),
    labels=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple),
    secondary=st.lists(st.sampled_from(NAMES), max_size=3).map(tuple),
    is_self=st.booleans(),
)
some_votes = st.lists(st.lists(a_vote, max_size=8), min_size=1, max_size=5)
some_options = st.fixed_dictionaries(
    {
        "multiple": st.sampled_from(["each", "repeat", "split", "first"]),
        "raters": st.sampled_from(["external", "all"]),
        "other": st.sampled_from(["keep", "drop"]),
        "secondary": st.sampled_from([0.0, 0.3, 1.0]),
    }
)


@given(some_votes, some_options)
def test_distributions_are_distributions(cases: list[list[Vote]], options: dict[str, object]) -> None:
    counts = counted(corpus(*cases), **options)
    assert (counts >= 0).all()
    y = distribution(counts[counts.sum(axis=1) > 0])
    np.testing.assert_allclose(y.sum(axis=1), 1)
    smoothed = smooth(y, 0.05)
    np.testing.assert_allclose(smoothed.sum(axis=1), 1)
    assert (smoothed > 0).all()


@given(some_votes, some_options, st.randoms(use_true_random=False))
def test_the_order_of_raters_does_not_matter(
    cases: list[list[Vote]], options: dict[str, object], shuffle: random.Random
) -> None:
    shuffled = [shuffle.sample(case, len(case)) for case in cases]
    np.testing.assert_allclose(counted(corpus(*cases), **options), counted(corpus(*shuffled), **options))


@given(
    some_votes,
    some_options.filter(lambda o: o["multiple"] != "each" and not (o["multiple"] == "first" and o["secondary"])),
)
def test_merging_classes_commutes_with_counting(cases: list[list[Vote]], options: dict[str, object]) -> None:
    merged = {"positive": ["Happiness", "Excited"], "rest": ["Neutral", "Sadness", "Anger"]}
    fine = {label: [label] for labels in merged.values() for label in labels}
    of = corpus(*cases)
    by_label = counted(of, **{**options, "classes": fine, "other": "drop"})
    folded = np.stack([by_label[:, :2].sum(axis=1), by_label[:, 2:].sum(axis=1)], axis=1)
    np.testing.assert_allclose(counted(of, **{**options, "classes": merged, "other": "drop"}), folded)


@given(some_votes)
def test_each_counts_a_rater_once_a_class_after_the_merge(cases: list[list[Vote]]) -> None:
    """Merging can only lower the count, and only by raters who named two labels of one class."""
    fine = {label: [label] for label in ("Happiness", "Excited")}
    of = corpus(*cases)
    apart = counted(of, classes=fine, raters="all").sum(axis=1)
    together = counted(of, classes={"happy": ["Happiness", "Excited"], "sad": ["Sadness"]}, raters="all")[:, 0]
    twice = [sum({"Happiness", "Excited"} <= set(v.labels) for v in case) for case in cases]
    np.testing.assert_allclose(apart - together, twice)


@given(some_votes, st.sampled_from([0.0, 0.4, 1.0]))
def test_split_never_exceeds_one_vote_a_rater(cases: list[list[Vote]], secondary: float) -> None:
    counts = counted(corpus(*cases), multiple="split", raters="all", other="keep", secondary=secondary)
    np.testing.assert_allclose(counts.sum(axis=1), [len(case) for case in cases])

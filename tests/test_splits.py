"""Splits: the published folds, and what must hold of any: no speaker in two parts, every row tested once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amber.config import SplitOptions
from amber.corpus import Corpus, Utterance
from amber.errors import UserError
from amber.splits import leaks, make_folds, resolve, without_effect


def corpus(rows: list[dict[str, object]], name: str = "test") -> Corpus:
    base = {"audio": None, "text": None, "speaker": None, "votes": ()}
    return Corpus.of([Utterance(id=f"u{i}", **{**base, **row}) for i, row in enumerate(rows)], name=name)  # type: ignore[arg-type]


def iemocap_like() -> Corpus:
    rows = [{"session": str(s), "speaker": f"Ses0{s}{g}"} for s in range(1, 6) for g in "FM" for _ in range(3)]
    return corpus(rows, "iemocap")


def keys(of: Corpus, rows: np.ndarray, column: str) -> set[str]:
    values = of.column(column)
    return {values[row] for row in rows}


def test_leave_one_session_out_is_cyclic() -> None:
    of = iemocap_like()
    folds = make_folds(resolve(SplitOptions(), of), of)
    found = [(keys(of, f.test, "session"), keys(of, f.dev, "session")) for f in folds]
    # EMO-SUPERB's pairs of (test, dev).
    assert found == [({"1"}, {"2"}), ({"2"}, {"3"}), ({"3"}, {"4"}), ({"4"}, {"5"}), ({"5"}, {"1"})]
    assert all(len(f.train) == 18 for f in folds)


def test_leave_one_speaker_out_steers_by_the_other_of_the_session() -> None:
    of = iemocap_like()
    folds = make_folds(SplitOptions(scheme="leave-one-speaker-out"), of)
    assert len(folds) == 10
    assert (folds[0].name, keys(of, folds[0].dev, "speaker")) == ("Ses01F", {"Ses01M"})
    assert (folds[1].name, keys(of, folds[1].dev, "speaker")) == ("Ses01M", {"Ses01F"})


def test_actor_ranges_are_those_of_emo_superb() -> None:
    of = corpus([{"speaker": str(actor)} for actor in range(1001, 1092)], "crema-d")
    folds = make_folds(resolve(SplitOptions(), of), of)
    assert [(len(f.test), len(f.dev), len(f.train)) for f in folds] == [
        (18, 18, 55),
        (18, 18, 55),
        (18, 18, 55),
        (18, 19, 54),
        (19, 18, 54),
    ]
    assert keys(of, folds[4].dev, "speaker") == {str(actor) for actor in range(1001, 1019)}


@pytest.mark.parametrize(("test", "expected"), [("test1", {"c"}), ("test2", {"d"}), ("both", {"c", "d"})])
def test_official_never_trains_on_a_test_set(test: str, expected: set[str]) -> None:
    parts = {"a": "train", "b": "dev", "c": "test1", "d": "test2", "e": "test3"}
    of = corpus([{"speaker": speaker, "split": split} for speaker, split in parts.items()], "msp-podcast")
    (fold,) = make_folds(resolve(SplitOptions(), of), of, test)
    assert keys(of, fold.test, "speaker") == expected
    assert keys(of, fold.train, "speaker") == {"a"}


def test_unknown_speakers_are_counted_in_an_official_split_and_refused_elsewhere() -> None:
    of = corpus([{"split": s, "session": str(i)} for i, s in enumerate(["train", "dev", "test1"])])
    (fold,) = make_folds(SplitOptions(scheme="official"), of)
    assert leaks(fold, of).unknown_speakers == 3
    with pytest.raises(UserError, match="unknown speakers"):
        make_folds(SplitOptions(scheme="leave-one-session-out"), of)


def test_column_of_parts_and_column_of_folds() -> None:
    parts = corpus([{"speaker": s, "extra": {"part": v}} for s, v in zip("abc", ["train", "Dev", "test"], strict=True)])
    (fold,) = make_folds(SplitOptions(scheme="column", column="part"), parts)
    assert [len(rows) for rows in fold.parts().values()] == [1, 1, 1]
    folds = corpus([{"speaker": str(i), "extra": {"fold": str(i)}} for i in (1, 2, 10)])
    assert [f.name for f in make_folds(SplitOptions(scheme="column"), folds)] == ["1", "2", "10"]


def by_column(values: list[str]) -> list[str]:
    rows = [{"speaker": str(i), "extra": {"fold": value}} for i, value in enumerate(values)]
    return [fold.name for fold in make_folds(SplitOptions(scheme="column"), corpus(rows))]


@pytest.mark.parametrize(
    "values",
    [
        ["train-clean-100", "dev-clean", "test-clean"],
        ["train.csv", "dev.csv", "test.csv"],
        ["split:train/a", "split:dev/a", "split:test/a"],
        ["trainingdata", "devdata", "testdata"],
        ["TrainClean", "EvalClean", "OTHER"],
        ["TRAIN_A", "TRAIN_B", "HELDOUT"],
        ["tr", "cv", "tt"],
    ],
)
def test_values_that_contain_the_names_of_parts_are_no_folds(values: list[str]) -> None:
    with pytest.raises(UserError, match=f"{values[0]!r}.*\n.*folds must have other names"):
        by_column(values)


@pytest.mark.parametrize(
    "values",
    [
        ["train-clean-100", "train-clean-360", "train-other-500"],
        ["Devon", "Testaccio", "Trainor", "Valencia"],
        ["cv", "de", "tr", "tt"],
    ],
)
def test_folds_may_have_names_like_those_of_parts(values: list[str]) -> None:
    assert by_column(values) == values


def test_a_speaker_in_two_parts_is_refused_by_name() -> None:
    of = corpus([{"speaker": "a", "extra": {"fold": str(i)}} for i in range(3)])
    with pytest.raises(UserError, match="1 speakers are in train and in dev: a"):
        make_folds(SplitOptions(scheme="column"), of)


def test_shared_transcripts_are_counted() -> None:
    texts = {"1": "same line", "2": "dev", "3": "same line"}
    rows = [{"session": s, "speaker": s, "text": t, "extra": {"scenario": "script"}} for s, t in texts.items()]
    of = corpus([*rows, {"session": "1", "speaker": "1", "text": "same line", "extra": {"scenario": "impro"}}])
    found = [leaks(f, of) for f in make_folds(SplitOptions(scheme="leave-one-session-out"), of)]
    assert [leak.transcripts for leak in found] == [2, 0, 0]
    assert [leak.by_scenario for leak in found] == [{"script": 1, "impro": 1}, {}, {}]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scheme": "official"}, "no partition"),
        ({"scheme": "leave-one-session-out"}, "at least 3"),
        ({"scheme": "column", "column": "foldd"}, "no column 'foldd'"),
        ({"scheme": "speaker-folds", "k": 9}, "9 groups need at least 9 speakers"),
    ],
)
def test_what_a_scheme_lacks_is_said(options: dict[str, object], says: str) -> None:
    of = corpus([{"speaker": s} for s in "abc"])
    with pytest.raises(UserError, match=says):
        make_folds(SplitOptions(**options), of)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=60), st.integers(3, 5))
def test_speaker_folds_of_any_corpus(speakers: list[str], k: int) -> None:
    of = corpus([{"speaker": s} for s in speakers])
    if len(set(speakers)) < k:
        return
    folds = make_folds(SplitOptions(scheme="speaker-folds", k=k), of)
    assert sorted(np.concatenate([f.test for f in folds]).tolist()) == list(range(len(speakers)))
    for fold in folds:
        parts = [keys(of, rows, "speaker") for rows in fold.parts().values()]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert sum(map(len, fold.parts().values())) == len(speakers)


def test_keys_that_no_scheme_in_use_reads_are_said() -> None:
    given = SplitOptions(k=4, column="part")
    assert without_effect(given, {"official"}) == [
        "splits.k has no effect: only the scheme speaker-folds reads it, and this is official",
        "splits.column has no effect: only the scheme column reads it, and this is official",
    ]
    assert without_effect(given, {"speaker-folds", "column"}) == without_effect(SplitOptions(), {"official"}) == []

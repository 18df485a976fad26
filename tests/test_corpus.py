"""The utterances file: a round trip changes nothing, and each hash depends on what it should and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amber.corpus import Corpus, Ledger, Utterance, Vote
from amber.errors import UserError

ONE = Utterance("a", "a.wav", "Words.", "s1", (Vote("r1", ("Joy",), ("Calm",)),), session="1", extra={"fold": "2"})
TWO = Utterance("b", None, None, None, (), start=0.5, end=1.5, truth=(0.5, 0.5))

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
some_votes = st.lists(
    st.builds(
        Vote,
        rater=words,
        labels=st.lists(words, max_size=3).map(tuple),
        secondary=st.lists(words, max_size=2).map(tuple),
        is_self=st.booleans(),
    ),
    max_size=4,
).map(tuple)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(some_votes, min_size=1, max_size=5))
def test_a_corpus_survives_its_file(tmp_path: Path, votes: list[tuple[Vote, ...]]) -> None:
    utterances = [replace(ONE, id=str(i), votes=v) for i, v in enumerate(votes)]
    corpus = Corpus.of(utterances, name="x", release="1.2", root="/r", synthetic=True, consensus_names={"n": "Neutral"})
    corpus.write(tmp_path / "u.parquet")
    back = Corpus.read(tmp_path / "u.parquet")
    assert back.same_as(corpus)
    assert back.label_hash() == corpus.label_hash()
    assert back.input_hash("speech") == corpus.input_hash("speech")
    found = back.votes()
    labels = [found.names[code] for code in found.labels]
    assert labels == [label for vote in votes for one in vote for label in one.labels]
    assert [found.names[c] for c in found.secondary] == [s for vote in votes for one in vote for s in one.secondary]
    assert found.utterance.tolist() == [i for i, vote in enumerate(votes) for _ in vote]


def test_absent_values_and_further_columns_survive(tmp_path: Path) -> None:
    Corpus.of([ONE, TWO], name="x").write(tmp_path / "u.parquet")
    back = Corpus.read(tmp_path / "u.parquet")
    assert back.column("fold") == ["2", None]
    assert back.column("text") == ["Words.", None]
    assert back.column("end") == [None, 1.5]
    assert back.column("truth") == [None, [0.5, 0.5]]


@pytest.mark.parametrize(
    ("change", "speech", "text", "labels"),
    [
        ({"audio": "other.wav"}, True, False, False),
        ({"start": 0.25}, True, False, False),
        ({"text": "Other words."}, False, True, False),
        ({"votes": ()}, False, False, True),
        ({"votes": (Vote("r2", ("Joy",), ("Calm",)),)}, False, False, True),
        ({"votes": (Vote("r1", ("Joy",)),)}, False, False, True),
        ({"speaker": "s2"}, False, False, True),
        ({"extra": {"fold": "3"}}, False, False, True),
        ({"id": "c"}, True, True, True),
    ],
)
def test_each_hash_covers_what_it_is_for(change: dict[str, object], speech: bool, text: bool, labels: bool) -> None:
    """A label decision never costs a re-extraction, and a corrected transcript never costs one of the audio."""
    before, after = Corpus.of([ONE, TWO], name="x"), Corpus.of([replace(ONE, **change), TWO], name="x")  # type: ignore[arg-type]
    assert (before.input_hash("speech") != after.input_hash("speech")) is speech
    assert (before.input_hash("text") != after.input_hash("text")) is text
    assert (before.label_hash() != after.label_hash()) is labels


def test_ids_that_occur_twice_are_refused() -> None:
    with pytest.raises(UserError, match="1 utterance ids occur more than once: a"):
        Corpus.of([ONE, ONE], name="x")


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `amber extract`"):
        Corpus.read(tmp_path / "u.parquet")


def test_the_ledger_names_and_counts() -> None:
    ledger = Ledger()
    ledger.add("failed")
    ledger.add("without transcript", *"abcd")
    ledger.note("once")
    ledger.note("once")
    assert ledger.lines() == ["failed: 0", "without transcript: 4 (a, b, c and 1 more)", "note: once"]

"""The word error rate, on cases worked by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amber.extract.word_error import distance, word_errors, words


@pytest.mark.parametrize(
    ("human", "machine", "errors"),
    [
        ("Don't forget a jacket.", "don’t forget a jacket", 0),  # case, punctuation and the form of the apostrophe
        ("Don't forget a jacket", "Don't forget to check it", 3),  # a/to, jacket/check, and one more word
        ("the cat sat on the mat", "the cat sat mat", 2),  # two words missing
        ("it's eleven o'clock", "", 3),
        ("", "thank you", 2),
        ("one two three", "three one two", 2),  # moved: out and in
        ("Müde, STRASSE", "müde straße", 0),
        ("twenty-one", "twenty one", 0),
    ],
)
def test_errors_of_one_utterance(human: str, machine: str, errors: int) -> None:
    assert distance(words(human), words(machine)) == errors


def test_the_rate_is_of_all_words_together() -> None:
    found = word_errors([("a b c d", "a b c d"), ("e", "x y z")])
    assert (found.errors, found.words, found.utterances) == (3, 5, 2)
    assert found.rate == 0.6
    assert math.isnan(word_errors([("", "")]).rate)
    assert word_errors([("", "")]).as_json()["rate"] is None


@given(*[st.lists(st.sampled_from("abc"), max_size=6)] * 3)
def test_it_is_a_distance(a: list[str], b: list[str], c: list[str]) -> None:
    assert distance(a, b) == distance(b, a) >= abs(len(a) - len(b))
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    assert (distance(a, b) == 0) == (a == b)

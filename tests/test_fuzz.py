"""Every parser under mutated input, seeds fixed: read, or refused. `benchmarks/fuzz.py` is the long run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from amber import document
from amber.config_file import load
from amber.corpus import Vote
from amber.errors import UserError
from amber.tables import cells


def benchmark() -> Any:
    path = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    return module


def refusal(call: Callable[[], object], kind: type[Exception] = UserError) -> str:
    """Return how a call refuses its input, empty where it does not; any other exception is a failure."""
    try:
        call()
    except kind as error:
        return str(error)
    return ""


FUZZ = benchmark()
BOUNDED = settings(max_examples=150, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=8), inside, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", list(FUZZ.PARSERS))
def test_a_mutated_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    file, make, parse = FUZZ.PARSERS[name]
    path = tmp_path / file
    make(path)
    whole = path.read_bytes()
    parse(path)
    refused = 0
    for number in range(200):
        path.write_bytes(FUZZ.mutated(whole, np.random.default_rng([1, number])))
        said = refusal(lambda: parse(path))
        refused += bool(said)
        assert len(said.splitlines()) <= 3
    if name == "utterances":  # its digest vouches for every byte
        assert refused == 200
    else:
        assert 0 < refused < 200


@seed(1)
@BOUNDED
@given(JSON)
def test_any_value_is_votes_or_refused(value: Any) -> None:
    if refusal(lambda: cells.votes(value), cells.CellError):
        return
    found = cells.votes(value)
    assert all(isinstance(vote, Vote) for vote in found)
    for vote in found:
        for text in (vote.rater, *vote.labels, *vote.secondary):
            assert text.strip() == text != ""
            text.encode()


@seed(2)
@BOUNDED
@given(JSON)
def test_any_value_is_a_cell_or_refused(value: Any) -> None:
    for parse, kind in ((cells.text, str), (cells.further, str), (cells.number, float), (cells.count, int)):
        if said := refusal(lambda parse=parse: parse(value, "column"), cells.CellError):  # type: ignore[misc]
            assert "column" in said
        else:
            assert type(parse(value, "column")) in (kind, type(None))


@seed(3)
@BOUNDED
@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 5), min_size=1))
def test_counts_are_as_many_votes(counts: dict[str, int]) -> None:
    labels = [label for vote in cells.votes(counts) for label in vote.labels]
    assert {label: labels.count(label) for label in counts} == counts


@seed(4)
@BOUNDED
@given(st.text(st.sampled_from("[]{}:,&*a1-!?|>'\"\n #%@`~.\0\ud800\x85"), max_size=60) | st.text(max_size=60))
def test_any_yaml_is_read_or_refused(text: str) -> None:
    refusal(lambda: document.parse(text), document.DocumentError)
    assert len(refusal(lambda: load(None, [f"corpus.options.x={text}"])).splitlines()) <= 3

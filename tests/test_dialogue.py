"""Text read with earlier turns of its dialogue: whose, in which order, whose words, and that no fold divides one."""

from __future__ import annotations

import csv
import io
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ONE, Amber
from hypothesis import given
from hypothesis import strategies as st

from amber.config import Config
from amber.config_file import load
from amber.console import Console
from amber.corpus import Corpus, Ledger, Utterance
from amber.errors import UserError
from amber.extract import dialogue, encoders, stage
from amber.extract.corpora import msp_podcast
from amber.extract.encoders.passage import Passage
from amber.extract.transcripts import Transcript, TranscriptSpec, TranscriptStore
from amber.features.spec import FeatureSpec
from amber.features.store import FeatureStore, feature_sets
from amber.machine import choose
from amber.train import stage as training

QUIET = Console(quiet=True)
TURNS = st.lists(st.tuples(st.integers(0, 3) | st.none(), st.booleans()), max_size=30)  # dialogue, and has a transcript


def corpus(rows: list[tuple[object, object, str | None]]) -> Corpus:
    """Return utterances of (dialogue, turn, text)."""
    made = []
    for i, (of, turn, text) in enumerate(rows):
        extra = {k: str(v) for k, v in (("dialogue", of), ("turn", turn)) if v is not None}
        made.append(Utterance(f"u{i}", None, text, f"s{i}", (), extra=extra))
    nobody = Utterance("nobody", None, "nothing", None, (), extra={"dialogue": "its own", "turn": "1"})
    return Corpus.of([*made, nobody], name="test")


@given(TURNS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_context_is_of_earlier_turns_of_the_same_dialogue(
    turns: list[tuple[int | None, bool]], count: int, shuffle: random.Random
) -> None:
    """Texts say which dialogue and when they are of, so that what is found can be told from them."""
    spoken = [(of, i, f"{of}/{i}" if there else None) for i, (of, there) in enumerate(turns)]
    shuffle.shuffle(spoken)
    found = dialogue.contexts(corpus(spoken), count)
    for (of, turn, _), context in zip(spoken, found, strict=False):
        earlier = [(i, text) for one, i, text in sorted(spoken, key=lambda row: row[1]) if one == of and i < turn]
        expected = [text for _, text in earlier[-count:] if text] if of is not None else []
        assert list(context) == expected


def test_names_of_msp_podcast_say_which_podcast_and_when() -> None:
    names = ["MSP-PODCAST_0001_0010", "MSP-PODCAST_0001_0009", "MSP-PODCAST_0002_0001_0002", "MSP-PODCAST_x_1"]
    found = {uid[12:]: tuple(of.values()) for uid, of in msp_podcast._places(names).items()}
    assert found == {"0001_0009": ("0001", "1"), "0001_0010": ("0001", "2"), "0002_0001_0002": ("0002", "1")}


def test_turns_are_numbers_and_none_is_there_twice() -> None:
    assert dialogue.contexts(corpus([("a", "10", "z"), ("a", "9", "y"), ("a", "1.5", "x")]), 2)[0] == ("x", "y")
    for rows, says in (
        ([("a", "first", "x")], "u0 is in dialogue 'a', but its turn is 'first'"),
        ([("a", None, "x")], "u0 is in dialogue 'a', but its turn is None"),
        ([("a", "nan", "x")], "its turn is 'nan'"),
        ([("a", "1", "x"), ("a", "1.0", "y")], "turn 1.0 twice: u0, u1"),
    ):
        with pytest.raises(UserError, match=says):
            dialogue.contexts(corpus(rows), 1)
    ledger = Ledger()
    dialogue.account(corpus([("a", 1, "x"), (None, None, "y"), ("a", 2, None)]), ledger)
    assert list(ledger.entries.values()) == [["u1"], ["u2"]]


def test_what_came_later_does_not_change_the_names_of_sets() -> None:
    """The digits were made before the spec had these fields."""
    values = {
        "corpus": "c",
        "release": "",
        "inputs": "i",
        "size": 3,
        "modality": "text",
        "encoder": "e",
        "revision": "1",
    }
    values |= {"layers": (0,), "dim": 2, "level": "pooled", "pooling": "mean", "sample_rate": None, "max_seconds": None}
    spec = FeatureSpec(**values, dtype="float16", precision="fp32")  # type: ignore[arg-type]
    assert spec.key == "471a258e"
    assert len({spec.key, *(spec.model_copy(update={"text_context": k}).key for k in (1, 2))}) == 3
    assert spec.model_copy(update={"text_instruction": "query: "}).key != spec.key


TEXTS = ("so you came", "I did", "why now", "because", "get out", "no")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers in three dialogues of four turns; the table is not in their order."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    rows = [
        f"d{d}t{t},{TEXTS[(d + t) % 6]},s{d}{t % 2},f{d},d{d},{t},{1 + t % 2},{d % 2 + 1}"
        for d in range(3)
        for t in range(4)
    ]
    rows = rows[::-1]
    path.write_text("\n".join(["id,text,speaker,fold,dialogue,turn,vote_joy,vote_anger", *rows]) + "\n")
    return path


def configured(table: Path, cache: Path, *more: str) -> Config:
    base = ["corpus.dataset=table", f"corpus.root={table}", f"features.cache={cache}", "features.layers=last"]
    return load(None, [*base, "features.dtype=float32", *more])


def rows_of(store: FeatureStore) -> dict[str, np.ndarray]:
    return dict(zip(store.ids(), np.concatenate([f for _, f in store.pieces()]), strict=True))


def test_extracted_features_are_those_of_the_text_after_its_dialogue(table: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (outcome,) = stage.run(configured(table, cache, "features.text_context=2"), QUIET)
    found = rows_of(FeatureStore.open(outcome.location))
    encoder = encoders.find("minilm", "text", "last").load(choose("cpu"))
    texts = {f"d{d}t{t}": TEXTS[(d + t) % 6] for d in range(3) for t in range(4)}
    for uid, text in texts.items():
        turns = tuple(texts[f"{uid[:2]}t{t}"] for t in range(int(uid[3]))[-2:])
        np.testing.assert_allclose(found[uid], encoder.pooled([Passage(text, "", turns)])[0], rtol=0, atol=1e-4)
    assert "0 of 1 unit" in stage.run(configured(table, cache, "features.text_context=2"), QUIET)[0].line()
    # Without context it is another set, and training takes the one that is asked for.
    stage.run(configured(table, cache), QUIET)
    assert len(list(feature_sets(cache, "table"))) == 2
    for count in (0, 2):
        options = (f"features.text_context={count}", "train.variants=[text]", "splits.scheme=column")
        store = training.prepare(configured(table, cache, *options), "table").data.stores["text"]
        assert store.spec.text_context == count


def test_a_model_that_reads_earlier_turns_predicts_with_them_and_a_text_without_any(
    amber: Amber, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    options = ("features.text_context=2", "train.variants=[text]", "train.seeds=[0]", "train.folds=[1]", ONE,
               "splits.scheme=column", "train.epochs=2", f"train.runs={tmp_path}")  # fmt: skip
    stage.run(configured(table, cache, *options), QUIET)
    training.run(configured(table, cache, *options), "table", QUIET)
    asked = ("-q", "predict", "--model", tmp_path / "table" / "text" / "fold1-seed0")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    lines = "".join(json.dumps({k: row[k] for k in ("id", "text", "dialogue", "turn")}) + "\n" for row in rows)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    found = {name: amber(*asked, *how).stdout for name, how in (("lines", ["-"]), ("table", ["--table", table]))}
    assert found["lines"] == found["table"]
    said = {one["id"]: one["distribution"] for one in map(json.loads, found["table"].splitlines())}
    (alone,) = map(json.loads, amber(*asked, "--text", TEXTS[0]).stdout.splitlines())
    assert alone["distribution"] == pytest.approx(said["d0t0"], abs=1e-6)


def test_a_dialogue_in_two_parts_is_refused_only_where_it_is_read(table: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for count in (0, 1):
        stage.run(configured(table, cache, f"features.text_context={count}"), QUIET)
    options = ("train.variants=[text]", "splits.scheme=leave-one-speaker-out")
    training.prepare(configured(table, cache, *options), "table")
    with pytest.raises(UserError, match="dialogues are in two parts"):
        training.prepare(configured(table, cache, "features.text_context=1", *options), "table")


def test_an_order_that_was_put_right_makes_another_set(table: Path, tmp_path: Path) -> None:
    cache, changed = tmp_path / "cache", tmp_path / "table.csv"
    changed.write_text(table.read_text())
    first = stage.run(configured(changed, cache, "features.text_context=1"), QUIET)[0].location
    changed.write_text(table.read_text().replace(",d1,3,", ",d1,-1,"))
    second = stage.run(configured(changed, cache, "features.text_context=1"), QUIET)[0].location
    now = Corpus.read(cache / "table" / "utterances.parquet")
    assert [FeatureStore.open(one).spec.is_of(now) for one in (first, second)] == [False, True]


def test_context_is_in_the_words_that_are_asked_for(tmp_path: Path) -> None:
    """With machine transcripts, earlier turns are the machine's words too."""
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16_000)
    rows = ["u1,a.wav,human one,s1,d,1,1", "u2,a.wav,human two,s2,d,2,1"]
    (tmp_path / "table.csv").write_text("\n".join(["id,audio,text,speaker,dialogue,turn,vote_joy", *rows]) + "\n")
    config = configured(tmp_path / "table.csv", tmp_path / "cache", "features.text_context=1")
    plain = stage.load_corpus(config).corpus
    about = {"corpus": "table", "release": "", "inputs": plain.input_hash("speech"), "size": 2, "language": None}
    spec = TranscriptSpec(**about, model="m", revision="1", max_seconds=30, precision="fp32")
    store = TranscriptStore(tmp_path / "cache" / "table", spec, plain.ids)
    stat = (tmp_path / "a.wav").stat()
    heard = [Transcript(f"machine {n}", "ok", "", stat.st_size, stat.st_mtime_ns) for n in ("one", "two")]
    store.commit(0, heard)
    store.finish()
    assert dialogue.contexts(plain, 1)[1] == ("human one",)
    asked = configured(tmp_path / "table.csv", tmp_path / "cache", "features.text_context=1", "corpus.transcripts=asr")
    assert dialogue.contexts(stage.load_corpus(asked).corpus, 1)[1] == ("machine one",)


def test_a_corpus_without_dialogues_is_refused(tmp_path: Path) -> None:
    config = load(None, ["features.text_context=1", "corpus.options.size=20", f"features.cache={tmp_path}"])
    with pytest.raises(UserError, match="demo has no column 'dialogue' or 'turn'"):
        stage.run(config, QUIET)
    assert not any(tmp_path.iterdir())

"""Cases after public reports of people who do this job: what tables look like in the wild, and what is made of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from amber.config import LabelOptions, SplitOptions
from amber.corpus import Corpus, Utterance, Vote
from amber.errors import UserError
from amber.extract.corpora import Loaded, Source, load
from amber.labels import LabelSpace
from amber.splits import make_folds


def read(path: Path) -> Loaded:
    return load(Source("table", "mine", path.parent / "cache", path))


def put(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def jsonl(folder: Path, *rows: dict[str, Any]) -> Path:
    return put(folder, "t.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def row(**cells: Any) -> dict[str, Any]:
    return {"id": "u", "text": "words", "speaker": "s", "votes": "joy", **cells}


def said_votes(loaded: Loaded) -> list[list[str]]:
    return [[label for vote in votes for label in vote["labels"]] for votes in loaded.corpus.column("votes")]


# Lines, encodings, separators


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_of_json_ends_at_a_line_feed_only(tmp_path: Path, mark: str, end: str) -> None:
    rows = [row(id="u1", text=f"one{mark}two"), row(id="u2")]
    text = end.join(json.dumps(one, ensure_ascii=False).replace("\\u000b", "\x0b") for one in rows) + end
    if mark < " ":  # JSON has to escape these
        text = end.join(json.dumps(one) for one in rows) + end
    loaded = read(put(tmp_path, "t.jsonl", text))
    assert loaded.corpus.column("text") == [f"one{mark}two", "words"]


def test_a_csv_line_may_hold_marks_that_look_like_line_ends(tmp_path: Path) -> None:
    loaded = read(put(tmp_path, "t.csv", "id,text,votes\nu1,one\u2028two\x85three,joy\nu2,x,joy\n"))
    assert loaded.corpus.column("text") == ["one\u2028two\x85three", "x"]


ROWS = [("u1", "Das ist schön.", "Müller", "ärger;trauer"), ("u2", "Na klar.", "Möller", "ärger;ärger")]


def table(separator: str) -> str:
    quoted = [[f'"{cell}"' if separator in cell else cell for cell in cells] for cells in ROWS]
    return "\r\n".join(separator.join(cells) for cells in [("id", "text", "speaker", "votes"), *quoted]) + "\r\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", table(";").encode("utf-8-sig")),
        ("t.csv", b"sep=;\r\n" + table(";").encode()),
        ("t.csv", table("\t").encode("utf-8")),
        ("t.tsv", table("\t").encode("utf-16")),
        ("t.tsv", table(",").encode("utf-16-le").join([b"\xff\xfe", b""])),
        ("t.csv", table(",").encode("utf-32")),
        ("t.csv", table("|").encode()),
    ],
)
def test_a_table_is_the_same_whichever_program_saved_it(tmp_path: Path, name: str, content: bytes) -> None:
    loaded = read(put(tmp_path, name, content))
    assert loaded.corpus.column("speaker") == ["Müller", "Möller"]
    assert said_votes(loaded) == [["ärger", "trauer"], ["ärger", "ärger"]]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le"])
def test_an_encoding_that_is_not_told_is_refused_with_the_line(tmp_path: Path, name: str, encoding: str) -> None:
    content = table(",") if name == "t.csv" else json.dumps(row(speaker="Müller"), ensure_ascii=False) + "\n"
    with pytest.raises(UserError, match=r"(line \d \(byte 0xf[cf0-9a-f]\): )?.*not UTF-8 text"):
        read(put(tmp_path, name, content.encode(encoding)))


def test_bytes_of_another_encoding_never_merge_two_names(tmp_path: Path) -> None:
    from amber.corpus import Ledger
    from amber.extract.corpora.reading import lines, read_text

    path, ledger = put(tmp_path, "names.txt", "Müller\nMöller\nGröße\n".encode("cp1252")), Ledger()
    assert read_text(path, ledger).split() == ["Müller", "Möller", "Größe"]
    assert [line.strip() for line in lines(path, ledger)] == ["Müller", "Möller", "Größe"]
    every = bytes(range(128, 256))
    assert len(set(read_text(put(tmp_path, "all.txt", b"\n".join(bytes([b]) for b in every)), ledger))) == 129
    assert ledger.entries["files with bytes that are not UTF-8 (read as Windows-1252)"] == ["names.txt"] * 2 + [
        "all.txt"
    ]


# Quotation marks


def test_a_quotation_mark_that_is_never_closed_is_named_with_its_line(tmp_path: Path) -> None:
    marked = [f"u{i},{'' if i != 41 else chr(34)}he said {i},s,joy" for i in range(9000)]
    with pytest.raises(UserError, match=r"line 43\b.*131,072"):
        read(put(tmp_path, "t.csv", "\n".join(["id,text,speaker,votes", *marked]) + "\n"))
    with pytest.raises(UserError, match=r"line 43\b.*never closed"):
        read(put(tmp_path, "t.csv", "\n".join(["id,text,speaker,votes", *marked[:60]]) + "\n"))


@pytest.mark.parametrize("second", ['u3,he left",s,joy', 'u3,"he left,s,joy', 'u3,he "left",s,joy'])
def test_two_stray_quotation_marks_do_not_hide_the_rows_between_them(tmp_path: Path, second: str) -> None:
    content = f'id,text,speaker,votes\nu1,"he came,s,joy\nu2,he stayed,s,joy\n{second}\n'
    with pytest.raises(UserError, match="line 2"):
        read(put(tmp_path, "t.csv", content))


def test_a_text_may_have_lines_and_quotation_marks(tmp_path: Path) -> None:
    content = 'id,text,speaker,votes\nu1,"one, ""two""\nthree, four, five, six",s,joy\nu2,it\'s 5" long,s,joy\n'
    assert read(put(tmp_path, "t.csv", content)).corpus.column("text") == [
        'one, "two"\nthree, four, five, six',
        "it's 5\" long",
    ]


def test_a_cell_beyond_all_measure_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2: a cell of over 131,072 characters"):
        read(put(tmp_path, "t.csv", f"id,text,votes\nu,{'x' * 140_000},joy\n"))


# Cells and their types


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ({"anger": 3, "sadness": 1}, ["anger"] * 3 + ["sadness"]),
        ({"anger": 0, "sadness": 2}, ["sadness"] * 2),
        ({"anger": 2.0, "sadness": None}, ["anger"] * 2),
        (["anger", "anger"], ["anger"] * 2),
        ([{"labels": ["anger", "sadness"]}], ["anger", "sadness"]),
        (None, []),
        ([], []),
        (float("nan"), []),
        ("", []),
    ],
)
def test_votes_as_they_are_written(tmp_path: Path, votes: Any, expected: list[str]) -> None:
    assert said_votes(read(jsonl(tmp_path, row(votes=votes)))) == [expected]
    if isinstance(votes, dict | list):
        cell = json.dumps(votes).replace('"', '""')
        assert said_votes(read(put(tmp_path, "t.csv", f'id,text,votes\nu,w,"{cell}"\n'))) == [expected]


@pytest.mark.parametrize("kind", ["struct", "map"])
def test_votes_as_counts_in_parquet(tmp_path: Path, kind: str) -> None:
    counts = [{"anger": 3, "sadness": 1}, {"joy": 2}]
    types = {"struct": None, "map": pa.map_(pa.string(), pa.int64())}
    votes = [list(c.items()) for c in counts] if kind == "map" else counts
    columns = {"id": ["a", "b"], "text": ["w", "w"], "votes": pa.array(votes, types[kind])}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert said_votes(read(tmp_path / "t.parquet")) == [["anger"] * 3 + ["sadness"], ["joy"] * 2]


@pytest.mark.parametrize(
    "votes",
    [
        {"anger": 0.5, "joy": 0.5},
        {"anger": -1},
        {"anger": True},
        {"anger": "many"},
        {"anger": [1]},
        {"labels": ["anger"], "rater": "r"},
        {"anger": 1e12},
        ["anger", None],
        ["anger", 3],
        [["anger"]],
        [{"labels": "anger"}],
        [{"labels": [["a"]]}],
        [{"labels": ["anger", None]}],
        [{"labels": ["anger"], "is_self": "no"}],
        [{"labels": ["anger"], "secondary": "joy"}],
        [{"labels": ["anger"], "rater": ["r"]}],
        [{"labels": ["anger"], "weight": 2}],
        [{"labels": ["anger"], "rater": "r"}, {"labels": ["joy"], "rater": "r"}],
        [""],
        3,
        True,
        "anger:3;joy:1",
        '{"anger": 1, "anger": 2}',
        "[" * 5_000,
        ["a"] * 10_001,
    ],
)
def test_what_is_no_vote_is_refused_by_its_row(tmp_path: Path, votes: Any) -> None:
    with pytest.raises(UserError, match=r"t\.jsonl, line 2: .*vote") as error:
        read(jsonl(tmp_path, row(), row(id="v", votes=votes)))
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"text": True}, "text must be text, found true"),
        ({"text": ["a"]}, "text must be text"),
        ({"speaker": {"name": "s"}}, "speaker must be text"),
        ({"speaker": 1.5}, "speaker must be text, found 1.5"),
        ({"id": None}, "has no id"),
        ({"id": float("nan")}, "has no id"),
        ({"text": "\ud83d"}, "lone surrogate"),
        ({"text": "a\0b"}, "NUL"),
        ({"start": True}, "start must be a number"),
        ({"end": "1_000"}, "end must be a number"),
        ({"end": "0,5"}, "write decimals with a point"),
        ({"end": 10**400}, "finite number"),
    ],
)
def test_a_cell_is_what_its_column_says(tmp_path: Path, cells: dict[str, Any], says: str) -> None:
    path = put(tmp_path, "t.jsonl", json.dumps(row(**cells)) + "\n")
    with pytest.raises(UserError, match=f"line 1: .*{says}"):
        read(path)


def test_missing_is_missing_and_words_are_words(tmp_path: Path) -> None:
    words = ["null", "None", "nan", "NA", "n/a"]
    content = "id,text,speaker,votes\n" + "".join(f"u{i},{word},s,joy\n" for i, word in enumerate(words))
    assert read(put(tmp_path, "t.csv", content)).corpus.column("text") == words
    found = read(jsonl(tmp_path, row(text=float("nan"), speaker=float("nan")))).corpus
    assert (found.column("text"), found.column("speaker")) == ([None], [None])
    columns = {"id": [1, 2], "text": ["a", None], "speaker": [7.0, float("nan")], "votes": ["joy", "joy"]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet").corpus
    assert (found.column("id"), found.column("speaker")) == (["1", "2"], ["7", None])


def test_further_columns_of_any_type_are_kept_as_they_would_be_written(tmp_path: Path) -> None:
    found = read(jsonl(tmp_path, row(arousal=3.5, flag=True, tags=["a", "é"], none=None, n=3))).corpus
    kept = {name: found.column(name) for name in ("arousal", "flag", "tags", "n")}
    assert kept == {"arousal": ["3.5"], "flag": ["True"], "tags": ['["a", "é"]'], "n": ["3"]}


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 1: 'votes' is given twice"):
        read(put(tmp_path, "t.jsonl", '{"id": "u", "text": "w", "votes": "joy", "votes": "calm"}\n'))


def test_counts_by_column_have_a_ceiling(tmp_path: Path) -> None:
    for count in ("10001", "1e12", "9" * 300):
        with pytest.raises(UserError, match=r"row 2: vote_joy: .*10,000 is the maximum"):
            read(put(tmp_path, "t.csv", f"id,text,vote_joy\nu,w,{count}\n"))


# Names


def test_a_known_column_in_another_spelling_is_that_column_and_it_is_said(tmp_path: Path) -> None:
    loaded = read(put(tmp_path, "t.csv", "ID,Text,Speaker ,Votes\nu,w,s,joy\n"))
    assert loaded.corpus.column("speaker") == ["s"]
    assert "column 'Speaker' is read as `speaker`" in loaded.ledger.notes


def test_audio_under_another_spelling_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "Mu\u0308ller.WAV", np.zeros(800), 16_000)
    soundfile.write(tmp_path / "b.wav", np.zeros(800), 16_000)
    head = "id,audio,votes\nu,m\u00fcller.wav,joy\n"
    loaded = read(put(tmp_path, "t.csv", head + "v,b.wav,joy\n"))
    (said,) = loaded.ledger.entries["audio that is there under another spelling"]
    assert said == "u: m\u00fcller.wav, not Mu\u0308ller.WAV"
    with pytest.raises(UserError, match=re.escape("there is Mu\u0308ller.WAV")):
        read(put(tmp_path, "t.csv", head))


def test_audio_outside_the_folder_is_read_and_counted(tmp_path: Path) -> None:
    inner = tmp_path / "tables"
    inner.mkdir()
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 16_000)
    content = f"id,audio,votes\nu,../a.wav,joy\nv,{tmp_path / 'a.wav'},joy\nw,x/../../a.wav,joy\n"
    loaded = read(put(inner, "t.csv", content))
    assert loaded.ledger.entries["audio outside the table's folder"] == ["u", "v", "w"]


def test_speakers_that_differ_in_spelling_only_are_said(tmp_path: Path) -> None:
    loaded = read(put(tmp_path, "t.csv", "id,text,speaker,votes\nu,w,Ana,joy\nv,w,ana,joy\n"))
    assert any("speakers that differ in spelling only, 'Ana', 'ana'" in note for note in loaded.ledger.notes)


def labelled(*labels: str, **about: Any) -> Corpus:
    votes = [Vote(str(i), (label,)) for i, label in enumerate(labels)]
    return Corpus.of([Utterance("u", None, "w", "s", tuple(votes))], name="x", **about)


def test_spellings_of_a_label_are_one_class() -> None:
    corpus = labelled("Anger", "anger", "ANGER ", "Cafe\u0301", "caf\u00e9", "joy")
    space = LabelSpace.resolve(LabelOptions(), corpus)
    assert space.classes == ("anger", "caf\u00e9", "joy")
    assert space.count(corpus.votes()).inside.tolist() == [[3, 2, 1]]


def test_a_label_in_two_classes_is_named_whatever_its_spelling() -> None:
    with pytest.raises(UserError, match="' Anger' is in two classes, a and b"):
        LabelSpace.resolve(LabelOptions(classes={"a": ["anger"], "b": [" Anger"]}), labelled("anger"))


def test_merged_spellings_are_said(tmp_path: Path) -> None:
    loaded = read(put(tmp_path, "t.csv", "id,text,votes\nu,w,Anger;anger\nv,w,ANGER;joy\n"))
    assert any("'Anger', 'anger', 'ANGER': counted as one label" in note for note in loaded.ledger.notes)


# Parts of a split


def divided(values: list[str]) -> Corpus:
    rows = [
        Utterance(f"u{i}", None, "w", f"s{i}", (Vote("1", ("joy",)),), split=value, extra={"fold": value})
        for i, value in enumerate(values)
    ]
    return Corpus.of(rows, name="x")


@pytest.mark.parametrize("scheme", ["column", "official"])
@pytest.mark.parametrize("dev", ["dev", "valid", "val", "validation", "devel", "Development", "EVAL", "validation_set"])
def test_parts_are_known_by_the_names_that_people_give_them(scheme: Any, dev: str) -> None:
    (fold,) = make_folds(SplitOptions(scheme=scheme), divided(["Train", "train", dev, "test"]))
    assert (fold.train.tolist(), fold.dev.tolist(), fold.test.tolist()) == ([0, 1], [2], [3])


def test_eval_is_the_test_part_where_there_is_a_dev_part() -> None:
    (fold,) = make_folds(SplitOptions(scheme="column"), divided(["train", "dev", "eval"]))
    assert (fold.dev.tolist(), fold.test.tolist()) == ([1], [2])


@pytest.mark.parametrize("scheme", ["column", "official"])
@pytest.mark.parametrize("odd", ["holdout", "unused", "eval"])
def test_an_unknown_part_is_named_and_not_taken_for_a_fold(scheme: Any, odd: str) -> None:
    with pytest.raises(UserError, match=f"'{odd}' beside 'dev', 'test', 'train'"):
        make_folds(SplitOptions(scheme=scheme), divided(["train", "dev", "test", odd]))


def test_folds_still_rotate() -> None:
    assert len(make_folds(SplitOptions(scheme="column"), divided(["1", "2", "10", "x\u00b2"]))) == 4

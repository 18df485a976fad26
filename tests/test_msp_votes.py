"""MSP-Podcast's votes on invented rows: every dialect, fallback and quirk of the format's description."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msp_trees import (
    ATTRIBUTES,
    CONSENSUS,
    EXPECTED,
    ROWS,
    A,
    B,
    C,
    Release,
    Rows,
    consensus_csv,
    detail,
    detailed_csv,
    detailed_json,
    labels_txt,
    small_release,
    votes_of,
)

from amber.corpus import Ledger, Vote
from amber.errors import UserError
from amber.extract.corpora import Loaded
from amber.extract.corpora.msp_votes import DUPLICATES, UNLABELLED, collect, csv_rows, parse_detail, primary_labels


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return small_release(tmp_path / "release")


@pytest.mark.parametrize("dialect", ["1.6", "1.7-1.12", "2.0"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_dialect_of_the_detailed_csv_gives_the_same_votes(
    release: Release, dialect: str, ends: str, mark: str
) -> None:
    release.files["Labels/labels_detailed.csv"] = mark + detailed_csv(ROWS, dialect).replace("\n", ends)
    release.files["Labels/labels_consensus.csv"] = mark + consensus_csv().replace("\n", ends)
    loaded = release.load()
    assert votes_of(loaded) == EXPECTED
    assert loaded.corpus.column("consensus") == ["S", None, "O"]
    assert loaded.ledger.entries["failed"] == []
    assert any(f"dialect of release {dialect}" in note for note in loaded.ledger.notes)


@pytest.mark.parametrize("kind", ["txt", "json"])
@pytest.mark.parametrize("forced", [False, True])
def test_fallbacks_give_the_same_votes(release: Release, kind: str, forced: bool) -> None:
    codes = {uid: code for uid, code, *_ in CONSENSUS}
    release.files["Labels/labels.txt"] = labels_txt(ROWS, codes).replace("\n", "\r\n")
    release.files["Labels/labels_detailed.json"] = detailed_json(ROWS)
    if forced:
        # The preferred files say something else, so that it shows which was read.
        release.files["Labels/labels_detailed.csv"] = detailed_csv([(A, "WORKER1", "Fear", "")], "2.0")
        other = "labels_detailed.json" if kind == "txt" else "labels.txt"
        release.files[f"Labels/{other}"] = "{}"
    else:
        del release.files["Labels/labels_detailed.csv"]
        if kind == "json":
            del release.files["Labels/labels.txt"]
    loaded = release.load(**({"votes": kind} if forced else {}))
    assert votes_of(loaded) == EXPECTED
    assert any(f"votes from labels{'.txt' if kind == 'txt' else '_detailed.json'}" in n for n in loaded.ledger.notes)


def test_order_of_preference_is_csv_then_txt_then_json(release: Release) -> None:
    def rows(label: str) -> Rows:
        return [(uid, "WORKER1", label, "") for uid in (A, B, C)]

    release.files |= {
        "Labels/labels_detailed.csv": detailed_csv(rows("Fear"), "2.0"),
        "Labels/labels.txt": labels_txt(rows("Disgust"), dict.fromkeys((A, B, C), "X")),
        "Labels/labels_detailed.json": detailed_json(rows("Contempt")),
    }
    for name, label in (("_detailed.csv", "Fear"), (".txt", "Disgust"), ("_detailed.json", "Contempt")):
        assert votes_of(release.load())[A] == {"WORKER1": ((label,), ())}
        del release.files[f"Labels/labels{name}"]
        (release.root / f"Labels/labels{name}").unlink()
    with pytest.raises(UserError, match="no rater's votes"):
        release.load()


def test_votes_that_are_forced_but_absent_are_refused(release: Release) -> None:
    with pytest.raises(UserError, match=r"labels_detailed\.json"):
        release.load(votes="json")
    with pytest.raises(UserError, match="votes"):
        release.load(votes="xml")


HEADERS = [
    f"{B}.wav; S; A:5; V:5; D:3;",
    f'"{B}.wav; S; A:5; V:5; D:3;"',
    f'"{B}.wav"; "S"; A:5;',
    f"{B.lower()}.wav; S;",
]


def txt_only(release: Release, *text: str) -> Loaded:
    for name in ("labels_detailed.csv", "labels_consensus.csv"):
        del release.files[f"Labels/{name}"]
    release.files["Labels/labels.txt"] = "\n".join(text) + "\n"
    return release.load()


@pytest.mark.parametrize("header", HEADERS)
def test_a_file_s_line_of_labels_txt_counts_in_quotes_and_in_any_case(release: Release, header: str) -> None:
    first = [f"{A}.wav; H; A:5; V:5; D:3;", f"WORKER1; Happy; Happy; {ATTRIBUTES}"]
    loaded = txt_only(release, *first, header, f'"worker2; Sad; Sad,Fear; {ATTRIBUTES.rstrip("; ")}"')
    assert votes_of(loaded) == {
        A: {"WORKER1": (("Happy",), ("Happy",))},
        B: {"WORKER2": (("Sad",), ("Sad", "Fear"))},
    }
    assert loaded.corpus.column("consensus") == ["H", "S"]
    assert loaded.ledger.entries["failed"] == []


def test_votes_below_a_line_that_is_no_file_s_go_to_no_other_utterance(release: Release) -> None:
    workers = [f"WORKER{n}; {label}; ; {ATTRIBUTES}" for n, label in enumerate(("Happy", "Sad", "Fear"))]
    loaded = txt_only(
        release, f"{A}.wav; H;", workers[0], "", "MSP PODCAST 9999.wav; S;", workers[1], "", f"{C}.wav; F;", workers[2]
    )
    assert votes_of(loaded) == {A: {"WORKER0": (("Happy",), ())}, C: {"WORKER2": (("Fear",), ())}}
    assert loaded.ledger.entries["failed"] == ["labels.txt:4", "labels.txt:5"]


def test_a_label_of_labels_txt_may_go_on_in_the_next_line(release: Release) -> None:
    rest = f"zled; Surprise,Sad; {ATTRIBUTES}"
    loaded = txt_only(release, f"{A}.wav; H;", "WORKER1; Other-puz", rest, f"WORKER2; Happy; ; {ATTRIBUTES}")
    assert votes_of(loaded)[A] == {
        "WORKER1": (("Other-puz\nzled",), ("Surprise", "Sad")),
        "WORKER2": (("Happy",), ()),
    }
    assert loaded.ledger.entries["failed"] == []
    # Of a line that has its attributes nothing is to come: what follows may belong to another utterance.
    loaded = txt_only(small_release(release.root.parent / "b"), f"{A}.wav; H;", f"WORKER1; Sad; ; {ATTRIBUTES}", rest)
    assert loaded.ledger.entries["failed"] == ["labels.txt:3"]


def test_a_csv_with_an_unknown_header_falls_back_and_is_named(release: Release) -> None:
    release.files["Labels/labels_detailed.csv"] = "File,Rater\nx,y\n"
    release.files["Labels/labels.txt"] = labels_txt(ROWS, dict.fromkeys((A, B, C), "X"))
    loaded = release.load()
    assert votes_of(loaded) == EXPECTED
    assert loaded.ledger.entries["failed"] == ["labels_detailed.csv"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (f"WORKER0000001; Sad; Sad,Angry; {ATTRIBUTES}", ("WORKER0000001", "Sad", "Sad,Angry")),
        (f" WORKER00000001; Sad; ; {ATTRIBUTES}", ("WORKER00000001", "Sad", "")),
        (f"WORKER00000001; Sad;; {ATTRIBUTES}", ("WORKER00000001", "Sad", "")),
        (f"WORKER00000001; Sad; {ATTRIBUTES}", ("WORKER00000001", "Sad", "")),
        (f"WORKER1; Other-a; b: c; Sad; {ATTRIBUTES}", ("WORKER1", "Other-a; b: c", "Sad")),
        (f"WORKER1; Other-A:5; V:1; D:2; Happy; {ATTRIBUTES}", ("WORKER1", "Other-A:5; V:1; D:2", "Happy")),
        (f"WORKER1; Other-x; V:3; {ATTRIBUTES}", ("WORKER1", "Other-x", "V:3")),
        ("WORKER1; Happy; Happy; A:5.0; V:; D:2.0;", ("WORKER1", "Happy", "Happy")),
        ("WORKER1; Happy; Happy; A:5; V:4; D:2", ("WORKER1", "Happy", "Happy")),
        ("WORKER1; Happy; Happy,Sad;", ("WORKER1", "Happy", "Happy,Sad")),
        (f"WORKER1; ; Happy; {ATTRIBUTES}", ("WORKER1", "", "Happy")),
        (f"Happy; Happy; {ATTRIBUTES}", None),
        ("WORKER1", None),
        ("", None),
    ],
)
def test_detail_by_hand(written: str, expected: tuple[str, str, str] | None) -> None:
    assert parse_detail(written) == expected


typed = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=' ;,:"/09'), max_size=20)


@given(primary=typed, secondary=typed.filter(lambda text: ";" not in text))
def test_any_typed_text_survives_the_detail_dialect(primary: str, secondary: str) -> None:
    primary = f"Other-{primary}".strip()
    assert parse_detail(detail("WORKER7", primary, secondary)) == ("WORKER7", primary, secondary.strip())


@given(rows=st.lists(st.tuples(st.sampled_from([A, B]), st.sampled_from(["WORKER1", "WORKER2"]), typed, typed)))
@pytest.mark.parametrize("dialect", ["1.6", "2.0"])
def test_any_typed_text_survives_the_column_dialects(
    tmp_path_factory: pytest.TempPathFactory, dialect: str, rows: Rows
) -> None:
    path = tmp_path_factory.mktemp("csv") / "labels_detailed.csv"
    path.write_text(detailed_csv(rows, dialect), encoding="utf-8")
    ledger = Ledger()
    read = [tuple(cell.strip() for cell in row) for row in csv_rows(path, ledger)]
    assert read == [(f"{uid}.wav", worker, primary.strip(), second.strip()) for uid, worker, primary, second in rows]
    assert "failed" not in ledger.entries


def test_a_stray_quote_costs_no_other_row(release: Release) -> None:
    header = "FileName,EmoDetail\n"
    broken = (
        f'{A}.wav,"WORKER1; Other-5" nails; Sad,Happy; {ATTRIBUTES}"\n{A}.wav,"WORKER2; Other-6\'; Sad; {ATTRIBUTES}\n'
    )
    whole = f"{B}.wav,WORKER3; Happy; Happy; {ATTRIBUTES}\n"
    unquoted = f"{B}.wav,WORKER4; Other-well, hm; Sad; {ATTRIBUTES}\n"
    release.files["Labels/labels_detailed.csv"] = header + broken + whole + unquoted
    votes = votes_of(release.load())
    assert votes[B]["WORKER3"] == (("Happy",), ("Happy",))
    assert votes[B]["WORKER4"] == (("Other-well, hm",), ("Sad",))
    assert votes[A]["WORKER1"][1] == ("Sad", "Happy")
    assert votes[A]["WORKER2"][1] == ("Sad",)


def test_neither_an_open_quote_nor_a_boundless_cell_costs_another_row(release: Release) -> None:
    rows = detailed_csv([(B, "WORKER3", "Happy", "")], "2.0").splitlines()[1]
    open_quote = f'{A}.wav,WORKER1,Other-x"y,"Sad,1,1,1'
    boundless = f'{C}.wav,WORKER2,"{"x" * 200_000}",Sad,1,1,1'
    header = "FileName,WorkerID,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom"
    release.files["Labels/labels_detailed.csv"] = "\n".join([header, open_quote, rows, boundless, rows, ""])
    loaded = release.load()
    assert votes_of(loaded)[B] == {"WORKER3": (("Happy",), ())}
    assert loaded.ledger.entries["failed"] == ["labels_detailed.csv"]
    assert votes_of(loaded)[A] == {"WORKER1": (('Other-x"y',), ("Sad", "1", "1", "1"))}


def test_typed_text_with_a_line_break_stays_one_row(release: Release) -> None:
    release.files["Labels/labels_detailed.csv"] = detailed_csv([(A, "WORKER1", "Other-one\ntwo", "Sad")], "2.0")
    assert votes_of(release.load())[A] == {"WORKER1": (("Other-one\ntwo",), ("Sad",))}


def test_rows_that_cannot_be_read_are_filed_and_the_rest_is_kept(release: Release) -> None:
    release.files["Labels/labels_detailed.csv"] = (
        detailed_csv(ROWS, "2.0") + f"{A}.wav\nhello.wav,WORKER1,Sad,Sad,1,1,1\n{B}.wav,,Sad,Sad,1,1,1\n\n"
        f"{C}.wav,WORKER9,,Sad,1,1,1\n"
    )
    release.files["Labels/labels_consensus.csv"] = consensus_csv() + "1,2\n"
    loaded = release.load()
    failed = loaded.ledger.entries["failed"]
    assert sorted(failed) == sorted([A, "a row on 'hello.wav'", B, "labels_consensus.csv"])
    assert votes_of(loaded)[C]["WORKER9"] == ((), ("Sad",))
    assert loaded.ledger.entries[UNLABELLED] == [C]


def test_bad_bytes_and_bad_json_never_crash(release: Release) -> None:
    release.files["Labels/labels_detailed.csv"] = detailed_csv(ROWS, "2.0").encode().replace(b"so-so", b"s\xff-so")
    release.files["Labels/labels_consensus.csv"] = "no,header\n"
    release.files["Labels/labels_consensus.json"] = "{"
    release.files["Labels/labels.txt"] = labels_txt([], {uid: code for uid, code, *_ in CONSENSUS})
    loaded = release.load()
    assert loaded.corpus.column("consensus") == ["S", None, "O"]
    assert set(loaded.ledger.entries["failed"]) == {"labels_consensus.csv", "labels_consensus.json"}
    assert any("UTF-8" in category for category in loaded.ledger.entries)
    release.files["Labels/labels_detailed.json"] = json.dumps({f"{A}.wav": ["x"], f"{B}.wav": {"W": 1, "": {}}})
    with pytest.raises(UserError, match="no rater's votes"):
        release.load(votes="json")


def test_of_a_workers_two_rows_the_last_is_kept_and_the_case_filed() -> None:
    ledger = Ledger()
    rows = [(A, "WORKER1", "Sad", ""), (f"{A}.wav", "WORKER2", "Fear", ""), (A, " WORKER1 ", "Happy", "")]
    votes = collect(rows, ledger)
    assert set(votes[A]) == {Vote("WORKER1", ("Happy",)), Vote("WORKER2", ("Fear",))}
    assert ledger.entries[DUPLICATES] == [A]


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("Happy ", ("Happy",)),
        ("Angry,Sad", ("Angry", "Sad")),
        ("Angry, Other-tired, bored", ("Angry", "Other-tired, bored")),
        ("Other-sad,happy", ("Other-sad,happy",)),
        ("Other(sad, happy)", ("Other(sad, happy)",)),
        ("Happy,ish", ("Happy,ish",)),
        ("", ()),
    ],
)
def test_primary_fields_that_list_several_names(written: str, labels: tuple[str, ...]) -> None:
    assert primary_labels(written) == labels

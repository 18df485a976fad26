"""MSP-Podcast's formats on invented rows: every dialect, fallback and quirk of the format's description."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from amber.config import LabelOptions
from amber.corpus import Ledger, Vote
from amber.errors import UserError
from amber.extract.corpora import Loaded, Source, synth_msp_podcast
from amber.extract.corpora.check_msp_podcast import check, contradictions
from amber.extract.corpora.findings import Finding
from amber.extract.corpora.msp_podcast import load
from amber.extract.corpora.msp_votes import DUPLICATES, UNLABELLED, collect, csv_rows, parse_detail, primary_labels
from amber.labels import LabelSpace

A, B, C = "MSP-PODCAST_9991_0001", "MSP-PODCAST_9991_0002_0001", "MSP-PODCAST_9992_0007"
ATTRIBUTES = "A:5.000000; V:4.000000; D:2.000000;"
Rows = list[tuple[str, str, str, str]]  # id, worker, primary, secondary
ROWS: Rows = [
    (A, "WORKER0000101", "Sad", "Sad,Dissapointed"),
    (A, "WORKER00000102", "Sad", ""),
    (A, "WORKER00000103", 'Other-so-so; well, 5/7: "meh"', "Surprise,Confused"),
    (B, "WORKER0000101", "Happy", "Happy,Amused"),
    (B, "WORKER00000103", "Neutral", "Neutral"),
    (C, "WORKER00000102", "other", "Other-a/b"),
]
CONSENSUS = [
    (A, "S", "12", "Male", "Train"),
    (B, "X", "Unknown", "Unknown", "Development"),
    (C, "O", "14", "", "Test1"),
]


def detail(worker: str, primary: str, secondary: str) -> str:
    return f"{worker}; {primary}; {secondary}; {ATTRIBUTES}"


def csv_text(*rows: tuple[str, ...]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def detailed_csv(rows: Rows, dialect: str) -> str:
    if dialect == "1.7-1.12":
        body = [(f"{uid}.wav", detail(worker, primary, second)) for uid, worker, primary, second in rows]
        return csv_text(("FileName", "EmoDetail"), *body)
    header = {
        "1.6": ("EmoAct", "EmoClass_Second", "FileName", "Workers", "EmoClass_Major", "EmoDom", "EmoVal"),
        "2.0": ("FileName", "WorkerID", "EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom"),
    }[dialect]
    worker_name = "Workers" if dialect == "1.6" else "WorkerID"
    named = [
        {"FileName": f"{uid}.wav", worker_name: worker, "EmoClass_Major": primary, "EmoClass_Second": second}
        for uid, worker, primary, second in rows
    ]
    return csv_text(header, *(tuple(row.get(name, "") for name in header) for row in named))


def labels_txt(rows: Rows, codes: dict[str, str]) -> str:
    blocks = []
    for uid, code in codes.items():
        answers = [detail(worker, primary, second) for of, worker, primary, second in rows if of == uid]
        blocks.append("\n".join([f"{uid}.wav; {code}; A:4.0; V:4.0; D:4.0;", *answers]))
    return "\n\n".join(blocks) + "\n"


def detailed_json(rows: Rows) -> str:
    content: dict[str, dict[str, Any]] = {}
    for uid, worker, primary, second in rows:
        answer = {"EmoClass_Major": primary, "EmoClass_Second": second, "EmoAct": 5, "EmoDom": "2.0", "EmoVal": None}
        content.setdefault(f"{uid}.wav", {})[worker] = answer
    return json.dumps(content)


def consensus_csv(rows: list[tuple[str, ...]] = CONSENSUS) -> str:
    header = ("SpkrID", "FileName", "EmoClass", "Gender", "Split_Set", "EmoAct")
    body = [(speaker, f"{uid}.wav", code, gender, split, "4.0") for uid, code, speaker, gender, split in rows]
    return csv_text(header, *body)


@dataclass
class Release:
    """A release on disk: the paths below it and their content."""

    root: Path
    files: dict[str, str | bytes] = field(default_factory=dict)

    def load(self, **options: Any) -> Loaded:
        for name, content in self.files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return load(self.source(**options))

    def source(self, **options: Any) -> Source:
        return Source("msp-podcast", "msp-podcast", self.root / "cache", self.root, options)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    files: dict[str, str | bytes] = {
        "Labels/labels_consensus.csv": consensus_csv(),
        "Labels/labels_detailed.csv": detailed_csv(ROWS, "2.0"),
    }
    return Release(tmp_path / "release", files)


def wav(samples: int = 32_000, rate: int = 16_000, channels: int = 1) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros((samples, channels), np.float32), rate, subtype="PCM_16", format="WAV")
    return out.getvalue()


def votes_of(loaded: Loaded) -> dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]]:
    column = zip(loaded.corpus.ids, loaded.corpus.column("votes"), strict=True)
    return {uid: {v["rater"]: (tuple(v["labels"]), tuple(v["secondary"])) for v in votes} for uid, votes in column}


EXPECTED = {
    A: {
        "WORKER0000101": (("Sad",), ("Sad", "Dissapointed")),
        "WORKER00000102": (("Sad",), ()),
        "WORKER00000103": (('Other-so-so; well, 5/7: "meh"',), ("Surprise", "Confused")),
    },
    B: {"WORKER0000101": (("Happy",), ("Happy", "Amused")), "WORKER00000103": (("Neutral",), ("Neutral",))},
    C: {"WORKER00000102": (("other",), ("Other-a/b",))},
}


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


@pytest.mark.parametrize("labels", ["Labels", "labels", "label"])
@pytest.mark.parametrize("audio", ["Audios", "Audio"])
@pytest.mark.parametrize("spelling", ["consensus", "concensus"])
def test_spellings_of_folders_and_files(tmp_path: Path, labels: str, audio: str, spelling: str) -> None:
    files: dict[str, str | bytes] = {
        f"{labels}/labels_{spelling}.csv": consensus_csv(),
        f"{labels}/._labels_{spelling}.csv": b"\x00\x05\x16",
        f"{labels}/Labels.txt": labels_txt(ROWS, dict.fromkeys((A, B, C), "X")),
        f"{audio}/{A}.wav": wav(),
        f"{audio}/._{A}.wav": b"\x00\x05\x16",
        f"{audio}/MSP-PODCAST_test3_0001.wav": wav(),
    }
    loaded = Release(tmp_path / "any name", files).load()
    assert loaded.corpus.column("consensus") == ["S", None, "O"]
    assert loaded.corpus.column("audio") == [f"{audio}/{A}.wav", None, None]
    assert (Path(loaded.corpus.root) / audio / f"{A}.wav").is_file()
    assert loaded.ledger.entries["labelled with audio"] == [A]
    assert loaded.ledger.entries["labelled without audio"] == [B, C]
    assert loaded.ledger.entries["audio without label"] == ["MSP-PODCAST_test3_0001"]
    assert votes_of(loaded) == EXPECTED


def test_the_root_may_be_the_folder_above_but_not_above_two_releases(release: Release, tmp_path: Path) -> None:
    release.load()
    assert load(Source("msp-podcast", "msp-podcast", tmp_path, tmp_path)).corpus.ids == (A, B, C)
    Release(tmp_path / "second", release.files).load()
    with pytest.raises(UserError, match="second"):
        load(Source("msp-podcast", "msp-podcast", tmp_path, tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no label folder"):
        load(Source("msp-podcast", "msp-podcast", tmp_path, tmp_path / "empty"))


def test_speaker_session_gender_and_split(release: Release) -> None:
    corpus = release.load(test="both").corpus
    assert corpus.column("speaker") == ["12", None, "14"]
    assert corpus.column("session") == ["9991", "9991", "9992"]
    assert corpus.column("gender") == ["Male", None, None]
    assert corpus.column("split") == ["train", "dev", "test1"]
    assert corpus.consensus_names["U"] == "Surprise"


@pytest.mark.parametrize(
    ("written", "split"),
    [
        ("Train", "train"),
        ("Validation", "dev"),
        ("Development", "dev"),
        ("Test", "test1"),
        ("Test1", "test1"),
        ("test2", "test2"),
        ("Test3", "test3"),
    ],
)
def test_split_names(release: Release, written: str, split: str) -> None:
    release.files["Labels/labels_consensus.csv"] = consensus_csv([(A, "S", "1", "Male", written)])
    release.files["Labels/labels_detailed.csv"] = detailed_csv(ROWS[:1], "2.0")
    assert release.load().corpus.column("split") == [split]


def test_unknown_split_names_are_filed(release: Release) -> None:
    release.files["Labels/labels_consensus.csv"] = consensus_csv([(A, "S", "1", "Male", "Holdout")])
    loaded = release.load()
    assert loaded.ledger.entries["unknown split names"] == [A]
    assert loaded.ledger.entries["without split"] == [A, B, C]


@pytest.mark.parametrize("name", ["Partitions.txt", "partition.txt"])
def test_consensus_from_json_or_from_labels_txt_with_partitions_and_speakers(release: Release, name: str) -> None:
    del release.files["Labels/labels_consensus.csv"]
    keys = ("EmoClass", "SpkrID", "Gender", "Split_Set")
    about = {f"{row[0]}.wav": dict(zip(keys, row[1:], strict=True)) for row in CONSENSUS}
    about[f"{A}.wav"]["SpkrID"] = 12  # type: ignore[assignment]
    release.files["Labels/labels_concensus.json"] = json.dumps(about)
    by_json = release.load().corpus
    del release.files["Labels/labels_concensus.json"]
    (release.root / "Labels/labels_concensus.json").unlink()
    release.files["Labels/labels.txt"] = labels_txt([], {uid: code for uid, code, *_ in CONSENSUS})
    release.files[name] = f"Note\nTrain; {A}.wav\nValidation; {B}.wav\nTest1; {C}.wav\n\n"
    release.files["Speaker_ids.txt"] = f"Speaker_12; Male\n\n{A}.wav; 12\n{B}.wav; Unknown\n{C}.wav; 14\n"
    by_txt = release.load().corpus
    for column in ("consensus", "split", "speaker", "gender"):
        assert by_json.column(column) == by_txt.column(column)
    assert by_txt.column("consensus") == ["S", None, "O"]
    assert by_txt.column("split") == ["train", "dev", "test1"]
    assert by_txt.column("speaker") == ["12", None, "14"]


def test_votes_or_consensus_alone_make_a_labelled_utterance(release: Release) -> None:
    release.files["Labels/labels_consensus.csv"] = consensus_csv([CONSENSUS[0], (C, "", "3", "", "Test3")])
    release.files["Labels/labels_detailed.csv"] = detailed_csv([row for row in ROWS if row[0] == B], "2.0")
    loaded = release.load()
    assert loaded.corpus.ids == (A, B)
    assert loaded.ledger.entries["without votes"] == [A]
    assert loaded.ledger.entries["without consensus row"] == [B]
    assert loaded.ledger.entries["listed without any label"] == [C]


def test_transcripts_in_a_folder(release: Release) -> None:
    release.files |= {
        f"Transcripts/{A}.txt": "\ufeff First line.\r\n  second -\r\n",
        f"Transcripts/._{A}.txt": b"\x00\x05\x16",
        f"Transcripts/{B}.txt": " \n",
    }
    loaded = release.load()
    assert loaded.corpus.column("text") == ["First line. second -", "", None]
    assert loaded.ledger.entries["without transcript"] == [C]
    assert loaded.ledger.entries["empty transcript"] == [B]


@pytest.mark.parametrize("place", ["Transcripts.zip", "Transcripts/Transcripts.zip"])
def test_transcripts_still_in_their_zip(release: Release, place: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"Transcripts/{A}.txt", "In the zip.")
        archive.writestr(f"__MACOSX/Transcripts/._{A}.txt", b"\x00\x05")
    release.files[place] = out.getvalue()
    loaded = release.load()
    assert loaded.corpus.column("text") == ["In the zip.", None, None]
    assert any("zip" in note for note in loaded.ledger.notes)


def test_a_broken_zip_is_filed(release: Release) -> None:
    release.files["Transcripts.zip"] = b"not a zip"
    loaded = release.load()
    assert loaded.corpus.column("text") == [None, None, None]
    assert loaded.ledger.entries["failed"] == ["Transcripts.zip"]


def test_an_external_transcript_table_fills_the_gaps(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    release.files[f"Transcripts/{A}.txt"] = "Its own."
    table = csv_text(("text", "FileName"), ("Not used", A), ('He said "no, no"\nand left', f"{B}.wav"), ("hm", C))
    release.files["asr.csv"] = table
    texts = ["Its own.", 'He said "no, no" and left', "hm"]
    assert release.load(transcripts="asr.csv").corpus.column("text") == texts  # relative to the root
    monkeypatch.chdir(release.root)
    Path("here.csv").write_text(table)
    assert release.load(transcripts="here.csv").corpus.column("text") == texts  # relative to the current folder
    with pytest.raises(UserError, match=r"no file gone\.csv"):
        release.load(transcripts="gone.csv")
    Path("bad.csv").write_text("id,words\n")
    with pytest.raises(UserError, match="FileName and text"):
        release.load(transcripts="bad.csv")


def test_an_lfs_stub_is_no_audio(release: Release) -> None:
    release.files[f"Audios/{A}.wav"] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    loaded = release.load()
    assert loaded.corpus.column("audio") == [None, None, None]
    assert loaded.ledger.entries["failed"] == [f"{A}.wav"]


@pytest.mark.parametrize(
    ("folder", "dialect", "spelling", "guess"),
    [
        ("MSP-PODCAST-Publish-1.11", "1.7-1.12", "consensus", "1.11"),
        ("podcast", "1.6", "concensus", "1.6"),
        ("podcast", "1.7-1.12", "concensus", "1.7-1.9"),
        ("podcast", "1.7-1.12", "consensus", "1.10-1.12"),
        ("podcast", "2.0", "consensus", "2.0"),
    ],
)
def test_release_by_folder_name_spelling_and_dialect(
    tmp_path: Path, folder: str, dialect: str, spelling: str, guess: str
) -> None:
    files: dict[str, str | bytes] = {
        f"Labels/labels_{spelling}.csv": consensus_csv(),
        "Labels/labels_detailed.csv": detailed_csv(ROWS, dialect),
    }
    release = Release(tmp_path / folder, files)
    corpus = release.load().corpus
    assert corpus.release == guess
    assert corpus.column("release") == [guess] * 3
    assert release.load(release="1.9").corpus.release == "1.9"


def test_options_that_do_not_exist_are_refused(release: Release) -> None:
    with pytest.raises(UserError, match="transcripts"):
        release.load(transcript="x.csv")


def test_the_consensus_is_recomputed_from_the_votes(release: Release) -> None:
    rows = [
        *((A, f"WORKER{i}", label, "") for i, label in enumerate(["Sad", "sad ", "Happy", "Other-x", "Other-y"])),
        *((B, f"WORKER{i}", label, "") for i, label in enumerate(["Happy", "Happy", "Other-x", "other"])),
        *((C, f"WORKER{i}", label, "") for i, label in enumerate(["Other-x", "Other(y)", "Neutral"])),
    ]
    release.files["Labels/labels_detailed.csv"] = detailed_csv(rows, "2.0")
    corpus = release.load().corpus
    assert contradictions(corpus, {A: "X", B: "X", C: "O"}).level == "ok"
    wrong = contradictions(corpus, {A: "S", B: "X", C: "X"})
    assert (wrong.level, wrong.ids) == ("warn", (A, C))
    assert "1 of 3" in wrong.text


def test_a_primary_field_with_two_names_is_half_a_vote_for_each_in_the_consensus(release: Release) -> None:
    rows = [(A, "WORKER1", "Angry,Sad", ""), (A, "WORKER2", "Sad", ""), (A, "WORKER3", "Happy", "")]
    release.files["Labels/labels_detailed.csv"] = detailed_csv(rows, "1.6")
    assert contradictions(release.load().corpus, {A: "S"}).level == "ok"


def findings(release: Release, loaded: Loaded) -> list[Finding]:
    return list(check(release.source(), loaded))


def test_check_names_what_is_wrong(release: Release) -> None:
    levels = {finding.level for finding in findings(release, release.load()) if "no audio folder" in finding.text}
    assert levels == {"fatal"}
    release.files[f"Audios/{A}.wav"] = wav()
    release.files[f"Audios/{B}.wav"] = wav(rate=44_100, channels=2, samples=44_100)
    release.files["Partitions.txt"] = f"Test1; {A}.wav\nDevelopment; {B}.wav\n"
    said = findings(release, release.load())
    by_text = {finding.text: finding for finding in said}
    assert not [finding for finding in said if finding.level == "fatal"]
    assert any(f.level == "warn" and "16 kHz" in f.text and f.ids == (f"Audios/{B}.wav",) for f in said)
    assert any(f.level == "warn" and "another split" in f.text and f.ids == (A,) for f in said)
    assert any("fewer than 5" in text for text in by_text)
    assert any(f.level == "warn" and "release 2.0, labelled turns: 3, expected 264705" in f.text for f in said)
    release.files[f"Audios/{C}.wav"] = b"RIFF and then nothing"
    assert any(f.level == "fatal" and f.ids == (f"Audios/{C}.wav",) for f in findings(release, release.load()))


def test_msp_presets_count_the_votes(release: Release) -> None:
    corpus = release.load().corpus
    eight = LabelSpace.resolve(LabelOptions(preset="msp-8"), corpus).label(corpus)
    assert [corpus.ids[row] for row in eight.rows] == [A, B]  # C has no vote for any of the eight
    assert eight.counts.sum(axis=1).tolist() == [2.0, 2.0]
    nine = LabelSpace.resolve(LabelOptions(preset="msp-9"), corpus).label(corpus)
    assert nine.counts[:, -1].tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("layout", synth_msp_podcast.LAYOUTS)
def test_the_synthetic_release_is_read_in_full(tmp_path: Path, layout: str) -> None:
    synth_msp_podcast.write(tmp_path, size=40, seed=3, layout=layout)
    source = Source("msp-podcast", "msp-podcast", tmp_path, tmp_path, {"transcripts": "transcripts.csv"})
    if layout != "msp-podcast-1.6":
        source = Source("msp-podcast", "msp-podcast", tmp_path, tmp_path)
    loaded = load(source)
    entries, corpus = loaded.ledger.entries, loaded.corpus
    assert len(corpus) == 40
    assert entries["failed"] == []
    assert len(entries["labelled without audio"]) == 1
    assert len(entries["audio without label"]) == (0 if layout == "msp-podcast-1.6" else 3)
    assert 0 < len(entries["without transcript"]) < 5
    assert entries[DUPLICATES]
    assert {"train", "dev", "test1"} <= set(corpus.column("split"))
    assert None in corpus.column("speaker")
    said = list(check(source, loaded))
    assert not [finding for finding in said if finding.level == "fatal"]
    assert any(finding.level == "ok" and "plurality" in finding.text for finding in said)
    # Every votes file of the layout says the same but for what JSON can't hold: a worker's second row.
    again = load(Source("msp-podcast", "msp-podcast", tmp_path, tmp_path, {**source.options, "votes": "txt"}))
    assert votes_of(again) == votes_of(loaded)
    once = load(Source("msp-podcast", "msp-podcast", tmp_path, tmp_path, {**source.options, "votes": "json"}))
    assert votes_of(once) == votes_of(loaded)


def test_the_synthetic_release_is_the_same_bytes_by_seed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        synth_msp_podcast.write(tmp_path / name, size=6, seed=1, layout="msp-podcast-2.0")
    written = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert written
    for path in written:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path

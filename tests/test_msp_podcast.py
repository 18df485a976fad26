"""MSP-Podcast releases on invented rows: folders, consensus, splits, transcripts, the check and the rehearsal."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from msp_trees import (
    CONSENSUS,
    EXPECTED,
    ROWS,
    A,
    B,
    C,
    Release,
    consensus_csv,
    csv_text,
    detailed_csv,
    labels_txt,
    small_release,
    votes_of,
    wav,
)

from amber.config import LabelOptions
from amber.errors import UserError
from amber.extract.checks.findings import Finding
from amber.extract.checks.msp_podcast import check, contradictions
from amber.extract.corpora import Loaded, Source
from amber.extract.corpora.msp_podcast import load
from amber.extract.corpora.msp_votes import DUPLICATES
from amber.extract.synthetic import msp_podcast as synthetic
from amber.labels import LabelSpace


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return small_release(tmp_path / "release")


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


@pytest.mark.parametrize("layout", synthetic.LAYOUTS)
def test_the_synthetic_release_is_read_in_full(tmp_path: Path, layout: str) -> None:
    synthetic.write(tmp_path, size=40, seed=3, layout=layout)
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
        synthetic.write(tmp_path / name, size=6, seed=1, layout="msp-podcast-2.0")
    written = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert written
    for path in written:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path

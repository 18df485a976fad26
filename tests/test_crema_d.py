"""The CREMA-D loader: on the real vote tables laid out as in the repository, and on invented ones with quirks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from trees import STUB, contents, source, wav, write

from amber.config import LabelOptions
from amber.corpus import Corpus
from amber.errors import UserError
from amber.extract.checks import crema_d as checks
from amber.extract.corpora import Loaded, crema_d, demo
from amber.extract.synthetic import crema_d as synthetic
from amber.labels import LabelSpace, distribution

REAL = Path(__file__).parents[1] / ".." / "shared" / "data" / "crema-d"
needs_data = pytest.mark.skipif(
    not REAL.is_dir(), reason="the public CREMA-D vote tables are not beside the repository"
)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The public files laid out as in the original repository."""
    root = tmp_path_factory.mktemp("crema-d") / "CREMA-D"
    (root / "processedResults").mkdir(parents=True)
    (root / "AudioWAV").mkdir()
    for name in ("tabulatedVotes.csv", "summaryTable.csv"):
        shutil.copyfile(REAL / name, root / "processedResults" / name)
    shutil.copyfile(REAL / "VideoDemographics.csv", root / "VideoDemographics.csv")
    for clip in sorted((REAL / "flac").glob("*.flac")):
        signal, rate = soundfile.read(clip, dtype="int16")
        soundfile.write(root / "AudioWAV" / f"{clip.stem}.wav", signal, rate, subtype="PCM_16")
    return root


@pytest.fixture(scope="module")
def voice(real):
    return crema_d.load(source(real, "crema-d"))


def targets(corpus: Corpus, **options: object) -> np.ndarray:
    return distribution(LabelSpace.resolve(LabelOptions(**options), corpus).label(corpus).counts)


def entropy(y: np.ndarray) -> np.ndarray:
    return -np.sum(y * np.log2(np.where(y > 0, y, 1)), axis=1)


@needs_data
def test_the_real_voice_votes_have_the_published_figures(voice):
    labelled = LabelSpace.resolve(LabelOptions(preset="crema-6"), voice.corpus).label(voice.corpus)
    counts, y = labelled.counts, distribution(labelled.counts)
    raters = counts.sum(axis=1)
    assert len(counts) == 7_442
    assert raters.sum() == 68_568
    assert (raters.min(), raters.max()) == (4, 12)
    assert raters.mean() == pytest.approx(9.21, abs=0.005)
    assert entropy(y).mean() == pytest.approx(1.20, abs=0.005)
    assert np.quantile(entropy(y), [1 / 3, 2 / 3]) == pytest.approx([0.97, 1.45], abs=0.005)
    assert np.sum(y.max(axis=1) > 0.5) == 5_012
    assert np.sum(y.max(axis=1) == 1) == 383
    assert np.sum(np.sum(counts == counts.max(axis=1, keepdims=True), axis=1) > 1) == 644


@needs_data
def test_the_real_consensus_and_the_four_classes(voice):
    consensus = np.array([letter or "tie" for letter in voice.corpus.column("consensus")])
    found = dict(zip(*np.unique(consensus, return_counts=True), strict=True))
    assert found == {"A": 986, "D": 547, "F": 645, "H": 353, "N": 3_897, "S": 370, "tie": 644}
    acted = np.array([emotion[0] for emotion in voice.corpus.column("acted")])
    assert np.sum(consensus == acted) == 3_099
    y = targets(voice.corpus, preset="crema-4")
    assert len(y) == 7_396
    assert entropy(y).mean() == pytest.approx(0.70, abs=0.005)
    assert np.quantile(entropy(y), [1 / 3, 2 / 3]) == pytest.approx([0.54, 0.92], abs=0.005)
    assert len(targets(voice.corpus, preset="crema-4", subset="consensus")) == 5_606


@needs_data
def test_the_real_clips_join_and_the_rest_is_kept_without_audio(voice, real):
    entries = voice.ledger.entries
    assert len(entries["labelled with audio"]) == 12
    assert len(entries["labelled without audio"]) == 7_430
    assert entries["audio without label"] == entries["failed"] == entries["without transcript"] == []
    assert all((real / path).is_file() for path in voice.corpus.column("audio") if path)
    first = voice.corpus.table.slice(0, 1).to_pylist()[0]
    assert (first["id"], first["audio"]) == ("1001_DFA_ANG_XX", "AudioWAV/1001_DFA_ANG_XX.wav")
    assert (first["text"], first["speaker"], first["sex"]) == ("Don't forget a jacket", "1001", "Male")
    assert (first["acted"], first["level"], first["sentence"]) == ("ANG", "XX", "DFA")
    texts = voice.corpus.column("text")
    assert [texts.count(crema_d.SENTENCES[code]) for code in ("IEO", "TSI", "ITS", "MTI")] == [1_456, 546, 545, 540]


@needs_data
@pytest.mark.parametrize(("condition", "votes", "ties"), [("face", 71_654, 470), ("audiovisual", 71_778, 420)])
def test_the_other_conditions_have_their_own_votes(real, condition, votes, ties):
    loaded = crema_d.load(source(real, "crema-d", condition=condition))
    assert len(loaded.corpus) == 7_442
    assert len(loaded.corpus.votes().utterance) == votes
    assert len(loaded.ledger.entries["ties"]) == ties


@needs_data
def test_the_check_agrees_with_the_real_tables(real, voice):
    found = list(checks.check(source(real, "crema-d"), voice))
    warned = [finding.text for finding in found if finding.level in ("warn", "fatal")]
    assert warned == ["labelled without audio: 7430"]
    assert any(finding.text == "clips whose consensus differs from summaryTable.csv: 0" for finding in found)


HEADER = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote","meanEmoResp"\n'
# Actor 1000 does not exist: the first real one is 1001.
CLIPS = ("1000_IEO_ANG_LO", "1000_XYZ_NEU_XX", "1000_DFA_SAD_XX", "1000_TIE_FEA_XX")
TABLE = (
    HEADER
    + f'"100001",3,0,0,0,1,0,"{CLIPS[0]}",4,0.75,"A",50\n'
    + f'"100002",0,0,0,2,2,0,"{CLIPS[1]}",4,0.5,"H:N",50\n'
    + f'"100003",0,0,1,0,0,2,"{CLIPS[2]}",3,0.67,"S",50\n'
    + f'"100004",0,0,1,0,0,0,"{CLIPS[3]}",7,1,"F",50\n'
    + f'"200001",0,5,0,0,0,0,"{CLIPS[0]}",5,1,"D",50\n'
    + f'"100001",9,0,0,0,0,0,"{CLIPS[0]}",9,1,"A",50\n'
    + '"100005",x,0,0,0,0,0,"1000_WSI_SAD_XX",1,1,"A",50\n'
    + '"900001",1,0,0,0,0,0,"1000_ITH_SAD_XX",1,1,"A",50\n'
    + '"100006",1,0,0,0,0,0,"practice clip",1,1,"A",50\n'
    + '"100007",1,0\n'
    + '"100009",-1,0,0,0,0,0,"1000_IOM_SAD_XX",1,1,"A",50\n'
    + f'"100008",0,0,0,0,0,4,"{crema_d.NO_SIGNAL}",4,1,"S",50\n'
)
ANSWERS = (
    '"","localid","pos","ans","ttr","queryType","numTries","clipNum","questNum","subType","clipName","sessionNums",'
    '"respEmo","respLevel","dispEmo","dispVal","dispLevel"\n'
)


def answer(row: int, rater: str, clip: str, letter: str, query: int = 1, number: int = 1) -> str:
    return f'"{row}","{rater}",1,"{letter}_50",900,{query},0,{number},1,4,"{clip}",7,"{letter}",50,"A","XX",50\n'


RESPONSES = (
    ANSWERS
    + answer(1, "p9", CLIPS[0], "A")
    + answer(2, "p7", CLIPS[0], "N")
    + answer(3, "p7", CLIPS[0], "D", query=2)
    + answer(4, "p8", CLIPS[1], "H")
    + answer(5, "p8", "1000_MTI_HAP_XX", "H", number=7443)
    + answer(137526, "p9", CLIPS[0], "A")
    + answer(6, "p9", CLIPS[2], "")
    + answer(7, "p9", CLIPS[2], "Q")
)


@pytest.fixture
def invented(tmp_path):
    root = tmp_path / "CREMA-D-master"
    write(root, "processedResults/tabulatedVotes.csv", "\N{BOM}" + TABLE.replace("\n", "\r\n"))
    write(root, "VideoDemographics.csv", '"ActorID","Age","Sex","Race","Ethnicity"\n1000,33,"Female","x","y"\n')
    wav(root, f"AudioWAV/{CLIPS[0]}.wav")
    write(root, f"AudioWAV/._{CLIPS[1]}.wav", b"\x00\x05\x16\x07")
    write(root, f"AudioWAV/{CLIPS[2]}.wav", STUB)
    wav(root, f"AudioWAV/{crema_d.NO_SIGNAL}.wav")
    wav(root, "AudioWAV/1000_IWW_HAP_XX.wav")
    return root


def votes(loaded: Loaded, clip: str) -> list[tuple[str, str]]:
    rows = dict(zip(loaded.corpus.ids, loaded.corpus.column("votes"), strict=True))[clip]
    return [(vote["rater"], label) for vote in rows for label in vote["labels"]]


@pytest.mark.parametrize("around", [".", ".."])
def test_every_row_is_used_or_filed(invented, around):
    loaded = crema_d.load(source(invented / around, "crema-d"))
    assert loaded.corpus.root == str(invented)
    assert loaded.corpus.ids == (CLIPS[2], CLIPS[0], CLIPS[3], CLIPS[1], crema_d.NO_SIGNAL)
    assert loaded.corpus.column("consensus") == ["S", "A", "F", None, "S"]
    assert loaded.corpus.column("audio") == [None, f"AudioWAV/{CLIPS[0]}.wav", None, None, None]
    assert loaded.corpus.column("sex") == ["Female"] * 4 + [None]
    assert votes(loaded, CLIPS[0]) == [("1", "A"), ("2", "A"), ("3", "A"), ("4", "N")]
    assert {name: sorted(ids) for name, ids in loaded.ledger.entries.items()} == {
        "labelled with audio": [CLIPS[0]],
        "labelled without audio": [CLIPS[2], CLIPS[3], CLIPS[1], crema_d.NO_SIGNAL],
        "audio without label": ["1000_IWW_HAP_XX"],
        "without transcript": [CLIPS[1]],
        "empty transcript": [],
        "failed": [
            "1000_DFA_SAD_XX.wav",
            "1000_IOM_SAD_XX",
            "1000_ITH_SAD_XX",
            "1000_WSI_SAD_XX",
            "practice clip",
            "tabulatedVotes.csv:11",
        ],
        "listed twice (first kept)": [CLIPS[0]],
        "numResponses is not the number of votes": [CLIPS[3]],
        "no usable signal (excluded)": [crema_d.NO_SIGNAL],
        "ties": [CLIPS[1]],
    }
    assert any("git lfs pull" in note for note in loaded.ledger.notes)


def test_each_condition_reads_its_own_rows(invented):
    loaded = crema_d.load(source(invented, "crema-d", condition="face"))
    assert loaded.corpus.ids == (CLIPS[0],)
    assert votes(loaded, CLIPS[0]) == [(str(i), "D") for i in range(1, 6)]


def test_flac_is_taken_where_there_is_no_wav(invented):
    for clip in (CLIPS[0], CLIPS[2]):
        soundfile.write(invented / f"AudioWAV/{clip}.flac", np.zeros(800, np.float32), 16_000)
    audio = crema_d.load(source(invented, "crema-d")).corpus.column("audio")
    assert audio[:2] == [f"AudioWAV/{CLIPS[2]}.flac", f"AudioWAV/{CLIPS[0]}.wav"]


def test_the_answers_of_each_rater(invented):
    write(invented, "finishedResponses.csv", RESPONSES)
    loaded = crema_d.load(source(invented, "crema-d", votes="per-rater"))
    assert votes(loaded, CLIPS[0]) == [("p9", "A"), ("p7", "N")]
    assert votes(loaded, CLIPS[2]) == [("p9", "Q")]
    assert loaded.corpus.column("consensus") == ["S", "A", None]  # of the tabulated file
    entries = loaded.ledger.entries
    assert entries["answers to practice clips (dropped)"] == ["finishedResponses.csv:6"]
    assert entries["answers that a rater gave again (first kept)"] == [f"{CLIPS[0]}: p9"]
    assert entries["unknown label strings"] == [f"{CLIPS[2]}: Q"]
    assert "finishedResponses.csv:8" in entries["failed"]


def test_without_tabulated_votes_the_answers_are_read_and_that_is_said(invented):
    write(invented, "finishedResponses.csv", RESPONSES)
    (invented / "processedResults" / "tabulatedVotes.csv").unlink()
    loaded = crema_d.load(source(invented, "crema-d"))
    assert loaded.corpus.column("consensus") == [None, None, None]
    assert "votes from finishedResponses.csv, condition voice" in loaded.ledger.notes
    with pytest.raises(UserError, match="no tabulatedVotes"):
        crema_d.load(source(invented, "crema-d", votes="tabulated"))


def test_what_cannot_be_read_is_refused_with_the_fix(tmp_path, invented):
    with pytest.raises(UserError, match="did you mean 'voice'"):
        crema_d.load(source(invented, "crema-d", condition="voices"))
    with pytest.raises(UserError, match="no finishedResponses"):
        crema_d.load(source(invented, "crema-d", votes="per-rater"))
    with pytest.raises(UserError, match="no processedResults"):
        crema_d.load(source(invented / "AudioWAV", "crema-d"))
    path = write(invented, "processedResults/tabulatedVotes.csv", HEADER.replace('"S",', ""))
    with pytest.raises(UserError, match="lacks the column S"):
        crema_d.load(source(invented, "crema-d"))
    path.write_bytes(STUB)
    with pytest.raises(UserError, match="git lfs pull"):
        crema_d.load(source(invented, "crema-d"))


def test_the_check_names_stubs_wrong_sums_and_wrong_votes(invented):
    path = invented / "processedResults" / "tabulatedVotes.csv"
    path.write_text(path.read_text(encoding="utf-8-sig").replace('0.67,"S"', '0.67,"F"'))
    src = source(invented, "crema-d")
    found = {(finding.level, finding.text): finding.ids for finding in checks.check(src, crema_d.load(src))}
    assert found["fatal", "1 Git LFS stubs, not audio: run `git lfs pull` in the corpus"] == (f"{CLIPS[2]}.wav",)
    assert found["warn", "clips whose numResponses is not the number of votes: 1"] == (CLIPS[3],)
    assert found["warn", "clips whose emoVote the votes contradict: 1"] == (CLIPS[2],)
    assert ("warn", "clips rated in condition voice: 5, expected 7442") in found
    assert ("info", "ties: 1") in found


@given(st.lists(st.lists(st.integers(0, 12), min_size=6, max_size=6), min_size=1, max_size=8))
def test_no_vote_is_lost_or_moved(tmp_path_factory, table):
    rows = [f'"{100001 + i}",{",".join(map(str, row))},"{1000 + i}_DFA_NEU_XX"\n' for i, row in enumerate(table)]
    root = tmp_path_factory.mktemp("table")
    write(root, "tabulatedVotes.csv", '"","A","D","F","H","N","S","fileName"\n' + "".join(rows))
    corpus = crema_d.load(source(root, "crema-d")).corpus
    space = LabelSpace.resolve(LabelOptions(classes={c: [c] for c in crema_d.LETTERS}, subset="any"), corpus)
    assert space.count(corpus.votes()).inside.tolist() == table


def test_the_rehearsal_layout_reads_back_with_its_quirks_filed(tmp_path):
    synthetic.write(tmp_path, size=60, seed=3)
    src = source(tmp_path, "crema-d")
    loaded = crema_d.load(src)
    assert len(loaded.corpus) == 61
    entries = loaded.ledger.entries
    assert len(entries["labelled with audio"]) == 57
    assert len(entries["failed"]) == 2
    assert entries["no usable signal (excluded)"] == [crema_d.NO_SIGNAL]
    assert entries["audio without label"] == entries["without transcript"] == []
    bad = [found.text for found in checks.check(src, loaded) if found.level in ("warn", "fatal")]
    assert any("2 Git LFS stubs" in text for text in bad)
    assert not any(word in text for text in bad for word in ("contradict", "differs", "numResponses", "unreadable"))
    every = crema_d.load(source(tmp_path, "crema-d", votes="per-rater"))
    assert every.corpus.ids == loaded.corpus.ids
    assert every.corpus.column("consensus") == loaded.corpus.column("consensus")
    assert len(every.ledger.entries["answers that a rater gave again (first kept)"]) == 2
    assert len(every.corpus.votes().utterance) >= len(loaded.corpus.votes().utterance)


def test_no_voice_of_the_rehearsal_is_in_two_folds_and_all_folds_have_some():
    of = {name: spoken.utterance.speaker for name, spoken in synthetic._name(demo.make(200, 0))}
    assert len(of) == 200
    ranges = {(voice, (int(name[:4]) - 1001) // 18) for name, voice in of.items()}
    assert len(ranges) == len({voice for voice, _ in ranges}) == 10
    assert {part for _, part in ranges} == {0, 1, 2, 3, 4}


def test_the_rehearsal_layout_is_the_same_for_the_same_seed(tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthetic.write(tmp_path / folder, size=12, seed=seed)
    a, b, c = (contents(tmp_path / folder) for folder in "abc")
    assert a == b
    assert a != c

"""The IEMOCAP loader on an invented tree in the licensed layout, quirks included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import STUB, contents, source, wav, write

from amber.config import LabelOptions
from amber.corpus import Corpus, Ledger, Vote
from amber.errors import UserError
from amber.extract.checks import iemocap as checks
from amber.extract.corpora import demo, iemocap
from amber.extract.synthetic import iemocap as synthetic
from amber.labels import LabelSpace, distribution

LEGEND = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
# Seven invented utterances; each exercises one thing that has gone wrong in some public parser.
LABELS = (
    LEGEND
    + """[1.0000 - 1.1000]\tSes01F_impro99_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tFrustration; Anger;\t()
C-E4:\tNeutral;\t(tired; but: polite (as (ever)), Anger;)
C-F1:\tSadness;\t(unsure)
A-E3:\tval 4; act 2; dom  3;\t()
A-E4:\tval 4; act 2; dom  ;\t()

[2.0000 - 2.1000]\tSes01F_impro99_M000\texc\t[4.0000, 4.0000, 4.0000]
C-E2: Excited; (no tabs here)
C-E3:Happiness;(nor; here)
C-E4:\tExcited
C-M1:\tExcited; Happiness;\t()

[3.0000 - 3.1000]\tSes01F_impro99_F001\txxx\t[3.0000, 3.0000, 3.0000]
C-E2:\tAnger;\t()
C-E3:\tSurprise;\t()
C-E4:\tOther;\t(bored and amused)

[4.0000 - 4.1000]\tSes01F_impro99_F002\thap\t[3.0000, 3.0000, 3.0000]
C-E2:\tHappiness; Excited;\t()
C-E3:\tHappiness;\t()
C-E4:\tsadness;\t()

[garbled header]\tSes01F_impro99\tneu
C-E2:\tDisgust;\t(must go nowhere)
"""
)
SCRIPT = (
    LEGEND
    + """[0.5000 - 0.6000]\tSes05M_script99_1_F000\tfru\t[2.0000, 3.0000, 3.0000]
C-E1:\tFrustration;\t()
C-E2:\tFrustration; Neutral;\t()
C-E4:\tNeutral state;\t()
"""
)
TWIN_SCRIPT = (
    LEGEND + "[0.5000 - 0.6000]\tSes05M_script99_1b_F000\tsad\t[2.0000, 2.0000, 2.0000]\nC-E1:\tSadness;\t()\n"
)
TRANSCRIPT = """Ses01F_impro99_F000 [001.0000-001.1000]: Well: [x]: that is  invented.
M: A line without an id.
Ses01F_impro99_MXX0 [001.5000-001.7000]: A segment without label.
Ses01F_impro99_M000 [002.0000-002.1000]: [LAUGHTER] You [BREATHING] made it up [laughs]
Ses01F_impro99_F001 [003.0000-003.1000]: [GARBAGE] [LIPSMACK]
Ses01F_impro99_M017 [009.0000-009.1000]: Nobody labelled this.
Ses01F_impro99_F003 [009.5000-009.7000] lacks its colon
"""
EVALUATION = "dialog/EmoEvaluation"


@pytest.fixture
def release(tmp_path):
    root = tmp_path / "disk" / "unpacked" / "IEMOCAP_full_release"
    first, last = root / "Session1", root / "Session5"
    write(first, f"{EVALUATION}/Ses01F_impro99.txt", "\N{BOM}" + LABELS.replace("\n", "\r\n"))
    write(first, f"{EVALUATION}/._Ses01F_impro99.txt", b"\x00\x05\x16\x07[1.0 - 2.0]\tSes01F_impro99_F099\tneu\n\xb0")
    write(first, f"{EVALUATION}/.DS_Store", b"\x00\x01")
    write(first, f"{EVALUATION}/Categorical/Ses01F_impro99_e2_cat.txt", "Ses01F_impro99_F000 :Neutral state; ()\n")
    write(first, f"{EVALUATION}/Attribute/Ses01F_impro99.txt", LABELS.replace("_F000", "_F077"))
    write(first, "dialog/transcriptions/Ses01F_impro99.txt", TRANSCRIPT)
    write(last, f"{EVALUATION}/Ses05M_script99_1.txt", SCRIPT)
    write(last, f"{EVALUATION}/Ses05M_script99_1b.txt", TWIN_SCRIPT)
    write(last, "dialog/transcriptions/Ses05M_script99_1.txt", "Ses05M_script99_1_F000 [000.5000-000.6000]: One.\n")
    write(last, "dialog/transcriptions/Ses05M_script99_1b.txt", "Ses05M_script99_1b_F000 [000.5000-000.6000]: Two.\n")
    for turn in ("F000", "M000", "F099"):
        wav(first, f"sentences/wav/Ses01F_impro99/Ses01F_impro99_{turn}.wav")
    write(first, "sentences/wav/Ses01F_impro99/._Ses01F_impro99_F001.wav", b"\x00\x05\x16\x07")
    write(first, "sentences/wav/Ses01F_impro99/Ses01F_impro99_F002.wav", STUB)
    wav(last, "sentences/wav/Ses05M_script99_1/Ses05M_script99_1_F000.wav")
    wav(last, "sentences/wav/Ses05M_script99_1b/Ses05M_script99_1b_F000.wav")
    return root


@pytest.fixture
def loaded(release):
    return iemocap.load(source(release, "iemocap"))


def by_id(corpus: Corpus, column: str) -> dict[str, object]:
    return dict(zip(corpus.ids, corpus.column(column), strict=True))


def test_every_labelled_utterance_is_there_once(loaded):
    assert loaded.corpus.ids == (
        "Ses01F_impro99_F000",
        "Ses01F_impro99_F001",
        "Ses01F_impro99_F002",
        "Ses01F_impro99_M000",
        "Ses05M_script99_1_F000",
        "Ses05M_script99_1b_F000",
    )
    assert loaded.corpus.column("session") == ["1", "1", "1", "1", "5", "5"]
    assert loaded.corpus.column("scenario") == ["impro"] * 4 + ["script"] * 2
    assert loaded.corpus.column("consensus") == ["neu", None, "hap", "exc", "fru", "sad"]
    assert set(loaded.corpus.column("start") + loaded.corpus.column("end")) == {None}


def test_the_speaker_is_the_last_field_of_the_id(loaded):
    assert loaded.corpus.column("speaker") == ["Ses01F", "Ses01F", "Ses01F", "Ses01M", "Ses05F", "Ses05F"]


def test_turns_of_a_dialogue_are_in_the_order_of_their_times(loaded):
    dialogues = zip(*map(loaded.corpus.column, ("id", "dialogue", "turn")), strict=True)
    assert [(uid[-4:], name, turn) for uid, name, turn in dialogues] == [
        ("F000", "Ses01F_impro99", "1"),
        ("F001", "Ses01F_impro99", "3"),
        ("F002", "Ses01F_impro99", "4"),
        ("M000", "Ses01F_impro99", "2"),
        ("F000", "Ses05M_script99_1", "1"),
        ("F000", "Ses05M_script99_1b", "1"),
    ]


def test_votes_keep_every_label_and_no_comment(loaded):
    votes = {
        uid: [(v["rater"], v["labels"], v["is_self"]) for v in rows]
        for uid, rows in by_id(loaded.corpus, "votes").items()
    }
    assert votes["Ses01F_impro99_F000"] == [
        ("E2", ["Neutral"], False),
        ("E3", ["Frustration", "Anger"], False),
        ("E4", ["Neutral"], False),
        ("F1", ["Sadness"], True),
    ]
    assert votes["Ses01F_impro99_M000"] == [
        ("E2", ["Excited"], False),
        ("E3", ["Happiness"], False),
        ("E4", ["Excited"], False),
        ("M1", ["Excited", "Happiness"], True),
    ]
    assert votes["Ses01F_impro99_F001"][-1] == ("E4", ["Other"], False)
    assert [labels for _, labels, _ in votes["Ses01F_impro99_F002"]] == [
        ["Happiness", "Excited"],
        ["Happiness"],
        ["sadness"],
    ]
    assert votes["Ses05M_script99_1_F000"][-1] == ("E4", ["Neutral state"], False)


def test_transcripts_are_cleaned_and_never_mixed_up(loaded):
    assert by_id(loaded.corpus, "text") == {
        "Ses01F_impro99_F000": "Well: : that is invented.",
        "Ses01F_impro99_F001": "",
        "Ses01F_impro99_F002": None,
        "Ses01F_impro99_M000": "You made it up",
        "Ses05M_script99_1_F000": "One.",
        "Ses05M_script99_1b_F000": "Two.",
    }


def test_audio_is_found_in_the_folder_of_its_dialog(loaded, release):
    audio = by_id(loaded.corpus, "audio")
    assert audio["Ses01F_impro99_F000"] == "Session1/sentences/wav/Ses01F_impro99/Ses01F_impro99_F000.wav"
    assert audio["Ses05M_script99_1b_F000"] == "Session5/sentences/wav/Ses05M_script99_1b/Ses05M_script99_1b_F000.wav"
    assert all((release / path).is_file() for path in audio.values() if path)
    assert loaded.corpus.root == str(release)


def test_the_ledger_accounts_for_everything(loaded):
    entries = loaded.ledger.entries
    assert {name: sorted(ids) for name, ids in entries.items()} == {
        "labelled with audio": [
            "Ses01F_impro99_F000",
            "Ses01F_impro99_M000",
            "Ses05M_script99_1_F000",
            "Ses05M_script99_1b_F000",
        ],
        "labelled without audio": ["Ses01F_impro99_F001", "Ses01F_impro99_F002"],
        "audio without label": ["Ses01F_impro99_F099"],
        "without transcript": ["Ses01F_impro99_F002"],
        "empty transcript": ["Ses01F_impro99_F001"],
        "transcript without label": ["Ses01F_impro99_M017"],
        "failed": [
            "EmoEvaluation/Ses01F_impro99.txt:27",
            "EmoEvaluation/Ses01F_impro99.txt:28",
            "Ses01F_impro99_F002.wav",
            "transcriptions/Ses01F_impro99.txt:7",
        ],
        "self-reports": ["Ses01F_impro99_F000", "Ses01F_impro99_M000"],
        "several labels by one rater": [
            "Ses01F_impro99_F000",
            "Ses01F_impro99_F002",
            "Ses01F_impro99_M000",
            "Ses05M_script99_1_F000",
        ],
        "unknown label strings": ["Ses05M_script99_1_F000: Neutral state"],
        "without votes": [],
    }
    assert any("git lfs pull" in note for note in loaded.ledger.notes)
    assert any("Session1, Session5" in note for note in loaded.ledger.notes)


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_the_root_may_be_the_release_or_up_to_two_folders_around_it(release, levels):
    folder = (release, *release.parents)[levels]
    write(folder, "__MACOSX/IEMOCAP_full_release/Session1/._dialog", b"\x00")
    corpus = iemocap.load(source(folder, "iemocap")).corpus
    assert corpus.root == str(release)
    assert len(corpus) == 6


def test_one_session_can_be_read_alone(release):
    corpus = iemocap.load(source(release / "Session5", "iemocap")).corpus
    assert corpus.column("session") == ["5", "5"]
    assert corpus.root == str(release)


def test_a_root_without_sessions_or_without_labels_is_refused(tmp_path):
    with pytest.raises(UserError, match="no folder Session1"):
        iemocap.load(source(tmp_path, "iemocap"))
    wav(tmp_path, "Session1/sentences/wav/Ses01F_impro99/Ses01F_impro99_F000.wav")
    with pytest.raises(UserError, match="no labelled utterance"):
        iemocap.load(source(tmp_path, "iemocap"))


def test_two_copies_are_not_guessed_between(tmp_path):
    for copy in ("one", "two"):
        write(tmp_path, f"{copy}/Session1/{EVALUATION}/Ses01F_impro99.txt", LABELS)
    with pytest.raises(UserError, match="2 copies: one, two"):
        iemocap.load(source(tmp_path, "iemocap"))


def test_an_utterance_labelled_twice_keeps_its_first_block(release):
    write(release, f"Session1/{EVALUATION}/Ses01F_impro99b.txt", LABELS.replace("Neutral", "Disgust"))
    loaded = iemocap.load(source(release, "iemocap"))
    assert len(loaded.corpus) == 6
    assert len(loaded.ledger.entries["labelled twice (first kept)"]) == 4
    assert by_id(loaded.corpus, "votes")["Ses01F_impro99_F000"][0]["labels"] == ["Neutral"]


def test_a_rater_who_answers_again_counts_once(release):
    path = release / "Session5" / EVALUATION / "Ses05M_script99_1b.txt"
    path.write_text(TWIN_SCRIPT + "C-E2:\tSadness;\t()\nC-e1:\tAnger;\t()\nC-E2:\tSadness;\t()\nC-F1:\tFear;\t()\n")
    loaded = iemocap.load(source(release, "iemocap"))
    votes = by_id(loaded.corpus, "votes")["Ses05M_script99_1b_F000"]
    assert [(vote["rater"], vote["labels"]) for vote in votes] == [
        ("E1", ["Sadness"]),
        ("E2", ["Sadness"]),
        ("F1", ["Fear"]),
    ]
    again = ["Ses05M_script99_1b_F000: E1", "Ses05M_script99_1b_F000: E2"]
    assert loaded.ledger.entries["answers that a rater gave again (first kept)"] == again
    assert "answers that a rater gave again (first kept): 2" in findings(release, "info")
    assert "utterances without exactly three external raters: 1" in findings(release, "warn")


def test_bytes_that_are_not_utf8_are_counted(release):
    write(release, f"Session1/{EVALUATION}/Ses01F_impro98.txt", LABELS.replace("impro99", "impro98").encode() + b"\x92")
    assert iemocap.load(source(release, "iemocap")).ledger.entries[
        "files with bytes that are not UTF-8 (read as Windows-1252)"
    ]


# What the raters of the tree say, worked out by hand: (neutral, happy, sad, angry) and what falls outside.
FOUR = {
    "Ses01F_impro99_F000": (2, 0, 0, 1),  # E3's frustration is outside; F1 is a self-report
    "Ses01F_impro99_F002": (0, 2, 1, 0),  # happiness and excitement of one rater are one vote
    "Ses01F_impro99_M000": (0, 3, 0, 0),
    "Ses05M_script99_1b_F000": (0, 0, 1, 0),
}


def labelled(corpus: Corpus, **options: object) -> dict[str, tuple[float, ...]]:
    found = LabelSpace.resolve(LabelOptions(**options), corpus).label(corpus)
    return {corpus.ids[row]: tuple(counts) for row, counts in zip(found.rows, found.counts, strict=True)}


def test_iemocap_4_takes_the_utterances_of_the_header_and_drops_other_votes(loaded):
    assert labelled(loaded.corpus, preset="iemocap-4") == FOUR
    y = distribution(np.array(list(FOUR.values()), float))
    assert y[0] == pytest.approx([2 / 3, 0, 0, 1 / 3])


def test_iemocap_4_with_self_reports(loaded):
    counts = labelled(loaded.corpus, preset="iemocap-4", raters="all")
    assert counts["Ses01F_impro99_F000"] == (2, 0, 1, 1)
    assert counts["Ses01F_impro99_M000"] == (0, 4, 0, 0)


def test_iemocap_5_keeps_the_rest_as_a_class(loaded):
    assert labelled(loaded.corpus, preset="iemocap-5") == {
        "Ses01F_impro99_F000": (2, 0, 0, 1, 1),
        "Ses01F_impro99_F001": (0, 0, 0, 1, 2),
        "Ses01F_impro99_F002": (0, 2, 1, 0, 0),
        "Ses01F_impro99_M000": (0, 3, 0, 0, 0),
        "Ses05M_script99_1_F000": (1, 0, 0, 0, 3),
        "Ses05M_script99_1b_F000": (0, 0, 1, 0, 0),
    }


def test_iemocap_9_keeps_happiness_and_excitement_apart(loaded):
    # neutral, happy, excited, sad, angry, frustrated, surprised, fear, disgust
    assert labelled(loaded.corpus, preset="iemocap-9") == {
        "Ses01F_impro99_F000": (2, 0, 0, 0, 1, 1, 0, 0, 0),
        "Ses01F_impro99_F001": (0, 0, 0, 0, 1, 0, 1, 0, 0),
        "Ses01F_impro99_F002": (0, 2, 1, 1, 0, 0, 0, 0, 0),
        "Ses01F_impro99_M000": (0, 1, 2, 0, 0, 0, 0, 0, 0),
        "Ses05M_script99_1_F000": (1, 0, 0, 0, 0, 2, 0, 0, 0),
        "Ses05M_script99_1b_F000": (0, 0, 0, 1, 0, 0, 0, 0, 0),
    }


def test_iemocap_aer_takes_the_utterances_all_of_whose_votes_lie_in_the_classes(loaded):
    assert labelled(loaded.corpus, preset="iemocap-aer") == {
        "Ses01F_impro99_F002": (0, 2, 1, 0),
        "Ses01F_impro99_M000": (0, 3, 0, 0),
        "Ses05M_script99_1b_F000": (0, 0, 1, 0),
    }


NAMES = st.sampled_from(sorted(iemocap.CONSENSUS.values()))
COMMENTS = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20)


@given(st.lists(NAMES, min_size=1, max_size=3), COMMENTS, st.sampled_from(["\t", " ", ""]))
def test_no_comment_ever_becomes_a_label(names, comment, gap):
    block = f"[1.0 - 2.0]\tSes02M_impro99_F001\tneu\t[1, 1, 1]\nC-E1:{gap}{'; '.join(names)};{gap}({comment})\n"
    (turn,) = iemocap._blocks(block, "x.txt", Ledger())
    assert turn.votes == [Vote("E1", tuple(names))]


def findings(release, level: str) -> list[str]:
    src = source(release, "iemocap")
    return [found.text for found in checks.check(src, iemocap.load(src)) if found.level == level]


def test_the_check_names_what_is_wrong_with_a_copy(release):
    fatal = findings(release, "fatal")
    assert any("session 2, 3, 4" in text for text in fatal)
    assert any("git lfs pull" in text for text in fatal)
    warned = findings(release, "warn")
    assert "utterances: 6, expected 10039" in warned
    assert "utterances without exactly three external raters: 1" in warned
    assert "utterances without three or four votes: 1" in warned
    assert not any("length differs" in text or "contradict" in text or "against the header" in text for text in warned)


def test_the_check_counts_the_utterances_of_aer_llm_in_both_readings(release):
    merged, apart = [text for text in findings(release, "info") if text.startswith("every vote in the four classes")]
    assert "merged into happiness: 3, unanimous 2, two to one 1, three ways 0; others 0 (AER-LLM: 4370," in merged
    assert "outside the classes: 1, unanimous 1, two to one 0, three ways 0; others 0" in apart


def test_the_check_finds_a_header_that_the_votes_contradict(release):
    path = release / "Session5" / EVALUATION / "Ses05M_script99_1b.txt"
    path.write_text(TWIN_SCRIPT.replace("\tsad\t", "\tang\t"))
    warned = findings(release, "warn")
    assert "header codes that the votes contradict: 1" in warned
    assert any("against the header on 1 of 4" in text for text in warned)


def test_the_check_finds_a_lost_majority_and_a_wrong_duration(release):
    path = release / "Session5" / EVALUATION / "Ses05M_script99_1b.txt"
    path.write_text(TWIN_SCRIPT.replace("\tsad\t", "\txxx\t").replace("0.6000", "0.6600") + "C-F1:\tAnger;\t()\n")
    warned = findings(release, "warn")
    assert "header codes xxx though most external raters agree: 1" in warned
    assert any(text.startswith("wavs whose length differs") and text.endswith("1 of 4") for text in warned)


def test_an_unreadable_wav_is_fatal(release):
    write(release, "Session5/sentences/wav/Ses05M_script99_1/Ses05M_script99_1_F000.wav", b"not audio")
    assert any("unreadable" in text for text in findings(release, "fatal"))


def test_the_rehearsal_layout_reads_back_with_its_quirks_filed(tmp_path):
    synthetic.write(tmp_path, size=60, seed=3)
    src = source(tmp_path, "iemocap")
    loaded = iemocap.load(src)
    spoken = demo.make(60, 3)
    assert len(loaded.corpus) == 59
    assert len(set(loaded.corpus.column("speaker"))) == 10
    # The words in each session are the demo's.
    texts = {text for text in loaded.corpus.column("text") if text}
    assert texts <= {item.utterance.text for item in spoken}
    assert len(texts) >= 50
    entries = loaded.ledger.entries
    gaps = ("labelled without audio", "audio without label", "without transcript", "empty transcript")
    assert [len(entries[gap]) for gap in (*gaps, "transcript without label")] == [1, 1, 1, 1, 1]
    assert entries["self-reports"]
    assert entries["several labels by one rater"]
    assert entries["failed"] == entries["unknown label strings"] == []
    bad = [found.text for found in checks.check(src, loaded) if found.level in ("warn", "fatal")]
    assert not any(word in text for text in bad for word in ("contradict", "agree", "raters", "length", "unreadable"))


def test_the_rehearsal_layout_is_the_same_for_the_same_seed(tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthetic.write(tmp_path / folder, size=12, seed=seed)
    a, b, c = (contents(tmp_path / folder) for folder in "abc")
    assert a == b
    assert a != c


def test_the_known_figures_add_up():
    columns = list(zip(*checks._PER_SESSION.values(), strict=True))
    assert [sum(column) for column in columns] == [151, 10_039, 4_784, 4_800, 1_708, 595, 1_041, 1_084, 1_103]
    assert sum(sum(column) for column in columns[4:]) == 5_531
    assert 5_531 + sum(checks._ALL.values()) == 10_039

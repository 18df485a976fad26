"""The demo corpus in IEMOCAP's file layout, quirks included, to try its commands without a licence.

The dialog numbers (91 and up) do not exist in IEMOCAP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amber.audio import SAMPLE_RATE
from amber.corpus import Vote

from ..corpora import demo
from ..corpora.iemocap import CONSENSUS, NO_CONSENSUS
from .writing import put, put_twin, put_wav

_DIALOGS = ("F_impro91", "M_script91_1", "M_script91_1b", "F_impro92a", "F_impro92b", "M_script92_2")
_TURNS = 20  # of a dialog, before its session goes on to the next
_PAUSE = 0.4  # s between turns
_SELF_REPORTING = {"Ses01F", "Ses01M", "Ses02F", "Ses03F", "Ses03M", "Ses05M"}
_COMMENTS = ("", "", "", "unsure", "tired, but polite", "bored; or (perhaps) annoyed", "naïve; Anger at first")
_LEGEND = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
_NO_WAV, _NO_TRANSCRIPT, _ONLY_TAGS, _NO_LABEL = 3, 5, 8, 10  # these utterances of the demo lack something
_CODES = {label: code for code, label in CONSENSUS.items()}


@dataclass(frozen=True)
class _Turn:
    """One utterance in its dialog: its times in seconds, its text and its votes."""

    id: str
    start: float
    end: float
    text: str | None
    votes: tuple[Vote, ...]


def write(out: Path, size: int = demo.SIZE, seed: int = 0) -> None:
    """Write `IEMOCAP_full_release` in the folder `out`; the same bytes for the same size and seed."""
    rng = np.random.default_rng([seed, 1 << 33])
    root = out / "IEMOCAP_full_release"
    dialogs: dict[str, list[_Turn]] = {}
    for index, (dialog, uid, spoken) in enumerate(_name(demo.make(size, seed))):
        signal = spoken.waveform()
        if index != _NO_WAV:
            put_wav(_session(root, dialog) / "sentences" / "wav" / dialog / f"{uid}.wav", signal)
        turns = dialogs.setdefault(dialog, [])
        start = (turns[-1].end if turns else 0.0) + _PAUSE
        votes = () if index == _NO_LABEL else _votes(uid, spoken.utterance.votes, rng)
        turns.append(_Turn(uid, start, start + len(signal) / SAMPLE_RATE, _text(index, spoken, rng), votes))
    for dialog, turns in dialogs.items():
        _write_dialog(_session(root, dialog), dialog, turns, rng)


def _name(corpus: Iterable[demo.Spoken]) -> Iterator[tuple[str, str, demo.Spoken]]:
    """Yield dialog, utterance id and utterance: the sessions fill their dialogs in turn."""
    said: Counter[str] = Counter()
    for spoken in corpus:
        session = f"Ses{int(spoken.utterance.session or 1):02d}"
        dialog = session + _DIALOGS[said[session] // _TURNS % len(_DIALOGS)]
        sex = "FM"[(int((spoken.utterance.speaker or "S01")[1:]) - 1) % 2]
        yield dialog, f"{dialog}_{sex}{said[dialog + sex]:03d}", spoken
        said.update((session, dialog + sex))


def _session(root: Path, dialog: str) -> Path:
    return root / f"Session{int(dialog[3:5])}"


def _text(index: int, spoken: demo.Spoken, rng: np.random.Generator) -> str | None:
    if index == _NO_TRANSCRIPT:
        return None
    if index == _ONLY_TAGS:
        return "[LAUGHTER] [BREATHING]"
    return ("[LAUGHTER] " if rng.random() < 0.1 else "") + (spoken.utterance.text or "")


def _votes(uid: str, votes: Sequence[Vote], rng: np.random.Generator) -> tuple[Vote, ...]:
    """Return the votes of three external raters, and a self-report where IEMOCAP has one."""
    external = [Vote(f"E{n}", _labels(vote.labels[0], rng)) for n, vote in enumerate(votes[:3], 1)]
    dialog, _, turn = uid.rpartition("_")
    if "impro" in dialog and uid[:5] + turn[0] in _SELF_REPORTING:
        external.append(Vote(f"{turn[0]}1", _labels(votes[-1].labels[0], rng), is_self=True))
    return tuple(external)


def _labels(label: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Spread a demo label over IEMOCAP's: half of the happiness is excitement, and a few raters say something else."""
    if label == "Happiness" and rng.random() < 0.5:
        label = "Excited"
    kind = rng.random()
    if kind < 0.05:
        return (label, "Frustration")
    return ("Other",) if kind < 0.08 else (label,)


def _code(votes: Sequence[Vote]) -> str:
    """Return the code of the label that most external raters name, else that of no consensus."""
    external = [vote for vote in votes if not vote.is_self]
    (label, most), *others = Counter(label for vote in external for label in vote.labels).most_common()
    tied = bool(others) and others[0][1] == most
    return NO_CONSENSUS if tied or 2 * most <= len(external) else _CODES[label]


def _write_dialog(session: Path, dialog: str, turns: Sequence[_Turn], rng: np.random.Generator) -> None:
    evaluation = session / "dialog" / "EmoEvaluation"
    labelled = [turn for turn in turns if turn.votes]
    labels = _LEGEND + "\n".join(_block(turn, rng) for turn in labelled)
    labels = labels.replace("\n", "\r\n") if session.name == "Session2" else labels
    put(evaluation / f"{dialog}.txt", labels.encode("latin-1" if session.name == "Session4" else "utf-8"))
    put_twin(evaluation / f"{dialog}.txt")
    put(evaluation / ".DS_Store", b"\x00\x00\x00\x01Bud1")
    # The per-rater files use another syntax and another name for neutral.
    own = "".join(f"{turn.id} :{turn.votes[0].labels[0]} state; ()\n" for turn in labelled)
    put(evaluation / "Categorical" / f"{dialog}_e1_cat.txt", own)
    put(
        evaluation / "Attribute" / f"{dialog}_e1_atr.txt",
        "".join(f"{turn.id} :act  3; :val  2; ()\n" for turn in turns),
    )
    bom = "\N{BOM}" if session.name == "Session3" else ""
    put(session / "dialog" / "transcriptions" / f"{dialog}.txt", bom + _transcript(dialog, turns))
    put_twin(session / "sentences" / "wav" / dialog / f"{turns[0].id}.wav")


def _block(turn: _Turn, rng: np.random.Generator) -> str:
    header = f"[{turn.start:.4f} - {turn.end:.4f}]\t{turn.id}\t{_code(turn.votes)}\t[2.5000, 2.5000, 2.5000]\n"
    lines = [f"C-{vote.rater}:\t{'; '.join(vote.labels)};\t({rng.choice(_COMMENTS)})\n" for vote in turn.votes]
    attributes = [f"A-{vote.rater}:\tval 3; act 2; dom  {rng.choice(['', '3', '2.5'])};\t()\n" for vote in turn.votes]
    return "".join([header, *lines, *attributes])


def _transcript(dialog: str, turns: Sequence[_Turn]) -> str:
    """Return a dialog's transcript, which also has turns without an id and a segment without a label."""
    times = {turn.id: f"[{turn.start:08.4f}-{turn.end:08.4f}]" for turn in turns}
    lines = [f"{turn.id} {times[turn.id]}: {turn.text}\n" for turn in turns if turn.text is not None]
    return "".join([*lines, "M: Said between two turns.\n", f"{dialog}_MXX0 {times[turns[-1].id]}: Said by nobody.\n"])

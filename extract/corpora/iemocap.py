"""IEMOCAP as it is released: `Session1` to `Session5`, one label file and transcript per dialog, one wav per utterance.

Utterance ids look like `Ses01F_impro01_M000`. The speaker is the last field (here the male of session 1); the letter
after the session shows only who wore the motion-capture markers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from amber.corpus import DIALOGUE, TURN, Corpus, Ledger, Utterance, Vote
from amber.errors import UserError

from . import Loaded, Source
from .reading import REPEATED, account, files, folders, home, read_text, sounds

CONSENSUS = {
    "neu": "Neutral",
    "hap": "Happiness",
    "exc": "Excited",
    "sad": "Sadness",
    "ang": "Anger",
    "fru": "Frustration",
    "sur": "Surprise",
    "fea": "Fear",
    "dis": "Disgust",
    "oth": "Other",
}
NO_CONSENSUS = "xxx"
_LABELS = {name.lower() for name in CONSENSUS.values()}

_SESSION = re.compile(r"Session[1-5]", re.IGNORECASE)
_UTTERANCE = re.compile(r"Ses(?P<session>\d\d)[FM]_(?P<scenario>impro|script)\w+_(?P<sex>[FM])\d{3}")
_HEADER = re.compile(r"\[(?P<span>[^\]]*)\]\s*(?P<id>\w+)(?:\s+(?P<code>\w+))?")
_SPAN = re.compile(r"\s*([\d.]+)\s*-\s*([\d.]+)\s*")
_VOTE = re.compile(r"C-\s*(?P<rater>\w+)\s*:?(?P<labels>.*)")
_TRANSCRIPT = re.compile(r"(?P<id>\w+)\s*(?:\[[^\]]*\])?\s*:(?P<text>.*)")
_TAG = re.compile(r"\[[^\]]*\]")


@dataclass(frozen=True, slots=True)
class Turn:
    """One block of a label file: the utterance's id, its begin and length by the header's times, its code and votes."""

    id: str
    start: float | None
    seconds: float | None
    code: str | None
    votes: list[Vote]


def load(source: Source) -> Loaded:
    """Read IEMOCAP; the root may be the release, a folder around it, or a copy of some of its sessions.

    Raises
    ------
    UserError
        If there is no session folder at the root, or no label file in any session.

    """
    source.only_options()
    found = sessions(source.existing_root())
    root = found[0].parent
    ledger = Ledger()
    turns = read_turns(found, ledger)
    if not turns:
        raise UserError(f"{root}: no labelled utterance in Session*/dialog/EmoEvaluation/*.txt; is the copy complete?")
    texts = _read_transcripts(found, ledger)
    audio = _find_audio(found, root, ledger)
    places = _places(turns.values())
    utterances = [_utterance(turn, texts, audio, places) for _, turn in sorted(turns.items())]
    account(utterances, (Path(path).stem for path in audio.values()), ledger)
    ledger.add("transcript without label", *(uid for uid in texts if uid not in turns))
    _file_votes(turns.values(), ledger)
    _note_decisions(found, ledger)
    about = {"name": source.name, "release": "full", "root": str(root), "consensus_names": CONSENSUS}
    return Loaded(Corpus.of(utterances, **about), ledger)


def sessions(root: Path) -> list[Path]:
    """Return the session folders at `root`, in a folder at most two levels below it, or the one that it is.

    Raises
    ------
    UserError
        If there are none.

    """
    root = root.resolve()
    if _SESSION.fullmatch(root.name) and (root / "dialog").is_dir():
        return [root]
    base = home(root, lambda folder: bool(_sessions_in(folder))) if root.is_dir() else None
    if base is None:
        raise UserError(f"--root {root}: no folder Session1 … Session5; give IEMOCAP_full_release or its parent")
    return _sessions_in(base)


def read_turns(found: Sequence[Path], ledger: Ledger) -> dict[str, Turn]:
    """Read every label file of the sessions; an utterance that is labelled twice keeps its first block."""
    turns: dict[str, Turn] = {}
    for path in _dialogs(found, "EmoEvaluation"):
        for turn in _blocks(read_text(path, ledger), _named(path), ledger):
            if turn.id in turns:
                ledger.add("labelled twice (first kept)", turn.id)
            turns.setdefault(turn.id, turn)
    return turns


def clean(text: str) -> str:
    """Return a transcript without its non-speech tags (`[LAUGHTER]` and any other in brackets)."""
    return " ".join(_TAG.sub(" ", text).split())


def _sessions_in(folder: Path) -> list[Path]:
    return [below for below in folders(folder) if _SESSION.fullmatch(below.name)]


def _dialogs(found: Sequence[Path], kind: str) -> Iterator[Path]:
    """Yield the dialogs' files of one kind; the per-rater files in folders below are not read."""
    for session in found:
        yield from files(session / "dialog" / kind, "*.txt")


def _named(path: Path) -> str:
    """Return a name that distinguishes a dialog's label file from its transcript."""
    return f"{path.parent.name}/{path.name}"


def _blocks(text: str, name: str, ledger: Ledger) -> Iterator[Turn]:
    """Yield the blocks of a label file. Only lines that start with `[` or `C-` concern categories.

    Of a rater's several lines in a block the first is kept.
    """
    turn: Turn | None = None
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if line.startswith("["):
            if turn:
                yield turn
            turn = _turn(line)
            if not turn:
                ledger.add("failed", f"{name}:{number}")
        elif line.startswith("C-"):
            vote = _vote(line)
            # A vote below a header that can't be read must not go to the utterance before it.
            if turn and vote:
                if any(vote.rater == other.rater for other in turn.votes):
                    ledger.add(REPEATED, f"{turn.id}: {vote.rater}")
                else:
                    turn.votes.append(vote)
            else:
                ledger.add("failed", f"{name}:{number}")
    if turn:
        yield turn


def _turn(line: str) -> Turn | None:
    header = _HEADER.match(line)
    if not header or not _UTTERANCE.fullmatch(header["id"]):
        return None
    start, seconds = _times(header["span"])
    return Turn(header["id"], start, seconds, (header["code"] or "").lower() or None, [])


def _times(span: str) -> tuple[float | None, float | None]:
    """Return the begin and the length of a span in seconds; None where it is not written as one."""
    times = _SPAN.fullmatch(span)
    try:
        return (float(times[1]), float(times[2]) - float(times[1])) if times else (None, None)
    except ValueError:
        return None, None


def _vote(line: str) -> Vote | None:
    said = _VOTE.match(line)
    labels = _labels(said["labels"]) if said else ()
    rater = said["rater"].upper() if said else ""
    return Vote(rater, labels, is_self=rater[0] in "FM") if labels else None


def _labels(field: str) -> tuple[str, ...]:
    """Return the labels of a vote: each is closed by a semicolon, and no label holds a parenthesis, as comments do."""
    *closed, rest = (piece.strip() for piece in field.partition("(")[0].split(";"))
    if rest.lower() in _LABELS or not closed:
        closed.append(rest)
    return tuple(label for label in closed if label)


def _read_transcripts(found: Sequence[Path], ledger: Ledger) -> dict[str, str]:
    """Return the text of each utterance; turns without an id and segments with an `XX` id have no label either."""
    texts: dict[str, str] = {}
    for path in _dialogs(found, "transcriptions"):
        for number, line in enumerate(map(str.strip, read_text(path, ledger).split("\n")), 1):
            said = _TRANSCRIPT.match(line)
            if said and _UTTERANCE.fullmatch(said["id"]):
                if said["id"] in texts:
                    ledger.add("transcribed twice (first kept)", said["id"])
                texts.setdefault(said["id"], clean(said["text"]))
            elif _UTTERANCE.match(line):
                ledger.add("failed", f"{_named(path)}:{number}")
    return texts


def _find_audio(found: Sequence[Path], root: Path, ledger: Ledger) -> dict[str, str]:
    """Return the wavs of all dialogs by lower-cased utterance id, as paths relative to the root."""
    audio: dict[str, str] = {}
    for session in found:
        wavs = session / "sentences" / "wav"
        for dialog in folders(wavs) if wavs.is_dir() else ():
            audio |= {stem: path.relative_to(root).as_posix() for stem, path in sounds(dialog, ledger).items()}
    return audio


def _places(turns: Iterable[Turn]) -> dict[str, str]:
    """Return the number of each turn in its dialogue, by the time at which it begins; of those whose time is known."""
    dialogues: dict[str, list[tuple[float, str]]] = {}
    for turn in turns:
        if turn.start is not None:
            dialogues.setdefault(_dialogue(turn.id), []).append((turn.start, turn.id))
    return {uid: str(n) for of in dialogues.values() for n, (_, uid) in enumerate(sorted(of), 1)}


def _dialogue(uid: str) -> str:
    return uid.rpartition("_")[0]


def _utterance(turn: Turn, texts: dict[str, str], audio: dict[str, str], places: dict[str, str]) -> Utterance:
    name = _UTTERANCE.fullmatch(turn.id)
    assert name is not None  # noqa: S101 (a turn has an utterance's id)
    place = places.get(turn.id)
    in_dialogue = {DIALOGUE: _dialogue(turn.id), TURN: place} if place else {}
    return Utterance(
        id=turn.id,
        audio=audio.get(turn.id.lower()),
        text=texts.get(turn.id),
        speaker=f"Ses{name['session']}{name['sex']}",
        session=str(int(name["session"])),
        release="full",
        consensus=None if turn.code == NO_CONSENSUS else turn.code,
        votes=tuple(turn.votes),
        extra={"scenario": name["scenario"], **in_dialogue},
    )


def _file_votes(turns: Iterable[Turn], ledger: Ledger) -> None:
    for category in ("self-reports", "several labels by one rater", "unknown label strings", "without votes"):
        ledger.add(category)
    for turn in turns:
        if any(vote.is_self for vote in turn.votes):
            ledger.add("self-reports", turn.id)
        if any(len(vote.labels) > 1 for vote in turn.votes):
            ledger.add("several labels by one rater", turn.id)
        if not turn.votes:
            ledger.add("without votes", turn.id)
        if turn.code != NO_CONSENSUS and turn.code not in CONSENSUS:
            ledger.add("unknown consensus codes", f"{turn.id}: {turn.code}")
        unknown = [label for vote in turn.votes for label in vote.labels if label.lower() not in _LABELS]
        ledger.add("unknown label strings", *(f"{turn.id}: {label}" for label in unknown))


def _note_decisions(found: Sequence[Path], ledger: Ledger) -> None:
    if len(found) < 5:
        ledger.note(f"an incomplete copy: {', '.join(path.name for path in found)} of five sessions")
    if ledger.entries["self-reports"]:
        ledger.note("self-reports are kept and marked; `labels.raters` decides whether they count (by default not)")
    if ledger.entries["several labels by one rater"]:
        ledger.note("all labels of a rater are kept; `labels.multiple` decides how they count")
    ledger.note("the consensus is the header's code; where it is xxx there is none")
    ledger.note("non-speech tags are left out of the text; an utterance of nothing else has an empty text")

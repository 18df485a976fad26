"""The demo corpus in MSP-Podcast's file layout, quirks included, to try its commands without a licence.

Each voice of the demo is one podcast (9901 to 9910, which do not exist) and in one split. Raters vote by a draw from
the demo's truth, with a few votes for what no voice carries. Release 1.6 comes without transcripts: `transcripts.csv`
beside its label folder is the external table that stands in for them.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from amber.audio import SAMPLE_RATE, Signal
from amber.errors import UserError, abbreviate, nearest

from ..corpora import demo
from ..corpora.msp_release import CONSENSUS, NO_AGREEMENT
from .writing import put, put_twin, put_wav


@dataclass(frozen=True)
class _Style:
    """Names and formats of one release."""

    folder: str
    consensus: str
    audio: str
    dev: str
    tests: tuple[str, ...]
    digits: int  # of a worker's id
    columns: tuple[str, ...]  # of labels_detailed.csv
    transcripts: str  # "": none; else the folder or the zip


_STYLES = {
    "msp-podcast": _Style(
        *("Labels", "consensus", "Audios", "Development", ("Test1", "Test2", "Test3"), 8),
        columns=("FileName", "EmoDetail"),
        transcripts="Transcripts",
    ),
    "msp-podcast-1.6": _Style(
        *("label", "concensus", "Audio", "Validation", ("Test",), 7),
        columns=("FileName", "Workers", "EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoDom", "EmoVal"),
        transcripts="",
    ),
    "msp-podcast-2.0": _Style(
        *("Labels", "consensus", "Audios", "Development", ("Test1", "Test2", "Test3"), 8),
        columns=("FileName", "WorkerID", "EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom"),
        transcripts="Transcripts.zip",
    ),
}
LAYOUTS = tuple(_STYLES)

_NAMES = ("Neutral", "Happy", "Sad", "Angry")  # in the order of the demo's classes
_RARE = (
    "Surprise",
    "Contempt",
    "Disgust",
    "Fear",
    "Other",
    "Other-so-so; well, 5/7",
    'Other-"meh": tired',
    "Other-Calm ",
)
_RARE_SHARE = 0.1
_SECONDARY = ("Amused", "Concerned", "Frustrated", "Dissapointed", "Other-bored/tired")
_WORKERS = 60
_NO_WAV, _STEREO, _NO_TRANSCRIPT, _EMPTY_TRANSCRIPT = 3, 6, 5, 9  # these utterances of the demo lack something
_TWICE, _UNKNOWN, _LONG_ID, _UNRATED = 8, 7, 4, 11  # every so many: a worker twice, no speaker, long id, no valence
_TEST3 = 3  # audio files without labels
_ZIP_DATE = (2024, 1, 1, 0, 0, 0)
_README = (
    "Synthetic speech and votes in MSP-Podcast's layout; no row is from the real corpus. Where there are no\n"
    "Transcripts, transcripts.csv is the external table\n"
)
Answer = dict[str, str]  # by column of labels_detailed.csv


@dataclass(frozen=True)
class _Turn:
    """One turn: what its raters answered, row by row, and what the release says of it."""

    file: str
    answers: tuple[Answer, ...]
    speaker: str
    gender: str
    split: str
    text: str | None


def write(out: Path, size: int = demo.SIZE, seed: int = 0, *, layout: str = "msp-podcast") -> None:
    """Write a release into the folder `out`; the same bytes for the same size, seed and layout.

    Raises
    ------
    UserError
        If there is no such layout.

    """
    if layout not in _STYLES:
        raise UserError(f"unknown layout {layout!r}{nearest(layout, LAYOUTS)}; known: {abbreviate(LAYOUTS)}")
    style, rng = _STYLES[layout], np.random.default_rng([seed, 1 << 33])
    corpus = demo.make(size + _TEST3, seed)
    turns = [_turn(index, spoken, style, rng) for index, spoken in enumerate(corpus[:size])]
    put(out / "readme.txt", _README)
    for index, (turn, spoken) in enumerate(zip(turns, corpus, strict=False)):
        if index != _NO_WAV:
            _put_audio(out / style.audio / turn.file, spoken.waveform(), stereo=index == _STEREO)
    hidden = [f"MSP-PODCAST_9999_{number + 1:04d}.wav" for number in range(_TEST3 if "Test3" in style.tests else 0)]
    for file, spoken in zip(hidden, corpus[size:], strict=False):
        _put_audio(out / style.audio / file, spoken.waveform(), stereo=False)
    _write_labels(out / style.folder, turns, style)
    partition = [(turn.split, turn.file) for turn in turns] + [("Test3", file) for file in hidden]
    put(out / "Partitions.txt", "".join(f"{split}; {file}\n" for split, file in partition))
    genders = {turn.speaker: turn.gender for turn in turns if turn.speaker != "Unknown"}
    people = "".join(f"Speaker_{speaker}; {gender}\n" for speaker, gender in sorted(genders.items()))
    put(out / "Speaker_ids.txt", people + "\n" + "".join(f"{turn.file}; {turn.speaker}\n" for turn in turns))
    _write_transcripts(out, turns, style)


def _turn(index: int, spoken: demo.Spoken, style: _Style, rng: np.random.Generator) -> _Turn:
    number = int((spoken.utterance.speaker or "S01")[1:])
    part = f"_{index % 5 + 1:04d}" if index % _LONG_ID == 0 else ""
    train = number <= 5
    split = "Train" if train else style.dev if number <= 7 else style.tests[0] if number <= 9 else style.tests[:2][-1]
    known = not (train and index % _UNKNOWN == 0)
    text: str | None = spoken.utterance.text
    if index in (_NO_TRANSCRIPT, _EMPTY_TRANSCRIPT):
        text = None if index == _NO_TRANSCRIPT else ""
    return _Turn(
        file=f"MSP-PODCAST_{9900 + number}_{index + 1:04d}{part}.wav",
        answers=tuple(_answers(index, np.array(spoken.utterance.truth), style, rng)),
        speaker=str(9000 + number) if known else "Unknown",
        gender=("Male" if number % 2 == 0 else "Female") if known else "Unknown",
        split=split,
        text=text,
    )


def _answers(index: int, truth: Signal, style: _Style, rng: np.random.Generator) -> Iterator[Answer]:
    """Yield the answers of five or more raters, drawn from `truth` (4,); sometimes the first one answers again."""
    workers = rng.choice(_WORKERS, size=5 + int(rng.poisson(0.7)), replace=False).tolist()
    if index % _TWICE == 0:
        workers.append(workers[0])
    for place, worker in enumerate(workers):
        primary = str(rng.choice(_NAMES, p=truth) if rng.random() >= _RARE_SHARE else rng.choice(_RARE))
        secondary = [primary] if rng.random() < 0.7 and not primary.startswith("Other-") else []
        secondary += [str(rng.choice(_SECONDARY))] if rng.random() < 0.5 else []
        if style.columns[1] == "Workers" and place == 1 and index % 3 == 0:
            primary = f"{primary},Sad" if primary in _NAMES and primary != "Sad" else "Other(sleepy, a bit)"
        act, val, dom = (f"{value:.6f}" for value in rng.integers(1, 8, size=3))
        yield {
            "Worker": f"WORKER{worker + 1:0{style.digits}d}",
            "EmoClass_Major": primary,
            "EmoClass_Second": ",".join(secondary),
            "EmoAct": act,
            "EmoVal": "" if style.columns[1] == "WorkerID" and place == 0 and index % _UNRATED == 0 else val,
            "EmoDom": dom,
        }


def _consensus(answers: Iterable[Answer]) -> str:
    """Return the code of the one class with most primary votes, X where there is none."""
    last = {answer["Worker"]: answer["EmoClass_Major"] for answer in answers}
    codes = {name: code for code, name in CONSENSUS.items()}
    votes: Counter[str] = Counter()
    for primary in last.values():
        named = ["Other"] if primary.startswith("Other") else primary.split(",")
        for name in named:
            votes[codes[name]] += 2 // len(named)  # no primary lists more than two names
    (code, most), *rest = votes.most_common()
    return NO_AGREEMENT if rest and rest[0][1] == most else code


def _write_labels(folder: Path, turns: list[_Turn], style: _Style) -> None:
    header = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
    rows = [
        (turn.file, _consensus(turn.answers), *_means(turn), turn.speaker, turn.gender, turn.split) for turn in turns
    ]
    put(folder / f"labels_{style.consensus}.csv", _csv(header, rows))
    about = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}
    put(folder / f"labels_{style.consensus}.json", json.dumps(about, indent=1))
    put(folder / "labels_detailed.csv", _csv(style.columns, _detailed_rows(turns, style)))
    answers = {
        turn.file: {
            answer["Worker"]: {name: answer[name] for name in answer if name != "Worker"} for answer in turn.answers
        }
        for turn in turns
    }
    put(folder / "labels_detailed.json", json.dumps(answers, indent=1))
    put(folder / "labels.txt", "\n".join(_block(turn) for turn in turns))
    put_twin(folder / "labels_detailed.csv")


def _detailed_rows(turns: list[_Turn], style: _Style) -> Iterator[list[str]]:
    for turn in turns:
        for answer in turn.answers:
            if style.columns[1] == "EmoDetail":
                yield [turn.file, _detail(answer)]
            else:
                yield [turn.file, answer["Worker"], *(answer[name] for name in style.columns[2:])]


def _detail(answer: Answer) -> str:
    act, val, dom = (f"{name[3]}:{answer[name]}" for name in ("EmoAct", "EmoVal", "EmoDom"))
    fields = (answer["Worker"], answer["EmoClass_Major"], answer["EmoClass_Second"], act, val, dom)
    return "; ".join(fields) + ";"


def _block(turn: _Turn) -> str:
    act, val, dom = _means(turn)
    head = f"{turn.file}; {_consensus(turn.answers)}; A:{act}; V:{val}; D:{dom};"
    return "\n".join([head, *(_detail(answer) for answer in turn.answers)]) + "\n"


def _means(turn: _Turn) -> tuple[str, str, str]:
    values = ([float(a[name]) for a in turn.answers if a[name]] for name in ("EmoAct", "EmoVal", "EmoDom"))
    act, val, dom = (f"{np.mean(given):.6f}" for given in values)
    return act, val, dom


def _write_transcripts(out: Path, turns: list[_Turn], style: _Style) -> None:
    texts = [(Path(turn.file).stem, turn.text) for turn in turns if turn.text is not None]
    if not style.transcripts:
        named = [(f"{stem}.wav" if index % 2 else stem, text) for index, (stem, text) in enumerate(texts)]
        put(out / "transcripts.csv", _csv(("FileName", "text"), named))
    elif style.transcripts.endswith(".zip"):
        with zipfile.ZipFile(out / style.transcripts, "w") as archive:
            for stem, text in texts:
                archive.writestr(zipfile.ZipInfo(f"Transcripts/{stem}.txt", _ZIP_DATE), f"{text}\n")
    else:
        for stem, text in texts:
            put(out / style.transcripts / f"{stem}.txt", f"{text}\r\n")
            put_twin(out / style.transcripts / f"{stem}.txt")


def _put_audio(path: Path, signal: Signal, stereo: bool) -> None:
    """Write a signal (T,) at 16 kHz as mono, or as stereo at 44.1 kHz."""
    put_twin(path)
    if stereo:
        mono = soxr.resample(signal, SAMPLE_RATE, 44_100)
        soundfile.write(path, np.stack([mono, mono], axis=1), 44_100, subtype="PCM_16", format="WAV")
    else:
        put_wav(path, signal)


def _csv(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()

"""The demo corpus in CREMA-D's file layout, quirks included, to try its commands without a download.

Each of the demo's ten voices plays nine actors within one of EMO-SUPERB's ranges, so no voice is in two folds. The
voices say the demo's own sentences, whatever the clips' names say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amber.arrays import Floats, Integers
from amber.errors import UserError

from ..corpora import demo
from ..corpora.crema_d import CONDITIONS, LETTERS, NO_SIGNAL, SENTENCES
from .writing import put, put_stub, put_twin, put_wav

_ACTED = ("NEU", "HAP", "SAD", "ANG")  # in the order of the demo's classes
_LETTERS = ("N", "H", "S", "A")
_ACTORS = 9  # played by one voice
_RATERS = (4, 12)
_OTHER_SHARE = 0.03  # share of the votes for disgust and for fear, which no voice of the demo carries
_SLOW = 0.02  # share of the clips with one answer more, too slow to be tabulated
_NO_WAV, _STUBS = 3, (5, 8)  # these utterances of the demo lack their audio
_NAMES = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad")
_LEVELS = ["meanEmoResp", *(f"mean{name}Resp" for name in _NAMES), "medianEmoResp"]
_TABULATED = [
    "",
    *LETTERS,
    "fileName",
    "numResponses",
    "agreement",
    "emoVote",
    *_LEVELS,
    *(f"{n}Norm" for n in _LEVELS),
]
_SUMMARY = ["", "FileName", "VoiceVote", "VoiceLevel", "FaceVote", "FaceLevel", "MultiModalVote", "MultiModalLevel"]
_ANSWERS = [
    *("", "localid", "pos", "ans", "ttr", "queryType", "numTries", "clipNum", "questNum", "subType", "clipName"),
    *("sessionNums", "respEmo", "respLevel", "dispEmo", "dispVal", "dispLevel"),
]
Cell = str | int | float


@dataclass(frozen=True)
class _Clip:
    """One clip with its number and its votes, (3, 6): by voice, face and both, for A, D, F, H, N and S."""

    number: int
    name: str
    counts: Integers


def write(out: Path, size: int = demo.SIZE, seed: int = 0) -> None:
    """Write the repository into the folder `out`; the same bytes for the same size and seed.

    Raises
    ------
    UserError
        If there are more utterances than the actors have clips.

    """
    rng = np.random.default_rng([seed, 1 << 33])
    clips = [_Clip(1, NO_SIGNAL, _votes(np.full(4, 0.25), rng))]
    put_wav(out / "AudioWAV" / f"{NO_SIGNAL}.wav", np.zeros(16_000, np.float32))
    for index, (name, spoken) in enumerate(_name(demo.make(size, seed))):
        path, signal = out / "AudioWAV" / f"{name}.wav", spoken.waveform()
        put_twin(path)
        if index in _STUBS:
            put_stub(path, len(signal))
        elif index != _NO_WAV:
            put_wav(path, signal)
        clips.append(_Clip(len(clips) + 1, name, _votes(np.array(spoken.utterance.truth), rng)))
    _table(out / "processedResults" / "tabulatedVotes.csv", _TABULATED, _tabulated(clips))
    _table(out / "processedResults" / "summaryTable.csv", _SUMMARY, map(_summary, clips))
    _table(out / "finishedResponses.csv", _ANSWERS, _answers(clips, rng))
    _table(out / "SentenceFilenames.csv", ["Stimulus_Number", "Filename"], ([clip.number, clip.name] for clip in clips))
    actors = sorted({clip.name[:4] for clip in clips})
    people = ([int(actor), 99, "Female" if _voice_of(int(actor)) % 2 == 0 else "Male", "", ""] for actor in actors)
    _table(out / "VideoDemographics.csv", ["ActorID", "Age", "Sex", "Race", "Ethnicity"], people)


def _name(corpus: Iterable[demo.Spoken]) -> Iterator[tuple[str, demo.Spoken]]:
    """Yield clip name and utterance: each goes to the next free clip of its voice and emotion."""
    free = {(voice, acted): _clips_of(voice, acted) for voice in range(demo.SPEAKERS) for acted in _ACTED}
    for spoken in corpus:
        voice = int((spoken.utterance.speaker or "S01")[1:]) - 1
        name = next(free[voice, _ACTED[int(spoken.voice.argmax())]], None)
        if name is None:
            raise UserError(
                "amber corpus synth: CREMA-D's layout has no clips left for so many utterances; ask for fewer"
            )
        yield name, spoken


def _clips_of(voice: int, acted: str) -> Iterator[str]:
    for actor in filter(lambda actor: _voice_of(actor) == voice, range(1001, 1092)):
        for sentence in SENTENCES:
            for level in ("LO", "MD", "HI") if sentence == "IEO" and acted != "NEU" else ("XX",):
                if (name := f"{actor}_{sentence}_{acted}_{level}") != NO_SIGNAL:
                    yield name


def _voice_of(actor: int) -> int:
    return (actor - 1001) // _ACTORS


def _votes(truth: Floats, rng: np.random.Generator) -> Integers:
    """Draw the votes of three groups of raters from the demo's truth, (4,), with a few votes for other emotions."""
    share = dict(zip(_LETTERS, truth * (1 - 2 * _OTHER_SHARE), strict=True))
    p = np.array([share.get(letter, _OTHER_SHARE) for letter in LETTERS])
    raters = rng.integers(_RATERS[0], _RATERS[1] + 1, size=len(CONDITIONS))
    return rng.multinomial(raters, p / p.sum())


def _winners(counts: Integers) -> str:
    """Return the letter with the most of the votes (6,); several are joined by `:`."""
    return ":".join(letter for letter, count in zip(LETTERS, counts, strict=True) if count == counts.max())


def _tabulated(clips: Sequence[_Clip]) -> Iterator[list[Cell]]:
    for condition in CONDITIONS.values():
        for clip in clips:
            counts = clip.counts[condition - 1]
            levels = [50, *(50 if count else -1 for count in counts), 50]
            shares: list[Cell] = [clip.name, int(counts.sum()), float(counts.max() / counts.sum()), _winners(counts)]
            yield [str(condition * 100_000 + clip.number), *map(int, counts), *shares, *levels, *levels]


def _summary(clip: _Clip) -> list[Cell]:
    cells: list[Cell] = [str(clip.number), clip.name]
    for counts in clip.counts:
        winners = _winners(counts)
        cells += [winners, ":".join("50" for _ in winners.split(":"))]
    return cells


def _answers(clips: Sequence[_Clip], rng: np.random.Generator) -> Iterator[list[Cell]]:
    """Yield the answers behind the counts, with slow ones, practice clips and answers given again."""
    row = 0
    for clip in clips:
        for condition in CONDITIONS.values():
            said = [
                letter for letter, count in zip(LETTERS, clip.counts[condition - 1], strict=True) for _ in range(count)
            ]
            slow = list(rng.choice(LETTERS, size=int(rng.random() < _SLOW)))
            for rater, letter in enumerate([*said, *slow]):
                row += 1
                yield _answer(row, f"demo{(clip.number + rater) % 97:02d}", letter, condition, clip.number, clip.name)
    yield _answer(row + 1, "demo00", "H", 1, 7443, clips[0].name)
    first = f"demo{clips[0].number % 97:02d}"  # the first of those above
    for again in (row + 2, row + 3):
        yield _answer(again, first, "S", 1, clips[0].number, clips[0].name)


def _answer(row: int, rater: str, letter: str, condition: int, number: int, name: str) -> list[Cell]:
    acted, level = name.split("_")[2:]
    asked: list[Cell] = [1, f"{letter}_50", 900, condition, 0, number, 1, 4, name, 1]
    return [str(row), rater, *asked, str(letter), 50, acted[0], level, 50]


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a table as R does: text in quotation marks, numbers without."""
    lines = (",".join(f'"{cell}"' if isinstance(cell, str) else f"{cell:.15g}" for cell in row) for row in rows)
    put(path, "".join(f"{line}\n" for line in (",".join(f'"{name}"' for name in header), *lines)))

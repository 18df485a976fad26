"""The built-in demo corpus: synthetic, generated when it is needed, deterministic by seed, without a download.

Ten speakers in five sessions say English sentences. The voice carries one distribution over four emotions (by prosody
and voice quality), the words another; in a given share of utterances the two differ, as in irony. Each of an
utterance's three to six raters votes by a draw from the mean of the two distributions, which is kept as its `truth`.
"""

from __future__ import annotations

import os
import stat
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from amber.arrays import Floats
from amber.audio import SAMPLE_RATE, Signal
from amber.console import Console
from amber.corpus import Corpus, Ledger, Utterance, Vote
from amber.errors import UserError
from amber.location import is_local

from . import Loaded, Source
from .voice import Speaker, speak

CLASSES = ("Neutral", "Happiness", "Sadness", "Anger")
OPTIONS = ("size", "seed", "conflict")
SIZE = 600
CONFLICT = 0.3  # share of utterances whose voice and words carry different emotions
SPEAKERS = 10
RATERS = 12  # in the pool
MODIFIED = 1_000_000_000  # time of modification of every recording: its content follows from the options alone
_FEMALE, _MALE = Speaker(pitch=205.0, tract=0.87), Speaker(pitch=118.0, tract=1.0)

_OPENERS = ("", "Well, ", "Look, ", "You know, ", "So, ", "Listen, ", "Right, ", "Now, ")
_CLAUSES: dict[str, tuple[str, ...]] = {
    "Neutral": (
        "the meeting starts at ten in the main room",
        "the report is on the second shelf",
        "we take the bus to the station",
        "the form needs a name and a date",
        "the shop opens at nine on weekdays",
        "the table is next to the window",
        "they moved the boxes to the office",
        "the train stops here twice a day",
        "the printer is on the third floor",
        "the list has twelve entries",
    ),
    "Happiness": (
        "I am so glad that you came",
        "we won the prize and everyone cheered",
        "this is the best news in years",
        "I can't wait to celebrate with you",
        "what a wonderful surprise this is",
        "she said yes and I am over the moon",
        "we laughed all evening long",
        "the party was a delight",
        "I love how beautifully it turned out",
        "it makes me smile every single time",
    ),
    "Sadness": (
        "I miss her more every day",
        "nobody came to say goodbye",
        "we lost the house and everything in it",
        "I cried all night after the funeral",
        "he is gone and I feel so empty",
        "it hurts to be left behind",
        "I have never felt so lonely",
        "all our hopes are broken now",
        "my heart aches when I think of it",
        "there is nothing left to look forward to",
    ),
    "Anger": (
        "I told you to keep your hands off it",
        "how dare you lie to my face",
        "get out of my sight right now",
        "this is an outrage and you know it",
        "I am sick of your stupid excuses",
        "you ruined it again, you idiot",
        "stop shouting at me this instant",
        "I will not stand for this insult",
        "they cheated us and I am furious",
        "who the hell gave you the right",
    ),
}


@dataclass(frozen=True)
class Spoken:
    """One utterance of the demo corpus, the distribution (4,) that its voice carries, and its speaker's anatomy."""

    utterance: Utterance
    voice: Floats
    speaker: Speaker
    seed: tuple[int, int]

    def waveform(self) -> Signal:
        """Return the audio, float32 (T,) at 16 kHz."""
        rng = np.random.default_rng([*self.seed, 1])
        return speak(self.utterance.text or "", self.voice, self.speaker, rng)


def make(size: int = SIZE, seed: int = 0, conflict: float = CONFLICT) -> list[Spoken]:
    """Make the corpus. Utterance i depends on i, `seed` and `conflict` alone, whatever the size."""
    anatomy = np.random.default_rng([seed, 1 << 32]).uniform(0.88, 1.12, size=(SPEAKERS, 2))
    return [_spoken(index, seed, conflict, anatomy) for index in range(size)]


def load(source: Source) -> Loaded:
    """Make the demo corpus; its audio is written into the cache when extraction begins.

    Options: `size` (utterances), `seed`, `conflict` (share of utterances in which voice and words disagree).
    """
    source.only_options(*OPTIONS)
    size, seed = (_whole(source, name, value) for name, value in (("size", SIZE), ("seed", 0)))
    conflict = source.option("conflict", CONFLICT)
    if not isinstance(conflict, int | float) or not 0 <= conflict <= 1:
        raise UserError(f"corpus.options.conflict: a share from 0 to 1, got {conflict!r}")
    # Audio is read from this machine's disk, wherever the features go.
    home = source.cache if is_local(source.cache) else _private_folder()
    folder = home / f"audio-seed{seed}-conflict{float(conflict)!r}"
    spoken = make(size, seed, float(conflict))
    ledger = Ledger()
    ledger.add("labelled with audio", *(item.utterance.id for item in spoken))
    ledger.note(f"synthetic: made by amber (seed {seed}), voice and words disagree in {conflict:.0%} of the utterances")
    about = {"name": source.name, "root": str(folder.resolve()), "synthetic": True, "classes": CLASSES}
    corpus = Corpus.of([item.utterance for item in spoken], **about)
    return Loaded(corpus, ledger, prepare=lambda console: _write_audio(spoken, folder, console))


def _private_folder() -> Path:
    """Return a temporary folder that is this user's alone, the same every time.

    Raises
    ------
    UserError
        If it belongs to somebody else.

    """
    user = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir(), "amber-demo" if user is None else f"amber-demo-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (user is not None and (found.st_uid != user or found.st_mode & 0o077)):
        raise UserError(f"{folder}: not a folder of yours alone; remove it, or set TMPDIR to a private folder")
    return folder


def _spoken(index: int, seed: int, conflict: float, anatomy: Floats) -> Spoken:
    """Make utterance `index`; `anatomy` holds factors of pitch and tract by speaker, (10, 2)."""
    rng = np.random.default_rng([seed, index])
    number = index % SPEAKERS
    voiced = int(rng.integers(len(CLASSES)))
    disagree = rng.random() < conflict
    worded = int((voiced + rng.integers(1, len(CLASSES))) % len(CLASSES)) if disagree else voiced
    voice, words = _blend(voiced, rng), _blend(worded, rng)
    truth = (voice + words) / 2
    of = (_FEMALE, _MALE)[number % 2]
    utterance = Utterance(
        id=f"demo_{index + 1:04d}",
        audio=f"demo_{index + 1:04d}.wav",
        text=_sentence(words, rng),
        speaker=f"S{number + 1:02d}",
        session=str(number // 2 + 1),
        votes=_votes(truth, rng),
        truth=tuple(float(x) for x in truth),
        extra={"conflict": "yes" if disagree else "no"},
    )
    speaker = Speaker(of.pitch * anatomy[number, 0], of.tract * (0.5 + anatomy[number, 1] / 2))
    return Spoken(utterance, voice, speaker, (seed, index))


def _blend(main: int, rng: np.random.Generator) -> Floats:
    """Draw a distribution (4,) with its weight on emotion `main`, or shared with one other emotion."""
    weight = np.full(len(CLASSES), 0.03)
    weight[main] = 0.91
    if rng.random() < 0.4:
        other = (main + rng.integers(1, len(CLASSES))) % len(CLASSES)
        weight[main], weight[other] = 0.58, 0.36
    return np.asarray(weight / weight.sum())


def _sentence(words: Floats, rng: np.random.Generator) -> str:
    """Join two clauses of the main emotion of `words` (4,), or one of the main and one of the second."""
    main, second = np.argsort(words)[::-1][:2]
    second = second if words[second] > 0.2 else main
    first = int(rng.integers(10))
    then = int((first + rng.integers(1, 10)) % 10)  # another clause, should both be of one emotion
    opener = _OPENERS[rng.integers(len(_OPENERS))]
    text = f"{opener}{_CLAUSES[CLASSES[main]][first]}, and {_CLAUSES[CLASSES[second]][then]}."
    return text[0].upper() + text[1:]


def _votes(truth: Floats, rng: np.random.Generator) -> tuple[Vote, ...]:
    """Draw the votes of three to six raters from the distribution `truth` (4,)."""
    raters = np.sort(rng.choice(RATERS, size=int(rng.integers(3, 7)), replace=False))
    labels = rng.choice(len(CLASSES), size=len(raters), p=truth)
    return tuple(Vote(f"R{rater + 1:02d}", (CLASSES[label],)) for rater, label in zip(raters, labels, strict=True))


def _write_audio(spoken: list[Spoken], folder: Path, console: Console) -> None:
    """Write the audio files that do not exist yet; existing ones are complete."""
    missing = [(item, path) for item in spoken if not (path := folder / str(item.utterance.audio)).exists()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with console.progress("demo audio", len(spoken), len(spoken) - len(missing)) as advance:
        for item, path in missing:
            partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")  # another command may write the same file
            soundfile.write(partial, item.waveform(), SAMPLE_RATE, subtype="PCM_16", format="WAV")
            os.utime(partial, (MODIFIED, MODIFIED))
            partial.replace(path)
            advance()


def _whole(source: Source, name: str, default: int) -> int:
    value = source.option(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < (name == "size"):
        raise UserError(f"corpus.options.{name}: a whole number, got {value!r}")
    return value

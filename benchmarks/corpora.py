"""Synthetic corpora whose truth is known: `python benchmarks/corpora.py [--out FOLDER --regime NAME --seed N …]`.

Voice and words each carry a distribution over emotions, and in a share of the utterances, the conflicting ones, their
main emotions differ. The truth of an utterance is the mean of the two, or what the voice carries where the words say
nothing; each of its votes is a draw from it. Features are noisy images of what voice and words carry.

Writes `table.csv` (votes and truth, `speaker`, `conflict`, `fold` from 1 to 5, and an official `split`; speakers never
cross either) and `features.h5` (speech and text, (N, L, D) in float16), as `amber cache import` takes them. Any
setting may be given, such as `--size`. Without `--out` it lists the regimes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

CLASSES = ("neutral", "happy", "sad", "angry", "surprise", "fear", "disgust", "contempt")
FOLDS = 5
OFFICIAL = {"train": 0.64, "dev": 0.13, "test": 0.23}  # shares of the speakers; those of MSP-Podcast's utterances
UNITS = 32  # of the hidden layer between a distribution and its image
FACTORS = 24  # dimensions of the noise that features share, which does not average out over them
PEAK, FIRST, LAST = 0.5, 0.35, 0.45  # where the strongest layer lies, and the strengths of the outer ones; its own is 1
BLOCK = 2048  # utterances whose features are in memory at a time


@dataclass(frozen=True)
class Settings:
    """Everything about a corpus but its seed."""

    size: int = 1500
    classes: int = 4
    speakers: int = 10
    fewest: int = 3  # votes of an utterance
    most: int = 3
    layers: int = 3
    dim: int = 128
    noise: float = 1.2
    conflict: float = 1 / 3  # share of the utterances whose voice and words disagree
    neutral: float = 0.0  # share of the first class in what the voice carries; 0: as frequent as the others
    uninformative: float = 0.0  # share of the transcripts that carry a distribution of no concern to the raters
    missing: float = 0.0  # share of the transcripts that are not there: their features are one constant vector
    pool: int = 0  # raters, each with a confusion of their own; 0: all read the truth


REGIMES = {
    "3-raters": Settings(),
    "5-to-9-raters": Settings(fewest=5, most=9),
    "264-speakers": Settings(size=3000, speakers=264, most=5),
    "8-classes": Settings(size=2000, classes=8, most=6),
    "half-neutral": Settings(neutral=0.5, most=6),
    "uninformative-text": Settings(uninformative=1.0),
    "missing-text": Settings(missing=1 / 3, most=6),
    "small": Settings(size=400, most=5),
    "wide": Settings(layers=13, dim=256, most=6),
    "differing-raters": Settings(pool=40, most=6),
}


@dataclass(frozen=True)
class Utterances:
    """The N utterances of a corpus: what they carry, and what their raters said."""

    voice: Floats  # (N, C), as are words and truth
    words: Floats
    truth: Floats
    votes: Integers  # (N, C) counts
    speaker: Integers  # (N,), from 0
    conflict: Booleans  # (N,)
    missing: Booleans  # (N,) transcripts
    fold: Integers  # (N,), from 1
    split: NDArray[np.str_]  # (N,) train, dev or test


def make(folder: Path, settings: Settings, seed: int) -> Utterances:
    """Write the table and the features of a corpus, and return its utterances."""
    rng = np.random.default_rng(seed)
    utterances = draw(settings, rng)
    write_table(folder / "table.csv", utterances)
    with h5py.File(folder / "features.h5", "w") as file:
        file.attrs["synthetic"] = True
        for name, carries in (("speech", utterances.voice), ("text", utterances.words)):
            array = file.create_dataset(name, (settings.size, settings.layers, settings.dim), dtype="float16")
            absent = rng.normal(size=array.shape[1:])
            for rows, block in image(carries, utterances.speaker, settings, rng):
                if name == "text":
                    block[utterances.missing[rows]] = absent
                array[rows] = block
    return utterances


def draw(settings: Settings, rng: np.random.Generator) -> Utterances:
    """Draw the utterances of a corpus and their votes."""
    size, classes = settings.size, settings.classes
    neutral = settings.neutral or 1 / classes
    prior = np.array([neutral, *[(1 - neutral) / (classes - 1)] * (classes - 1)])
    missing = rng.random(size) < settings.missing
    uninformative = rng.random(size) < settings.uninformative
    both = ~missing & ~uninformative  # whose raters go by voice and words alike
    conflict = (rng.random(size) < settings.conflict) & both
    voiced = rng.choice(classes, size=size, p=prior)
    worded = np.where(conflict, (voiced + rng.integers(1, classes, size=size)) % classes, voiced)
    worded[uninformative] = rng.integers(classes, size=uninformative.sum())
    voice, words = carried(voiced, classes, rng), carried(worded, classes, rng)
    truth = np.where(both[:, None], (voice + words) / 2, voice)
    number = rng.integers(settings.fewest, settings.most + 1, size=size)
    if settings.pool:
        truth, votes = differing(truth, number, settings.pool, rng)
    else:
        votes = rng.multinomial(number, truth)
    speaker = np.arange(size) % settings.speakers
    ends = np.cumsum(list(OFFICIAL.values()))[:-1] * settings.speakers
    split = np.array(list(OFFICIAL))[np.searchsorted(ends, speaker + 0.5)]
    fold = speaker * FOLDS // settings.speakers + 1
    return Utterances(voice, words, truth, votes, speaker, conflict, missing, fold, split)


def carried(main: Integers, classes: int, rng: np.random.Generator) -> Floats:
    """Draw distributions (N, C) with most of their weight on main classes (N,): sharp ones and blends."""
    share = rng.beta(3.0, 1.2, size=len(main))[:, None]
    rest = rng.dirichlet(np.full(classes, 0.35), size=len(main))
    return share * np.eye(classes)[main] + (1 - share) * rest


def differing(truth: Floats, number: Integers, pool: int, rng: np.random.Generator) -> tuple[Floats, Integers]:
    """Draw votes of raters who each confuse classes in their own way, different ones for each utterance.

    Returns the truth (N, C) and the votes (N, C). The truth is then what a rater drawn from the pool votes by.
    """
    classes = truth.shape[1]
    confusion = 0.7 * np.eye(classes) + 0.3 * rng.dirichlet(np.full(classes, 0.5), size=(pool, classes))  # (R, C, C)
    votes = np.zeros(truth.shape, dtype=np.int64)
    for row, n in enumerate(number):
        raters = rng.choice(pool, size=n, replace=False)
        votes[row] = rng.multinomial(1, truth[row] @ confusion[raters]).sum(axis=0)
    return truth @ confusion.mean(axis=0), votes


def strengths(layers: int) -> Floats:
    """Return how much of the signal each layer holds, (L,): like those of real encoders, a middle one holds most."""
    return np.ones(1) if layers == 1 else np.interp(np.linspace(0, 1, layers), [0, PEAK, 1], [FIRST, 1, LAST])


def image(
    carries: Floats, speaker: Integers, settings: Settings, rng: np.random.Generator
) -> Iterator[tuple[slice, Floats]]:
    """Yield features (n, L, D) of blocks of utterances: a random two-layer image of the distributions, and noise.

    Noise is an offset of each speaker's; what the features of an utterance share, in part over its layers; and what
    each feature has to itself.
    """
    layers, dim = settings.layers, settings.dim
    normal = rng.standard_normal
    to_hidden = 1.5 * normal((settings.classes, UNITS), dtype=np.float32)
    to_layer = normal((layers, UNITS, dim), dtype=np.float32) / np.sqrt(UNITS, dtype=np.float32)
    to_layer *= strengths(layers).astype(np.float32)[:, None, None]
    to_noise = settings.noise * normal((FACTORS, dim), dtype=np.float32) / np.sqrt(FACTORS, dtype=np.float32)
    offset = 0.3 * normal((settings.speakers, layers, dim), dtype=np.float32)
    for start in range(0, len(carries), BLOCK):
        rows = slice(start, min(start + BLOCK, len(carries)))
        n = rows.stop - start
        hidden = np.tanh(np.sqrt(carries[rows]).astype(np.float32) @ to_hidden)
        common = normal((n, 1, FACTORS), dtype=np.float32) + 0.5 * normal((n, layers, FACTORS), dtype=np.float32)
        features = 0.5 * normal((n, layers, dim), dtype=np.float32)
        features += offset[speaker[rows]]
        features += common @ to_noise
        for layer in range(layers):
            features[:, layer] += hidden @ to_layer[layer]
        yield rows, features


def write_table(path: Path, of: Utterances) -> None:
    """Write a table as `amber cache import` reads it."""
    names = CLASSES[: of.votes.shape[1]]
    about = ("id", "speaker", "fold", "split", "conflict")
    header = [*about, *(f"vote_{c}" for c in names), *(f"truth_{c}" for c in names)]
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(header) + "\n")
        for i, speaker in enumerate(of.speaker):
            cells = [f"u{i}", f"s{speaker}", of.fold[i], of.split[i], "yes" if of.conflict[i] else "no"]
            cells += [*of.votes[i], *(f"{t:.6f}" for t in of.truth[i])]
            file.write(",".join(map(str, cells)) + "\n")


def bring_in(folder: Path, dataset: str) -> Path:
    """Import what `make` wrote into a cache in the same folder, and return that."""
    h5, cache = folder / "features.h5", folder / "cache"
    command = [sys.executable, "-m", "amber.cli", "-q", "cache", "import", "--dataset", dataset, "--features", cache]
    command += ["--table", folder / "table.csv", "--speech", f"{h5}:/speech", "--text", f"{h5}:/text"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--regime", choices=REGIMES, default="3-raters")
    parser.add_argument("--seed", type=int, default=0)
    for field in fields(Settings):
        parser.add_argument(f"--{field.name}", type=type(field.default), help="the regime's where absent")
    options = parser.parse_args()
    given = {name: value for name in asdict(Settings()) if (value := getattr(options, name)) is not None}
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        make(options.out, replace(REGIMES[options.regime], **given), options.seed)
        return
    for name, settings in REGIMES.items():
        print(f"{name:20}", *(f"{key}={value:g}" for key, value in asdict(settings).items()))


if __name__ == "__main__":
    main()

"""Soft labels and guidance on made-up corpora whose truth is known: `python benchmarks/study.py [--set A.B=C …]`.

Voice and words each carry a distribution over four emotions, which disagree in a third of the utterances; the truth of
an utterance is their mean, and each of its 3 to 6 raters votes by a draw from it. Features are noisy images of what
voice and words carry. Prints, for every variant, the mean over corpora, folds and seeds of BC and R² against the truth
and the votes, and of BC on the utterances with a normalised vote entropy above 2/3; ± is the deviation over corpora.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from amber import predictions
from amber.evaluate.distributions import bc, normalised_entropy, r2, vote_nll

CLASSES = ("neutral", "happy", "sad", "angry", "surprise", "fear", "disgust", "contempt")
CONFLICT = 1 / 3
SPEAKERS = 10


def carried(main: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Draw distributions (n, C) with most of their weight on given classes: sharp ones and blends of two."""
    share = rng.beta(3.0, 1.2, size=len(main))[:, None]
    rest = rng.dirichlet(np.full(classes, 0.35), size=len(main))
    return share * np.eye(classes)[main] + (1 - share) * rest


def image(carries: np.ndarray, dim: int, noise: float, speaker: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return features (n, D): a random two-layer image of distributions, each speaker's offset, and noise."""
    hidden = np.tanh(np.sqrt(carries) @ rng.normal(size=(carries.shape[1], 32)) * 1.5)
    clean = hidden @ rng.normal(size=(32, dim)) / np.sqrt(32)
    offset = rng.normal(size=(SPEAKERS, dim))[speaker]
    # Noise of few dimensions does not average out over many features.
    common = rng.normal(size=(len(carries), 24)) @ rng.normal(size=(24, dim)) / np.sqrt(24)
    return clean + 0.3 * offset + noise * common + 0.5 * rng.normal(size=(len(carries), dim))


def make(folder: Path, size: int, dim: int, seed: int, noise: float = 0.9, classes: int = 4) -> None:
    """Write `table.csv` (with votes and truth) and `features.h5` of a corpus."""
    rng = np.random.default_rng(seed)
    names, speaker = CLASSES[:classes], np.arange(size) % SPEAKERS
    voiced = rng.integers(classes, size=size)
    disagree = rng.random(size) < CONFLICT
    worded = np.where(disagree, (voiced + rng.integers(1, classes, size=size)) % classes, voiced)
    voice, words = carried(voiced, classes, rng), carried(worded, classes, rng)
    truth = (voice + words) / 2
    votes = rng.multinomial(rng.integers(3, 7, size=size), truth)
    header = ["id", "speaker", "fold", *(f"vote_{c}" for c in names), *(f"truth_{c}" for c in names)]
    rows = (
        [f"u{i}", f"s{speaker[i]}", speaker[i] // 2 + 1, *votes[i], *(f"{x:.6f}" for x in truth[i])]
        for i in range(size)
    )
    lines = [",".join(map(str, row)) for row in (header, *rows)]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    with h5py.File(folder / "features.h5", "w") as file:
        file["speech"] = image(voice, dim, noise, speaker, rng).astype(np.float16)
        file["text"] = image(words, dim, noise, speaker, rng).astype(np.float16)


def amber(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "amber.cli", "-q", *map(str, arguments)], check=True)


def bring_in(folder: Path, name: str) -> None:
    """Import what `make` wrote into the cache in that folder."""
    h5 = folder / "features.h5"
    amber("cache", "import", "--dataset", name, "--table", folder / "table.csv", "--features", folder / "cache",
          "--speech", f"{h5}:/speech", "--text", f"{h5}:/text")  # fmt: skip


def figures(folder: Path) -> dict[str, float]:
    """Return the means over the folds and seeds of one variant's runs."""
    found = []
    for run in sorted(folder.glob("fold*")):
        rows = predictions.read(run / predictions.FILE).of(part="test", head="student")
        assert rows.truth is not None  # noqa: S101
        high = normalised_entropy(rows.y) > 2 / 3
        of = {
            "bc": bc(rows.truth, rows.p),
            "r2": r2(rows.truth, rows.p),
            "bc high": np.where(high, bc(rows.truth, rows.p), np.nan),
            "votes bc": bc(rows.y, rows.p),
            "votes bc high": np.where(high, bc(rows.y, rows.p), np.nan),
            "vote nll": vote_nll(rows.y, rows.p, rows.keys["n_votes"].astype(float)),
            "accuracy": rows.y.argmax(axis=1) == rows.p.argmax(axis=1),
        }
        epochs = len((run / "metrics.jsonl").read_text().splitlines())
        found.append({**{name: float(np.nanmean(values)) for name, values in of.items()}, "epochs": epochs})
    return {name: float(np.mean([f[name] for f in found])) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1500)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--noise", type=float, default=1.8)
    parser.add_argument("--corpora", type=int, default=2)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--variants", default="uniform,prior,logistic,ce,soft,amber2,amber2-js,amber2-dirichlet")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="of the configuration")
    options = parser.parse_args()
    by_variant: dict[str, list[dict[str, float]]] = {}
    for corpus in range(options.corpora):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(folder, options.size, options.dim, seed=corpus, noise=options.noise)
            bring_in(folder, "conflict")
            overrides = [part for value in ("splits.scheme=column", *options.set) for part in ("--set", value)]
            amber("train", "--features", folder / "cache", "--runs", folder / "runs", "--seeds", options.seeds,
                  "--variants", options.variants, *overrides)  # fmt: skip
            for path in sorted((folder / "runs" / "conflict").iterdir()):
                by_variant.setdefault(path.name, []).append(figures(path))
    wide = max(map(len, by_variant))
    print(" " * wide, *(f"{name:>15}" for name in next(iter(by_variant.values()))[0]))
    for variant, each in by_variant.items():
        cells = [(np.mean([e[name] for e in each]), np.std([e[name] for e in each])) for name in each[0]]
        print(f"{variant:{wide}}", *(f"{mean:7.4f} ± {std:.4f}" for mean, std in cells))


if __name__ == "__main__":
    main()

"""What a recogniser reads of 12 CREMA-D clips and 50 Emo-DB clips: seconds, word error rate, and text features of both.

DATA holds `crema-d` (vote tables and `flac/`), `emodb` (`utterances.csv` and `flac/`) and the model's folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from amber.corpus import FILE, Corpus
from amber.features.store import feature_sets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="whisper-tiny.en", help="a folder in DATA")
    options = parser.parse_args()
    data = options.data.resolve()
    if not (data / options.model).is_dir():
        print(f"skipped: no {options.model} in {options.data}; give --data")
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        crema = ["--dataset", "crema-d", "--root", crema_d(data / "crema-d", work / "CREMA-D")]
        emodb = ["--dataset", "table", "--root", german(data / "emodb", work / "emodb.csv"), "--name", "emodb"]
        cache = ["--features", work / "cache"]
        for corpus in (crema, emodb):
            transcribe([*corpus, *cache, "--model", data / options.model])
        for whose in ("human", "asr"):
            encoders = ["--speech", "logmel", "--text", "minilm"]
            amber("extract", *crema, *cache, *encoders, "--set", f"corpus.transcripts={whose}")
        compare(work / "cache")


def amber(*arguments: object) -> str:
    command = [sys.executable, "-m", "amber.cli", "-q", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def transcribe(arguments: list[object]) -> None:
    begun = time.perf_counter()
    found = json.loads(amber("transcribe", *arguments, "--json"))
    wer = found["wer"]
    print(f"{arguments[1]}: {time.perf_counter() - begun:.0f} s, {found['counts']}")
    print(f"  word error rate {wer['rate']:.1%}, {wer['errors']} errors in {wer['words']} words")


def crema_d(source: Path, root: Path) -> Path:
    """Lay the vote tables and the clips out as in the original repository."""
    for folder in ("processedResults", "AudioWAV"):
        (root / folder).mkdir(parents=True)
    for name in ("tabulatedVotes.csv", "summaryTable.csv"):
        shutil.copyfile(source / name, root / "processedResults" / name)
    shutil.copyfile(source / "VideoDemographics.csv", root / "VideoDemographics.csv")
    for clip in sorted((source / "flac").glob("*.flac")):
        signal, rate = soundfile.read(clip, dtype="int16")
        soundfile.write(root / "AudioWAV" / f"{clip.stem}.wav", signal, rate, subtype="PCM_16")
    return root


def german(source: Path, table: Path) -> Path:
    """Write a table of every tenth of the first 500 Emo-DB clips with the sentences in German, as they are spoken."""
    with (source / "utterances.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:500:10]
    with table.open("w", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["id", "audio", "text", "speaker", "votes"])
        for row in rows:
            clip = source / row["file"]
            out.writerow([clip.stem, clip, row["text_de"], row["speaker"], row["intended"]])
    return table


def compare(cache: Path) -> None:
    """Print the cosine between the text features of human and of machine words, last layer, clip by clip."""
    corpus = Corpus.read(cache / "crema-d" / FILE)
    heard = [row for row, text in enumerate(corpus.column("text")) if text is not None]
    sides = []
    for store in feature_sets(cache, "crema-d"):
        if store.spec.modality == "text":
            vectors = store.layer(len(store.spec.layers) - 1)[heard].astype(np.float64)
            sides.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    one, other = sides
    for row, cosine in zip(heard, (one * other).sum(axis=1), strict=True):
        print(f"  {corpus.ids[row]}  {cosine:.2f}  {corpus.column('text')[row]}")


if __name__ == "__main__":
    main()

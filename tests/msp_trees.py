"""MSP-Podcast releases of invented rows, in every dialect, for the tests of its loader."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from amber.extract.corpora import Loaded, Source
from amber.extract.corpora.msp_podcast import load

A, B, C = "MSP-PODCAST_9991_0001", "MSP-PODCAST_9991_0002_0001", "MSP-PODCAST_9992_0007"
ATTRIBUTES = "A:5.000000; V:4.000000; D:2.000000;"
Rows = list[tuple[str, str, str, str]]  # id, worker, primary, secondary
ROWS: Rows = [
    (A, "WORKER0000101", "Sad", "Sad,Dissapointed"),
    (A, "WORKER00000102", "Sad", ""),
    (A, "WORKER00000103", 'Other-so-so; well, 5/7: "meh"', "Surprise,Confused"),
    (B, "WORKER0000101", "Happy", "Happy,Amused"),
    (B, "WORKER00000103", "Neutral", "Neutral"),
    (C, "WORKER00000102", "other", "Other-a/b"),
]
CONSENSUS = [
    (A, "S", "12", "Male", "Train"),
    (B, "X", "Unknown", "Unknown", "Development"),
    (C, "O", "14", "", "Test1"),
]


def detail(worker: str, primary: str, secondary: str) -> str:
    return f"{worker}; {primary}; {secondary}; {ATTRIBUTES}"


def csv_text(*rows: tuple[str, ...]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def detailed_csv(rows: Rows, dialect: str) -> str:
    if dialect == "1.7-1.12":
        body = [(f"{uid}.wav", detail(worker, primary, second)) for uid, worker, primary, second in rows]
        return csv_text(("FileName", "EmoDetail"), *body)
    header = {
        "1.6": ("EmoAct", "EmoClass_Second", "FileName", "Workers", "EmoClass_Major", "EmoDom", "EmoVal"),
        "2.0": ("FileName", "WorkerID", "EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom"),
    }[dialect]
    worker_name = "Workers" if dialect == "1.6" else "WorkerID"
    named = [
        {"FileName": f"{uid}.wav", worker_name: worker, "EmoClass_Major": primary, "EmoClass_Second": second}
        for uid, worker, primary, second in rows
    ]
    return csv_text(header, *(tuple(row.get(name, "") for name in header) for row in named))


def labels_txt(rows: Rows, codes: dict[str, str]) -> str:
    blocks = []
    for uid, code in codes.items():
        answers = [detail(worker, primary, second) for of, worker, primary, second in rows if of == uid]
        blocks.append("\n".join([f"{uid}.wav; {code}; A:4.0; V:4.0; D:4.0;", *answers]))
    return "\n\n".join(blocks) + "\n"


def detailed_json(rows: Rows) -> str:
    content: dict[str, dict[str, Any]] = {}
    for uid, worker, primary, second in rows:
        answer = {"EmoClass_Major": primary, "EmoClass_Second": second, "EmoAct": 5, "EmoDom": "2.0", "EmoVal": None}
        content.setdefault(f"{uid}.wav", {})[worker] = answer
    return json.dumps(content)


def consensus_csv(rows: list[tuple[str, ...]] = CONSENSUS) -> str:
    header = ("SpkrID", "FileName", "EmoClass", "Gender", "Split_Set", "EmoAct")
    body = [(speaker, f"{uid}.wav", code, gender, split, "4.0") for uid, code, speaker, gender, split in rows]
    return csv_text(header, *body)


@dataclass
class Release:
    """A release on disk: the paths below it and their content."""

    root: Path
    files: dict[str, str | bytes] = field(default_factory=dict)

    def load(self, **options: Any) -> Loaded:
        for name, content in self.files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return load(self.source(**options))

    def source(self, **options: Any) -> Source:
        return Source("msp-podcast", "msp-podcast", self.root / "cache", self.root, options)


def small_release(root: Path) -> Release:
    """Return a release with a consensus file and votes in the dialect of 2.0, not yet written."""
    files: dict[str, str | bytes] = {
        "Labels/labels_consensus.csv": consensus_csv(),
        "Labels/labels_detailed.csv": detailed_csv(ROWS, "2.0"),
    }
    return Release(root, files)


def wav(samples: int = 32_000, rate: int = 16_000, channels: int = 1) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros((samples, channels), np.float32), rate, subtype="PCM_16", format="WAV")
    return out.getvalue()


def votes_of(loaded: Loaded) -> dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]]:
    column = zip(loaded.corpus.ids, loaded.corpus.column("votes"), strict=True)
    return {uid: {v["rater"]: (tuple(v["labels"]), tuple(v["secondary"])) for v in votes} for uid, votes in column}


EXPECTED = {
    A: {
        "WORKER0000101": (("Sad",), ("Sad", "Dissapointed")),
        "WORKER00000102": (("Sad",), ()),
        "WORKER00000103": (('Other-so-so; well, 5/7: "meh"',), ("Surprise", "Confused")),
    },
    B: {"WORKER0000101": (("Happy",), ("Happy", "Amused")), "WORKER00000103": (("Neutral",), ("Neutral",))},
    C: {"WORKER00000102": (("other",), ("Other-a/b",))},
}

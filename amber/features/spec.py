"""The spec of a feature set: everything that its numbers depend on, with the name and the units that follow."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Literal

import numpy as np
from pydantic import SerializerFunctionWrapHandler, model_serializer

from amber.config import Section
from amber.corpus import Corpus, Modality

SCHEMA_VERSION = 1
UNKNOWN = "unknown"  # how arrays from elsewhere were made
UNIT_BYTES = 2 << 20  # of a unit's features, one chunk: large enough to read fast, small enough to do again
UNIT_ROWS = (64, 1024)  # least and most utterances in a unit
UNITS_WANTED = 16  # at least, of a small corpus, so that a killed run keeps most of its work
# Keys that earlier versions lacked: at their defaults they are left out, so that hashes stay.
LATER = ("margin", "text_instruction", "text_context")
ROOM_CHUNKS = 1 << 16  # chunks of frames that a unit has room for: 128 GiB, of which only the written take space


class FeatureSpec(Section):
    """Everything that a feature set depends on. Two sets with one spec are the same set."""

    corpus: str
    release: str
    inputs: str  # hash of the ids with their audio spans, or their texts
    size: int  # utterances
    modality: Modality
    encoder: str
    revision: str
    layers: tuple[int, ...]
    dim: int
    level: Literal["pooled", "frames"]
    pooling: str
    sample_rate: int | None
    max_seconds: float | None  # longer audio is cut into windows of this length
    dtype: Literal["float16", "float32"]
    precision: str
    hop: int | None = None  # samples from frame to frame, of level *frames* and speech
    text_instruction: str = ""  # read before every text
    text_context: int = 0  # earlier turns of the dialogue that are read before a text, at most
    margin: float | None = None  # seconds of silence that a Whisper model hears after a recording; None: up to 30 s
    schema_version: int = SCHEMA_VERSION

    @model_serializer(mode="wrap")
    def _without_later(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = {key for key in LATER if getattr(self, key) == type(self).model_fields[key].default}
        return {key: value for key, value in serialise(self).items() if key not in unset}

    @property
    def key(self) -> str:
        """Return the short hash of the spec."""
        return short_hash(self)

    @property
    def name(self) -> str:
        """Return the set's folder name, such as `speech-wav2vec2-base-1a2b3c4d.zarr`."""
        return f"{self.modality}-{slug(self.encoder)}-{self.key}.zarr"

    def is_of(self, corpus: Corpus) -> bool:
        """Return whether the set is of a corpus's utterances as they are now."""
        return self.inputs == corpus.input_hash(self.modality, in_dialogue=self.text_context > 0)

    @property
    def unit_rows(self) -> int:
        """Return the number of utterances in a unit."""
        least, most = UNIT_ROWS
        if self.level == "frames":  # many chunks per unit, and their number is not known before
            return least
        by_bytes = min(max(UNIT_BYTES // self.vector_bytes, least), most)
        return min(by_bytes, max(least, -(-self.size // UNITS_WANTED)))

    @property
    def units(self) -> int:
        """Return the number of units."""
        return -(-self.size // self.unit_rows)

    @property
    def vector_bytes(self) -> int:
        """Return the bytes of one utterance's pooled features, or of one frame."""
        return len(self.layers) * self.dim * np.dtype(self.dtype).itemsize

    @property
    def chunk_frames(self) -> int:
        """Return the number of frames in a chunk of level *frames*."""
        return max(1, UNIT_BYTES // self.vector_bytes)

    @property
    def unit_room(self) -> int:
        """Return the number of frames, in whole chunks, for which a unit of level *frames* has room."""
        return ROOM_CHUNKS * self.chunk_frames


def short_hash(spec: Section) -> str:
    """Return eight hex digits that stand for everything in a spec: two specs with the same values have the same."""
    canonical = json.dumps(spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def slug(name: str) -> str:
    """Return a name as part of a file name: the last part of a path, unusual characters replaced."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name.rstrip("/").rsplit("/", 1)[-1]).strip("-.") or "encoder"

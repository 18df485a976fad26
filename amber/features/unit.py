"""One unit of a feature set: the features of consecutive utterances, what became of each, and a checksum of it all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Status(IntEnum):
    """What became of one utterance in a feature set."""

    ABSENT = 0  # the corpus has no audio, or no transcript, for it
    OK = 1
    FAILED = 2  # `errors` says why
    TRUNCATED = 3  # longer than the encoder can take: features of its beginning


USABLE = (Status.OK, Status.TRUNCATED)  # there are features


@dataclass(frozen=True)
class Unit:
    """The data of one unit of n utterances.

    `features` are (n, L, D) for level *pooled*, zero where there are none; for level *frames* they are the frames of
    all utterances, one after the other, (T, L, D), and `lengths` (n,) says how many each has. `stamps` (n, 3) are
    those of the recordings that were read (`recordings.py`), where there were any: no part of the checksum, as a file
    that was copied gives the same features.
    """

    features: NDArray[Any]
    status: NDArray[np.uint8]  # (n,)
    errors: list[str]  # (n,)
    lengths: NDArray[np.int64] | None = None
    stamps: NDArray[np.int64] | None = None

    @property
    def checksum(self) -> int:
        """Return the 64-bit checksum of the data; never 0, which means not committed."""
        digest = hashlib.blake2b(np.ascontiguousarray(self.features).data, digest_size=8)
        if self.lengths is not None:
            digest.update(self.lengths.tobytes())
        digest.update(self.status.tobytes())
        digest.update(json.dumps(self.errors).encode())
        return int.from_bytes(digest.digest(), "little") or 1

    def split(self) -> list[NDArray[Any]]:
        """Return the frames of each utterance, (T, L, D) each; of level *frames* only."""
        assert self.lengths is not None  # noqa: S101 (the caller knows the level)
        return np.split(self.features, np.cumsum(self.lengths)[:-1])

    def trouble(self, commit: int) -> str:
        """Say what is wrong with data that were read back and committed under a checksum, or nothing."""
        if self.checksum == commit:
            if not np.isfinite(self.features).all():
                return "features are not finite"
            return "" if np.isin(self.status, list(Status)).all() else "a status has no meaning"
        return "its data are not what was committed"

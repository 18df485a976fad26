"""One unit of a feature set: the features and statuses of consecutive utterances, and their checksum."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amber.arrays import Integers


class Status(IntEnum):
    """The status of one utterance in a feature set."""

    ABSENT = 0  # the corpus has no audio, or no transcript, for it
    OK = 1
    FAILED = 2  # `errors` says why
    TRUNCATED = 3  # longer than the encoder can take: there are features of its beginning


USABLE = (Status.OK, Status.TRUNCATED)  # has features


@dataclass(frozen=True)
class Unit:
    """The data of one unit of n utterances.

    `features` are (n, L, D) for level *pooled*, zero where there are none. For level *frames* they are the frames of
    all utterances in order, (T, L, D), and `lengths` (n,) is the number of frames of each. `stamps` (n, 3) identify the
    recordings (`recordings.py`); they are not part of the checksum, as copied files give the same features.
    """

    features: NDArray[Any]
    status: NDArray[np.uint8]  # (n,)
    errors: list[str]  # (n,)
    lengths: Integers | None = None
    stamps: Integers | None = None

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
        """Return the frames of each utterance, one array (T, L, D) each; for level *frames* only."""
        assert self.lengths is not None  # noqa: S101 (the caller knows the level)
        return np.split(self.features, np.cumsum(self.lengths)[:-1])

    def trouble(self, commit: int) -> str:
        """Return what is wrong with data that were committed with this checksum; empty if nothing is."""
        if self.checksum == commit:
            if not np.isfinite(self.features).all():
                return "features are not finite"
            return "" if np.isin(self.status, list(Status)).all() else "an unknown status"
        return "its data are not what was committed"

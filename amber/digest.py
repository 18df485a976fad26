"""Short hashes by which things that were made are told apart."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def short_hash(parts: Any) -> str:
    """Return 16 hex digits of the SHA-256 of a value's JSON; the order of keys counts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

"""amber: emotion in speech and text as a distribution over emotions.

In Python:

    amber.load(path).predict(audio=…, text=…)     a trained model: bundle, run or experiment
    amber.load_features, load_votes, load_predictions     what is on disk, for notebooks
    amber.score(y, p)                             metrics of distributions

This package is the spine: what more than one stage needs. The stages are `amber.extract`, `amber.train`,
`amber.evaluate` and `amber.predict`. Importing `amber` imports none of them, nor torch, until they are needed.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "load": "amber.predict.api",
    "load_features": "amber.notebook",
    "load_votes": "amber.notebook",
    "load_predictions": "amber.notebook",
    "score": "amber.evaluate.score",
}
__all__ = ["__version__", "load", "load_features", "load_predictions", "load_votes", "score"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'amber' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

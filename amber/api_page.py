"""The page of the Python interface, made from docstrings: `python -m amber.api_page > docs/api.md`."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import amber

_NAMES = {
    "amber.load": "amber.load",
    "Predictor.predict": "amber.predict.api.Predictor.predict",
    "Prediction": "amber.predict.rows.Prediction",
    "amber.load_features": "amber.load_features",
    "amber.load_votes": "amber.load_votes",
    "amber.load_predictions": "amber.load_predictions",
    "amber.score": "amber.score",
}
_HEADER = """# Python

Made from docstrings by `python -m amber.api_page > docs/api.md`, which a test checks. Importing `amber` imports neither
torch nor the stages until they are needed. Mistakes raise `amber.errors.UserError`.
"""


def markdown() -> str:
    """Return `docs/api.md`."""
    parts = [_HEADER]
    for name, path in _NAMES.items():
        thing = _thing(path)
        signature = str(inspect.signature(thing)).replace("'", "") if inspect.isroutine(thing) else ""
        parts.append(f"\n## {name}\n\n```\n{name}{signature}\n```\n\n```text\n{inspect.getdoc(thing)}\n```\n")
    return "".join(parts)


def _thing(path: str) -> Any:
    module, _, name = path.rpartition(".")
    if module == "amber":
        return getattr(amber, name)
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return getattr(_thing(module), name)


if __name__ == "__main__":
    print(markdown(), end="")

"""The utterances that the report lists: their distributions, strata, transcript and where their audio lies."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from amber.predictions import STUDENT

from .. import strata
from ..distributions import bc, jsd, normalised_entropy
from ..figures import divide
from ..gather import Experiment, base
from ..material import Material

MOST = 3000  # utterances by each order (ambiguous, conflicting, worst), so that the page stays under a few megabytes


def utterances(experiment: Experiment, material: Material, shown: str, folder: Path) -> dict[str, Any]:
    """Return what the page's script shows.

    Parameters
    ----------
    experiment, material
        Predictions, and what the corpus adds.
    shown
        The variant whose heads are shown; the students of `ce` and `soft` stand beside them.
    folder
        Where the page will lie: links to audio are relative to it.

    """
    entropy = normalised_entropy(experiment.y)
    experts = experiment.experts()
    conflict = jsd(experts[1], experts[2]) if experts else np.full(len(entropy), np.nan)
    predictions = _predictions(experiment, shown)
    error = 1 - bc(experiment.y, predictions[0][1])
    chosen = _chosen(entropy, conflict, error)
    levels = divide(experiment, material)
    listed = []
    for row in chosen.tolist():
        audio = material.audio[row]
        listed.append(
            {
                "id": experiment.ids[row],
                "speaker": experiment.speakers[row],
                "votes": float(experiment.votes[row]),
                "text": material.text[row],
                "audio": _link(audio, material.span[row], folder) if audio else None,
                "class": int(experiment.y[row].argmax()),
                "entropy": round(float(entropy[row]), 3),
                "conflict": round(float(conflict[row]), 3) if experts else None,
                "error": round(float(error[row]), 3),
                "levels": {name: of[row] for name, of in levels.items()},
                "bars": [_short(experiment.y[row]), *(_short(p[row]) for _, p in predictions)],
            }
        )
    return {
        "classes": list(experiment.classes),
        "bars": ["raters", *(name for name, _ in predictions)],
        "all": len(entropy),
        "strata": {name: [level for level in strata.ORDER[name] if (of == level).any()] for name, of in levels.items()},
        "speakers": sorted({s for s in experiment.speakers[chosen].tolist() if s is not None}),
        "conflict": experts is not None,
        "audio": any(u["audio"] for u in listed),
        "utterances": listed,
    }


def as_script(data: dict[str, Any]) -> str:
    """Return JSON that is safe inside a script element, whatever a transcript says."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _predictions(experiment: Experiment, shown: str) -> list[tuple[str, NDArray[np.float64]]]:
    """Return names and predictions, averaged over seeds: the student, its experts, `ce` and `soft`, namesakes."""
    heads = [(name if name != STUDENT else shown, experiment.mean(shown, name)) for name in experiment.heads[shown]]
    others = [v for v in experiment.variants if base(v) in {"ce", "soft", base(shown)} and v != shown]
    return heads + [(name, experiment.mean(name)) for name in others]


def _chosen(*keys: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows that are among the first by any key, highest first; all where there are few."""
    first = [np.argsort(-key, kind="stable")[:MOST] for key in keys if not np.isnan(key).any()]
    return np.unique(np.concatenate(first)).astype(np.int64)


def _short(distribution: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in distribution.round(3)]


def _link(audio: Path, span: tuple[float | None, float | None], folder: Path) -> str:
    """Return a link to audio that is relative to the page, to the span where it is part of a file."""
    link = quote(os.path.relpath(audio, folder.absolute()))
    start, end = span
    if start is None and end is None:
        return link
    return f"{link}#t={start or 0:g}" + (f",{end:g}" if end is not None else "")

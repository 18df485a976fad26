"""The utterances that the report lists: their distributions, strata, transcript and where their audio lies."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from amber.arrays import Floats, Integers
from amber.location import is_local
from amber.predictions import STUDENT

from .. import strata
from ..experiment import Experiment, base
from ..metrics.distribution import bc
from ..strata import Levels

MOST = 3000  # utterances by each order (ambiguous, conflicting, worst), so that the page stays under a few megabytes


def utterances(experiment: Experiment, levels: Mapping[str, Levels], shown: str, folder: Path) -> dict[str, Any]:
    """Return what the page's script shows.

    Parameters
    ----------
    experiment
        Predictions, and what the corpus tells of the utterances.
    levels
        The level of every utterance in each stratum.
    shown
        The variant whose heads are shown; the students of `ce` and `soft` stand beside them.
    folder
        Where the page will lie: links to audio are relative to it.

    """
    entropy, conflict, info = experiment.entropy, experiment.conflict, experiment.info
    predictions = _predictions(experiment, shown)
    error = 1 - bc(experiment.y, predictions[0][1])
    chosen = _chosen(entropy, error, *([conflict] if conflict is not None else []))
    listed = []
    for row in chosen.tolist():
        audio = info.audio[row]
        listed.append(
            {
                "id": experiment.ids[row],
                "speaker": experiment.speakers[row],
                "votes": float(experiment.counts[row].sum()),
                "text": info.text[row],
                "audio": _link(audio, info.span[row], folder) if audio else None,
                "class": int(experiment.y[row].argmax()),
                "entropy": round(float(entropy[row]), 3),
                "conflict": round(float(conflict[row]), 3) if conflict is not None else None,
                "error": round(float(error[row]), 3),
                "levels": {name: of[row] for name, of in levels.items()},
                "bars": [_short(experiment.y[row]), *(_short(p[row]) for _, p in predictions)],
            }
        )
    return {
        "classes": list(experiment.classes),
        "bars": ["raters", *(name for name, _ in predictions)],
        "all": len(entropy),
        "strata": {
            name: [level for level in strata.levels_of(name, of) if (of == level).any()] for name, of in levels.items()
        },
        "speakers": sorted({s for s in experiment.speakers[chosen].tolist() if s is not None}),
        "conflict": conflict is not None,
        "audio": any(u["audio"] for u in listed),
        "utterances": listed,
    }


def as_script(data: dict[str, Any]) -> str:
    """Return JSON that is safe inside a script element, whatever a transcript says."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _predictions(experiment: Experiment, shown: str) -> list[tuple[str, Floats]]:
    """Return names and predictions, averaged over seeds: the student, its experts, `ce` and `soft`, namesakes."""
    heads = [(name if name != STUDENT else shown, experiment.mean(shown, name)) for name in experiment.heads[shown]]
    others = [v for v in experiment.variants if base(v) in {"ce", "soft", base(shown)} and v != shown]
    return heads + [(name, experiment.mean(name)) for name in others]


def _chosen(*keys: Floats) -> Integers:
    """Return the rows that are among the first by any key, highest first; all where there are few."""
    first = [np.argsort(-key, kind="stable")[:MOST] for key in keys]
    return np.unique(np.concatenate(first)).astype(np.int64)


def _short(distribution: Floats) -> list[float]:
    return [float(value) for value in distribution.round(3)]


def _link(audio: Path, span: tuple[float | None, float | None], folder: Path) -> str:
    """Return a link to audio that is relative to a page on this machine, to the span where it is part of a file."""
    link = quote(os.path.relpath(audio, folder.absolute())) if is_local(folder) else audio.as_uri()
    start, end = span
    if start is None and end is None:
        return link
    return f"{link}#t={start or 0:g}" + (f",{end:g}" if end is not None else "")

"""Variants that cost no training: `soft` with a temperature, and the mean over seeds of any variant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from amber.predictions import STUDENT

from .gather import Experiment, base

Floats = NDArray[np.float64]

CALIBRATED = "student-calibrated"  # a temperature-scaled copy of the student, where training wrote one
TEMPERATURE = "soft + temperature"


def with_temperature(experiment: Experiment) -> Experiment:
    """Add `soft + temperature` after `soft`, where its runs hold a temperature-scaled copy of the student.

    The temperature is fitted on dev by each run, so the variant has the seeds of `soft` and is tested like any other.
    """
    heads, seeds = {}, dict(experiment.seeds)
    for variant, of in experiment.heads.items():
        if base(variant) != "soft" or CALIBRATED not in of:
            heads[variant] = of
            continue
        scaled = f"{variant.removesuffix('soft')}{TEMPERATURE}"
        heads[variant] = {name: p for name, p in of.items() if name != CALIBRATED}
        heads[scaled] = {STUDENT: of[CALIBRATED]}
        seeds[scaled] = experiment.seeds[variant]
    return replace(experiment, heads=heads, seeds=seeds)


def ensembles(experiment: Experiment) -> dict[str, Floats]:
    """Return the mean over seeds of every variant whose seeds differ, (1, N, C) each, as `<variant> ensemble`."""
    return {
        f"{variant} ensemble": experiment.mean(variant)[None]
        for variant in experiment.variants
        if np.ptp(experiment.students(variant), axis=0).any()
    }

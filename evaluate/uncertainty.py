"""How sure an estimate is, given the speakers and the seeds that it rests on; p-values and Holm's correction.

A speaker's utterances are not independent, so speakers are what varies; and a variant that is trained again with other
seeds is another model. The two variances are added,

    SE² = SE²_speakers + s²_seeds / S

with Satterthwaite's (1946) degrees of freedom, G - 1 for G speakers and S - 1 for S seeds. An interval and a p-value
come from this one standard error by Student's t, so they never contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Variance:
    """An estimated variance of an estimate, and its degrees of freedom."""

    value: float
    df: int


@dataclass(frozen=True)
class Error:
    """A standard error and its degrees of freedom; `se` is None where it can't be estimated."""

    se: float | None
    df: float

    @classmethod
    def of(cls, variances: Sequence[Variance]) -> Error:
        """Add up independent variances; the degrees of freedom are Satterthwaite's."""
        total = sum(variance.value for variance in variances)
        if not np.isfinite(total) or any(variance.df < 1 for variance in variances):
            return cls(None, 0.0)
        spread = sum(variance.value**2 / variance.df for variance in variances)
        lowest = min(variance.df for variance in variances)
        return cls(float(np.sqrt(total)), float(total**2 / spread) if spread > 0 else float(lowest))

    def interval(self, estimate: float) -> list[float] | None:
        """Return the 95 % interval, estimate ± t · SE."""
        if self.se is None:
            return None
        half = float(stats.t.ppf(1 - LEVEL / 2, self.df)) * self.se
        return [estimate - half, estimate + half]

    def p(self, estimate: float) -> float:
        """Return the two-sided p-value of an estimate of zero; 1 where the error is unknown."""
        if self.se is None or abs(estimate) < 1e-12:
            return 1.0
        return float(2 * stats.t.sf(abs(estimate) / max(self.se, 1e-15), self.df))

    def detectable(self) -> float | None:
        """Return the smallest true difference that a single test at the 5 % level finds with a power of 80 %."""
        if self.se is None:
            return None
        return float(stats.t.ppf(1 - LEVEL / 2, self.df) + stats.t.ppf(POWER, self.df)) * self.se


def of_speakers(left_out: Floats) -> Variance:
    """Return the jackknife variance of an estimate, given its values without each of G speakers, (G,).

    (G - 1) / G times the sum of squares around their mean (Tukey, 1958; Efron and Stein, 1981). For a mean over
    speakers of equal size it is the variance of the t-test; it serves ratios (F1, UAR, ECE) as well.
    """
    groups = len(left_out)
    if groups < 2:
        return Variance(float("nan"), 0)
    return Variance(float((groups - 1) * left_out.var()), groups - 1)


def of_seeds(values: Floats) -> Variance:
    """Return the variance of the mean over seeds, given the value of each seed, (S,); S is at least two."""
    return Variance(float(values.var(ddof=1)) / len(values), len(values) - 1)


def holm(p: Floats) -> Floats:
    """Return p-values (M,) corrected for all M of them (Holm, 1979)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected

"""How certain an estimate is, given the speakers and the seeds that it rests on; p-values and Holm's correction.

A speaker's utterances are not independent, so speakers are what varies; and a variant that is trained again with other
seeds is another model. The two variances are added,

    SE² = SE²_speakers + s²_seeds / S

and the estimate over SE is held against a mean of Student's t quantiles, of G - 1 degrees of freedom for G speakers and
S - 1 for S seeds, weighted by the variances (Cochran and Cox, 1950). An interval and a p-value come from this one
formula, so they never contradict each other. Satterthwaite's single number of degrees of freedom is not used: with two
or three seeds it is far too bold at the small levels that a correction for many tests asks for (docs/LOG.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from amber.arrays import Floats

LEVEL = 0.05
POWER = 0.8
_SMALLEST = 1e-100  # of a tail; a p-value under it is 0


@dataclass(frozen=True)
class Variance:
    """An estimated variance of an estimate, and its degrees of freedom."""

    value: float
    df: int


@dataclass(frozen=True)
class StandardError:
    """The standard error of an estimate whose independent variances add up; `known` where all can be estimated."""

    variances: tuple[Variance, ...]

    @property
    def known(self) -> bool:
        """Return whether every variance is a number with a degree of freedom."""
        return all(np.isfinite(variance.value) and variance.df >= 1 for variance in self.variances)

    @property
    def se(self) -> float | None:
        """Return the standard error."""
        return float(np.sqrt(sum(variance.value for variance in self.variances))) if self.known else None

    def quantile(self, tail: float) -> float:
        """Return what a standardised estimate exceeds with a probability of `tail`, under one half."""
        total = sum(variance.value for variance in self.variances)
        shares = [v.value / total if total > 0 else 1 / len(self.variances) for v in self.variances]
        return -sum(w * float(stdtrit(v.df, tail)) for w, v in zip(shares, self.variances, strict=True))

    def interval(self, estimate: float) -> tuple[float, float] | None:
        """Return the 95 % interval, estimate ± t · SE."""
        if self.se is None:
            return None
        half = self.quantile(LEVEL / 2) * self.se
        return estimate - half, estimate + half

    def p(self, estimate: float) -> float:
        """Return the two-sided p-value of an estimate of zero; 1 where the error is unknown."""
        if self.se is None or abs(estimate) < 1e-12:
            return 1.0
        score = abs(estimate) / max(self.se, 1e-15)
        if self.quantile(_SMALLEST) < score:
            return 0.0
        log = brentq(lambda x: self.quantile(float(np.exp(x))) - score, np.log(_SMALLEST), np.log(0.5), xtol=1e-12)
        return float(2 * np.exp(log))

    def detectable(self) -> float | None:
        """Return the smallest true difference that a single test at the 5 % level finds with a power of 80 %."""
        return (self.quantile(LEVEL / 2) + self.quantile(1 - POWER)) * self.se if self.se is not None else None


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

"""How sure a figure is: a bootstrap over speakers, corrected for few speakers, and Holm's correction.

A speaker's utterances are not independent, so speakers are what is drawn. The same draws serve every variant, which
pairs their differences. Training seeds are another kind of doubt and never enter an interval: a figure is the mean
over seeds in every draw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL = 0.05


def speaker_weights(speakers: int, resamples: int, seed: int) -> Floats:
    """Return how often each speaker is drawn in each resample, (resamples, speakers)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples).astype(np.float64)


def interval(draws: Floats, speakers: int) -> list[float] | None:
    """Return a 95 % interval from bootstrap draws, None where there are fewer than two speakers.

    The expanded percentile interval (Hesterberg, 2015, section 5.3): quantiles at Phi(-t sqrt(n / (n - 1))) with t of
    n - 1 degrees of freedom, because the plain percentiles are too narrow for few speakers. Of 10 speakers they are
    at 0.9 % and 99.1 %, of many at 2.5 % and 97.5 %.
    """
    if speakers < 2:
        return None
    t = stats.t.ppf(LEVEL / 2, speakers - 1) * np.sqrt(speakers / (speakers - 1))
    tail = float(stats.norm.cdf(t))
    return [float(edge) for edge in np.quantile(draws, [tail, 1 - tail])]


def p_value(difference: float, draws: Floats, speakers: int) -> float:
    """Return the two-sided p of no difference: t with n - 1 degrees of freedom, by the bootstrap's standard error.

    The bootstrap's deviation is too small by sqrt((n - 1) / n), which is made good. A difference that no draw
    varies around is 1 where it is zero. A single speaker proves nothing: 1.
    """
    if speakers < 2 or abs(difference) < 1e-12:
        return 1.0
    error = float(draws.std()) * np.sqrt(speakers / (speakers - 1))
    return float(2 * stats.t.sf(abs(difference) / max(error, 1e-15), speakers - 1))


def holm(p: Floats) -> Floats:
    """Return p-values (M,) corrected for all M of them (Holm, 1979)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def standardised(difference: Floats, group: NDArray[np.int64], weights: Floats) -> tuple[float, Floats]:
    """Return Cohen's d_z of paired differences (N,), mean over deviation, and its draws for weights (B, G)."""
    size = weights.shape[1]
    moments = np.stack([np.bincount(group, difference**k, minlength=size) for k in range(3)], axis=1)  # (G, 3)
    rows = np.vstack([np.ones(size), weights]) @ moments  # (1 + B, 3)
    mean = rows[:, 1] / rows[:, 0]
    deviation = np.sqrt(np.maximum(rows[:, 2] / rows[:, 0] - mean**2, 0.0))
    d = np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 1e-12)
    return float(d[0]), d[1:]

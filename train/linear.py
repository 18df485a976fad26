"""Linear models by the objectives of scikit-learn's, fitted to distributions y (n, C) instead of classes.

An utterance counts as one of class c with weight y_c. scikit-learn would be given a row for each class that an
utterance may be, and computes in float64: several copies of the features, three times the time. Here the loss takes
the weights as they are, in float32 where features are many, and SciPy's L-BFGS minimises it:

- logistic: C sum_i -sum_c y_ic log p_ic + |W|² / 2, p = softmax(x W + b): `LogisticRegression`. Of two classes, W has
  two opposite columns where scikit-learn's has their difference, so that its C is twice this one.
- squared hinge, one class against the rest: C sum_i y_ic max(0, 1 - f_ic)² + (1 - y_ic) max(0, 1 + f_ic)² + |w_c|² / 2,
  f = x W + b: `LinearSVC`, but for the intercept, which is free here and penalised there.
- ridge: sum_i |y_i - x_i W - b|² + alpha |W|²: `Ridge`, all alphas by one eigendecomposition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

Floats = NDArray[np.floating]
Linear = tuple[Floats, Floats]  # weight (D, C), bias (C,)
Loss = Callable[[Floats, Floats], tuple[float, Floats]]  # scores and targets (n, C) -> their sum, its gradient (n, C)

GRADIENT = 1e-5  # of the mean loss of an utterance, by any one parameter: where the descent ends
ITERATIONS = 1000  # at most, for one strength of the penalty
SMALL = 1 << 22  # inputs that are computed with in float64: that costs nothing, and is right to more digits


def cross_entropy(scores: Floats, y: Floats) -> tuple[float, Floats]:
    """Return the sum of -y log softmax(scores), and its gradient by the scores. (n, C), (n, C) -> (), (n, C)."""
    loss = -np.sum(y * log_softmax(scores, axis=1), dtype=np.float64)
    return float(loss), softmax(scores, axis=1) - y


def squared_hinge(scores: Floats, y: Floats) -> tuple[float, Floats]:
    """Return the sum of squared hinge losses, and its gradient by the scores. (n, C), (n, C) -> (), (n, C)."""
    inside, outside = np.maximum(0, 1 - scores), np.maximum(0, 1 + scores)
    loss = np.sum(y * inside**2 + (1 - y) * outside**2, dtype=np.float64)
    return float(loss), 2 * ((1 - y) * outside - y * inside)


def path(loss: Loss, x: Floats, y: Floats, strengths: Iterable[float]) -> Iterator[Linear]:
    """Minimise C loss + |W|² / 2 for each C of `strengths`, from where the last one ended.

    Parameters
    ----------
    loss
        `cross_entropy` or `squared_hinge`.
    x, y
        Inputs (n, D) and target distributions (n, C), float32.
    strengths
        C, best from small (a strong penalty) to large.

    """
    (n, dims), classes = x.shape, y.shape[1]
    if x.size <= SMALL:
        x, y = x.astype(np.float64), y.astype(np.float64)

    def divided(flat: Floats) -> Linear:
        both = flat.reshape(dims + 1, classes).astype(x.dtype)
        return both[:-1], both[-1]

    def mean_loss(flat: Floats, penalty: float) -> tuple[float, Floats]:
        weight, bias = divided(flat)
        value, slope = loss(x @ weight + bias, y)
        gradient = np.concatenate([x.T @ slope / n + penalty * weight, slope.mean(axis=0)[None]])  # (D + 1, C)
        return value / n + penalty * float(np.vdot(weight, weight)) / 2, gradient.ravel().astype(np.float64)

    at = np.zeros((dims + 1) * classes)
    options = {"gtol": GRADIENT, "ftol": np.finfo(np.float64).eps, "maxiter": ITERATIONS}
    for strength in strengths:
        at = minimize(mean_loss, at, (1 / (strength * n),), method="L-BFGS-B", jac=True, options=options).x
        yield divided(at)


def ridge(x: Floats, y: Floats, alphas: Iterable[float]) -> Iterator[Linear]:
    """Yield the ridge regression of y (n, C) on x (n, D) for each alpha; constants are not penalised."""
    mean, centre = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    x = x - mean.astype(x.dtype)
    y = y - centre.astype(y.dtype)
    wide = x.shape[1] > x.shape[0]
    gram = (x @ x.T if wide else x.T @ x).astype(np.float64)  # the smaller of (n, n) and (D, D)
    values, vectors = np.linalg.eigh(gram)
    turned = vectors.T @ (y if wide else x.T @ y)
    for alpha in alphas:
        solved = vectors @ (turned / (np.maximum(values, 0) + alpha)[:, None])
        weight = x.T @ solved if wide else solved  # (D, C)
        yield weight, centre - mean @ weight

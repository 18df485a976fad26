"""What heads are held against, in the same runs and files: `uniform`, `prior` and `logistic`.

None of them has anything random, so every seed of a fold gives the same run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from .data import Part
from .fit import Fitted, State, student_scores
from .heads import INPUTS
from .matrix import Run
from .targets import learned

ITERATIONS = 2000  # most that the logistic regression may take


def fit(group: Sequence[Run], train: Part, dev: Part, smoothing: float = 0.0) -> list[Fitted]:
    """Fit the baseline of runs with one group key once, for all of them.

    - `uniform`: every class alike
    - `prior`: the mean target of the training part
    - `logistic`: scikit-learn's multinomial logistic regression (L2, C = 1) on the student's inputs, those that its
      head would see. Hard targets are its classes; of soft ones an utterance is a row for each class, with the
      class's share as the row's weight, which is the cross-entropy with the whole distribution.

    The state holds `prior` (C,), or `weight` (D, C) and `bias` (C,).
    """
    objective, model = group[0].variant.objective, group[0].variant.model
    y, _ = learned(train.counts, objective.target, smoothing)  # (m, C)
    if model == "logistic":
        state = _logistic(_joined(train, objective.student), y)
    else:
        classes = y.shape[1]
        state = {"prior": y.mean(dim=0).cpu() if model == "prior" else torch.full((classes,), 1 / classes)}
    # A class that training never saw has no probability; its logarithm times no votes has to stay nothing.
    log_p = _predict(state, dev, objective.student).clamp_min(torch.finfo(torch.float32).tiny).log()[None]  # (1, m, C)
    scores = {name: value[0] for name, value in student_scores(dev.counts[None], log_p).items()}
    return [Fitted(run, state, [{"epoch": 1, **scores}], best=1) for run in group]


def predict(fitted: Sequence[Fitted], part: Part) -> dict[str, Tensor]:
    """Return a baseline's probabilities (R, m, C), the student's, for the m rows of a part; R runs share them."""
    student = fitted[0].run.variant.objective.student
    return {student: _predict(fitted[0].state, part, student).expand(len(fitted), -1, -1)}


def _predict(state: State, part: Part, student: str) -> Tensor:
    device = part.rows.device
    if "prior" in state:
        return state["prior"].to(device).expand(len(part), -1)
    return (_joined(part, student) @ state["weight"].to(device) + state["bias"].to(device)).softmax(dim=-1)


def _joined(part: Part, head: str) -> Tensor:
    return torch.cat([part.inputs[modality][part.rows] for modality in INPUTS[head]], dim=-1)  # (m, D)


def _logistic(x: Tensor, y: Tensor) -> State:
    utterance, label = np.nonzero(y.cpu().numpy())
    features, share = x.cpu().numpy(), y.cpu().numpy()[utterance, label]
    given = np.unique(label)
    weight, bias = _regression(features[utterance], label, share) if len(given) > 1 else (0.0, 0.0)
    classes = y.shape[1]
    # A class that no training utterance has is never predicted.
    state = {"weight": torch.zeros(x.shape[1], classes), "bias": torch.full((classes,), -1e4)}
    state["weight"][:, given] = torch.as_tensor(weight, dtype=torch.float32)
    state["bias"][given] = torch.as_tensor(bias, dtype=torch.float32)
    return state


def _regression(
    x: NDArray[np.float32], label: NDArray[np.int64], share: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight (D, G) and bias (G,) for the G classes that occur."""
    model = LogisticRegression(max_iter=ITERATIONS).fit(x, label, sample_weight=share)
    if len(model.classes_) == 2:  # scikit-learn keeps one row: the second class against the first
        half, shift = model.coef_[0] / 2, model.intercept_[0] / 2
        return np.stack([-half, half], axis=1), np.array([-shift, shift])
    return model.coef_.T, model.intercept_

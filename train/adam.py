"""Adam (Kingma and Ba, 2015) for the members of a group, which leave it one by one.

Steps are those of `torch.optim.Adam`. That class imports PyTorch's compiler, which takes longer than a small training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Adam with the usual decays of its moments, for parameters (R, …) of R members."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._parameters = list(parameters)
        self._first = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._second = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._steps = [torch.zeros((), device=parameter.device) for parameter in self._parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take a step by the parameters' gradients, at a learning rate; those without a gradient stay as they are."""
        learned = [place for place, parameter in enumerate(self._parameters) if parameter.grad is not None]
        parameters = [self._parameters[place] for place in learned]
        first, second, steps = ([of[place] for place in learned] for of in (self._first, self._second, self._steps))
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        adam(parameters, gradients, first, second, [], steps, fused=True, amsgrad=False, beta1=0.9, beta2=0.999,
             lr=rate, weight_decay=0.0, eps=1e-8, maximize=False)  # fmt: skip

    def keep(self, members: Sequence[int]) -> None:
        """Forget the gradients, and the parameters and moments of all but these members."""
        for place, parameter in enumerate(self._parameters):
            parameter.grad = None
            parameter.data = parameter.data[members]
            self._first[place], self._second[place] = self._first[place][members], self._second[place][members]

"""Adam (Kingma and Ba, 2015) for the members of a group, which leave it one by one.

Each parameter takes its step as soon as its gradient is known, which is then still in the processor's cache, and is
freed: no more than one gradient is in memory at a time. Steps are those of `torch.optim.Adam`, which waits for all
gradients, and imports PyTorch's compiler, which takes longer than a small training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn


class Adam:
    """Adam with the usual decays of its moments and an L2 penalty, for parameters (R, …) of R members.

    Parameters
    ----------
    parameters
        What is learned.
    penalties
        By parameter, the factor of its L2 penalty for each member, broadcast against (R, …); those left out have none.

    """

    def __init__(self, parameters: Iterable[nn.Parameter], penalties: Mapping[nn.Parameter, Tensor]) -> None:
        self._states = [(parameter, _State(parameter, penalties.get(parameter))) for parameter in parameters]
        for parameter, state in self._states:
            parameter.register_post_accumulate_grad_hook(state.step)  # type: ignore[no-untyped-call]

    def step(self, losses: Tensor, rate: float) -> Tensor:
        """Take a step down the members' losses (R,), at a learning rate; return them without their graph.

        Parameters that the losses do not depend on stay as they are.
        """
        for _, state in self._states:
            state.rate = rate
        losses.sum().backward()  # type: ignore[no-untyped-call]  # a sum: no member's gradient depends on another's
        return losses.detach()

    def keep(self, members: Sequence[int]) -> None:
        """Forget the parameters and moments of all but these members."""
        for parameter, state in self._states:
            parameter.data = parameter.data[members]
            state.keep(members)


class _State:
    """What Adam knows of one parameter. It does not hold the parameter, which holds it: cycles are freed late."""

    def __init__(self, parameter: Tensor, penalty: Tensor | None) -> None:
        self.rate, self._penalty = 0.0, penalty
        self._first, self._second = torch.zeros_like(parameter), torch.zeros_like(parameter)
        self._steps = torch.zeros((), device=parameter.device)

    @torch.no_grad()
    def step(self, parameter: Tensor) -> None:
        """Take the parameter's step by its gradient, and forget the gradient."""
        gradient, parameter.grad = parameter.grad, None
        assert gradient is not None  # noqa: S101 (PyTorch calls this when it is there)
        if self._penalty is not None:
            gradient.addcmul_(parameter, self._penalty)
        self._steps += 1
        torch._fused_adam_(
            [parameter], [gradient], [self._first], [self._second], [], [self._steps],
            lr=self.rate, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip

    def keep(self, members: Sequence[int]) -> None:
        """Forget all but these members."""
        self._first, self._second = self._first[members], self._second[members]
        if self._penalty is not None:
            self._penalty = self._penalty[members]

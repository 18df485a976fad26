"""The optimiser is PyTorch's Adam, bit for bit, and members leave it without a trace in the others."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from amber.train.adam import Adam

PENALTIES = [0.5, 0.0, 0.5, 0.25]  # powers of two: no product is rounded


def twins(members: int) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the same parameters twice: a weight and a bias of each member."""
    random = torch.Generator().manual_seed(0)
    ours = [nn.Parameter(torch.randn(members, *shape, generator=random)) for shape in ((5, 3), (3,))]
    return ours, [nn.Parameter(parameter.detach().clone()) for parameter in ours]


def with_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> Tensor:
    """Return the losses (R,) of members with these gradients; one that is None doesn't depend on the parameter."""
    pairs = zip(parameters, gradients, strict=True)
    return sum((p * gradient).flatten(1).sum(dim=1) for p, gradient in pairs if gradient is not None)


def test_steps_are_those_of_pytorch() -> None:
    ours, theirs = twins(4)
    adam, reference = Adam(ours, {}), torch.optim.Adam(theirs, fused=True)
    random = torch.Generator().manual_seed(1)
    for step in range(20):
        gradients = [torch.randn(parameter.shape, generator=random) for parameter in ours]
        learned = [None if place == step % 3 else gradient for place, gradient in enumerate(gradients)]
        reference.param_groups[0]["lr"] = rate = 1e-3 * (step + 1)
        adam.step(with_gradients(ours, learned), rate)
        reference.zero_grad()
        with_gradients(theirs, learned).sum().backward()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


def test_each_member_has_its_own_penalty() -> None:
    """And a bias has none. The reference is PyTorch's Adam for each member alone."""
    (weight, bias), _ = twins(4)
    members = [(nn.Parameter(weight[[m]].detach().clone()), nn.Parameter(bias[[m]].detach().clone())) for m in range(4)]
    references = [
        torch.optim.Adam([{"params": [w], "weight_decay": penalty}, {"params": [b]}], lr=1e-2, fused=True)
        for (w, b), penalty in zip(members, PENALTIES, strict=True)
    ]
    adam, staying = Adam([weight, bias], {weight: torch.tensor(PENALTIES)[:, None, None]}), [0, 1, 2, 3]
    for step in range(10):
        if step == 5:
            staying = [3, 0, 2]
            adam.keep(staying)
        adam.step(with_gradients([weight, bias], [torch.ones_like(weight), torch.ones_like(bias)]), 1e-2)
        for (w, b), reference in zip(members, references, strict=True):
            reference.zero_grad()
            with_gradients([w, b], [torch.ones_like(w), torch.ones_like(b)]).sum().backward()
            reference.step()
    for place, member in enumerate(staying):
        assert torch.equal(weight[[place]], members[member][0])
        assert torch.equal(bias[[place]], members[member][1])


def test_members_that_stay_go_on_as_if_alone() -> None:
    ours, theirs = twins(3)
    single = [nn.Parameter(parameter[[2]].detach().clone()) for parameter in theirs]
    adam, alone = Adam(ours, {}), Adam(single, {})
    for step in range(6):
        if step == 3:
            adam.keep([2, 0])
        gradients = [torch.full_like(parameter, float(step % 2 or -1)) for parameter in ours]
        adam.step(with_gradients(ours, gradients), 1e-2)
        alone.step(with_gradients(single, [gradient[:1] for gradient in gradients]), 1e-2)
    for mine, parameter in zip(ours, single, strict=True):
        assert torch.equal(mine[0], parameter[0])


def test_no_gradient_is_left_in_memory() -> None:
    ours, _ = twins(2)
    Adam(ours, {}).step(with_gradients(ours, [torch.ones_like(parameter) for parameter in ours]), 1e-2)
    assert all(parameter.grad is None for parameter in ours)


def test_parameters_are_freed_without_the_garbage_collector() -> None:
    """A fold's parameters in a cycle with their optimiser would stand in memory beside the next fold's."""
    ours, _ = twins(2)
    adam = Adam(ours, {ours[0]: torch.tensor([0.1, 0.2])[:, None, None]})
    adam.step(with_gradients(ours, [torch.ones_like(parameter) for parameter in ours]), 1e-2)
    alive = weakref.ref(ours[0])
    gc.disable()
    try:
        del ours, adam
        assert alive() is None
    finally:
        gc.enable()


def test_training_imports_neither_the_compiler_nor_scikit_learn() -> None:
    """Either takes about a second, more than a small training."""
    script = (
        "import sys, torch, amber.train.stage\nfrom amber.train.adam import Adam\n"
        "p = torch.nn.Parameter(torch.ones(1, 2)); Adam([p], {}).step(p.sum(dim=1), 1e-3)\n"
        "assert not {'torch._dynamo', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

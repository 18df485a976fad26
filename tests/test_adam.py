"""The optimiser is PyTorch's Adam, bit for bit, and members leave it without a trace in the others."""

from __future__ import annotations

import subprocess
import sys

import torch

from amber.train.adam import Adam


def twins(members: int) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Return the same parameters twice: a weight and a bias of each member."""
    random = torch.Generator().manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(members, *shape, generator=random)) for shape in ((5, 3), (3,))]
    return ours, [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]


def test_steps_are_those_of_pytorch() -> None:
    ours, theirs = twins(4)
    adam, reference = Adam(ours), torch.optim.Adam(theirs, fused=True)
    random = torch.Generator().manual_seed(1)
    for step in range(20):
        for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            gradient = torch.randn(mine.shape, generator=random)
            mine.grad = None if place == step % 3 else gradient  # a parameter may sit out a step
            other.grad = None if place == step % 3 else gradient.clone()
        reference.param_groups[0]["lr"] = rate = 1e-3 * (step + 1)
        adam.step(rate)
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


def test_members_that_stay_go_on_as_if_alone() -> None:
    ours, theirs = twins(3)
    adam, alone = Adam(ours), Adam([parameter[[2]] for parameter in theirs])
    for step in range(6):
        gradients = [torch.full_like(parameter, float(step % 2 or -1)) for parameter in theirs]
        if step == 3:
            adam.keep([2, 0])
        for mine, gradient in zip(ours, gradients, strict=True):
            mine.grad = gradient if step < 3 else gradient[:2]
        for parameter, gradient in zip(alone._parameters, gradients, strict=True):
            parameter.grad = gradient[[2]]
        adam.step(1e-2)
        alone.step(1e-2)
    for mine, parameter in zip(ours, alone._parameters, strict=True):
        assert torch.equal(mine[0], parameter[0])


def test_training_does_not_import_the_compiler() -> None:
    script = (
        "import sys, torch\nfrom amber.train.adam import Adam\n"
        "p = torch.nn.Parameter(torch.ones(1, 2)); p.grad = torch.ones(1, 2); Adam([p]).step(1e-3)\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

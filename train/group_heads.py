"""The heads of a group's members: as they start, applied to a part, and scored on dev."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .batches import FoldSplit
from .heads import Heads
from .member import Member, TrainedMember
from .objective import GroupLoss, bhattacharyya_coefficient
from .targets import MemberVotes, distribution

EVALUATION_ROWS = 4096  # utterances times members that are scored at once, to bound memory


def new_heads(group: Sequence[Member], part: FoldSplit) -> Heads:
    """Return the heads of a group's members, as they start."""
    run, candidate, shapes = group[0].run, group[0].candidate, part.shapes
    dims = {modality: shape[-1] for modality, shape in shapes.items()}
    layers = {modality: shape[0] for modality, shape in shapes.items() if len(shape) == 2}
    seeds, classes = [member.seed for member in group], part.counts.shape[1]
    return Heads(run.variant.heads, dims, candidate.hidden, classes, seeds, layers, part.frame_dims,
                 candidate.mixture, [member.candidate.reads for member in group])  # fmt: skip


def predict(group: Sequence[Member], fitted: Sequence[TrainedMember], part: FoldSplit) -> dict[str, Tensor]:
    """Return the log-probabilities (R, m, C) of every head of fitted members, for the m rows of a part."""
    heads = new_heads(group, part)
    heads.load([one.state for one in fitted])
    return forward(heads.to(part.rows.device), part, len(fitted))


def dev_scores(heads: Heads, dev: FoldSplit, votes: MemberVotes, group: Sequence[Member]) -> dict[str, list[float]]:
    """Return each member's dev loss, and its student's vote likelihood, Bhattacharyya coefficient and accuracy.

    A student that is the pool of its heads is not known yet: the heads' mean scores stand for it.
    """
    log_p = forward(heads, dev, len(group))
    counts = votes.every()  # (R, m, C)
    each = GroupLoss([member.run.variant.objective for member in group], votes.each)(log_p, counts)  # (R, m)
    scored = [log_p[name] for name in group[0].run.variant.scored]
    found = [student_scores(counts, one) for one in scored]
    means = {name: [sum(v) / len(found) for v in zip(*(f[name] for f in found), strict=True)] for name in found[0]}
    return {"dev_loss": each.mean(dim=1).tolist(), **means}


def student_scores(counts: Tensor, log_p: Tensor) -> dict[str, list[float]]:
    """Score log-probabilities (R, m, C) against the dev votes (R, m, C): a value for each run.

    `dev_nll` is the mean negative log-likelihood of a vote, in nats; `dev_bc` and `dev_accuracy` are means over
    utterances against the vote fractions and their plurality class.
    """
    nll = -(counts * log_p).sum(dim=(1, 2)) / counts.sum(dim=(1, 2))
    right = (log_p.argmax(dim=-1) == counts.argmax(dim=-1)).float()
    return {
        "dev_nll": nll.tolist(),
        "dev_bc": bhattacharyya_coefficient(distribution(counts), log_p).mean(dim=1).tolist(),
        "dev_accuracy": right.mean(dim=1).tolist(),
    }


@torch.no_grad()
def forward(heads: Heads, part: FoldSplit, members: int) -> dict[str, Tensor]:
    """Return log-probabilities (R, m, C) of a part that all members share, in slices that bound memory."""
    found: dict[str, Tensor] = {}
    done = 0
    for inputs in part.in_order(max(1, EVALUATION_ROWS // members)):
        log_p = heads(inputs, [members])
        for name, values in log_p.items():
            # Into one tensor: slices that were kept would fragment the memory that their inputs leave.
            if name not in found:
                found[name] = values.new_empty(members, len(part), values.shape[-1])
            found[name][:, done : done + values.shape[1]] = values
        done += next(iter(log_p.values())).shape[1]
    return found

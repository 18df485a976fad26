"""Which variants are compared with which."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from ..experiment import TEMPERATURE, base

BASELINES = ("ce", "soft")
MOST = 6  # points of a grid that are compared with each other; of more, each is compared with the first


def pairs(variants: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of a variant and its reference.

    Every variant is compared with `ce` and `soft`, and every `amber2…` with `soft + temperature` too. Where a grid was
    run over `ce` or `soft` themselves, the reference is the one at the same point of the grid. Points of one variant's
    grid are compared with each other. Where experiments stand side by side, a variant is compared with its namesake
    in the first of them, and with nothing else; imported predictions with the first `ce` and `soft`.
    """
    if any("/" in variant for variant in variants):
        first: dict[str, str] = {}
        for variant in sorted(variants, key=variants.index):
            first.setdefault(base(variant), variant)
        imported = [v for v in variants if "/" not in v]
        namesakes = [(v, first[base(v)]) for v in variants if first[base(v)] != v and v not in imported]
        return namesakes + [(v, first[name]) for name in BASELINES for v in imported if first.get(name, v) != v]
    found = [(v, r) for name in BASELINES for v in variants if (r := _baseline(v, name, variants))]
    if TEMPERATURE in variants:
        found += [(v, TEMPERATURE) for v in variants if stem(v).startswith("amber2")]
    return list(dict.fromkeys([*found, *_neighbours(variants)]))


def stem(variant: str) -> str:
    """Return the name of a variant without its point of a grid: `amber2` of `amber2,layer=mean`."""
    return variant.partition(",")[0]


def _baseline(variant: str, name: str, variants: Sequence[str]) -> str | None:
    """Return the variant called `name`, or the one at the same point of a grid; None where it is no reference here."""
    at_point = name + variant.removeprefix(stem(variant))
    reference = name if name in variants else at_point
    # `ce` is a reference of `soft`, and not the other way round.
    below = stem(variant) in BASELINES and BASELINES.index(stem(variant)) < BASELINES.index(name)
    return reference if reference in variants and reference != variant and not below else None


def _neighbours(variants: Sequence[str]) -> list[tuple[str, str]]:
    grids: dict[str, list[str]] = {}
    for variant in variants:
        if "," in variant:
            grids.setdefault(stem(variant), []).append(variant)
    return [
        (later, earlier)
        for points in grids.values()
        for earlier, later in (combinations(points, 2) if len(points) <= MOST else ((points[0], p) for p in points[1:]))
    ]

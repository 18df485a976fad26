"""The heads by name, and the modalities that each reads."""

from __future__ import annotations

from collections.abc import Collection

from amber.config import HeadName
from amber.corpus import MODALITIES, Modality

INPUTS: dict[HeadName, tuple[Modality, ...]] = {
    "speech": ("speech",),
    "text": ("text",),
    "fusion": ("speech", "text"),
}
HEADS: tuple[HeadName, ...] = tuple(INPUTS)


def read_by(head: HeadName, reads: Modality | None = None) -> tuple[Modality, ...]:
    """Return the modalities that a head reads; `reads` is the only one of a head that would read both."""
    return (reads,) if reads and len(INPUTS[head]) > 1 else INPUTS[head]


def inputs_of(heads: Collection[HeadName]) -> list[Modality]:
    """Return the modalities that these heads read, speech first."""
    return [modality for modality in MODALITIES if any(modality in INPUTS[head] for head in heads)]

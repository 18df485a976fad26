"""The file `config.yaml` of a run, and what runs must agree in to be put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from amber.errors import UserError, abbreviate

FILE = "config.yaml"
OF_EXPERIMENT = ("dataset", "labels", "splits")  # sections that all runs of an experiment share
OF_VARIANT = (*OF_EXPERIMENT, "features", "model", "objective", "train")  # and those of a variant, fold and seed apart
# libyaml's safe loader, where there is one: hundreds of small files are read.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def damaged(path: Path) -> UserError:
    """Return the error about a file of a run that can't be read."""
    return UserError(f"{path}: damaged or missing; put it back, or train the run again with `amber train`")


def read(run: Path) -> dict[str, Any]:
    """Read the configuration of a run, given its folder.

    Raises
    ------
    UserError
        If it can't be read, or lacks what every run records.

    """
    path = run / FILE
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        raise damaged(path) from None
    if not isinstance(config, dict) or not all(key in config for key in ("variant", *OF_EXPERIMENT)):
        raise damaged(path)
    if not all(isinstance(config.get(key), int) for key in ("fold", "seed")):
        raise damaged(path)
    return config


def differences(one: Mapping[str, Any], other: Mapping[str, Any], sections: Sequence[str]) -> list[str]:
    """Return what two configurations differ in, of some sections: `section.key`, or `section`."""
    found = []
    for section in sections:
        a, b = one.get(section), other.get(section)
        if isinstance(a, dict) and isinstance(b, dict):
            found += [f"{section}.{key}" for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
        elif a != b:
            found.append(section)
    return found


def refuse_different(configs: Mapping[Path, Mapping[str, Any]], sections: Sequence[str], consequence: str) -> None:
    """Refuse runs, given by folder, that differ in some sections of their configurations.

    Raises
    ------
    UserError
        If they do; the message names two runs, what they differ in, and the consequence.

    """
    (first, expected), *others = configs.items()
    for path, config in others:
        differing = differences(config, expected, sections)
        if differing:
            names = " and ".join("/".join(one.parts[-2:]) for one in (path, first))
            raise UserError(
                f"{path.parents[1]}: {names} differ in {abbreviate(differing, 3)}, so {consequence}\n"
                "train them again, move away those that were left from before, or use another experiment name"
            )

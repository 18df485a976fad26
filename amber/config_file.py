"""Reading a configuration: a YAML file with `--set` overrides, and what is said of mistakes in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from amber import document
from amber.config import Config, Section
from amber.errors import UserError, nearest, printable

M = TypeVar("M", bound=BaseModel)
Place = tuple[Any, ...]  # the keys that lead to a value

# Parts of the configuration whose keys are known; what else is a map is one value.
SECTIONS = {
    name
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}

# Keys of the objective in earlier versions, for the hint at today's.
_RENAMED = {
    **{name: f"{name}_weight" for name in ("rater", "modality", "experts")},
    "precision": "concentration",
}


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path
        A YAML file; None for the defaults.
    overrides
        `a.b=c` strings, applied in order; values are YAML. A map changes the keys of a section that it names; a map
        that is a key's value, such as `grid`, replaces it.

    Raises
    ------
    UserError
        For a file that can't be read, an unknown key (with the nearest known one) or a value that does not fit.

    """
    data = _read_yaml(path) if path else {}
    for override in overrides:
        _set(data, override)
    return validated(Config, data, where=str(path) if path else "--set")


def origins(path: Path | None = None, overrides: Sequence[str] = ()) -> dict[Place, str]:
    """Return where each value that `load` is given comes from, by its place: the file, or the override as it stands.

    A place is the keys that lead to a value. A map has none of its own but those of its values, unless it is empty.

    Raises
    ------
    UserError
        As for `load`, but for keys and values that do not fit.

    """
    found = dict.fromkeys(_leaves(_read_yaml(path)), str(path)) if path else {}
    for override in overrides:
        for place, value in _changes(override):
            found = {other: of for other, of in found.items() if not (leads(place, other) or leads(other, place))}
            found |= dict.fromkeys(_leaves(value, place), f"--set {override}")
    return found


def validated(model: type[M], data: Any, where: str) -> M:
    """Validate `data` as `model`; say the first mistake as a `UserError` that starts with `where`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(model, error)}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            data = document.parse(file.read(document.LARGEST + 1))
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
    except document.DocumentError as error:
        raise UserError(f"{path}: {error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected sections such as `train:`, found {type(data).__name__}")
    return data


def _set(data: dict[str, Any], override: str) -> None:
    for place, value in _changes(override):
        section = data
        for part in place[:-1]:
            below = section.setdefault(part, {})
            if not isinstance(below, dict):
                raise UserError(f"--set {_short(override)}: {part!r} is a value, not a section")
            section = below
        section[place[-1]] = value


def _changes(override: str) -> list[tuple[Place, Any]]:
    """Return what an override sets: one place; of a section that is given as a map, each key in it."""
    key, sign, value = override.partition("=")
    place = tuple(key.strip().split("."))
    if not sign or not all(place):
        raise UserError(f"--set {_short(override)}: write it as section.key=value")
    try:
        parsed = document.parse(value)
    except document.DocumentError as error:
        raise UserError(f"--set {_short(override)}: {error}") from None
    if place[0] in SECTIONS and len(place) == 1 and isinstance(parsed, dict):
        return [((*place, key), below) for key, below in parsed.items()]
    return [(place, parsed)]


def _leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _leaves(below, (*place, key))
    else:
        yield place


def leads(place: Place, other: Place) -> bool:
    """Return whether a place is another, or a map that the other lies in."""
    return other[: len(place)] == place


def _short(text: str) -> str:
    """Return a text of the user's in one line that is not too long."""
    line = " ".join(text[:1000].split())
    return printable(line if len(line) <= 120 else f"{line[:117]}…")


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    errors = error.errors()
    # A typo is the likelier cause than what follows from it.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(errors) - 1} more mistakes)" if len(errors) > 1 else ""
    if first["type"] == "extra_forbidden":
        known, key = _keys(model, first["loc"][:-1]), str(first["loc"][-1])
        return f"unknown key {path!r}{nearest(_RENAMED.get(key, key), known) or '; known: ' + ', '.join(known)}{more}"
    says = first["msg"].removeprefix("Value error, ")
    return f"{path or 'the file'}: {says}, got {_short(repr(first['input']))}{more}"


def _keys(model: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    for part in location:
        known = model.model_fields.get(str(part))
        if known is None:  # a name of the user's own, such as a variant's
            continue
        candidates = [known.annotation, *get_args(known.annotation)]
        sections = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        model = sections[0] if sections else model
    return list(model.model_fields)

"""Reading a configuration: a YAML file with `--set` overrides, and what is said of mistakes in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from amber import document
from amber.config import Config
from amber.errors import UserError, nearest, printable

M = TypeVar("M", bound=BaseModel)

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
        `a.b=c` strings, applied in order; values are YAML.

    Raises
    ------
    UserError
        For a file that can't be read, an unknown key (with the nearest known one) or a value that does not fit.

    """
    data = _read_yaml(path) if path else {}
    for override in overrides:
        _set(data, override)
    return validated(Config, data, where=str(path) if path else "--set")


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
    key, sign, value = override.partition("=")
    parts = key.strip().split(".")
    if not sign or not all(parts):
        raise UserError(f"--set {_short(override)}: write it as section.key=value")
    for part in parts[:-1]:
        below = data.setdefault(part, {})
        if not isinstance(below, dict):
            raise UserError(f"--set {_short(override)}: {part!r} is a value, not a section")
        data = below
    try:
        data[parts[-1]] = document.parse(value)
    except document.DocumentError as error:
        raise UserError(f"--set {_short(override)}: {error}") from None


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

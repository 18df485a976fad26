"""`amber config` and `amber variants`: what can be configured, and what a command would use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amber import cli_options as options
from amber.cli_options import Command, examples
from amber.console import print_result
from amber.errors import UserError, nearest

if TYPE_CHECKING:
    from amber.config import Config
    from amber.reference import Key


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    shown = ("amber config objective", "amber config train.lr --resolved --config pipeline.yaml")
    app.command(cls=Command, epilog=examples(*shown))(config)
    listed = ("amber variants", "amber variants --config pipeline.yaml")
    app.command(cls=Command, epilog=examples(*listed))(variants)


def config(
    key: Annotated[str | None, typer.Argument(help="A key or a section, such as train.lr or objective.")] = None,
    config_file: options.ConfigFile = None,
    overrides: options.Set = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print the values that a command would use, and where they come from.")
    ] = False,
) -> None:
    """Print configuration keys with their defaults and meanings, or the values in force."""
    from amber.config_file import load, origins
    from amber.reference import every_key

    chosen = [one for one in every_key() if key is None or one.name == key or one.name.startswith(f"{key}.")]
    if not chosen:
        raise UserError(f"no configuration key {key!r}{nearest(key or '', [one.name for one in every_key()])}")
    if not resolved:
        print_result("\n".join(_described(one) for one in chosen))
        return
    found = load(config_file, overrides or ())
    given = origins(config_file, overrides or ())
    values = found.model_dump(mode="json")
    lines = [f"{one.name} = {_value(values, one)}  ({_origin(given, one)})" for one in chosen]
    print_result("\n".join([*lines, *_of_variants(found, [one.name for one in chosen])]))


def variants(config_file: options.ConfigFile = None, overrides: options.Set = None) -> None:
    """List the variants, those of a pipeline file included, with the keys that define each."""
    from amber.config_file import load
    from amber.train.matrix import BUILT_IN

    known = {**BUILT_IN, **load(config_file, overrides or ()).variants}
    rows = [(name, _definition(variant.model_dump(exclude_defaults=True))) for name, variant in known.items()]
    width = max(len(name) for name, _ in rows)
    print_result("\n".join(f"{name.ljust(width)}  {definition}".rstrip() for name, definition in rows))


def load_given(path: Path | None, overrides: Sequence[str] | None, **sections: dict[str, Any]) -> Config:
    """Read the configuration; options that were given (are not None) come before `--set`, which has the last word."""
    from amber import config_file

    given = [
        f"{section}.{key}={json.dumps(value)}"
        for section, values in sections.items()
        for key, value in values.items()
        if value is not None
    ]
    return config_file.load(path, [*given, *(overrides or ())])


def listed(text: str | None) -> list[Any] | None:
    """Return what an option lists between commas, numbers as such; None where it is not given."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return [int(part) if re.fullmatch(r"[0-9]{1,20}", part) else part for part in parts]


def dataset_of(config: Config, dataset: str | None) -> str | None:
    """Return the dataset that was named, on the command line or by the configuration's corpus."""
    if dataset or "corpus" not in config.model_fields_set:
        return dataset
    named = config.corpus.name or ("dataset" in config.corpus.model_fields_set and config.corpus.dataset)
    return named or None


def _described(key: Key) -> str:
    return f"{key.name} = {key.default}\n    {key.meaning}\n    allowed: {key.allowed}; read by: {key.stage}"


def _origin(given: Mapping[tuple[Any, ...], str], key: Key) -> str:
    """Return where a key's value comes from; several places where it is a map that was changed entry by entry."""
    from amber.config_file import leads

    place = tuple(key.name.split("."))
    return ", ".join(dict.fromkeys(of for at, of in given.items() if leads(place, at))) or "default"


def _value(values: Any, key: Key) -> str:
    for part in key.name.split("."):
        values = values[part]
    return json.dumps(values, ensure_ascii=False)


def _of_variants(config: Config, chosen: Sequence[str]) -> Iterator[str]:
    """Say where a variant's value of a key differs, because its definition or the grid says so."""
    from amber.train.matrix import variants as resolve

    for variant in resolve(config):
        for section, own, shared in (
            ("objective", variant.objective.model_dump(mode="json"), config.objective.model_dump(mode="json")),
            ("train", variant.training.model_dump(mode="json"), config.train.model_dump(mode="json")),
        ):
            for name, value in own.items():
                key = f"{section}.{name}"
                if key in chosen and value != shared[name]:
                    why = "grid" if f",{name}=" in variant.name else "the variant's definition"
                    yield f"{variant.name}: {key} = {json.dumps(value)}  ({why})"


def _definition(changes: Mapping[str, Any]) -> str:
    parts = [f"{name}: {changes[name]}" for name in ("base", "model") if name in changes]
    parts += [f"{s}.{k}={json.dumps(v)}" for s in ("objective", "train") for k, v in changes.get(s, {}).items()]
    return ", ".join(parts)

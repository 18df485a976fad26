"""The reference of all configuration keys, made from the configuration models: `amber config` and `docs/config.md`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from amber.config import Config

STAGES = {
    "corpus": "extract",
    "transcribe": "transcribe, extract",
    "features": "extract, train",
    "evaluate": "evaluate",
    "experiment": "train, evaluate",
}
_HEADER = """# Configuration

Every key, its type, default and meaning, and the stage that reads it; made from `amber/config.py` by
`python -m amber.reference > docs/config.md`, which a test checks. The same keys serve a pipeline file and `--set`.
`amber config KEY` prints one of them, `amber config --resolved` what a command would use and where each value comes
from. Which value of a key counts is in [training.md](training.md#which-value-of-a-key-counts).

`null` means that the dataset or the machine decides; the decision is written into each run's `config.yaml`.
"""


@dataclass(frozen=True)
class Key:
    """One configuration key: its dotted name, what it may hold, its default as JSON, what it means and who reads it."""

    name: str
    allowed: str
    default: str
    meaning: str
    stage: str


def every_key() -> list[Key]:
    """Return every key, section by section."""
    schema = Config.model_json_schema()
    return list(_keys(schema, schema["$defs"], "", Config().model_dump(mode="json")))


def _keys(section: Mapping[str, Any], known: Mapping[str, Any], prefix: str, defaults: Any) -> Iterator[Key]:
    for name, field in section["properties"].items():
        full = f"{prefix}{name}"
        below = known.get(str(field.get("$ref", "")).rpartition("/")[2])
        if below:
            yield from _keys(below, known, f"{full}.", defaults[name])
        else:
            stage = STAGES.get(full.partition(".")[0], "train")
            default = json.dumps(defaults[name], ensure_ascii=False)
            yield Key(full, _allowed(field, known), default, field["description"].replace("\n", " "), stage)


def _allowed(field: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Return in words what a field of a JSON schema may hold."""
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_allowed(one, known) for one in field["anyOf"]))
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    kind = field.get("type", "anything")
    if kind == "array":
        return f"list of {_allowed(field['items'], known)}"
    if kind == "object":
        values = field.get("additionalProperties")
        return f"map to {_allowed(values, known)}" if isinstance(values, dict) and values else "map"
    return f"{kind}{_bounds(field)}" if kind != "null" else "null"


def _bounds(field: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {_number(field[name])}" for name, sign in signs.items() if name in field and field[name] < 2**62]
    return f" {', '.join(found)}" if found else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def markdown() -> str:
    """Return `docs/config.md`."""
    parts = [_HEADER]
    section = None
    for key in every_key():
        above = key.name.rpartition(".")[0] or "top level"
        if above != section:
            section = above
            parts.append(f"\n## {section}\n\n| key | allowed | default | meaning | read by |\n|---|---|---|---|---|\n")
        cells = [f"`{key.name}`", key.allowed.replace("|", "\\|"), f"`{_short(key.default)}`", key.meaning, key.stage]
        parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


def _short(default: str) -> str:
    return default if len(default) <= 60 else "see amber/config.py"


if __name__ == "__main__":
    print(markdown(), end="")

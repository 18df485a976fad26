"""Whether a feature set was made by the options that a configuration gives, as far as its spec tells.

Keys that are left out ask for nothing: training takes what the cache holds. A set that is named by its folder is taken
however it was made.
"""

from __future__ import annotations

from typing import Any

from amber.config import FeatureOptions
from amber.errors import UserError
from amber.features.spec import UNKNOWN, FeatureSpec

WINDOW = 30.0  # seconds, beyond which a window tells nothing: Whisper's are no longer, whatever is asked for
WHOLE_FRAMES = 0.1  # seconds by which a window may be shorter than asked: it holds whole frames


def refuse_other(options: FeatureOptions, spec: FeatureSpec) -> None:
    """Refuse a feature set that was made by another value of a key than the configuration gives.

    Raises
    ------
    UserError
        If there is such a key.

    """
    made = _made(options, spec) if getattr(options, spec.modality) != spec.name else {}
    for key in FeatureOptions.model_fields:
        asked = getattr(options, key)
        if key in options.model_fields_set and key in made and asked != made[key]:
            raise UserError(
                f"features.{key} is {_written(asked)}, and the cache's {spec.modality} set {spec.name} "
                f"has {_written(made[key])}\n"
                "run `amber extract` with this configuration, or leave the key out"
            )


def _made(options: FeatureOptions, spec: FeatureSpec) -> dict[str, Any]:
    """Return the values of `features` by which a set was made; what fits what is asked for is as it is asked for."""
    if spec.pooling == UNKNOWN:  # imported
        return {"level": spec.level}
    made: dict[str, Any] = {"level": spec.level, "dtype": spec.dtype}
    if options.precision != "auto":
        made["precision"] = spec.precision
    if options.layers != "all":  # how many an encoder has is not known here
        fits = len(spec.layers) == 1 if options.layers == "last" else _numbers(options.layers) == set(spec.layers)
        made["layers"] = options.layers if fits else ",".join(map(str, spec.layers))
    if spec.modality == "text":
        made |= {"text_instruction": spec.text_instruction, "text_context": spec.text_context}
        return made | ({"pooling": spec.pooling} if spec.level == "pooled" else {})
    if spec.margin is not None:
        made |= {"context": "trimmed", "margin": spec.margin}
    elif "whisper" in spec.encoder.lower():  # of other models a spec can't tell that they have no context
        made["context"] = "full"
    if spec.max_seconds is not None:
        fits = min(options.max_seconds, WINDOW) - WHOLE_FRAMES <= spec.max_seconds <= options.max_seconds
        made["max_seconds"] = options.max_seconds if fits else spec.max_seconds
    return made


def _numbers(layers: str) -> set[int]:
    return {int(part) for part in layers.split(",") if part.strip().isdecimal()}


def _written(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"{value:g}"

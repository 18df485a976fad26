"""Names as people write them: which ones are equal, and which can name a folder or a model."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Words that say nothing of the model in a folder's name.
GENERIC = re.compile(
    r"(checkpoints?|ckpt|data|encoder|epoch|exported|files|final|folder|best|hf|last|latest|local|main|models?|my|new"
    r"|old|out|outputs?|pretrained|run|saved|snapshot|speech|step|temp|text|tmp|trained|transformer|weights|[a-z])?\d*"
    r"|[0-9a-f]{16,}"  # a hash
)
WIDTH, DEPTH = ("hidden_size", "d_model", "dim"), ("num_hidden_layers", "encoder_layers", "n_layers")


def fold(name: str) -> str:
    """Return the common form of names that differ only in case, outer blanks or the encoding of their letters.

    `é` is one character in some files and `e` with a combining accent in others, such as those written on a Mac.
    """
    return unicodedata.normalize("NFC", name.strip().lower())


def spellings(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the different spellings of each name, in order, by the folded name."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(fold(name), []).append(name)
    return found


def is_folder_name(name: str) -> bool:
    """Return whether a name can be that of a folder inside another: no path, not hidden, only printable characters."""
    return bool(name) and Path(name).name == name and not name.startswith(".") and name.isprintable()


def model_name(place: str) -> str:
    """Return what a model is called that is given by folder or hub name.

    A folder is called by its own name unless that says nothing, as `out` or `checkpoint-500`. Then its `config.json`
    names the model: by `_name_or_path`, or else by type and size, such as `whisper-384x4`.
    """
    folder = Path(place)
    if not folder.is_dir():
        return place
    own = folder.resolve().name
    return own if _says_something(own) else _of_config(folder) or own


def _says_something(name: str) -> bool:
    return not all(GENERIC.fullmatch(word) for word in re.split(r"[\W_]+", name.lower()))


def _of_config(folder: Path) -> str | None:
    """Return a name from a model's configuration, which sentence-transformers keep in a folder of its own."""
    config: Any = None
    for path in (folder / "config.json", *sorted(folder.glob("*/config.json"))):
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        break
    if not isinstance(config, dict):
        return None
    origin = config.get("_name_or_path")
    if isinstance(origin, str) and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", origin):
        return origin.rpartition("/")[2]
    kind = config.get("model_type")
    size = [next((config[key] for key in keys if isinstance(config.get(key), int)), None) for keys in (WIDTH, DEPTH)]
    if not isinstance(kind, str):
        return None
    return f"{kind}-{size[0]}x{size[1]}" if None not in size else kind

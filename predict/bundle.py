"""Bundles: a trained variant as one folder to use, to hand on and to publish.

A bundle holds the models of a variant's runs (`members/<run>/`: `heads.safetensors`, `config.json`), a model card
(`README.md`), the ensemble as `heads.onnx` where asked for, and `bundle.json`: schema version, classes, the encoders
with their revisions, the members, and the digest of every file. It is read without pickle; a changed file or an unknown
schema version is refused.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amber import __version__, seal
from amber.errors import UserError, abbreviate
from amber.location import copy_folder

FILE = "bundle.json"
CARD = "README.md"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Bundle:
    """What `bundle.json` says: the members' folders within the bundle, and everything about them."""

    members: tuple[str, ...]
    about: Mapping[str, Any]


def write(
    to: Path,
    models: Mapping[str, Path],
    card: str,
    about: Mapping[str, Any],
    more: Mapping[str, Callable[[Path], None]] | None = None,
) -> None:
    """Write a bundle; the folder appears whole.

    Parameters
    ----------
    to
        A folder that is not there yet.
    models
        Model folders by the member's name.
    card
        The model card, Markdown.
    about
        What else `bundle.json` says.
    more
        Further files by name, as functions that write them.

    Raises
    ------
    UserError
        If the folder exists.

    """
    refuse_existing(to)
    partial = to.with_name(f".{to.name}.{uuid.uuid4().hex}.partial")
    try:
        for name, folder in models.items():
            copy_folder(folder, partial / "members" / name)
        (partial / CARD).write_text(card, encoding="utf-8")
        for name, written in (more or {}).items():
            written(partial / name)
        files = {
            path.relative_to(partial).as_posix(): seal.of_file(path)
            for path in sorted(partial.rglob("*"))
            if path.is_file()
        }
        members = [f"members/{name}" for name in models]
        content = {"schema": SCHEMA_VERSION, "amber": __version__, **about, "members": members, "files": files}
        (partial / FILE).write_bytes(seal.dump(content))
        to.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(to: Path) -> None:
    """Refuse a place where something is already."""
    if to.exists():
        raise UserError(f"--to {to}: exists; choose another name, or remove it")


def read(folder: Path) -> Bundle:
    """Read a bundle, every file of it checked against its digest.

    Raises
    ------
    UserError
        If it is damaged, a file is missing or was changed, or another version of amber wrote it.

    """
    path = folder / FILE
    try:
        content = path.read_bytes()
        schema = json.loads(content).get("schema")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: damaged: {str(error).splitlines()[0][:120]}") from None
    if schema != SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema version {schema}; this amber reads {SCHEMA_VERSION}: install the one that wrote it"
        )
    data = seal.load(content)
    if data is None:
        raise UserError(f"{path}: not as it was written; get the bundle again")
    changed = [name for name, digest in data["files"].items() if _digest(folder / name) != digest]
    if changed:
        raise UserError(f"{folder}: missing, or not as written: {abbreviate(changed, 3)}; get the bundle again")
    return Bundle(tuple(data["members"]), data)


def _digest(path: Path) -> str:
    try:
        return seal.of_file(path)
    except OSError:
        return ""


def card_of(
    name: str, variant: str, classes: Sequence[str], encoders: Sequence[str], config: Mapping[str, Any], table: str
) -> str:
    """Return the model card of a bundle: data, protocol, figures, limits and licences.

    Parameters
    ----------
    name, variant
        The bundle's name and the variant.
    classes
        The classes in order.
    encoders
        The encoders with their revisions.
    config
        What the runs share: dataset, labels, splits, how many `members` (runs) there are, and what is to be said of the
        `final` model, if it is one trained on all utterances.
    table
        The variant's figures as Markdown; empty if the experiment was not evaluated.

    """
    dataset, labels = config["dataset"], config["labels"]
    synthetic = "\n**Trained on synthetic data: not for use on real speech.**\n" if dataset["synthetic"] else ""
    release = f" {dataset['release']}" if dataset["release"] else ""
    return f"""---
library_name: amber
license: other
tags: [speech-emotion-recognition, label-distribution, ambiguity]
---

# {name}
{synthetic}
Predicts how raters would vote on the emotion of an utterance, as a distribution over {", ".join(classes)}.

    amber predict --model {name} recording.wav --text "what is said"

## Data and protocol

- Trained on {dataset["name"]}{release}; variant `{variant}`; {_models(config)}
- Labels: {labels["subset"]} subset, raters {labels["raters"]}, votes outside the classes: {labels["other"]}.
- Folds: {config["splits"]["scheme"]}. The figures are of each fold's own model on utterances it did not see;
  {_seen(config)}
- Frozen encoders: {"; ".join(encoders)}.

## Figures

{table or "Not evaluated. Run `amber evaluate` before `amber export`."}

## Limits

Emotions are what raters heard in these recordings, not what speakers felt. The model knows the raters, the language and
the kind of recordings it was trained on. Not for decisions about people.

## Licences

The encoders and the corpus have licences of their own, which may restrict the use and the publication of models made
with them. IEMOCAP and MSP-Podcast are licensed for research; ask their owners before you publish a model. This bundle
holds no recordings, transcripts, votes or ids.
"""


def _models(config: Mapping[str, Any]) -> str:
    """Say what models there are."""
    final = config["final"]
    if not final:
        return f"{config['members']} models (folds and seeds), whose\n  distributions are averaged."
    return (
        f"one model, trained on all\n  {final['utterances']} utterances: for as many steps as {final['runs']} models "
        "of folds and seeds took (the median),\n  with the means of their candidates' weights and temperatures."
    )


def _seen(config: Mapping[str, Any]) -> str:
    """Say what figures can't be had of the models of a bundle."""
    who = "this model" if config["final"] else "the ensemble of all of them"
    return f"{who} has seen every utterance of the corpus and must not be tested on it."

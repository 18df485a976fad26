"""Corpora: each module reads one format on disk into an `amber.corpus.Corpus`, with a ledger of what it found.

A loader is a function `load(source) -> Loaded`. Adding a corpus: docs/extending.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amber.console import Console
from amber.corpus import Corpus, Ledger
from amber.errors import UserError, abbreviate, nearest

SYNTHETIC = "SYNTHETIC.txt"  # beside a corpus that `amber corpus synth` wrote
# By dataset, the module whose `load(source)` returns a `Loaded`.
LOADERS = {
    "demo": ".demo",
    "table": ".table",
    "iemocap": ".iemocap",
    "msp-podcast": ".msp_podcast",
    "crema-d": ".crema_d",
    "audformat": ".audformat",
}


def options_of(dataset: str) -> tuple[str, ...]:
    """Return the keys of `corpus.options` that a dataset's loader reads."""
    module = importlib.import_module(LOADERS[dataset], __name__)
    return tuple(getattr(module, "OPTIONS", ()))


@dataclass(frozen=True)
class Source:
    """A corpus on disk and how to read it.

    `root` is the folder or file given by the user, `options` are the loader's own options, `cache` is the dataset's
    folder in the feature cache and `name` its name there.
    """

    dataset: str
    name: str
    cache: Path
    root: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def existing_root(self) -> Path:
        """Return the root.

        Raises
        ------
        UserError
            If none is given, or it does not exist.

        """
        if self.root is None:
            raise UserError(f"dataset {self.dataset} needs its folder on disk: give --root (or corpus.root)")
        if not self.root.exists():
            raise UserError(f"--root {self.root}: no such file or folder")
        return self.root

    def option(self, name: str, default: Any, choices: Collection[Any] = ()) -> Any:
        """Return an option's value; UserError if there are `choices` and it is none of them."""
        value = self.options.get(name, default)
        if choices and value not in tuple(choices):  # a tuple: a value from YAML may be an unhashable list
            raise UserError(
                f"corpus.options.{name}: unknown {value!r}{nearest(str(value), map(str, choices))}; "
                f"known: {abbreviate(map(str, choices))}"
            )
        return value

    def only_options(self, *known: str) -> None:
        """Raise a UserError if there are options other than `known`."""
        for name in self.options:
            if name not in known:
                listed = abbreviate(known, 9) or "none"
                raise UserError(
                    f"corpus.options: {self.dataset} has no option {name!r}{nearest(name, known)}; known: {listed}"
                )


@dataclass(frozen=True)
class Loaded:
    """A corpus and the account of how it was read; `prepare` generates the audio of a synthetic corpus."""

    corpus: Corpus
    ledger: Ledger
    prepare: Callable[[Console], None] | None = None


def load(source: Source) -> Loaded:
    """Read a corpus.

    Raises
    ------
    UserError
        If the dataset is unknown or can't be read.

    """
    if source.dataset not in LOADERS:
        raise UserError(
            f"unknown dataset {source.dataset!r}{nearest(source.dataset, LOADERS)}; known: {abbreviate(LOADERS, 9)}"
        )
    module = importlib.import_module(LOADERS[source.dataset], __name__)
    loaded: Loaded = module.load(source)
    if not len(loaded.corpus):
        raise UserError(f"{source.dataset}: no utterances found under {source.root}")
    if source.root and any((folder / SYNTHETIC).is_file() for folder in (source.root, source.root.parent)):
        loaded.corpus.synthetic = True
        loaded.ledger.note("synthetic: the demo corpus in this layout, made by `amber corpus synth`")
    return loaded

"""Corpora: each module reads one on-disk format into `amber.corpus.Corpus`, with a ledger of what it found.

A loader is a function `load(source) -> Loaded`. Adding one is a module here, a line in `_LOADERS` and a test.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amber.console import Console
from amber.corpus import Corpus, Ledger
from amber.errors import UserError, nearest, some

SYNTHETIC = "SYNTHETIC.txt"  # beside a corpus that `amber corpus synth` wrote
_LOADERS = {
    "demo": ".demo",
    "table": ".table",
    "iemocap": ".iemocap",
    "msp-podcast": ".msp_podcast",
    "crema-d": ".crema_d",
}


@dataclass(frozen=True)
class Source:
    """Where a corpus is and how it is to be read.

    `root` is the folder (or file) given by the user, `options` the loader's own options, `cache` the dataset's folder
    in the feature cache, `name` the dataset's name there.
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
            raise UserError(f"dataset {self.dataset} needs its place on disk: give --root (or corpus.root)")
        if not self.root.exists():
            raise UserError(f"--root {self.root}: no such file or folder")
        return self.root

    def option(self, name: str, default: Any, choices: Collection[Any] = ()) -> Any:
        """Return an option's value, refused if it is not one of `choices` (where those are given)."""
        value = self.options.get(name, default)
        if choices and value not in tuple(choices):  # a tuple: a value of YAML may be a list
            raise UserError(
                f"corpus.options.{name}: unknown {value!r}{nearest(str(value), map(str, choices))}; "
                f"known: {some(map(str, choices))}"
            )
        return value

    def only_options(self, *known: str) -> None:
        """Refuse options that the loader does not know."""
        for name in self.options:
            if name not in known:
                listed = some(known, 9) or "none"
                raise UserError(
                    f"corpus.options: {self.dataset} has no option {name!r}{nearest(name, known)}; known: {listed}"
                )


@dataclass(frozen=True)
class Loaded:
    """A corpus and the account of how it was read; `prepare` makes its audio, for corpora that are made here."""

    corpus: Corpus
    ledger: Ledger
    prepare: Callable[[Console], None] | None = None


def names() -> tuple[str, ...]:
    """Return the names of the datasets that can be loaded."""
    return tuple(_LOADERS)


def load(source: Source) -> Loaded:
    """Read a corpus.

    Raises
    ------
    UserError
        For an unknown dataset, and for whatever the loader refuses.

    """
    if source.dataset not in _LOADERS:
        raise UserError(
            f"unknown dataset {source.dataset!r}{nearest(source.dataset, _LOADERS)}; known: {some(_LOADERS, 9)}"
        )
    module = importlib.import_module(_LOADERS[source.dataset], __name__)
    loaded: Loaded = module.load(source)
    if not len(loaded.corpus):
        raise UserError(f"{source.dataset}: no utterances found under {source.root}")
    if source.root and any((folder / SYNTHETIC).is_file() for folder in (source.root, source.root.parent)):
        loaded.corpus.synthetic = True
        loaded.ledger.note("synthetic: the demo corpus in this layout, made by `amber corpus synth`")
    return loaded

"""The options that several commands share, and how commands print their help.

The text of an option may hold `{name}`: a configuration key, whose meaning, values and default are then printed, or
one of the lists in `_LISTS`. They are looked up when help is asked for, so that a fact stands where it is decided and
the command line starts without importing a stage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from amber.reference import Key


def _datasets() -> Iterable[str]:
    from amber.extract.corpora import LOADERS

    return list(LOADERS)


def _encoders() -> Iterable[str]:
    from amber.extract.encoders import ENCODERS

    return list(ENCODERS)


def _variants() -> Iterable[str]:
    from amber.train.matrix import BUILT_IN

    return list(BUILT_IN)


def _layouts() -> Iterable[str]:
    from amber.extract.synthetic import LAYOUTS

    return list(LAYOUTS)


def _loader_options() -> Iterable[str]:
    from amber.extract.corpora import LOADERS, options_of

    return [f"{name}: {', '.join(options_of(name)) or 'none'}" for name in LOADERS]


_LISTS: dict[str, Callable[[], Iterable[str]]] = {
    "datasets": _datasets,
    "encoders": _encoders,
    "variants": _variants,
    "layouts": _layouts,
    "loader options": _loader_options,
}


class Command(TyperCommand):
    """A command whose help is filled in when it is asked for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the lists and the configuration keys that its options name."""
        for parameter in self.params:
            if getattr(parameter, "help", None):
                parameter.help = re.sub(r"\{([\w. ]+)\}", _looked_up, parameter.help)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def examples(*commands: str) -> str:
    """Return the examples that stand under a command's help, each on a line of its own."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def _looked_up(name: re.Match[str]) -> str:
    if name[1] in _LISTS:
        separator = "; " if name[1] == "loader options" else ", "
        return separator.join(_LISTS[name[1]]())
    from amber.reference import every_key

    (key,) = (key for key in every_key() if key.name == name[1])
    return _said(key)


def _said(key: Key) -> str:
    """Return what an option says of the configuration key that it sets."""
    choices = f" One of {key.allowed}." if re.fullmatch(r"[\w-]+(, [\w-]+)+", key.allowed) else ""
    default = json.loads(key.default)
    shown = ",".join(map(str, default)) if isinstance(default, list) else default
    return f"{key.meaning.replace('`', '')}{choices}" + (f" [default: {shown}]" if shown is not None else "")


def _completing(names: Callable[[], Iterable[str]], several: bool = False) -> Callable[[str], list[str]]:
    """Return a completion of names; with `several`, of the last one in a list with commas."""

    def completed(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        return [f"{before}{comma}{name}" for name in names() if name.startswith(last)]

    return completed


def _values(key: str) -> Callable[[str], list[str]]:
    """Return a completion of the values of a configuration key that has a choice of them."""

    def completed(incomplete: str) -> list[str]:
        from amber.reference import every_key

        allowed = next(one.allowed for one in every_key() if one.name == key)
        return [value for value in allowed.split(", ") if value.startswith(incomplete)]

    return completed


def _keys(incomplete: str) -> list[str]:
    from amber.reference import every_key

    return [f"{key.name}=" for key in every_key() if key.name.startswith(incomplete)]


# What every stage takes.
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A pipeline file; keys that it leaves out have their defaults.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=_keys,
        help="Override a configuration key, such as train.lr=0.001; may be given several times. `amber config` lists "
        "all keys.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan; compute and write nothing.")]

# Corpora and the cache.
_DATASET = typer.Option(
    "--dataset", autocompletion=_completing(_datasets), help="The kind of corpus, one of {datasets}."
)
Corpus = Annotated[str | None, _DATASET]
NeededCorpus = Annotated[str, _DATASET]
Root = Annotated[str | None, typer.Option("--root", help="The folder or the table of the corpus.")]
Name = Annotated[str | None, typer.Option("--name", help="The dataset's name in the cache. [default: its kind]")]
CacheFolder = Annotated[str | None, typer.Option("--features", help="{features.cache}")]
Cached = Annotated[
    str | None, typer.Option("--dataset", help="The dataset's name in the cache. [default: the only one there]")
]
CachedOrSeveral = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="The dataset's name in the cache, or several as one training set, such as A,B. "
        "[default: the only one there]",
    ),
]
LoaderOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="An option of the corpus's loader; may be given several times. The keys are, by dataset: "
        "{loader options}. docs/formats.md explains them.",
    ),
]
Layout = Annotated[
    str,
    typer.Option("--layout", autocompletion=_completing(_layouts), help="The layout to write, one of {layouts}."),
]

# Encoders and how they run.
SpeechEncoder = Annotated[
    str | None,
    typer.Option(
        "--speech",
        autocompletion=_completing(_encoders),
        help="The speech encoder: one of those built in ({encoders}), a folder, or a model's name on the hub. "
        "[default: facebook/wav2vec2-base, or what --config says]",
    ),
]
TextEncoder = Annotated[
    str | None,
    typer.Option(
        "--text",
        autocompletion=_completing(_encoders),
        help="The text encoder: one of those built in ({encoders}), a folder, or a model's name on the hub. "
        "[default: bert-base-uncased, or what --config says]",
    ),
]
Level = Annotated[
    str | None, typer.Option("--level", autocompletion=_values("features.level"), help="{features.level}")
]
Layers = Annotated[str | None, typer.Option("--layers", help="{features.layers}")]
Dtype = Annotated[
    str | None, typer.Option("--dtype", autocompletion=_values("features.dtype"), help="{features.dtype}")
]
Device = Annotated[str | None, typer.Option("--device", help="{features.device}")]
Precision = Annotated[
    str | None, typer.Option("--precision", autocompletion=_values("features.precision"), help="{features.precision}")
]
MaxSeconds = Annotated[float | None, typer.Option("--max-seconds", help="{features.max_seconds}")]
MaxFailures = Annotated[float | None, typer.Option("--max-failures", help="{features.max_failures}")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Do units with failed utterances again.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Start a local Dask cluster of so many processes. [default: no cluster]"),
]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", help="Use a running Dask cluster, such as tcp://host:8786.")
]

# Training.
Variants = Annotated[
    str | None,
    typer.Option(
        "--variants",
        autocompletion=_completing(_variants, several=True),
        help="Variants to train, with commas between them: {variants}, or variants of the pipeline file. "
        "[default: ce,soft,amber2]",
    ),
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="{train.seeds}")]
Folds = Annotated[
    str | None, typer.Option("--folds", help="Folds to train: all, or numbers such as 1,2. [default: all]")
]
RunsFolder = Annotated[str | None, typer.Option("--runs", help="{train.runs}")]
Experiment = Annotated[str, typer.Option("--runs", help="An experiment's folder, such as runs/demo.")]
Variant = Annotated[
    str | None,
    typer.Option(
        "--variant",
        autocompletion=_completing(_variants),
        help="Which variant of an experiment. [default: amber2, or the only one]",
    ),
]

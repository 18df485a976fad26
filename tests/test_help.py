"""`--help` of every command: sentences, lists, defaults and examples that can be run; and completions of names."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import Amber, environment

from amber.cli import app
from amber.cli_options import Command
from amber.extract.corpora import LOADERS, options_of
from amber.extract.encoders import ENCODERS
from amber.extract.synthetic import LAYOUTS
from amber.train.matrix import BUILT_IN

ROOT = typer.main.get_command(app)


def commands(group: Any = ROOT, path: str = "amber") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ALL = dict(commands())


@pytest.mark.parametrize("path", ALL)
def test_help_is_in_sentences_with_two_examples_that_parse(path: str) -> None:
    command = ALL[path]
    assert isinstance(command, Command), f"{path}: register it with cls=Command, epilog=examples(…), two of them"
    with command.make_context(path, [], resilient_parsing=True) as context:
        said = command.get_help(context)
    for parameter in command.params:
        assert "{" not in (parameter.help or ""), (path, parameter.name)
        assert re.match(r"^[A-Z].*[.\]…]$", parameter.help or "", re.DOTALL), (path, parameter.name, parameter.help)
    shown = re.findall(r"^ +(amber .+)$", said.partition("Examples:\n")[2], re.MULTILINE)
    assert len(shown) >= 2
    for example in shown:
        assert example.startswith(path)
        words = shlex.split(example.removeprefix(path))
        command.make_context(path, words).close()  # raises for an option that there is not


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("extract", [*LOADERS, *ENCODERS]),
        ("train", list(BUILT_IN)),
        ("corpus check", [*LOADERS, *(key for name in LOADERS for key in options_of(name))]),
        ("corpus synth", list(LAYOUTS)),
        ("extract", ["[default: pooled]", "One of float16, float32.", "[default: facebook/wav2vec2-base"]),
    ],
)
def test_options_that_hold_names_list_them(amber: Amber, path: str, names: list[str]) -> None:
    said = re.sub(r"(?<=\w-)\n\s+", "", amber(*path.split(), "--help").stdout)  # names are broken at hyphens
    said = " ".join(said.split())
    for name in names:
        assert name in said


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("amber train --variants ce,amber2-p", ["ce,amber2-prior"]),
        ("amber extract --dataset ms", ["msp-podcast"]),
        ("amber extract --speech log", ["logmel"]),
        ("amber extract --level f", ["frames"]),
        ("amber train --set train.pat", ["train.patience="]),
    ],
)
def test_the_shell_completes_names(monkeypatch: pytest.MonkeyPatch, line: str, completed: list[str]) -> None:
    words = line.split()
    command = ALL[" ".join(words[:2])]
    option = next(p for p in command.params if words[2] in p.opts)
    with command.make_context("amber", [], resilient_parsing=True) as context:
        assert [item.value for item in option.shell_complete(context, words[3])] == completed


def test_completion_is_on_for_the_installed_command() -> None:
    asked = {"_AMBER_COMPLETE": "complete_bash", "COMP_WORDS": "amber extract --dataset de", "COMP_CWORD": "3"}
    command = [sys.executable, "-c", "from amber.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, env={**environment(), **asked}, check=False)
    assert done.stdout.split() == ["demo"]
    assert "_AMBER_COMPLETE" not in os.environ


def test_the_page_of_commands_names_every_command() -> None:
    page = (Path(__file__).parents[1] / "docs" / "commands.md").read_text(encoding="utf-8")
    groups = {path.split()[1] for path in ALL}
    assert [name for name in groups if not re.search(rf"amber {name}\b", page)] == []

"""Documentation that is run: what a page tells its reader to do, in order, done as printed.

A block ```console holds commands, a block ```yaml that begins with `# name.yaml` a file to write, a block ```python
code. Everything else on the page is to be read.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ONE, call

from amber import config_file
from amber.config import Config

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(console|yaml|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w.-]+\.yaml)\n")


@dataclass(frozen=True)
class Step:
    """One thing that a reader does: a `command`, a `file` to write (with its name) or `python` code to run."""

    kind: str
    text: str
    name: str = ""


def steps(page: str) -> Iterator[Step]:
    """Yield what a page, such as `docs/tutorial.md`, tells its reader to do."""
    for kind, text in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        named = _FILE.match(text)
        if kind == "console":
            yield from (Step("command", line) for line in text.splitlines() if line.strip())
        elif kind == "python":
            yield Step("python", text)
        elif named:
            yield Step("file", text, named[1])


def walk(page: str, skipped: Mapping[str, str] | None = None) -> dict[str, str]:
    """Do what a page says, in the working directory; return what each command and block of code printed.

    Parameters
    ----------
    page
        The page, from the root of the tree.
    skipped
        Why a command is not run, by the words with which it begins.

    """
    printed, left = {}, set(skipped or ())
    for step in steps(page):
        reasons = [start for start in skipped or () if step.text.startswith(start)]
        if reasons:
            left -= set(reasons)
        elif step.kind == "file":
            Path(step.name).write_text(step.text, encoding="utf-8")
        elif step.kind == "python":
            printed[step.text] = _python(step.text)
        else:
            program, *arguments = shlex.split(step.text, comments=True)
            assert program == "amber", f"{page}: {step.text} is neither run nor skipped for a reason"
            done = call(*arguments)
            assert done.returncode == 0, f"{page}: {step.text}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            printed[step.text] = done.stdout
    assert not left, f"{page}: these commands are skipped and not on the page: {left}"
    return printed


def small(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> None:
    """Have every command of this process do the same work, but less of it: tiny models, 60 utterances of the demo."""
    load: Callable[..., Config] = config_file.load
    less = (ONE, "train.epochs=1", "evaluate.resamples=200", *overrides)

    def smaller(path: Path | None = None, given: tuple[str, ...] = ()) -> Config:
        size = ["corpus.options.size=60"] if load(path, given).corpus.dataset == "demo" else []
        return load(path, [*given, *less, *size])

    monkeypatch.setattr(config_file, "load", smaller)


def _python(code: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "<page>", "exec"), {})  # noqa: S102 (the pages are ours)
    return out.getvalue()

"""The rules of the house that a test can see."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGES = ("extract", "train", "evaluate")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_only_the_command_line_names_the_stages() -> None:
    """import-linter sees the tree, where stages are top-level; an installed amber knows them as amber.<stage>."""
    for path in [p for folder in ("amber", *STAGES) for p in modules(folder)]:
        named = {name for name in imports(path) if re.match(rf"(amber\.)?({'|'.join(STAGES)})\b", name)}
        assert not named or path.name.startswith("cli"), f"{path} imports {named}"


def test_the_readme_s_commands_are_the_makefile_s() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for command in ("run", "test", "check"):
        assert f"make {command}" in readme
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()

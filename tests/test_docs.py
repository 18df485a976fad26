"""The pages: no dead link, every page reachable, the site built without a warning. Nothing needs the network."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "cache" / "README.md"]
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M), re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower())) for heading in headings}


def dead(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere; links to other sites are not followed."""
    found = []
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        name, _, anchor = html.unescape(link).partition("#")
        target = page.parent / name if name else page
        if link.startswith(("https://", "mailto:")):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(f"{page.relative_to(ROOT)}: {link}")
    return found


def test_no_link_is_dead(tmp_path: Path) -> None:
    assert [link for page in PAGES for link in dead(page)] == []


@pytest.mark.parametrize("link", ["nowhere.md", "other.md#nowhere", "#nowhere", "http://plain.example"])
def test_a_dead_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# Here\n")
    page.write_text(f"# Page\n[good](other.md#here) [bad]({link})\n")
    assert dead(page) == [f"page.md: {link}"]


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"[\w-]+\.md", yaml.safe_dump(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])))
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|<link[^>]*href)=\"(https?://[^\"]+)", page), "the site loads from elsewhere"


def test_every_figure_page_says_where_configuration_counts() -> None:
    """Which value of a key counts is said in one place, and other pages link to it."""
    said = [page for page in PAGES if re.search(r"^#+ Which value of a key counts", page.read_text(), re.MULTILINE)]
    assert [page.name for page in said] == ["training.md"]
    assert "training.md#which-value-of-a-key-counts" in (ROOT / "docs" / "config.md").read_text(encoding="utf-8")

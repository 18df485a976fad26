"""Templates of the pages: each is one HTML file that holds all it needs and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from .terms import Term, term_of

HERE = Path(__file__).parent
STYLES = ("colours.css", "page.css")


def render(template: Path, glossary: Mapping[str, Term] | None = None, **values: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template
        Its file. It extends `base.html` and may import `macros.html`.
    glossary
        The terms that the page explains, by label; None: it has none.
    values
        What the template shows.

    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["term_of"] = lambda label: term_of(label, glossary or {})
    return environment.get_template(template.name).render(style=own(STYLES), **values)


def own(names: Sequence[str]) -> Markup:
    """Return files of ours, one after the other, as they are."""
    return Markup("\n".join((HERE / name).read_text(encoding="utf-8") for name in names))  # noqa: S704

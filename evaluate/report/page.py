"""The report: one HTML page that holds all it needs and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2
from markupsafe import Markup

from amber import __version__

from .. import strata
from ..experiment import Experiment
from ..results import Results
from ..strata import Levels
from . import tables, text
from .charts import charts
from .utterances import as_script, utterances


def render(experiment: Experiment, levels: Mapping[str, Levels], results: Results, folder: Path) -> str:
    """Return the page; `levels` are those of `strata.divide`, `folder` is where the page will lie."""
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = results.series.shown
    listed = utterances(experiment, levels, shown, folder)
    return environment.get_template("page.html").render(
        m=results,
        version=__version__,
        caption=text.caption(results),
        header=tables.header(results),
        rows=tables.rows(results),
        intervals=tables.intervals(results),
        intervals_are=text.intervals(results),
        rule=text.rule(results),
        supported=text.supported(results),
        not_supported=text.not_supported(results),
        power_means=text.POWER,
        power=text.power(results),
        truth=tables.truth(results),
        references=tables.references(results),
        strata={name: tables.strata(results, name, of) for name, of in results.strata.items()},
        meaning={kind.name: kind.meaning for kind in strata.STRATA},
        comparisons=_comparisons(results),
        charts=charts(results),
        shown=shown,
        confusion=_shares(results.series.confusion),
        listed=listed,
        # Our own files and JSON that was escaped for a script element.
        data=Markup(as_script(listed)),  # noqa: S704
        style=Markup((here / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup((here / "page.js").read_text(encoding="utf-8")),  # noqa: S704
    )


def _shares(table: list[list[int]]) -> list[list[float]]:
    """Return each row of a confusion matrix as shares of its class."""
    return [[n / max(sum(row), 1) for n in row] for row in table]


def _comparisons(results: Results) -> list[list[str]]:
    """Return every comparison in cells."""
    return [
        [
            f"{c.variant} over {c.reference}",
            text.where(c),
            str(c.n),
            results.metrics[c.metric].title,
            text.signed(c.difference),
            tables.interval(c.ci),
            f"{c.p_holm:.3f}",
            text.signed(c.effect.d_z) if c.effect else "–",
            f"{c.seeds.se:.3f}" if c.seeds.se is not None else "unknown",
            "yes" if c.supported else "no",
        ]
        for c in results.versus.comparisons
    ]

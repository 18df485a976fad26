"""The report: one HTML page that holds all it needs and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from amber import __version__

from .. import strata
from ..experiment import Experiment
from ..results import Results
from ..strata import Levels
from . import tables, template, text
from .answer import answer
from .chart import Chart
from .charts import all_comparisons, charts
from .headline import headline
from .question import Question
from .terms import terms
from .utterances import as_script, utterances

TEMPLATE = Path(__file__).with_name("page.html")
SCRIPTS = ("page.js", "charts.js", "export.js", "terms.js")


def render(
    experiment: Experiment,
    levels: Mapping[str, Levels],
    results: Results,
    folder: Path,
    questions: Sequence[Question] = (),
) -> str:
    """Return the page.

    `levels` are those of `strata.divide`, `folder` is where the page will lie, `questions` what other commands found.
    """
    shown = results.series.shown
    listed = utterances(experiment, levels, shown, folder)
    known = terms(results)
    drawn, forests = charts(results), all_comparisons(results)
    lead = _lead(drawn, forests)
    return template.render(
        TEMPLATE,
        known,
        m=results,
        version=__version__,
        caption=text.caption(results),
        header=tables.header(results),
        headline=headline(results),
        answer=answer(results),
        bold=_bold,
        lead=lead,
        terms=known,
        intervals=tables.intervals(results),
        intervals_are=text.intervals(results),
        rule=text.rule(results),
        supported=text.supported(results),
        not_supported=text.not_supported(results),
        power_means=text.POWER,
        power=text.power(results),
        truth=tables.truth(results),
        strata={name: tables.by_variant(tables.strata(results, name, of)) for name, of in results.strata.items()},
        meaning={kind.name: kind.meaning for kind in strata.STRATA},
        comparisons=_comparisons(results),
        charts=[chart for chart in drawn if chart not in lead],
        forests=[chart for chart in forests if chart not in lead],
        questions=questions,
        shown=shown,
        confusion=_shares(results.series.confusion),
        listed=listed,
        data=Markup(as_script(listed)),  # noqa: S704 (JSON that was escaped for a script element)
        script=template.own(SCRIPTS),
    )


def _lead(drawn: list[Chart], forests: list[Chart]) -> list[Chart]:
    """Return what leads: the gain by ambiguity, or else the differences in the proper score and the paper's."""
    gains = [chart for chart in drawn if chart.key.startswith("gain-")]
    return gains[:1] or [chart for chart in forests if chart.key in ("forest-nll_per_vote", "forest-bc")]


def _bold(sentence: str) -> Markup:
    """Return a sentence in which names between backticks are bold."""
    parts = sentence.split("`")
    return Markup().join(Markup("<b>{}</b>").format(part) if i % 2 else part for i, part in enumerate(parts))


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

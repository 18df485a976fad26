"""The headline table in Markdown and plain text: variants, then reference scores (oracle, raters, paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..results import Estimate, Estimates, Interval, MetricFacts, Results, Simulated, Stratum
from . import text
from .paper import PAPER

ORACLE, BEST, RATERS = "oracle", "best answer", "raters against raters"
AGAINST_TRUTH = ("bc", "r2", "jsd", "kl")  # metrics shown against the generating distribution
IN_STRATA = ("bc", "nll_per_vote")  # metrics shown by stratum

Table = tuple[list[str], list[list[str]]]  # header and rows


def columns(results: Results) -> dict[str, MetricFacts]:
    """Return the headline metrics that some variant has."""
    return {
        key: metric
        for key, metric in results.metrics.items()
        if metric.headline and any(key in row for row in results.summary.values())
    }


def rows(results: Results) -> list[list[str]]:
    """Return the table's cells: a row for each variant, then for each ensemble."""
    every = {**results.summary, **results.ensembles}
    return [[name, *(cell(figures.get(key)) for key in columns(results))] for name, figures in every.items()]


def by_variant(table: Table) -> Table:
    """Turn a table of levels around: a row for each variant and reference, a column for each level."""
    (name, _, *variants), body = table
    header = [name, *(f"{level} (n = {n})" for level, n, *_ in body)]
    columns = zip(variants, *(row[2:] for row in body), strict=True)
    return header, [[who.rpartition(": ")[0], *cells] for who, *cells in columns]


def references(results: Results, keys: Sequence[str] = ()) -> list[list[str]]:
    """Return the rows of reference scores: baselines, raters, the oracle, the paper's own figures.

    In the metrics of some `keys`, or else of the table's columns.
    """
    keys = keys or list(columns(results))
    figures: dict[str, Mapping[str, Estimate | Simulated]] = {
        **{name: of for name, of in results.baselines.items() if name not in results.summary},
        RATERS: results.raters.figures,
        ORACLE: results.oracle.figures,
        BEST: results.oracle.best,
        **paper(results),
    }
    return [
        [name, *(number(row[key].mean) if key in row else "" for key in keys)] for name, row in figures.items() if row
    ]


def paper(results: Results) -> dict[str, Estimates]:
    """Return the paper's figures on this corpus; none for a synthetic one in its layout."""
    found = {} if results.dataset.synthetic else PAPER.get(results.dataset.name, {})
    return {name: {key: Estimate(mean=value) for key, value in row.items()} for name, row in found.items()}


def header(results: Results) -> list[str]:
    """Return the table's column names, with an arrow towards the better side."""
    return ["variant", *map(titled, columns(results).values())]


def titled(metric: MetricFacts) -> str:
    """Return a metric's title with an arrow towards the better side."""
    return f"{metric.title} {'↑' if metric.higher_is_better else '↓'}"


def intervals(results: Results) -> list[list[str]]:
    """Return the 95 % intervals, a row for each variant."""
    return [
        [variant, *(interval(figures[key].ci) if key in figures else interval(None) for key in columns(results))]
        for variant, figures in results.summary.items()
    ]


def truth(results: Results) -> Table:
    """Return the table of scores against the generating distribution; without rows where it is not known."""
    header = ["variant", *(titled(results.metrics[key]) for key in AGAINST_TRUTH)]
    return header, [[name, *(cell(of.get(key)) for key in AGAINST_TRUTH)] for name, of in results.truth.items()]


def interval(ci: Interval | None) -> str:
    """Write an interval; a dash where there is none."""
    return f"{ci[0]:.3f} to {ci[1]:.3f}".replace("-", "−") if ci else "–"


def plain(results: Results) -> str:
    """Return the table in aligned columns."""
    cells = [header(results), *rows(results), *references(results)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def markdown(results: Results, caption: Sequence[str]) -> str:
    """Return the table in Markdown; its caption, the intervals, the strata and what is supported below."""
    parts = [
        _markdown(header(results), [*rows(results), *references(results)]),
        "\n".join(caption),
        text.intervals(results),
        _markdown(header(results), intervals(results)),
    ]
    parts += [_markdown(*strata(results, name, levels)) for name, levels in results.strata.items()]
    said = text.supported(results) or [
        "No difference between variants." if results.versus.comparisons else "Nothing: no two variants were compared."
    ]
    parts += [f"Supported ({text.rule(results)}):", _list(said)]
    if not_supported := text.not_supported(results):
        parts += ["Not supported:", _list(not_supported)]
    if power := text.power(results):
        parts += [text.POWER, _list(power)]
    return "\n\n".join(parts) + "\n"


def strata(results: Results, name: str, levels: Mapping[str, Stratum]) -> Table:
    """Return header and rows of one stratum, a row for each level that occurs, few utterances flagged.

    Cells hold BC and NLL, which is a proper score, of the variants, the class prior, raters (BC alone) and the oracle.
    """
    body = []
    for level, of in levels.items():
        if of.n:
            references: list[Mapping[str, Estimate | Simulated]] = [
                of.baselines["prior"],
                of.raters.figures,
                of.oracle.figures,
            ]
            cells = [*map(_both, of.variants.values()), *map(_both, references)]
            body.append([level, f"{of.n}{' (few)' if of.small else ''}", *cells])
    both = " / ".join(results.metrics[key].title for key in IN_STRATA)
    return [name, "n", *(f"{v}: {both}" for v in (*results.summary, "prior", RATERS, ORACLE))], body


def _both(figures: Mapping[str, Estimate | Simulated]) -> str:
    return " / ".join(f"{figures[key].mean:.3f}" for key in IN_STRATA if key in figures) or "–"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = [[cell.replace("|", r"\|") for cell in row] for row in (header, ["---"] * len(header), *body)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def cell(figure: Estimate | None) -> str:
    """Write an estimate, with its standard deviation over seeds if there are several; empty if there is none."""
    if figure is None:
        return ""
    return number(figure.mean) + (f" ± {figure.std:.3f}" if figure.std is not None else "")


def number(value: float) -> str:
    """Write a number with three decimals and a true minus sign."""
    return f"{value:.3f}".replace("-", "−")

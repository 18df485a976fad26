"""The headline table, in Markdown, LaTeX and plain text: variants, then the scale (oracle, raters, the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import words
from .paper import PAPER
from .versus import LOWER_IS_BETTER

HEADLINE = {
    "bc": "BC",
    "r2": "R²",
    "jsd": "JSD",
    "nll_per_vote": "NLL",
    "brier_corrected": "Brier corr.",
    "accuracy": "ACC",
    "f1_weighted": "F1",
    "uar": "UAR",
    "ece": "ECE",
}
ORACLE, BEST, RATERS = "oracle", "best answer", "raters against raters"

Metrics = Mapping[str, Any]  # what `metrics.json` holds


def columns(metrics: Metrics) -> dict[str, str]:
    """Return the headline metrics that some variant has, and their names."""
    return {m: name for m, name in HEADLINE.items() if any(m in row for row in metrics["summary"].values())}


def rows(metrics: Metrics) -> list[list[str]]:
    """Return the table's cells: a row for each variant, then for each ensemble."""
    every = {**metrics["summary"], **metrics["ensembles"]}
    return [[name, *(cell(figures.get(m)) for m in columns(metrics))] for name, figures in every.items()]


def scale(metrics: Metrics) -> list[list[str]]:
    """Return the rows that give the variants a scale: baselines, raters, the oracle, the paper's own figures."""
    figures = {
        **{name: of for name, of in metrics["baselines"].items() if name not in metrics["summary"]},
        RATERS: metrics["raters"]["figures"],
        ORACLE: metrics["oracle"]["figures"],
        BEST: metrics["oracle"]["best"],
        **{name: {m: {"mean": v} for m, v in row.items()} for name, row in paper(metrics).items()},
    }
    return [
        [name, *(f"{row[m]['mean']:.3f}".replace("-", "−") if m in row else "" for m in columns(metrics))]
        for name, row in figures.items()
        if row
    ]


def paper(metrics: Metrics) -> dict[str, dict[str, float]]:
    """Return the paper's figures on this corpus; none for a synthetic one in its layout."""
    return {} if metrics["dataset"]["synthetic"] else PAPER.get(metrics["dataset"]["name"], {})


def header(metrics: Metrics) -> list[str]:
    """Return the table's column names, with an arrow towards the better side."""
    named = columns(metrics).items()
    return ["variant", *(f"{name} {'↓' if metric in LOWER_IS_BETTER else '↑'}" for metric, name in named)]


def intervals(metrics: Metrics) -> list[list[str]]:
    """Return the 95 % intervals, a row for each variant."""
    return [
        [variant, *(interval(figures.get(metric, {}).get("ci")) for metric in columns(metrics))]
        for variant, figures in metrics["summary"].items()
    ]


def interval(ci: Sequence[float] | None) -> str:
    """Write an interval; a dash where there is none."""
    return f"{ci[0]:.3f} to {ci[1]:.3f}".replace("-", "−") if ci else "–"


def plain(metrics: Metrics) -> str:
    """Return the table in aligned columns."""
    cells = [header(metrics), *rows(metrics), *scale(metrics)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def markdown(metrics: Metrics, caption: Sequence[str]) -> str:
    """Return the table in Markdown; its caption, the intervals, the strata and what is supported below."""
    parts = [
        _markdown(header(metrics), [*rows(metrics), *scale(metrics)]),
        "\n".join(caption),
        words.intervals(metrics),
        _markdown(header(metrics), intervals(metrics)),
    ]
    for name, levels in metrics["strata"].items():
        parts.append(_markdown(*strata(metrics, name, levels)))
    versus = metrics["versus"]
    said = versus["supported"] or ["No difference between variants."]
    parts += [f"Supported ({versus['rule']}):", "\n".join(f"- {line}" for line in said)]
    if versus["not_supported"]:
        parts += ["Not supported:", "\n".join(f"- {line}" for line in versus["not_supported"])]
    if versus["power"]:
        parts += [words.POWER, "\n".join(f"- {line}" for line in versus["power"])]
    return "\n\n".join(parts) + "\n"


def strata(metrics: Metrics, name: str, levels: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of one division, a row for each level that occurs, few utterances flagged.

    Cells hold BC and NLL, which is a proper score, of the variants, the class prior, raters (BC alone) and the oracle.
    """
    body = []
    for level, of in levels.items():
        if of["n"]:
            scale = [of["baselines"]["prior"], of["raters"]["figures"], of["oracle"]["figures"]]
            cells = [_both(figures) for figures in (*of["variants"].values(), *scale)]
            body.append([level, f"{of['n']}{' (few)' if of['small'] else ''}", *cells])
    return [name, "n", *(f"{v}: BC / NLL" for v in (*metrics["summary"], "prior", RATERS, ORACLE))], body


def _both(figures: Mapping[str, Any]) -> str:
    return " / ".join(f"{figures[m]['mean']:.3f}" for m in ("bc", "nll_per_vote") if m in figures) or "–"


def latex(metrics: Metrics, caption: Sequence[str]) -> str:
    """Return the table in LaTeX (booktabs)."""
    body = [r" & ".join(map(_tex, row)) + r" \\" for row in rows(metrics)]
    below = [r" & ".join(map(_tex, row)) + r" \\" for row in scale(metrics)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'c' * len(columns(metrics))}}}",
            r"\toprule",
            r" & ".join(map(_tex, header(metrics))) + r" \\",
            r"\midrule",
            *body,
            *([r"\midrule", *below] if below else []),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{_tex(' '.join(caption))}}}",
            r"\end{table}",
            "",
        ]
    )


_TEX = {
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "−": "$-$",
    "²": "$^2$",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "`": "",
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def _tex(cell: str) -> str:
    return "".join(_TEX.get(character, character) for character in cell)


def _markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = [[text.replace("|", r"\|") for text in row] for row in (header, ["---"] * len(header), *body)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def cell(figure: Mapping[str, Any] | None) -> str:
    """Write a figure, with its standard deviation over seeds where there are several; empty where there is none."""
    if figure is None:
        return ""
    std = f" ± {figure['std']:.3f}" if figure.get("std") is not None else ""
    return f"{figure['mean']:.3f}{std}".replace("-", "−")

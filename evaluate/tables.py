"""The headline table, in Markdown, LaTeX and plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEADLINE = {
    "bc": "BC",
    "r2": "R²",
    "jsd": "JSD",
    "vote_nll": "NLL",
    "accuracy": "ACC",
    "f1_weighted": "F1",
    "uar": "UAR",
}
LOWER_IS_BETTER = ("jsd", "vote_nll")
# arXiv 2601.18010, abstract; the protocol behind these figures is not known in full, see docs/paper.md.
PAPER: dict[str, dict[str, dict[str, float]]] = {
    "iemocap": {
        "cross-entropy (paper)": {"bc": 0.69, "r2": 0.59, "accuracy": 0.658, "f1_weighted": 0.646},
        "AmbER2 (paper)": {"bc": 0.83, "r2": 0.67, "accuracy": 0.683, "f1_weighted": 0.675},
    }
}

Metrics = Mapping[str, Any]  # what `metrics.json` holds


def rows(metrics: Metrics) -> list[list[str]]:
    """Return the table's cells, a row a variant, the paper's own figures last where the corpus is the paper's."""
    several = len(metrics["seeds"]) > 1
    found = [
        [variant, *(_cell(figures[metric], several) for metric in HEADLINE)]
        for variant, figures in metrics["summary"].items()
    ]
    for name, figures in paper(metrics).items():
        found.append([name, *(f"{figures[m]:g}" if m in figures else "" for m in HEADLINE)])
    return found


def paper(metrics: Metrics) -> dict[str, dict[str, float]]:
    """Return the paper's figures on this corpus; none for a synthetic one in its layout."""
    return {} if metrics["dataset"]["synthetic"] else PAPER.get(metrics["dataset"]["name"], {})


def header() -> list[str]:
    """Return the table's column names, with an arrow towards the better side."""
    return ["variant", *(f"{name} {'↓' if metric in LOWER_IS_BETTER else '↑'}" for metric, name in HEADLINE.items())]


def plain(metrics: Metrics) -> str:
    """Return the table in aligned columns."""
    cells = [header(), *rows(metrics)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def markdown(metrics: Metrics, caption: Sequence[str]) -> str:
    """Return the table in Markdown with its caption below."""
    lines = [header(), ["---"] * len(header()), *rows(metrics)]
    body = "\n".join("| " + " | ".join(row) + " |" for row in lines)
    return body + "\n\n" + "\n".join(caption) + "\n"


def latex(metrics: Metrics, caption: Sequence[str]) -> str:
    """Return the table in LaTeX (booktabs)."""
    arrows = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "²": "$^2$", "_": r"\_", "%": r"\%", "&": r"\&"}

    def tex(cell: str) -> str:
        return "".join(arrows.get(character, character) for character in cell)

    body = [r" & ".join(map(tex, row)) + r" \\" for row in rows(metrics)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'c' * len(HEADLINE)}}}",
            r"\toprule",
            r" & ".join(map(tex, header())) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{tex(' '.join(caption))}}}",
            r"\end{table}",
            "",
        ]
    )


def _cell(figure: Mapping[str, float], several: bool) -> str:
    """Write a figure; its deviation over seeds only where there are several."""
    return f"{figure['mean']:.3f}" + (f" ± {figure['std']:.3f}" if several else "")

"""The headline table in LaTeX, for a paper."""

from __future__ import annotations

from collections.abc import Sequence

from ..results import Results
from .ranking import ranks
from .tables import columns, header, references, rows


def latex(results: Results, caption: Sequence[str]) -> str:
    """Return the table in LaTeX (booktabs), the best of each column bold, the second best underlined."""
    ranked: list[dict[str, int]] = [{}, *(ranks(results, key) for key in columns(results))]
    body = [
        r" & ".join(_marked(value, of.get(row[0])) for value, of in zip(row, ranked, strict=True)) + r" \\"
        for row in rows(results)
    ]
    below = [r" & ".join(map(_tex, row)) + r" \\" for row in references(results)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'c' * len(columns(results))}}}",
            r"\toprule",
            r" & ".join(map(_tex, header(results))) + r" \\",
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


def _marked(cell: str, rank: int | None) -> str:
    """Return a cell in LaTeX, bold for the best and underlined for the second best."""
    command = {1: r"\textbf", 2: r"\underline"}.get(rank or 0)
    return f"{command}{{{_tex(cell)}}}" if command else _tex(cell)

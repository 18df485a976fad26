"""The report: one HTML page that holds all it needs and loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from .. import classification, strata, tables, words
from ..gather import Experiment, base
from ..material import Material
from ..versus import COMPARED, signed, where
from . import browse
from .charts import charts


def render(experiment: Experiment, material: Material, metrics: dict[str, Any], folder: Path) -> str:
    """Return the page; `folder` is where it will lie."""
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = _shown(experiment)
    listed = browse.utterances(experiment, material, shown, folder)
    return environment.get_template("page.html").render(
        m=metrics,
        caption=words.caption(metrics),
        header=tables.header(metrics),
        rows=tables.rows(metrics),
        intervals=tables.intervals(metrics),
        interval_words=words.intervals(metrics),
        power=words.POWER,
        truth=[
            [name, *(tables.cell(figures.get(m)) for m in ("bc", "r2", "jsd", "kl"))]
            for name, figures in metrics["truth"].items()
        ],
        scale=tables.scale(metrics),
        strata={name: tables.strata(metrics, name, levels) for name, levels in metrics["strata"].items()},
        meaning=strata.MEANING,
        comparisons=_comparisons(metrics),
        charts=charts(experiment, metrics, shown),
        shown=shown,
        confusion=_shares(classification.confusion(experiment.y, experiment.mean(shown))),
        listed=listed,
        # Our own files and JSON that was escaped for a script element.
        data=Markup(browse.as_script(listed)),  # noqa: S704
        style=Markup((here / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup((here / "page.js").read_text(encoding="utf-8")),  # noqa: S704
    )


def _shown(experiment: Experiment) -> str:
    """Return the variant whose heads are shown: amber2, else one with experts, else the last."""
    with_experts = [v for v in experiment.variants if {"speech", "text", "fusion"} & set(experiment.heads[v])]
    named = [v for v in with_experts if base(v) == "amber2"]
    return (named[:1] or with_experts[-1:] or experiment.variants[-1:])[0]


def _shares(table: NDArray[np.float64]) -> list[list[float]]:
    """Return each row of a confusion matrix as shares of its class."""
    return (table / np.maximum(table.sum(axis=1, keepdims=True), 1)).tolist()  # type: ignore[no-any-return]


def _comparisons(metrics: dict[str, Any]) -> list[list[str]]:
    """Return every comparison in cells."""
    return [
        [
            f"{c['variant']} over {c['reference']}",
            where(c),
            str(c["n"]),
            COMPARED[c["metric"]],
            signed(c["difference"]),
            tables.interval(c["ci"]),
            f"{c['p_holm']:.3f}",
            signed(c["effect"]["d_z"]) if "effect" in c else "–",
            f"{c['seeds']['se']:.3f}" if c["seeds"]["se"] is not None else "unknown",
            "yes" if c["supported"] else "no",
        ]
        for c in metrics["versus"]["comparisons"]
    ]

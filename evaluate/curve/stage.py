"""The runs of a curve on disk -> `curve.json`, `curve.csv`, `curve.html` in their experiment's folder."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amber.console import Console
from amber.errors import UserError, count
from amber.location import absolute, reaching

from .. import finding
from ..experiment import Experiment
from ..loading import load
from ..runs import find_runs
from .findings import enough, findings
from .measure import SHOWN, Difference, Measured, differences, measure
from .page import PAGE, render


@dataclass(frozen=True)
class Curve:
    """What `curve.json` holds, and where it is."""

    folder: Path
    data: dict[str, Any]

    def text(self) -> str:
        """Return the points as a table, what they say, and the page's place."""
        header = ("variant", "votes", "of utterances", "votes in all", *SHOWN)
        rows = [header, *(_cells(point) for point in self.data["points"])]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        said = [*self.data["notes"], "", *itertools.chain(*self.data["findings"].values())]
        return "\n".join([*table, "", *said, "", f"page: {self.folder / PAGE}"])


def run(folder: Path, variants: Collection[str], console: Console) -> Curve:
    """Measure the points that these variants of an experiment are, and write what they say.

    Raises
    ------
    UserError
        If there are no finished runs of them, or not all folds, draws and seeds.

    """
    with reaching(folder):
        runs = [one for one in find_runs(folder) if one.variant in set(variants)]
        if not runs:
            raise UserError(f"{folder}: no runs of a curve there; train them with `amber curve`")
        console.say(f"{folder}: measuring {len(runs)} runs")
        with console.progress("read predictions", len(runs)) as advance:
            experiment = load(absolute(folder).name, runs, None, advance)
        with console.progress("measure", len(variants)) as advance:
            measured = measure(experiment, advance)
        found = differences(measured)
        data = _as_json(experiment, measured, found)
        pages = {"curve.csv": _as_csv(data["points"]).encode(), PAGE: render(data).encode()}
        written = finding.write(folder, finding.CURVE, {finding.named(folder, folder): runs}, data, pages)
    return Curve(folder, written)


def _as_json(experiment: Experiment, measured: Sequence[Measured], found: Sequence[Difference]) -> dict[str, Any]:
    draws, seeds = measured[0].values[SHOWN[0]].shape
    counts = sorted({one.point.votes for one in measured})
    dataset = experiment.config["dataset"]
    notes = [
        f"{dataset['name']}: scored on {len(experiment.ids)} test utterances with all their votes "
        f"({experiment.counts.sum() / len(experiment.ids):.2f} on average); the votes of training and dev are drawn: "
        f"{count(draws, 'draw')}, {count(seeds, 'seed')} each. nll_per_vote is in nats, with 95 % intervals over "
        "speakers, draws and seeds."
    ]
    if dataset["synthetic"]:
        notes.append("Synthetic data, made by amber: the figures say nothing about real speech.")
    return {
        "experiment": experiment.name,
        "dataset": dataset,
        "test": {"utterances": len(experiment.ids), "votes": float(experiment.counts.sum())},
        "draws": draws,
        "seeds": seeds,
        "points": [
            {
                "variant": one.variant,
                "votes": one.point.votes,
                "cost": one.point.cost,
                "share": one.point.share,
                "seen_utterances": one.utterances,
                "seen_votes": one.votes,
                "metrics": {m: {"mean": one.mean(m), "ci": one.interval(m)} for m in SHOWN},
            }
            for one in measured
        ],
        "differences": [
            {
                "variant": one.variant,
                "kind": one.kind,
                "votes": one.point.votes,
                "share": one.point.share,
                "reference": {"votes": one.reference.votes, "share": one.reference.share},
                "nll_per_vote": one.difference,
                "ci": one.ci,
                "p_holm": one.p_holm,
                "supported": one.supported,
            }
            for one in found
        ],
        "enough": {variant: enough(found, variant, counts) for variant in dict.fromkeys(m.variant for m in measured)},
        "findings": findings(measured, found),
        "notes": notes,
    }


def _as_csv(points: Sequence[dict[str, Any]]) -> str:
    """Return the points as a table, a row each."""
    keys = ("variant", "votes", "cost", "share", "seen_utterances", "seen_votes")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, *(f"{metric}{end}" for metric in SHOWN for end in ("", "_low", "_high"))])
    for point in points:
        figures = [point["metrics"][metric] for metric in SHOWN]
        values = [value for figure in figures for value in (figure["mean"], *(figure["ci"] or ("", "")))]
        writer.writerow([*(point[key] for key in keys), *values])
    return text.getvalue()


def _cells(point: dict[str, Any]) -> tuple[str, ...]:
    figures = [point["metrics"][metric] for metric in SHOWN]
    written = [
        f"{figure['mean']:.4f}" + (f" ({figure['ci'][0]:.4f} to {figure['ci'][1]:.4f})" if figure["ci"] else "")
        for figure in figures
    ]
    total = point["seen_utterances"] * point["seen_votes"]
    return (point["variant"], str(point["votes"]), f"{point['share']:.0%}", f"{total:.0f}", *written)

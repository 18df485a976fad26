"""Learning curves in votes: what is drawn, what is trained, and what may be said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ONE, contents, demo_config

from amber.arrays import Floats
from amber.cli import main
from amber.config import Objective, Training
from amber.curve_point import Point, parse, points
from amber.evaluate.curve.findings import enough, findings
from amber.evaluate.curve.measure import SHOWN, Measured, differences
from amber.train.matrix import Run, Variant, keyed, run_key
from amber.train.plan import TrainingPlan, prepare
from amber.train.subsample import Subsampler

MADE = {
    "default": Training(),
    "same": Training(votes=None, share=1, draw=0),
    "votes": Training(votes=3),
    "share": Training(share=0.5),
    "draw": Training(votes=3, draw=1),
}
Curve = Callable[..., str]


@pytest.fixture(scope="module")
def plan(demo_cache: Path) -> TrainingPlan:
    return prepare(demo_config(demo_cache), None)


@pytest.fixture
def curve(demo_cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Curve:
    """Run `amber curve` in this process; return what it prints, or what it complains of."""

    def call(*arguments: object, code: int = 0) -> str:
        options = ("--features", demo_cache, "--runs", tmp_path / "runs", "--seeds", "0,1", "--set", "train.steps=40")
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in ("curve", *options, "--set", ONE, *arguments)])
        captured = capfd.readouterr()
        assert end.value.code == code, captured.err
        return captured.err if code else captured.out + captured.err * ("--json" not in arguments)

    return call


def test_votes_are_drawn_without_replacement_and_smaller_draws_are_part_of_larger_ones(plan: TrainingPlan) -> None:
    data, fold = plan.data, plan.folds[1]
    seen = np.concatenate([fold.train, fold.dev])
    whole, before = data.counts.sum(axis=1), np.zeros_like(data.counts)
    for votes in (1, 2, 3, 9):
        counts = Subsampler(data).data(Training(votes=votes, draw=7), fold).counts
        assert np.array_equal(counts[seen].sum(axis=1), np.minimum(whole, votes)[seen])
        assert (counts <= data.counts).all()
        assert (counts[seen] >= before[seen]).all()
        assert np.array_equal(counts[fold.test], data.counts[fold.test])
        before = counts
    assert np.array_equal(before, data.counts)
    one, other = (Subsampler(data).data(Training(votes=1, draw=draw), fold).counts for draw in (0, 1))
    assert not np.array_equal(one, other)


def test_votes_are_drawn_alike_from_all_raters(plan: TrainingPlan) -> None:
    fold, subsampler = plan.folds[1], Subsampler(plan.data)
    drawn = np.mean([subsampler.data(Training(votes=1, draw=d), fold).counts[fold.train] for d in range(400)], axis=0)
    assert np.abs(drawn - plan.data.y[fold.train]).max() < 5 * np.sqrt(0.25 / 400)


def test_a_share_of_the_utterances_is_part_of_a_larger_one(plan: TrainingPlan) -> None:
    fold, subsampler = plan.folds[2], Subsampler(plan.data)
    small, large = (subsampler.fold(Training(share=share), fold) for share in (0.25, 0.5))
    for part, rows in fold.parts().items():
        of_small, of_large = small.parts()[part], large.parts()[part]
        assert set(of_small) <= set(of_large) <= set(rows)
        assert (np.diff(of_small) > 0).all()
        assert len(of_large) == (len(rows) if part == "test" else round(0.5 * len(rows)))
    other = subsampler.fold(Training(share=0.25, draw=1), fold)
    assert set(other.train) != set(small.train)
    assert subsampler.fold(Training(), fold) is fold


def test_points_of_equal_cost() -> None:
    made = points([1, 3, 2])
    assert [(p.votes, p.cost, round(p.share, 3)) for p in made] == [
        (1, 1, 1), (2, 1, 0.5), (2, 2, 1), (3, 1, 0.333), (3, 2, 0.667), (3, 3, 1)
    ]  # fmt: skip
    assert points([1, 3], shares=False) == [Point(1, 1), Point(3, 3)]
    assert parse(Point(3, 2).variant("my-soft", 4)) == ("my-soft", Point(3, 2), 4)
    assert parse("soft,votes=3") is None


def test_keys_of_a_curve_at_their_defaults_are_no_part_of_what_runs_are_known_by() -> None:
    keys = {name: run_key(Run(Variant("soft", Objective(), made), 1, 0), {}) for name, made in MADE.items()}
    assert keys["default"] == keys["same"]
    assert not {"votes", "share", "draw"} & keyed(Training()).keys()
    assert len(set(keys.values())) == len(keys) - 1


def test_the_command_trains_measures_and_goes_on_where_it_was(curve: Curve, demo_cache: Path, tmp_path: Path) -> None:
    cache = contents(demo_cache)
    asked = ("--votes", "1,3", "--draws", 2)
    data = json.loads(curve("--json", *asked))
    assert contents(demo_cache) == cache, "something was extracted again"
    folder = tmp_path / "runs" / "demo-curve"
    runs = sorted(folder.glob("*/*/DONE"))
    assert len(runs) == 3 * 2 * 2 * 5  # points, draws, seeds, folds
    of = {(p["votes"], p["cost"]): p for p in data["points"]}
    assert set(of) == {(1, 1), (3, 1), (3, 3)}
    assert of[1, 1]["seen_votes"] == 1
    assert of[3, 3]["seen_votes"] <= 3
    assert of[3, 1]["seen_utterances"] == pytest.approx(of[3, 3]["seen_utterances"] / 3, rel=0.05)
    assert data["test"]["votes"] > 3 * data["test"]["utterances"]
    assert len(data["differences"]) == 2
    for name in ("curve.csv", "curve.html"):
        assert (folder / name).stat().st_size > 300
    rows = pq.read_table(folder / "soft-votes1-cost1-draw0" / "fold1-seed0" / "predictions.parquet").to_pylist()
    votes = {part: {sum(v for k, v in row.items() if k.startswith("n_")) for row in rows if row["part"] == part}
             for part in ("dev", "test")}  # fmt: skip
    assert votes["dev"] == {1}
    assert max(votes["test"]) > 3

    written, at = (folder / "curve.json").read_bytes(), {path: path.stat().st_mtime_ns for path in runs}
    missing = folder / "soft-votes3-cost1-draw1" / "fold2-seed0" / "DONE"
    missing.unlink()
    said = curve(*asked)
    assert "1/1" not in said
    assert {path for path in runs if path.stat().st_mtime_ns != at[path]} == {missing}
    assert (folder / "curve.json").read_bytes() == written
    assert f"page: {folder / 'curve.html'}" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--votes", "1,99"), "have up to"),
        (("--votes", "2"), "needs two counts"),
        (("--votes", "one"), "give counts of votes"),
        (("--set", "grid={train.lr: [0.1]}"), "leave out `grid`"),
        (("--variants", "sofd"), "did you mean"),
    ],
)
def test_mistakes_are_refused_in_a_line(curve: Curve, arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    said = curve(*arguments, code=2)
    assert says in said
    assert len(said.splitlines()) <= 3
    assert not (tmp_path / "runs").exists()


def measured(votes: int, cost: int, nll: float, noise: float, draws: int = 3) -> Measured:
    """A point whose NLL varies over three speakers, draws and seeds; `noise` is its own, the rest is common to all."""
    rng = np.random.default_rng(votes * 100 + cost)
    values = nll + noise * rng.normal(size=(draws, 3))
    left_out = nll + 0.05 * np.linspace(-1, 1, 12) + noise * rng.normal(size=12) / 12
    return point(votes, cost, values, left_out)


def point(votes: int, cost: int, values: Floats, left_out: Floats) -> Measured:
    of_all = dict.fromkeys(SHOWN, values), dict.fromkeys(SHOWN, left_out)
    return Measured("soft", Point(votes, cost), 100, votes, *of_all)


def test_where_more_raters_stop_paying() -> None:
    curve = [measured(1, 1, 1.2, 1e-4), measured(2, 2, 1.0, 1e-4), measured(4, 4, 1.0, 1e-4), measured(4, 2, 1.1, 1e-4)]
    found = differences(curve)
    assert [(d.kind, d.point.votes, d.reference.votes, d.supported) for d in found] == [
        ("raters", 2, 1, True), ("raters", 4, 1, True), ("raters", 4, 2, False), ("cost", 4, 2, True)
    ]  # fmt: skip
    assert enough(found, "soft", [1, 2, 4]) == 2
    said = findings(curve, found)
    (raters,), (cost,) = said["raters"], said["cost"]
    assert raters.startswith("soft: from 2 votes per utterance on, no gain by more raters is supported")
    assert "the lowest NLL is that of 2 votes on 100%" in cost
    assert "4 on 50%: +0.09" in cost


def test_doubt_is_over_draws_too_and_one_run_supports_nothing() -> None:
    def gain(noise: float, **options: Any) -> Any:
        (found,) = differences([measured(1, 1, 1.2, 1e-4, **options), measured(2, 2, 1.0, noise, **options)])
        return found

    sure, unsure = gain(1e-4), gain(0.3)
    assert sure.supported
    assert not unsure.supported
    single = differences([point(n, n, np.array([[1 / n]]), np.ones(9) / n) for n in (1, 2)])
    assert not single[0].supported

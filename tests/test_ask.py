"""Asking for votes: the expected gain against enumeration, plans within budgets, hidden votes, and the command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ONE, SHARED, Amber, Run, demo_config
from scipy import stats
from scipy.special import entr

from amber import panel
from amber.cli import main
from amber.console import Console, ignore
from amber.corpus import FILE, Corpus
from amber.evaluate.ask.gain import Belief, expected_cost, gains, mean
from amber.evaluate.ask.hidden import eligible, hide
from amber.evaluate.ask.plan import by_gain, within
from amber.evaluate.ask.validation import ENTROPY, GAIN, RANDOM, plans, surprise, validate
from amber.train import stage as training

ALPHA = np.array([[0.3, 2.1, 1.4, 0.02], [5.0, 1.0, 1.0, 1.0], [1e-12, 1e-12, 3.0, 1e-12]])
BUDGETS = (0.25, 0.5, 1.0, 1.5, 2.0)  # votes per utterance


def enumerated(alpha: np.ndarray, more: int) -> float:
    """Return the expected entropy of the posterior mean, over every order of answers."""
    q = alpha / alpha.sum()
    if not more:
        return float(entr(q).sum())
    return sum(q[c] * enumerated(alpha + np.eye(len(q))[c], more - 1) for c in range(len(q)))


def test_the_expected_cost_is_that_of_every_sequence_of_answers() -> None:
    for more in range(5):
        np.testing.assert_allclose(expected_cost(ALPHA, more), [enumerated(row, more) for row in ALPHA], atol=1e-15)


def test_the_gain_is_the_mutual_information_of_one_vote_and_the_next() -> None:
    alpha = ALPHA[0]
    q = alpha / alpha.sum()
    both = np.array([q[a] * (alpha + np.eye(4)[a]) / (alpha.sum() + 1) for a in range(4)])
    information = (both * np.log(both / np.outer(q, q))).sum()
    assert gains(ALPHA[:1], 1)[0, 0] == pytest.approx(information, rel=1e-9)


def test_every_further_vote_gains_and_gains_less() -> None:
    alpha = np.random.default_rng(0).gamma(0.3, 5, (2000, 5)) + 1e-9
    found = gains(alpha, 8)
    assert (found > 0).all()
    assert (np.diff(found, axis=1) < 0).all()


def test_what_a_prediction_is_worth_and_its_power_are_found() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(4, 0.7), 4000)
    truth = np.array([rng.dirichlet(6 * row + 1e-9) for row in panel.sharpened(p, 0.6)])
    counts = np.array([rng.multinomial(5, row) for row in truth]).astype(float)
    raters, power = panel.worth_sharpened(p, counts)
    assert raters == pytest.approx(6, rel=0.12)
    assert power == pytest.approx(0.6, rel=0.1)
    ones = np.eye(4)[counts.argmax(axis=1)]
    assert panel.worth_sharpened(p, ones)[0] == 1.0


def test_a_plan_takes_the_most_gain_for_the_cost() -> None:
    gain = np.array([[8.0, 5.0, 1.0], [6.0, 4.0, 2.0]])
    plan = by_gain(gain, np.array([1.0, 2.0]))
    assert list(zip(plan.row, plan.vote, strict=True)) == [(0, 1), (0, 2), (1, 1), (1, 2), (0, 3), (1, 3)]
    assert plan.gain.tolist() == [8, 5, 6, 4, 1, 2]
    limited = by_gain(gain, np.ones(2), available=np.array([1, 2]))
    assert list(zip(limited.row, limited.vote, strict=True)) == [(0, 1), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("budget", "bought"), [(1, [(0, 1)]), (2.5, [(0, 1), (0, 2)]), (4, [(0, 1), (0, 2), (1, 1)]), (100, "all")]
)
def test_a_budget_passes_over_what_it_cannot_buy(budget: float, bought: list[tuple[int, int]]) -> None:
    cost = np.array([1.0, 2.0])
    plan = by_gain(np.array([[8.0, 5.0, 0.1], [6.0, 4.0, 2.0]]), cost)
    found = within(plan, cost, budget)
    every = [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3), (0, 3)]
    assert list(zip(found.row, found.vote, strict=True)) == (every if bought == "all" else bought)


def test_cheaper_votes_further_down_are_bought_with_what_is_left() -> None:
    cost = np.array([3.0, 1.0])
    found = within(by_gain(np.array([[9.0], [1.0]]), cost), cost, 2.0)
    assert found.row.tolist() == [1]


@pytest.mark.parametrize("known", [False, True])
def test_hidden_votes_are_divided_without_loss(known: bool) -> None:
    rng = np.random.default_rng(0)
    counts = np.array([rng.multinomial(n, [0.4, 0.3, 0.2, 0.1]) for n in rng.integers(3, 12, 200)]).astype(float)
    counts = counts[eligible(counts, 3, known)]
    truth = np.full(counts.shape, 0.25) if known else None
    hidden = hide(counts, (1, 3), truth, rng)
    shown, total = hidden.shown.sum(axis=1), counts.sum(axis=1)
    assert set(shown) == {1, 2, 3}
    rows = np.arange(len(counts))
    asked = hidden.answers[rows, hidden.available]
    np.testing.assert_array_equal(asked.sum(axis=1), hidden.available)
    assert (np.diff(hidden.answers, axis=1) >= 0).all()
    left = counts - hidden.shown - asked
    assert (left >= 0).all()
    if known:
        assert (left == 0).all()
        assert hidden.target is truth
    else:
        np.testing.assert_array_equal(hidden.available, (total - shown) // 2)
        np.testing.assert_allclose(hidden.target, left / left.sum(axis=1, keepdims=True))
    # Which votes are shown is left to chance: their mean is that of all.
    means = np.mean([hide(counts, (2, 2), truth, np.random.default_rng(s)).shown / 2 for s in range(300)], axis=0)
    np.testing.assert_allclose(means, counts / total[:, None], atol=0.15)


def test_the_rivals_ask_in_rounds() -> None:
    found = plans(ALPHA, np.array([2, 1, 2]), np.random.default_rng(0))
    assert found[ENTROPY].row.tolist() == [1, 0, 2, 0, 2]
    assert found[ENTROPY].vote.tolist() == [1, 1, 1, 2, 2]
    assert sorted(found[RANDOM].row[:3]) == [0, 1, 2]
    for plan in found.values():
        assert plan.asked(3).tolist() == [2, 1, 2]


def test_by_rank_is_closer_to_the_truth_than_at_random_and_by_entropy() -> None:
    """20 raters with a known truth, 3 shown: at equal budgets, over seeds; each seed is another corpus."""
    saved: dict[str, list[float]] = {GAIN: [], ENTROPY: [], RANDOM: []}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = 0.98 * rng.dirichlet(np.full(4, 0.4), 400) + 0.005
        logits = np.log(truth) + rng.normal(0, 1, truth.shape)  # a prediction that is off
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        counts = np.array([rng.multinomial(20, row) for row in truth]).astype(float)
        hidden = hide(counts, (3, 3), truth, rng)
        belief = Belief.fit(p, hidden.shown)
        alpha = belief.alpha(p, hidden.shown)
        for name, plan in plans(alpha, hidden.available, rng).items():
            after = [hidden.after(plan.asked(len(p), round(share * len(p)))) for share in BUDGETS]
            cost = np.mean([surprise(hidden, belief.alpha(p, votes)).mean() for votes in after])
            saved[name].append(surprise(hidden, alpha).mean() - cost)
    for rival in (ENTROPY, RANDOM):
        assert np.mean(saved[GAIN]) > np.mean(saved[rival])
        assert stats.ttest_rel(saved[GAIN], saved[rival]).pvalue < 0.01


CREMA_D = SHARED / "crema-d" / "tabulatedVotes.csv"
needs_crema_d = pytest.mark.skipif(
    not CREMA_D.exists(),
    reason="CREMA-D's votes are not here: they are read from ../shared/data/crema-d beside the checkout",
)


def heard() -> tuple[list[str], np.ndarray]:
    """Return the names of CREMA-D's clips, and their votes (n, 6) of those who heard and did not see them."""
    with CREMA_D.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[""].startswith("1")]
    return [row["fileName"] for row in rows], np.array([[float(row[label]) for label in "ADFHNS"] for row in rows])


@needs_crema_d
def test_by_rank_beats_random_and_entropy_on_the_real_votes_of_crema_d() -> None:
    clips, counts = heard()
    actors = np.unique([clip[:4] for clip in clips], return_inverse=True)[1]
    acted = np.unique([clip[9:15] for clip in clips], return_inverse=True)[1]
    p = np.empty_like(counts)  # the mean vote of the other half of the actors on clips acted alike
    for kind in range(acted.max() + 1):
        for half in (0, 1):
            others = counts[(acted == kind) & (actors % 2 != half)].sum(axis=0) + 0.5
            p[(acted == kind) & (actors % 2 == half)] = others / others.sum()
    enough = eligible(counts, 3, truth=False)
    clusters = np.unique(actors[enough], return_inverse=True)[1]
    found = validate(p[enough], counts[enough], clusters, (3, 3), range(6), None, ignore)
    assert found.speakers == 91
    for rival in (ENTROPY, RANDOM):
        assert found.overall[rival].mean > 0
        assert found.overall[rival].p < 0.01


@needs_crema_d
def test_ask_validates_on_the_real_votes_of_crema_d_through_the_command_line(amber: Amber, tmp_path: Path) -> None:
    """Without the audio: a model of what the actor was told (sentence, emotion, level), which clips are named by."""
    clips, counts = heard()
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "speaker", *(f"vote_{label}" for label in "ADFHNS")])
        rows.writerows([clip, clip[:4], *map(int, votes)] for clip, votes in zip(clips, counts, strict=True))
    told = np.array([[clip[5:8], clip[9:12], clip[13:15]] for clip in clips])  # such as 1001_DFA_ANG_XX
    one_hot = [column[:, None] == np.unique(column) for column in told.T]
    with h5py.File(tmp_path / "told.h5", "w") as file:
        file["told"] = np.concatenate(one_hot, axis=1).astype(np.float32)
    cache, runs = tmp_path / "cache", tmp_path / "runs"
    amber("-q", "cache", "import", "--features", cache, "--dataset", "crema-d", "--table", table,
          "--speech", f"{tmp_path / 'told.h5'}:/told")  # fmt: skip
    few = ("--variants", "speech", "--seeds", "0", "--set", ONE, "--set", "train.steps=200")
    amber("-q", "train", "--features", cache, "--runs", runs, *few, "--set", "splits.scheme=speaker-folds")
    ask = ("-q", "ask", "--runs", runs / "crema-d", "--validate", "--shown", "3", "--json")
    found = json.loads(amber(*ask).stdout)
    assert found["against_truth"] is False
    assert found["speakers"] == 91
    for rival in (ENTROPY, RANDOM):
        assert found["overall"][rival]["mean"] > 0
        assert found["overall"][rival]["p"] < 0.01


@pytest.fixture(scope="module")
def experiment(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    quick = ("train.epochs=2", ONE, "train.seeds=[0]", "train.variants=[soft]", "train.calibrate=false")
    training.run(demo_config(demo_cache, *quick, "labels.subset=any", f"train.runs={runs}"), None, Console(quiet=True))
    return runs / "demo"


@pytest.fixture
def command(experiment: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main(["-q", "ask", "--runs", str(experiment), *map(str, arguments)])
        captured = capfd.readouterr()
        assert end.value.code == code, captured.err
        if code:
            assert len(captured.err.splitlines()) <= 3
        return captured.err if code else captured.out

    return call


def listed(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_ask_ranks_every_utterance_once(command: Run, experiment: Path) -> None:
    assert "a vote of the panel is expected to surprise" in command()
    rows = listed(experiment / "ask.csv")
    assert len(rows) == len({row["id"] for row in rows}) == 100
    assert [int(row["rank"]) for row in rows] == list(range(1, 101))
    gain = [float(row["expected_gain"]) for row in rows]
    assert gain == sorted(gain, reverse=True)
    assert {row["vote"] for row in rows} == {"1"}
    assert all(sum(float(row[name]) for name in row if name.startswith("p_")) == pytest.approx(1) for row in rows)
    # Fewer votes are worth more where everything else is alike.
    votes = np.array([float(row["votes"]) for row in rows])
    assert stats.spearmanr(votes, gain)[0] < -0.3


def test_ask_spends_a_budget_by_cost(command: Run, experiment: Path, tmp_path: Path) -> None:
    command("--out", tmp_path / "first.csv")
    dear = listed(tmp_path / "first.csv")[0]["id"]
    ids = [row["id"] for row in listed(tmp_path / "first.csv")]
    costs = tmp_path / "costs.csv"
    costs.write_text("id,cost\n" + "".join(f"{uid},{1000 if uid == dear else 0.5}\n" for uid in ids) + "other,1\n")
    said = command("--budget", 150, "--cost", costs, "--most", 4, "--out", tmp_path / "plan.csv", "--json")
    rows = listed(tmp_path / "plan.csv")
    assert json.loads(said)[0]["id"] == rows[0]["id"]
    assert len(rows) == 300
    assert dear not in {row["id"] for row in rows}
    asked: dict[str, list[int]] = {}
    for row in rows:
        asked.setdefault(row["id"], []).append(int(row["vote"]))
    assert all(votes == list(range(1, len(votes) + 1)) for votes in asked.values())
    assert max(map(len, asked.values())) == 4


def test_ask_validates_on_the_runs_own_votes(command: Run, experiment: Path) -> None:
    said = command("--validate", "--shown", "1-2", "--draws", 3)
    assert "scored against the true distribution" in said
    assert "Asking by expected gain less asking at random" in said
    assert "<svg" in (experiment / "ask.html").read_text()
    found = json.loads(command("--validate", "--shown", "2", "--draws", 3, "--json"))
    assert found["against_truth"] is True
    assert set(found["overall"]) == {"entropy", "random"}
    assert [of["mean"] for of in found["saved"]["gain"]][-1] > 0


@pytest.fixture(scope="module")
def two_classes(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of two classes: some utterances have no vote in either."""
    runs = tmp_path_factory.mktemp("two")
    quick = ("train.epochs=2", ONE, "train.seeds=[0]", "train.variants=[soft]", "labels.subset=any")
    classes = "labels.classes={sad: [sadness], angry: [anger]}"
    training.run(demo_config(demo_cache, *quick, classes, f"train.runs={runs}"), None, Console(quiet=True))
    return runs / "demo"


def test_utterances_without_a_vote_are_counted_by_name_or_ranked_by_the_model_alone(
    amber: Amber, two_classes: Path, demo_cache: Path, tmp_path: Path
) -> None:
    ask = ("-q", "ask", "--runs", two_classes)
    said = amber(*ask).stderr
    ranked = {row["id"] for row in listed(two_classes / "ask.csv")}
    without = sorted(set(Corpus.read(demo_cache / "demo" / FILE).ids) - ranked)
    assert len(without) > 5
    assert f"{len(without)} utterances without a vote in the classes not ranked" in said
    assert ", ".join(without[:3]) in said

    table = tmp_path / "predictions.csv"
    unsure, sure, tested = without[0], without[1], min(ranked)
    table.write_text(f"id,p_sad,p_angry\n{unsure},.5,.5\n{sure},.99,.01\n{tested},.5,.5\nnew,.6,.4\n")
    said = amber(*ask, "--predictions", table).stderr
    rows = {row["id"]: row for row in listed(two_classes / "ask.csv")}
    assert set(rows) == {*ranked, unsure, sure, "new"}
    assert f"{len(without) - 2} utterances without a vote" in said
    assert [rows[uid]["votes"] for uid in (unsure, sure, "new")] == ["0.0"] * 3
    assert float(rows[unsure]["p_sad"]) == 0.5
    assert float(rows[tested]["votes"]) > 0
    assert int(rows[unsure]["rank"]) < int(rows[sure]["rank"])
    # No vote is there: nobody else's first vote tells more than that on an utterance of which the model knows nothing.
    assert rows[unsure]["rank"] == "1"
    assert "3 of them without any vote" in amber(*ask, "--predictions", table).stdout
    table.write_text(f"id,p_sad,p_angry\n{tested},.5,.5\n")
    assert "has no utterance without a vote" in amber(*ask, "--predictions", table, code=2).stderr


Wrong = Callable[[Path], tuple[object, ...]]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--variant", "sofd"), "did you mean"),
        (("--budget", 0.5), "buys no vote"),
        (("--budget", "nan"), "buys no vote"),
        (("--cost", -1), "more than nothing"),
        (("--cost", "nowhere.csv"), "neither a number nor a table"),
        (("--out", "list.txt"), ".csv"),
        (("--validate", "--budget", 3), "--validate takes no"),
        (("--predictions", "nowhere.csv"), "no such file"),
        (("--validate", "--shown", "5-1"), "--shown 5-1"),
        (("--validate", "--shown", "40"), "show fewer"),
    ],
)
def test_mistakes_are_told(command: Run, arguments: tuple[object, ...], complaint: str) -> None:
    assert complaint in command(*arguments, code=2)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [("id,price\na,1\n", "no column cost"), ("id,cost\na,0\n", "row 2"), ("id,cost\na,1\na,2\n", "there twice"),
     ("id,cost\na,1\n", "no cost for 100 utterances")],
)  # fmt: skip
def test_costs_that_cannot_be_used_are_refused(command: Run, tmp_path: Path, rows: str, complaint: str) -> None:
    path = tmp_path / "costs.csv"
    path.write_text(rows)
    assert complaint in command("--cost", path, code=2)


def test_what_is_said_is_the_posterior_mean() -> None:
    belief = Belief(raters=2.0, power=1.0)
    alpha = belief.alpha(np.array([[0.5, 0.5, 0.0]]), np.array([[3.0, 0.0, 0.0]]))
    np.testing.assert_allclose(mean(alpha), [[0.8, 0.2, 0.0]], atol=1e-9)

"""What becomes of a run: candidates pooled by dev, experts out of fold, and files from which predictions follow."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ONE, Amber, demo_config
from safetensors.numpy import load_file
from scipy.special import erf, log_softmax, softmax

from amber import predictions
from amber.config import Config
from amber.console import Console
from amber.opinion_pool import best, fit_weights, pool
from amber.train import context as context_module
from amber.train import group as module
from amber.train import stage
from amber.train.context import FoldContext
from amber.train.dataset import TrainingData
from amber.train.group import TrainedRun, train
from amber.train.inputs import Inputs
from amber.train.matrix import Run
from amber.train.parallel import threads_of
from amber.train.plan import groups_of
from amber.train.prior import TRUST, Prior, fit_prior, speaker_folds

Floats = np.ndarray
QUIET = Console(quiet=True)
# Nine candidates: linear and not, mixtures and not, of every kind of layer choice, with one penalty and with two, one
# that reads speech alone, and a ridge regression.
SEVERAL = (
    "train.candidates=[{layer: [last, all], hidden: 0, weight_decay: [0.1, 1]}, "
    "{layer: mean, hidden: 8, weight_decay: 0.1}, {layer: all, weight_decay: 0.1, mixture: true}, "
    "{layer: last, hidden: 8, weight_decay: 0.1, mixture: true}, {layer: all, weight_decay: 0.1, reads: speech}, "
    "{layer: all, ridge: true}]"
)
CANDIDATES, EXPERTS = 9, (5 + 1) * 3  # linear candidates and the linear mixture, with three heads each
LOOKS = ("train.steps=40", "train.every=10", "train.lr=0.01", "train.warmup=5", "labels.subset=any")
NAMES = ("amber2", "amber2-prior", "pool", "prior-best", "pool-best", "soft")
VARIANTS = (
    f"train.variants={json.dumps(NAMES)}",
    "variants.prior-best={base: amber2-prior, train: {select: best}}",
    "variants.pool-best={base: pool, train: {select: best}}",
)


def config(cache: Path, runs: Path, *overrides: str) -> Config:
    return demo_config(cache, *LOOKS, "train.folds=[2]", "train.seeds=[0, 1]", f"train.runs={runs}", *overrides)


def context(cache: Path, variant: str, *overrides: str) -> tuple[FoldContext, list[Run]]:
    experiment = stage.prepare(config(cache, cache, f"train.variants=[{variant}]", *overrides), None)
    data, fold = experiment.data, experiment.folds[2]
    features = Inputs(data, experiment.folds, "cpu", choices=8)
    return FoldContext(data, fold, features, "cpu", lambda n=1, note="": None), experiment.runs


def test_an_expert_knows_nothing_of_the_speaker_of_whom_it_speaks(
    demo_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other votes of one speaker, experts say the same of that speaker's utterances, and not of others'."""
    of, (run, _) = context(demo_cache, "amber2-prior", SEVERAL)
    said: list[Floats] = []

    def kept(log_p: Floats, counts: Floats) -> Prior:
        said.append(log_p)
        return fit_prior(log_p, counts)

    monkeypatch.setattr(module, "fit_prior", kept)
    (before,) = module._cross_fit([run], of)
    everyone = np.array(of.data.corpus.column("speaker"))
    speakers = everyone[of.fold.train]
    one = speakers[0]
    assert one not in everyone[of.fold.dev]
    counts = of.data.counts.copy()
    own = of.fold.train[speakers == one]
    counts[own] = np.roll(counts[own], 1, axis=1) * 3
    (after,) = module._cross_fit([run], replace(of, data=replace(of.data, counts=counts)))
    first, second = said
    assert first.shape == (EXPERTS, len(speakers), counts.shape[1])
    np.testing.assert_allclose(np.exp(first).sum(axis=-1), 1, atol=1e-5)
    here = speakers == one
    np.testing.assert_allclose(second[:, here], first[:, here], atol=1e-3)
    folds = speaker_folds(speakers.tolist())
    others = folds != folds[here][0]
    assert (np.abs(second[:, others] - first[:, others]).max(axis=(1, 2)) > 0.01).all()
    # What is worth and weighed is of all votes.
    assert before.raters != after.raters


def test_experts_are_the_linear_candidates_and_mixtures_or_all_where_there_are_none(demo_cache: Path) -> None:
    of, (run, _) = context(demo_cache, "amber2-prior", SEVERAL)
    experts = module._experts(of.candidates(run))
    assert {one.hidden for one in experts} == {0}
    assert Counter((one.mixture, one.ridge) for one in experts) == {
        (False, False): 4,
        (True, False): 1,
        (False, True): 1,
    }
    of, (run, _) = context(demo_cache, "amber2-prior", ONE)
    assert [one.hidden for one in module._experts(of.candidates(run))] == [16]
    # Which is what is counted, and trained.
    folds = len(set(module._training_folds(of.data, of.fold)[0].tolist()))
    assert module.work(run, of.data, of.fold) == 1 + folds


def test_a_prior_is_not_what_experts_learned_by_heart(demo_cache: Path) -> None:
    """Out of fold, experts are less sure of the votes than of those that they have seen."""
    of, (run, _) = context(demo_cache, "amber2-prior", ONE, "train.lr=0.05", "train.steps=100")
    (prior,) = module._cross_fit([run], of)
    counts = of.data.counts[of.fold.train]

    def nll(p: Floats) -> float:
        return float(-(counts * np.log(p)).sum() / counts.sum())

    mean = np.tile(counts.sum(axis=0) / counts.sum(), (len(counts), 1))
    assert prior.p.shape == counts.shape
    assert nll(prior.p) < nll(mean)
    assert TRUST * 0.1 <= prior.raters <= TRUST * 1000


def same(one: TrainedRun, other: TrainedRun) -> None:
    for head, p in one.probabilities.items():
        np.testing.assert_allclose(p, other.probabilities[head], atol=2e-3)
    assert [c.candidate for c in one.components] == [c.candidate for c in other.components]


@pytest.mark.parametrize("variant", ["soft", "amber2-prior", "ridge"])
def test_a_run_that_sees_few_votes_is_what_it_is_beside_runs_that_see_more(
    demo_cache: Path, tmp_path: Path, variant: str
) -> None:
    """The same predictions as in an experiment of its own; heads train in one group, rivals each in its own."""
    points = [f"{variant}-{votes}" for votes in (1, 2)]
    made = [f"variants.{name}={{base: {variant}, train: {{votes: {name[-1]}}}}}" for name in points]
    looks = (*made, ONE, "train.lr=0.03", "train.seeds=[0]")
    together = config(demo_cache, tmp_path / "together", f"train.variants={json.dumps([*points, variant])}", *looks)
    plan = stage.prepare(together, None)
    assert len(groups_of(plan, plan.parts[0])) == (3 if variant == "ridge" else 1)
    stage.run(together, None, QUIET)
    p = {}
    for name in (*points, variant):
        stage.run(config(demo_cache, tmp_path / name, f"train.variants=[{name}]", *looks), None, QUIET)
        one, other = (
            predictions.read(tmp_path / where / "demo" / name / "fold2-seed0" / predictions.FILE)
            for where in (name, "together")
        )
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_allclose(one.p, other.p, atol=2e-3)
        p[name] = one.of(head="student", part="test").p
    assert min(np.abs(p[one] - p[two]).max() for one, two in itertools.combinations(p, 2)) > 0.02


@pytest.mark.parametrize("variant", ["amber2-prior", "pool"])
def test_a_run_is_what_it_is_alone(demo_cache: Path, variant: str) -> None:
    """With its own prior, its own candidates and its own weights."""
    of, runs = context(demo_cache, variant, SEVERAL)
    together = train(runs, of)
    assert [one.run for one in together] == runs
    for run, found in zip(runs, together, strict=True):
        (alone,) = train([run], of)
        same(alone, found)
        if variant == "amber2-prior":
            assert alone.prior is not None
            assert found.prior is not None
            np.testing.assert_allclose(found.prior.p, alone.prior.p, atol=1e-3)
            assert found.prior.raters == pytest.approx(alone.prior.raters, rel=0.01)
    # And not what the other is.
    first, second = (one.probabilities["pool" if variant == "pool" else "fusion"] for one in together)
    assert np.abs(first - second).max() > 0.005


def test_members_that_do_not_fit_into_one_group_are_the_same_runs(
    demo_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, runs = context(demo_cache, "amber2-prior", SEVERAL)
    together = train(runs, of)
    monkeypatch.setattr(context_module, "largest_group", lambda *_: 3)
    for one, other in zip(train(runs, of), together, strict=True):
        same(one, other)


def test_the_candidates_of_the_defaults_all_train(demo_cache: Path) -> None:
    """Speech has one stored layer here and text several; every other test has candidates of its own."""
    of, (run, _) = context(demo_cache, "amber2")
    (found,) = train([run], of)
    assert len(found.components) == 3 * 3 + 3 + 2 + 1 + 2
    assert {c.candidate for c in found.components} == set(of.candidates(run))
    assert {record["candidate"] for record in found.records} == set(range(1, 18))
    n = len(of.fold.dev)
    for head, p in found.probabilities.items():
        total = sum(c.weights["student" if head == "fusion" else head] for c in found.components)
        assert_is_best_scaled(np.log(p[:n]) / total, of.data.counts[of.fold.dev], total)


@pytest.mark.parametrize("variant", ["amber2", "amber2-prior"])
def test_kinds_of_candidates_side_by_side_learn_what_they_learn_one_after_another(
    demo_cache: Path, variant: str
) -> None:
    of, runs = context(demo_cache, variant)
    with threads_of(1):
        alone, beside = (train(runs[:1], replace(of, kinds=kinds))[0] for kinds in (1, 3))
    assert [c.candidate for c in alone.components] == [c.candidate for c in beside.components]
    assert alone.records == beside.records
    for head, p in alone.probabilities.items():
        assert np.array_equal(p, beside.probabilities[head])


def test_progress_is_every_model_once(demo_cache: Path) -> None:
    for variant in ("amber2-prior", "pool", "ridge", "soft"):
        of, runs = context(demo_cache, variant, SEVERAL)
        counted: list[int] = []
        train(runs, replace(of, advance=lambda n=1, note="", to=counted: to.append(n)))
        assert sum(counted) == sum(module.work(run, of.data, of.fold) for run in runs)


@pytest.fixture(scope="module")
def trained(amber: Amber, demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    every = [part for o in (SEVERAL, *LOOKS, *VARIANTS) for part in ("--set", o)]
    amber("train", "--features", demo_cache, "--runs", runs, "--folds", "2", "--seeds", "0", *every)
    return runs / "demo"


def scaled(raw: Floats, tensors: Mapping[str, Floats], name: str) -> Floats:
    """Standardise, normalise each vector, put layers side by side and project them, as `config.json`'s reader would."""
    z = (raw.astype(np.float64) - tensors[f"{name}.mean"]) / tensors[f"{name}.std"]
    z = z - z.mean(axis=-1, keepdims=True)
    z = z / np.sqrt(np.square(z).mean(axis=-1, keepdims=True) + 1e-5)
    flat = z.reshape(len(z), -1)
    return flat @ tensors[f"{name}.projection"] if f"{name}.projection" in tensors else flat


def log_p_of(candidate: Mapping[str, Any], head: str, tensors: Mapping[str, Floats], data: TrainingData) -> Floats:
    """Return a candidate's log-probabilities (n, C) of every utterance."""
    prefix = f"{candidate['number']}.heads.{head}"
    x = {}
    both = (candidate["reads"],) if candidate["reads"] else ("speech", "text")
    for modality in both if head == "fusion" else (head,):
        layer = candidate["layer"][modality]
        raw = data.inputs(modality, "learned" if layer == "all" else layer)
        x[modality] = scaled(raw, tensors, f"scaling.{modality}.{layer}")
    if not candidate["mixture"] or head != "fusion":
        return log_p_by(prefix, x, candidate["hidden"], tensors)
    gate = sum(x[modality] @ tensors[f"{prefix}.gate.{modality}"] for modality in x)
    shares = softmax(gate + 10 * tensors[f"{prefix}.gate_bias"], axis=-1)  # (n, 2), of speech and text
    experts = [log_p_by(f"{prefix}.experts.{m}", {m: x[m]}, candidate["hidden"], tensors) for m in ("speech", "text")]
    return np.asarray(np.log(sum(shares[:, i, None] * np.exp(log_p) for i, log_p in enumerate(experts))))


def log_p_by(prefix: str, x: Mapping[str, Floats], hidden: int, tensors: Mapping[str, Floats]) -> Floats:
    """Return the log-probabilities (n, C) of the head with a given name, from its scaled inputs."""
    scores = tensors[f"{prefix}.bias1"].astype(np.float64)
    for modality, of_modality in x.items():
        scores = scores + of_modality @ tensors[f"{prefix}.weight1.{modality}"]
    if hidden:
        units = scores * (1 + erf(scores / np.sqrt(2))) / 2
        scores = units @ tensors[f"{prefix}.weight2"] + tensors[f"{prefix}.bias2"]
    return np.asarray(log_softmax(scores, axis=-1))


@pytest.mark.parametrize("variant", NAMES)
def test_predictions_follow_from_the_model_s_folder(trained: Path, demo_cache: Path, variant: str) -> None:
    folder = trained / variant / "fold2-seed0"
    tensors = load_file(folder / "model" / "heads.safetensors")
    written = json.loads((folder / "model" / "config.json").read_text())
    data = stage.prepare(config(demo_cache, trained), None).data
    found = predictions.read(folder / predictions.FILE)
    row = {uid: i for i, uid in enumerate(data.corpus.ids)}
    student = found.of(head="student")
    rows = [row[uid] for uid in student.keys["id"]]
    whole = written["model"] == "pool"
    dev = student.keys["part"] == "dev"
    votes = student.counts[dev]
    # In the file's words: whose predictions, of which head, with which weights.
    heads = written["heads"] if whole else [written["student"]]
    weights = [
        {head: candidate["weights"]["student"][head] if whole else candidate["weights"]["student"] for head in heads}
        for candidate in written["candidates"]
    ]
    mixed = np.zeros_like(student.p)
    for candidate, of_heads in zip(written["candidates"], weights, strict=True):
        for head, weight in of_heads.items():
            mixed = mixed + weight * log_p_of(candidate, head, tensors, data)[rows]
    np.testing.assert_allclose(softmax(mixed, axis=1), student.p, atol=1e-5)
    total = sum(weight for of_heads in weights for weight in of_heads.values())
    if not whole:
        assert_is_best_scaled(mixed[dev] / total, votes, total)
    calibrated = found.of(head="student-calibrated")
    np.testing.assert_allclose(softmax(mixed / written["temperature"], axis=1), calibrated.p, atol=1e-5)
    # Experts by themselves.
    for head in written["heads"] if whole else [h for h in written["heads"] if h != written["student"]]:
        named = [one for one in written["candidates"] if one["weights"][head]]
        expert = sum(one["weights"][head] * log_p_of(one, head, tensors, data)[rows] for one in named)
        np.testing.assert_allclose(softmax(expert, axis=1), found.of(head=head).p, atol=1e-5)
        total = sum(one["weights"][head] for one in named)
        assert_is_best_scaled(expert[dev] / total, votes, total)


def assert_is_best_scaled(log_p: Floats, votes: Floats, factor: float) -> None:
    """The logarithm of a pool (n, C), with weights that sum to one, is multiplied by what makes votes most likely.

    What is far from 1 is paid for, by 50 log² nats for one vote of each utterance.
    """

    def loss(of: float) -> float:
        nll = -float((votes * log_softmax(of * log_p, axis=1)).sum())
        return nll + 50 * float(np.log(of)) ** 2 * float(votes.sum()) / len(votes)

    grid = factor * np.linspace(0.7, 1.4, 7001)
    assert grid[np.argmin([loss(of) for of in grid])] == pytest.approx(factor, abs=1e-3)


@pytest.mark.parametrize("select", ["pool", "best"])
@pytest.mark.parametrize("variant", ["soft", "amber2", "amber2-prior", "pool"])
def test_every_head_has_a_temperature_and_the_pool_of_all_none(demo_cache: Path, variant: str, select: str) -> None:
    """Candidates of one head that are too flat, of another that are far too sure, and of a third between."""
    of, (run, _) = context(demo_cache, variant, SEVERAL, f"train.select={select}")
    rows, n = np.concatenate([of.fold.dev, of.fold.test]), len(of.fold.dev)
    counts = of.data.counts[of.fold.dev]
    rng = np.random.default_rng(0)
    truth = np.log(of.data.counts[rows] + 0.5)
    sureness = {"fusion": 0.3} if variant == "soft" else {"speech": 0.3, "text": 8.0, "fusion": 4.0}
    log_p = {
        head: log_softmax(sure * (truth + rng.normal(size=(3, *truth.shape)) / 2), axis=-1)
        for head, sure in sureness.items()
    }
    fitted: Any = SimpleNamespace(records=[])
    found = module._pooled(run, [(one, fitted, {}) for one in of.candidates(run)[:3]], log_p, None, of)
    totals = {}
    for head, values in log_p.items():
        name = "student" if head == "fusion" and variant != "pool" else head
        weights = np.array([one.weights[name] for one in found.components])
        shares = fit_weights(values[:, :n], counts) if select == "pool" else best(values[:, :n], counts)
        totals[head] = weights.sum()
        np.testing.assert_allclose(weights / totals[head], shares, atol=1e-9)
        assert_is_best_scaled(pool(values[:, :n], shares), counts, totals[head])
        np.testing.assert_allclose(found.probabilities[head], np.exp(pool(values, weights)), atol=1e-9)
    if variant == "soft":
        assert totals["fusion"] > 1.02
    else:
        assert totals["text"] < totals["fusion"] < 0.98
        assert totals["speech"] > 1.02
    if variant == "pool":  # of each head's chosen, with the weights that the votes alone ask for
        used = [(head, k) for head in log_p for k in range(3) if found.components[k].weights[head]]
        free = fit_weights(np.stack([log_p[head][k, :n] for head, k in used]), counts, sum_to_one=False)
        whole = {(head, k): found.components[k].in_student[head] for head in log_p for k in range(3)}
        np.testing.assert_allclose([whole[one] for one in used], free, atol=1e-9)
        assert all(not weight for one, weight in whole.items() if one not in used)


def test_linear_and_hidden_candidates_and_layers_side_by_side_are_among_what_was_reconstructed(trained: Path) -> None:
    every = [
        one
        for path in trained.glob("*/*/model/config.json")
        for one in json.loads(path.read_text())["candidates"]
        if any(one["weights"].values())
    ]
    kinds = {(bool(one["hidden"]), one["mixture"], one["reads"]) for one in every}
    assert kinds == {(h, mixture, None) for h in (False, True) for mixture in (False, True)} | {
        (False, False, "speech")
    }
    assert {one["layer"]["text"] for one in every} == {"last", "all", "mean"}


@pytest.mark.parametrize("variant", NAMES)
def test_weights_are_shares_and_only_what_weighs_is_written(trained: Path, variant: str) -> None:
    folder = trained / variant / "fold2-seed0" / "model"
    written = json.loads((folder / "config.json").read_text())
    weights = [one["weights"] for one in written["candidates"]]
    heads = ("speech", "text", "fusion")
    expected = {
        "heads": {"student", *(("speech", "text") if variant == "amber2" else ())},
        "cross-fit": {"student", "speech", "text"},
        "pool": {*heads, "student"},
    }[written["model"]]
    assert all(set(of) == expected for of in weights)
    whole = written["model"] == "pool"
    assert all(any(weight for name, weight in of.items() if not (whole and name == "student")) for of in weights)
    for name in (name for name in expected if not (whole and name == "student")):
        total = sum(of[name] for of in weights)
        assert total != pytest.approx(1)  # every head has a temperature, by which its weights are divided
        if variant.endswith("best"):
            assert {of[name] for of in weights} <= {0, total}
    if whole:
        assert all(set(of["student"]) == set(heads) for of in weights)
        assert sum(of["student"][head] for of in weights for head in heads) > 0
    numbers = {int(name.split(".")[0]) for name in load_file(folder / "heads.safetensors") if name[0].isdigit()}
    assert numbers == {one["number"] for one in written["candidates"]}
    # The numbers are those of the looks at dev.
    lines = [json.loads(line) for line in (folder.parent / "metrics.jsonl").read_text().splitlines()]
    assert {line["candidate"] for line in lines} == set(range(1, CANDIDATES + 1)) >= numbers
    assert (written["prior"] is not None) == (written["model"] == "cross-fit")
    if written["prior"]:
        assert 0.1 <= written["prior"]["raters"] <= 1000
        assert len(written["prior"]["weights"]) == EXPERTS
        assert all(0 <= weight <= 1 for weight in written["prior"]["weights"])
        assert sum(written["prior"]["weights"]) > 0


def on_dev(trained: Path, variant: str) -> tuple[float, int]:
    """Return a student's mean negative log-likelihood of a dev vote, and how many utterances there are."""
    of_dev = predictions.read(trained / variant / "fold2-seed0" / predictions.FILE).of(head="student", part="dev")
    votes = of_dev.counts
    return float(-(votes * np.log(of_dev.p)).sum() / votes.sum()), len(votes)


@pytest.mark.parametrize("variant", ["amber2-prior", "prior-best", "soft"])
def test_the_pool_is_no_worse_on_dev_than_the_best_candidate_and_its_penalty(trained: Path, variant: str) -> None:
    folder = trained / variant / "fold2-seed0"
    lowest = min(json.loads(line)["dev_nll"] for line in (folder / "metrics.jsonl").read_text().splitlines())
    nll, utterances = on_dev(trained, variant)
    if variant == "prior-best":  # one candidate, at a better temperature
        assert nll < lowest
        return
    written = json.loads((folder / "model" / "config.json").read_text())["candidates"]
    weights = np.zeros(CANDIDATES)
    weights[: len(written)] = [one["weights"]["student"] for one in written]
    # K/2 |w - 1/K|² nats for one vote of each utterance, of these weights and of all weight on one.
    spent, of_one = (
        CANDIDATES / 2 * np.square(w - 1 / CANDIDATES).sum() for w in (weights / weights.sum(), np.eye(CANDIDATES)[0])
    )
    assert nll + spent / utterances <= lowest + of_one / utterances + 1e-6
    assert spent < of_one


def test_a_pool_of_all_heads_is_no_worse_on_dev_than_one_of_each_head_s_best(trained: Path) -> None:
    assert on_dev(trained, "pool")[0] <= on_dev(trained, "pool-best")[0] + 1e-6


def test_a_run_that_diverges_is_a_failure_by_name_and_leaves_nothing(
    amber: Amber, demo_cache: Path, tmp_path: Path
) -> None:
    done = amber("train", "--features", demo_cache, "--runs", tmp_path / "runs", "--variants", "amber2", "--seeds", "3",
                 "--folds", "2", "--set", ONE, "--set", "train.epochs=3", "--set", "labels.subset=any",
                 "--set", "train.lr=1e30", code=1)  # fmt: skip
    (first, second) = [line for line in done.stderr.splitlines() if "diverged" in line or "train.lr" in line]
    assert "amber2/fold2-seed3: diverged: up to step 6 no score on dev is finite and sane" in first
    assert "lower train.lr, which is 1e+30" in second
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".lock")]
    assert not list(tmp_path.rglob("*partial*"))

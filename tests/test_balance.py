"""Balance between corpora: equal shares in every batch, no repetition within a pass, dev votes that count alike."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ONE, demo_config
from hypothesis import given, settings
from hypothesis import strategies as st
from test_transfer import call

from amber import predictions
from amber.config import Training
from amber.console import ignore
from amber.train.balance import balanced
from amber.train.batches import PooledSplit
from amber.train.calibration import fit_temperature
from amber.train.context import FoldContext
from amber.train.inputs import Inputs
from amber.train.matrix import keyed
from amber.train.plan import prepare

sizes = st.lists(st.integers(1, 12), min_size=2, max_size=4)


def part(of: list[int], rng: np.random.Generator) -> PooledSplit:
    corpora = torch.from_numpy(rng.permutation(np.repeat(np.arange(len(of)), of)))
    n = len(corpora)
    return PooledSplit({"speech": torch.arange(n)[:, None].float()}, torch.arange(n), torch.ones(n, 2), corpora)


@settings(max_examples=40)
@given(sizes=sizes, size=st.integers(4, 15), seed=st.integers(0, 99))
def test_batches_draw_from_each_corpus_in_equal_shares_and_repeat_nothing_within_a_pass(
    sizes: list[int], size: int, seed: int
) -> None:
    split = part(sizes, np.random.default_rng(seed))
    assert split.corpora is not None
    sampler = split.sampler(size, [torch.Generator().manual_seed(seed + s) for s in (0, 1)])
    k, drawn = len(sizes), []
    for _ in range(4 * k):
        places, inputs = sampler.draw()
        assert places.shape == (2, size)
        assert torch.equal(inputs["speech"][..., 0], places.float())  # type: ignore[index,call-overload]
        for stream in places:
            shares = torch.bincount(split.corpora[stream], minlength=k)
            assert shares.max() - shares.min() <= (size % k > 0)
        drawn.append(places)
    for first in range(0, 4 * k, k):  # K batches in a row have the same of each
        shares = torch.bincount(split.corpora[torch.cat(drawn[first : first + k], dim=1)[0]], minlength=k)
        assert shares.tolist() == [size] * k
    for stream in torch.cat(drawn, dim=1):
        for number, n in enumerate(sizes):
            own = stream[split.corpora[stream] == number].tolist()
            for begin in range(0, len(own), n):
                assert max(Counter(own[begin : begin + n]).values()) == 1


def test_a_stream_s_batches_do_not_depend_on_the_others() -> None:
    split = part([3, 8], np.random.default_rng(0))
    together = split.sampler(5, [torch.Generator().manual_seed(s) for s in (1, 2)])
    alone = split.sampler(5, [torch.Generator().manual_seed(2)])
    for step in range(8):
        if step == 3:
            together.keep([1])
        assert torch.equal(together.draw()[0][-1], alone.draw()[0][0])


@settings(max_examples=40)
@given(sizes=sizes, seed=st.integers(0, 99))
def test_dev_votes_of_each_corpus_have_the_same_sum(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    corpora = rng.permutation(np.repeat(np.arange(len(sizes)) * 2, sizes))  # numbers may be left out
    counts = rng.integers(1, 9, (len(corpora), 3)).astype(float)
    found = balanced(counts, corpora)
    sums = [found[corpora == number].sum() for number in np.unique(corpora)]
    assert np.allclose(sums, counts.sum() / len(sizes))
    assert np.allclose(found / found.sum(axis=1, keepdims=True), counts / counts.sum(axis=1, keepdims=True))


def test_steps_weights_and_temperature_go_by_the_same_dev_votes(both: Path) -> None:
    config = demo_config(both, "transfer.other.preset=iemocap-4", "train.variants=[soft]", "train.balance=corpus")
    plan = prepare(config, "demo,other")
    fold, corpora = plan.folds[1], plan.data.corpora
    assert corpora is not None
    context = FoldContext(plan.data, fold, Inputs(plan.data, plan.folds, "cpu"), "cpu", ignore)
    (run,) = [run for run in plan.runs if (run.fold, run.seed) == (1, 0)]
    counts = context.counts(run, "dev")
    assert np.allclose(context.votes([run], "dev").every()[0].numpy(), counts)
    assert not np.allclose(counts, plan.data.counts[fold.dev])
    assert np.allclose(counts, balanced(plan.data.counts[fold.dev], corpora[fold.dev]))
    assert np.array_equal(context.counts(run, "train"), plan.data.counts[fold.train])


def test_keys_of_runs_without_balance_stay() -> None:
    assert "balance" not in keyed(Training())
    assert keyed(Training(balance="corpus"))["balance"] == "corpus"


def test_balance_end_to_end(both: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    common = ("train", "--features", both, "--dataset", "demo,other", "--variants", "soft,prior", "--folds", "1",
              "--seeds", "0", "--set", ONE, "--set", "train.steps=40", "--runs", tmp_path,
              "--set", "transfer.other.preset=iemocap-4")  # fmt: skip
    call(*common)
    call(*common, "--set", "train.balance=corpus", "--set", "experiment=balanced")
    model = {name: tmp_path / name / "soft" / "fold1-seed0" for name in ("demo+other", "balanced")}
    config = {name: yaml.safe_load((path / "config.yaml").read_text()) for name, path in model.items()}
    assert [one["train"]["balance"] for one in config.values()] == ["none", "corpus"]
    records = {name: (path / "metrics.jsonl").read_text() for name, path in model.items()}
    assert records["balanced"] != records["demo+other"]
    rival = [(tmp_path / name / "prior" / "fold1-seed0" / "metrics.jsonl").read_text() for name in model]
    assert rival[0] == rival[1]  # no batches
    for name, path in model.items():
        stored = json.loads((path / "model" / "config.json").read_text())["temperature"]
        assert stored == pytest.approx(_temperature(both, path, weigh=name == "balanced"), rel=1e-4)
        assert stored != pytest.approx(_temperature(both, path, weigh=name != "balanced"), rel=1e-3)
    before = (model["balanced"] / "DONE").stat().st_mtime_ns
    call(*common, "--set", "train.balance=corpus", "--set", "experiment=balanced")
    assert (model["balanced"] / "DONE").stat().st_mtime_ns == before
    capfd.readouterr()
    call("evaluate", "--runs", tmp_path / "balanced", "--set", "evaluate.resamples=100", "--json")
    assert json.loads(capfd.readouterr().out)["summary"]["soft"]["bc"]["mean"] > 0


def _temperature(cache: Path, run: Path, weigh: bool) -> float:
    """Return the temperature that a run's dev predictions ask for, its corpora weighed alike or not."""
    data = prepare(demo_config(cache, "transfer.other.preset=iemocap-4"), "demo,other").data
    assert data.corpora is not None
    student = predictions.read(run / predictions.FILE).of(head="student", part="dev")
    place = {uid: row for row, uid in enumerate(data.corpus.ids)}
    rows = np.array([place[uid] for uid in student.keys["id"]])
    counts = data.counts[rows]
    return fit_temperature(balanced(counts, data.corpora[rows]) if weigh else counts, student.p)


@pytest.mark.parametrize(
    ("dataset", "more", "says"),
    [
        ("demo", (), "this experiment has one"),
        ("demo,other", ("--set", "train.stop=bc"), "train.stop bc: only nll counts"),
        ("demo,other", ("--set", "train.batch_size=1"), "batches of 1 can't have utterances of 2 corpora"),
        ("demo,other", ("--variants", "amber2-prior"), "out of fold can't be balanced"),
    ],
)
def test_what_can_t_be_balanced_is_refused(
    both: Path, tmp_path: Path, dataset: str, more: tuple[str, ...], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    labels = ("--set", "transfer.other.preset=iemocap-4") if "other" in dataset else ()
    balance = ("--set", "train.balance=corpus", "--runs", tmp_path / "runs")
    call("train", "--features", both, "--dataset", dataset, *balance, *labels, *more, code=2)
    said = capfd.readouterr().err
    assert says in said
    assert len(said.splitlines()) <= 3
    assert not (tmp_path / "runs").exists()

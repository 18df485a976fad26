"""Modality dropout: heads that read both modalities learn to answer with one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ONE, Amber
from tiny_runs import CLASSES, DEV, DIMS, KINDS, LINEAR, MIXTURE, assert_same, fitted, members, run

from amber.train.candidates import Candidate
from amber.train.head_names import HEADS
from amber.train.heads import Heads
from amber.train.saved import SavedModel
from amber.train.streams import generator, present_modalities

every_kind = pytest.mark.parametrize("candidate", KINDS.values(), ids=KINDS)


def said(candidate: Candidate, present: dict[str, torch.Tensor] | None, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return what two runs with random weights say of the dev part, (2, m, C) by head."""
    heads = Heads(HEADS, DIMS, candidate.hidden, CLASSES, [3, 4], mixture=candidate.mixture)
    of = torch.Generator().manual_seed(seed)
    for parameter in heads.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=of)
    inputs = {m: x[None] for m, x in DEV.inputs.items()}
    with torch.no_grad():
        return heads(inputs, [2], present=present)  # type: ignore[arg-type]


def only(there: str) -> dict[str, torch.Tensor]:
    """Say that all utterances of the dev part have one modality alone."""
    return {modality: torch.full((1, len(DEV)), modality == there) for modality in DIMS}


def test_a_share_loses_one_modality_and_none_loses_both() -> None:
    kept = present_modalities(0.3, 20_000, ("speech", "text"), [generator(0, 1), generator(1, 1)])
    lost = [1 - kept[m].double().mean(dim=1) for m in ("speech", "text")]
    for share in torch.stack(lost).flatten().tolist():
        assert share == pytest.approx(0.15, abs=0.01)
    assert bool((kept["speech"] | kept["text"]).all())
    assert not torch.equal(kept["speech"][0], kept["speech"][1])


@every_kind
def test_an_absent_modality_changes_no_expert_and_nothing_of_it_reaches_the_fusion(candidate: Candidate) -> None:
    rows = len(DEV)
    both = said(candidate, None)
    without = {"speech": torch.ones(1, rows, dtype=torch.bool), "text": torch.arange(rows)[None] % 2 == 0}
    found = said(candidate, without)
    for expert in ("speech", "text"):
        torch.testing.assert_close(found[expert], both[expert])
    torch.testing.assert_close(found["fusion"][:, ::2], both["fusion"][:, ::2])
    assert float((found["fusion"][:, 1::2] - both["fusion"][:, 1::2]).abs().max()) > 1e-3
    other = DEV.inputs["text"].clone()
    DEV.inputs["text"].mul_(-5)  # words that nobody hears
    try:
        torch.testing.assert_close(said(candidate, without)["fusion"][:, 1::2], found["fusion"][:, 1::2])
    finally:
        DEV.inputs["text"].copy_(other)


def test_a_mixture_without_words_is_its_expert_on_the_voice() -> None:
    heads = Heads(("fusion",), DIMS, 0, CLASSES, [3], mixture=True)
    for parameter in heads.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    x = {m: values[None] for m, values in DEV.inputs.items()}
    with torch.no_grad():
        found = heads(x, [1], present=only("speech"))["fusion"]  # type: ignore[arg-type]
        torch.testing.assert_close(found, heads.heads["fusion"].experts["speech"](x, [1]))  # type: ignore[union-attr,operator,index]


@every_kind
def test_a_run_learns_the_same_alone_and_in_company(candidate: Candidate) -> None:
    group = members(*(run(seed, modality_dropout=0.4) for seed in (0, 1, 0, 2)), candidate=candidate)
    together = fitted(*group)
    for one, found in zip(group, together, strict=True):
        assert_same(fitted(one)[0], found)
    (quiet,) = fitted(replace(group[0], run=run(0)))
    alike = quiet.records[-1]["train_loss"] == together[0].records[-1]["train_loss"]
    assert alike == bool(candidate.reads)  # one that reads one modality alone loses none


@pytest.mark.parametrize("candidate", [LINEAR, MIXTURE], ids=["linear", "mixture"])
def test_training_with_it_answers_better_with_one_modality(candidate: Candidate) -> None:
    """Votes go by both; a head that never missed one is wrong where it does."""
    nll = {}
    for rate in (0.0, 0.5):
        (one,) = fitted(*members(run(0, "soft", modality_dropout=rate, steps=200, patience=99), candidate=candidate))
        heads = Heads(("fusion",), DIMS, 0, CLASSES, [0], mixture=candidate.mixture)
        heads.load([one.state])
        x = {m: values[None] for m, values in DEV.inputs.items()}
        with torch.no_grad():
            log_p = heads(x, [1], present=only("speech"))["fusion"][0]  # type: ignore[arg-type]
        nll[rate] = -float((DEV.counts * log_p).sum() / DEV.counts.sum())
    assert nll[0.5] < nll[0.0]


def test_the_student_answers_with_one_modality(amber: Amber, demo_cache: Path, tmp_path: Path) -> None:
    values = ("modality_dropout=0", "modality_dropout=0.3")
    amber("-q", "train", "--features", demo_cache, "--runs", tmp_path, "--variants", "amber2,soft,speech",
         "--seeds", "0", "--folds", "1", "--set", ONE, "--set", "train.epochs=2",
         "--set", "grid={train.modality_dropout: [0, 0.3]}")  # fmt: skip
    demo = tmp_path / "demo"
    names = {path.name for path in demo.iterdir() if path.is_dir()}
    assert names == {"speech", *(f"{v},{value}" for v in ("amber2", "soft") for value in values)}
    plain, dropped = (SavedModel.read(demo / f"amber2,{value}" / "fold1-seed0" / "model") for value in values)
    speech = np.random.default_rng(0).normal(size=(3, 1, plain.specs["speech"].dim)).astype(np.float32)
    assert set(plain.predict({"speech": speech})) == {"speech"}
    found = dropped.predict({"speech": speech})
    assert set(found) == {"speech", "student"}
    np.testing.assert_allclose(found["student"].sum(axis=1), 1)
    never, learned = (demo / f"soft,{value}" / "fold1-seed0" for value in values)
    assert "there is text to read" in amber("predict", "--model", never, "--text", "well", code=2).stderr
    done = amber("predict", "--model", learned, "--text", "well")
    assert '"modalities": ["text"]' in done.stdout
    assert "1 utterances: 1 have text" in done.stderr


def test_a_candidate_that_reads_what_is_missing_has_no_say(amber: Amber, demo_cache: Path, tmp_path: Path) -> None:
    two = "train.candidates=[{layer: last, weight_decay: 0.01}, {layer: last, weight_decay: 0.01, reads: text}]"
    amber("-q", "train", "--features", demo_cache, "--runs", tmp_path, "--variants", "soft", "--seeds", "0", "--folds",
         "1", "--set", two, "--set", "train.epochs=2", "--set", "train.modality_dropout=0.3")  # fmt: skip
    model = SavedModel.read(tmp_path / "demo" / "soft" / "fold1-seed0" / "model")
    both, words = model.candidates
    assert (both.reads, words.reads) == (None, "text")
    assert min(both.weights["student"], words.weights["student"]) > 0
    total = both.weights["student"] + words.weights["student"]
    alone = replace(model, candidates=(replace(both, weights={"student": total}),))
    speech = np.random.default_rng(0).normal(size=(3, 1, model.specs["speech"].dim)).astype(np.float32)
    given = {"speech": speech}
    np.testing.assert_allclose(model.predict(given)["student"], alone.predict(given)["student"])

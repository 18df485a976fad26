"""Training on frames: pooling that padding can't change, and one stream that gives every run the same batches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ONE, Amber
from safetensors.torch import load_file
from tiny_models import save
from torch.nn.utils.rnn import pad_sequence

from amber import predictions
from amber.config import Config
from amber.config_file import load
from amber.console import Console
from amber.errors import UserError
from amber.extract import stage as extraction
from amber.features.store import feature_sets
from amber.train import frames as frames_module
from amber.train import stage
from amber.train.attention import AttentivePooling, Padded
from amber.train.context import candidates_of
from amber.train.fit import fit
from amber.train.frames import FrameReader, FramesSplit
from amber.train.group_heads import predict
from amber.train.inputs import Inputs, split
from amber.train.member import Member, TrainedMember
from amber.train.streams import generator

QUIET = Console(quiet=True)
ROWS = 200  # utterances: four units, the last of them not full
CLASSES = ("joy", "calm", "anger")


def pooling(runs: int, dim: int = 5, dtype: torch.dtype = torch.float64) -> AttentivePooling:
    return AttentivePooling(dim, [generator(seed, 10) for seed in range(runs)], attention=4).to(dtype)


def items(lengths: tuple[int, ...], dim: int = 5) -> list[torch.Tensor]:
    random_ = torch.Generator().manual_seed(0)
    return [torch.randn(length, dim, generator=random_, dtype=torch.float64) for length in lengths]


def padded(of: list[torch.Tensor], longer: int = 0, value: float = 0.0) -> Padded:
    frames = pad_sequence([*of, torch.zeros(max(map(len, of)) + longer, of[0].shape[1]).to(of[0])], True, value)[:-1]
    return Padded(frames, torch.arange(frames.shape[1]) < torch.tensor([len(x) for x in of])[:, None])


def test_pooling_is_what_a_plain_loop_computes() -> None:
    module, of = pooling(3), items((7, 1, 4))
    found = module(padded(of))
    assert found.shape == (3, 3, 10)
    for run in range(3):
        for i, x in enumerate(of):
            scores = [
                torch.tanh(module.weight[run] @ frame + module.bias[run, :, 0]) @ module.score[run, 0] for frame in x
            ]
            weights = torch.stack(scores).exp()
            weights = weights / weights.sum()
            mean = sum(w * frame for w, frame in zip(weights, x, strict=True))
            variance = sum(w * (frame - mean) ** 2 for w, frame in zip(weights, x, strict=True))
            expected = torch.cat([mean, variance.clamp_min(1e-4).sqrt()])
            torch.testing.assert_close(found[run, i], expected, atol=1e-9, rtol=1e-9)


def test_padding_and_company_change_nothing() -> None:
    module, of = pooling(2), items((7, 1, 4))
    together = module(padded(of, longer=9, value=1e6))
    for i, x in enumerate(of):
        torch.testing.assert_close(together[:, i], module(padded([x]))[:, 0], atol=1e-12, rtol=0)
    # Nor does what stands in the padding have a gradient.
    x = padded(of, longer=2)
    x.frames.requires_grad_()
    module(x).sum().backward()
    assert x.frames.grad is not None
    assert not x.frames.grad[~x.mask].any()
    assert x.frames.grad[x.mask].any()


def test_gradients_of_pooling() -> None:
    module, x = pooling(2, dim=3), padded(items((4, 2), dim=3))
    start = [p.detach().clone().requires_grad_() for p in module.parameters()]
    names = [name for name, _ in module.named_parameters()]

    def call(*parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, start)


def test_a_run_s_pooling_starts_from_its_own_seed() -> None:
    both, one = pooling(2), AttentivePooling(5, [generator(1, 10)], attention=4).double()
    for name, value in one.named_parameters():
        torch.testing.assert_close(value[0], dict(both.named_parameters())[name][1])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of short recordings whose loudness, noise and words go with their votes, and two tiny models."""
    folder = tmp_path_factory.mktemp("corpus")
    random_ = np.random.default_rng(0)
    words = {"joy": "fine fine !", "calm": "here .", "anger": "get out of here !"}
    rows = ["id,audio,text,speaker," + ",".join(f"vote_{name}" for name in CLASSES)]
    for i in range(ROWS):
        of = int(random_.integers(3))
        samples = 4000 + 400 * int(random_.integers(20))
        time = np.arange(samples) / 16_000
        wave = 0.3 * np.sin(2 * np.pi * (200, 800, 2000)[of] * time) + random_.normal(0, 0.02, samples)
        soundfile.write(folder / f"u{i:03}.wav", wave, 16_000)
        votes = np.bincount([of, of, random_.integers(3)], minlength=3)
        rows.append(f"u{i:03},u{i:03}.wav,{words[CLASSES[of]]},s{i % 7}," + ",".join(map(str, votes)))
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    for name in ("wav2vec2-group", "bert"):
        save(name, folder / name)
    return folder


@pytest.fixture(scope="module")
def cache(amber: Amber, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both modalities as frames, and pooled as well."""
    folder = tmp_path_factory.mktemp("cache")
    speech, text = corpus / "wav2vec2-group", corpus / "bert"
    amber("extract", "--dataset", "table", "--root", corpus, "--speech", speech, "--text", text, "--layers", "1,2",
          "--features", folder, "--level", "frames")  # fmt: skip
    of = [f"corpus.root={corpus}", f"features.speech={speech}", f"features.text={text}", f"features.cache={folder}"]
    extraction.run(load(None, ["corpus.dataset=table", 'features.layers="1,2"', *of]), QUIET)
    return folder


def config(cache: Path, runs: Path, *overrides: str) -> Config:
    quick = ["train.epochs=4", "train.every=10", ONE, "train.seeds=[0, 1]", "train.lr=0.01", "labels.subset=any"]
    few = ["train.variants=[amber2]", "train.folds=[1]", "train.batch_size=32", "features.level=frames"]
    return load(None, [*quick, *few, f"features.cache={cache}", f"train.runs={runs}", *overrides])


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_from_the_command_line(amber: Amber, cache: Path, tmp_path: Path) -> None:
    said = amber("train", "--features", cache, "--runs", tmp_path, "--variants", "soft,amber2,prior", "--seeds", "0,1",
                 "--set", "features.level=frames", "--set", "labels.subset=any", "--set", "train.epochs=12",
                 "--set", "train.lr=0.01", "--set", ONE, "--folds", "1,2")  # fmt: skip
    assert "frames, in memory" in said.stderr
    folder = tmp_path / "table" / "amber2" / "fold1-seed0"
    model = json.loads((folder / "model" / "config.json").read_text())
    assert model["pooling"] == {"speech": "attentive-statistics", "text": "attentive-statistics"}
    assert {spec["level"] for spec in model["features"].values()} == {"frames"}
    state = load_file(folder / "model" / "heads.safetensors")
    assert state["1.pool.speech.weight"].shape == (32, 64)
    assert state["1.heads.speech.weight1.speech"].shape == (64, 16)
    result = json.loads(amber("evaluate", "--runs", tmp_path / "table", "--json").stdout)
    bc = {variant: figures["bc"]["mean"] for variant, figures in result["summary"].items()}
    assert bc["soft"] > bc["prior"] + 0.05
    assert bc["amber2"] > bc["prior"] + 0.05


def test_streamed_and_in_memory_are_the_same(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "BLOCK_UNITS", 2)  # of four units
    held = stage.run(config(cache, tmp_path / "held"), None, QUIET)
    streamed = stage.run(config(cache, tmp_path / "streamed", "train.memory=0.0001"), None, QUIET)
    assert (held.tight, streamed.tight) == (False, True)
    assert any("read again every epoch" in line for line in stage.describe(streamed))
    for run in held.runs:
        one, other = (experiment.folder / run.path for experiment in (held, streamed))
        assert lines(one) == lines(other)
        assert (one / predictions.FILE).read_bytes() == (other / predictions.FILE).read_bytes()


def parts(experiment: stage.TrainingPlan, keep: bool = True) -> dict[str, FramesSplit]:
    data, fold = experiment.data, experiment.folds[1]
    inputs, _ = Inputs(data, experiment.folds, "cpu", keep).of(1, (("speech", "last"), ("text", "last")))
    made = {name: split(inputs, data.counts, rows, "cpu", 1) for name, rows in fold.parts().items()}
    assert all(isinstance(p, FramesSplit) for p in made.values())
    return made  # type: ignore[return-value]


@pytest.mark.parametrize("keep", [True, False])
def test_reading_all_frames_reports_progress_and_can_be_stopped(cache: Path, tmp_path: Path, keep: bool) -> None:
    experiment = stage.prepare(config(cache, tmp_path), None)
    inputs = Inputs(experiment.data, experiment.folds, "cpu", keep)
    notes: list[str] = []

    def note_down(n: int = 1, note: str = "") -> None:
        notes.append(note)

    def stop(n: int = 1, note: str = "") -> None:
        notes.append(note)
        if len(notes) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inputs.of(1, (("speech", "last"),), stop)
    assert len(notes) == 2
    notes.clear()
    inputs.of(1, (("speech", "last"),), note_down)
    assert ("reading speech frames, unit 1 of 4" in notes) == keep
    assert notes[-1].startswith("scaling speech frames, unit ")
    last, whole = notes[-1].rsplit(" of ", 1)
    assert last.endswith(f" {whole}")


def test_a_run_learns_the_same_alone_and_in_company(cache: Path, tmp_path: Path) -> None:
    experiment = stage.prepare(config(cache, tmp_path, "train.seeds=[0, 1, 2]", "train.patience=2"), None)
    of = parts(experiment)

    (candidate,) = candidates_of(experiment.runs[0], experiment.data)

    def members(*seeds: int) -> list[Member]:
        return [Member(run, candidate) for run in experiment.runs if run.seed in seeds]

    def fitted(*seeds: int) -> list[TrainedMember]:
        return fit(members(*seeds), of["train"], of["dev"], lambda: None)

    together = fitted(0, 1, 2)
    for seed, one in enumerate(together):
        (alone,) = fitted(seed)
        assert alone.best == one.best
        assert [e["dev_bc"] for e in alone.records] == pytest.approx([e["dev_bc"] for e in one.records], abs=1e-3)
    assert together[0].records != together[1].records
    # What predicts is the pooling that was learned, and places are kept.
    p = predict(members(0, 1, 2), together, of["dev"])["fusion"][0].exp()
    y = of["dev"].counts / of["dev"].counts.sum(dim=1, keepdim=True)
    bc = float((p * y).sqrt().sum(dim=1).mean())
    assert bc == pytest.approx(together[0].records[together[0].best - 1]["dev_bc"], abs=1e-5)


def test_batches_are_every_utterance_once_with_its_own_frames(cache: Path, tmp_path: Path) -> None:
    experiment = stage.prepare(config(cache, tmp_path), None)
    train = parts(experiment, keep=False)["train"]
    (store,) = [s for s in feature_sets(cache, "table") if (s.spec.modality, s.spec.level) == ("speech", "frames")]
    raw = [frames for number in range(store.spec.units) for frames in store.read_unit(number).split()]
    fold = experiment.folds[1]
    scaling = train.frames["speech"].scaling
    every = np.concatenate([raw[experiment.data.rows["speech"][row]][:, -1] for row in fold.train]).astype(np.float64)
    np.testing.assert_allclose(scaling.mean, every.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(scaling.std, every.std(axis=0), rtol=1e-4)

    assert train.stream(3) == train.stream(7)  # one for all runs

    def epochs() -> list[list[int]]:
        """Return the places in the order in which they come, twice through the part."""
        sampler = train.sampler(32, [torch.Generator()])
        seen: list[int] = []
        while len(seen) < 2 * len(train):
            places, batch = sampler.draw()
            assert places.shape[0] == 1
            assert 16 <= places.shape[1] <= 32
            x = batch["speech"]
            assert isinstance(x, Padded)
            for place, frames, mask in zip(places[0].tolist(), x.frames, x.mask, strict=True):
                own = raw[experiment.data.rows["speech"][fold.train[place]]][:, -1]
                assert torch.equal(frames[mask], scaling.apply(own))
                assert not frames[~mask].any()
            seen += places[0].tolist()
        return [seen[: len(train)], seen[len(train) :]]

    first, second = epochs()
    assert sorted(first) == sorted(second) == list(range(len(train)))
    assert [first, second] == epochs()
    assert first != second


def test_scoring_keeps_the_order_that_it_is_asked_for(cache: Path, tmp_path: Path) -> None:
    train = parts(stage.prepare(config(cache, tmp_path), None))["train"]
    order = np.random.default_rng(0).permutation(len(train))
    mixed = replace(
        train,
        pooled=replace(train.pooled, rows=train.rows[order]),
        units=train.units[order],
        places=train.places[order],
    )

    def lengths(of: FramesSplit) -> list[int]:
        return [int(n) for batch in of.in_order(512) for n in batch["text"].mask.sum(dim=1)]  # type: ignore[union-attr]

    assert lengths(mixed) == [lengths(train)[place] for place in order]


def test_one_modality_of_frames_and_the_other_pooled(cache: Path, tmp_path: Path) -> None:
    name = next(
        s.location.name for s in feature_sets(cache, "table") if (s.spec.modality, s.spec.level) == ("text", "pooled")
    )
    experiment = stage.run(config(cache, tmp_path, f"features.text={name}"), None, QUIET)
    assert {m: s.spec.level for m, s in experiment.data.stores.items()} == {"speech": "frames", "text": "pooled"}
    state = load_file(experiment.folder / experiment.runs[0].path / "model" / "heads.safetensors")
    assert state["1.heads.fusion.weight1.speech"].shape == (64, 16)
    assert state["1.heads.fusion.weight1.text"].shape == (32, 16)


def test_pooled_is_what_is_chosen_where_nothing_is_said(cache: Path, tmp_path: Path) -> None:
    experiment = stage.prepare(config(cache, tmp_path, "features.level=pooled"), None)
    assert {s.spec.level for s in experiment.data.stores.values()} == {"pooled"}


def test_the_mean_of_layers_and_one_by_number(cache: Path, tmp_path: Path) -> None:
    data = stage.prepare(config(cache, tmp_path), None).data
    store, rows = data.stores["speech"], data.rows["speech"]
    readers = [FrameReader(store, rows, layers, keep=False) for layers in ([0], [1], [0, 1])]
    first, second, mean = (next(reader.read([0]))[3].astype(np.float32) for reader in readers)
    np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["train.layer=learned"], "no layers are learned"),
        (["train.layer=7"], "layer 7: .* holds the layers 1, 2; or say"),
        (["train.variants=[logistic]"], "variant logistic: logistic reads pooled features"),
        (["train.variants=[svm]"], "variant svm: svm reads pooled features"),
        (["train.variants=[mlp]"], "variant mlp: mlp reads pooled features"),
        (["train.variants=[ridge]"], "variant ridge: ridge reads pooled features"),
    ],
)
def test_what_frames_are_refused(cache: Path, tmp_path: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        stage.prepare(config(cache, tmp_path, *overrides), None)

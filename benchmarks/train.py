"""Training through `amber train` against loops that people write: `python benchmarks/train.py [--part iemocap|msp]`.

Features are synthetic and have signal (`benchmarks/corpora.py`), so that runs end where real ones would.

`iemocap`: 5,531 utterances x (768 + 768), 4 classes, 10 speakers, 5 folds, 3 seeds of ce, soft, amber2 and amber2-js:
60 runs. At equal steps, those of `--epochs` passes in batches of 64, `amber train` is timed from start to finish, files
included, before and after the loops in memory; the mean of the two counts. Its rivals are timed in training alone, with
the score on dev every `EVERY` steps, and the best state kept: the same model and objective in plain PyTorch, one run
after another, from tensors in memory with the plain and with the fused AdamW; and from a `Dataset` that reads one
`.npy` per utterance and modality through a `DataLoader`. The rivals are timed on `--rivals` seeds of fold 1 (one: 4
runs) and multiplied: all runs are of one size. Then the 60 runs train with all defaults, each to its own best step: at
most 180 s.

`msp`: 264,705 utterances, 13 layers x 768 of speech and of text in float16, 8 classes, the official split; one `amber2`
run with all defaults, to its best step, reading from disk included: at most 300 s and 4 GB. And the same of fewer
layers (`--layers`). It takes 21 GB of disk for a while, in `--folder`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch
from corpora import Settings, bring_in, make
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, one_hot

VARIANTS = ("ce", "soft", "amber2", "amber2-js")
DIM, HIDDEN, SEEDS, BATCH, EVERY = 768, 256, 3, 64, 50
IEMOCAP = Settings(size=5531, layers=1, dim=DIM)
MSP = Settings(size=264_705, classes=8, speakers=3000, fewest=5, most=9, dim=DIM)
EQUAL = (  # the plain loop's model and steps
    f"train.candidates=[{{layer: last, hidden: {HIDDEN}, dropout: 0.3, weight_decay: 0.01}}]",
    f"train.batch_size={BATCH}",
    f"train.every={EVERY}",
    "train.patience=100000",
)


def train(cache: Path, *arguments: str) -> tuple[float, float]:
    """Run `amber train`; return the seconds that it took, and its peak memory in GB."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "amber.cli", "-q", "train", "--features", str(cache), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e9


def steps(runs: Path) -> list[int]:
    """Return the last step of every finished run."""
    logs = [done.with_name("metrics.jsonl") for done in runs.glob("*/*/*/DONE")]
    return [max(json.loads(line).get("step", 0) for line in log.read_text().splitlines()) for log in logs]


class Head(nn.Sequential):
    """One head."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(
            nn.LayerNorm(inputs, elementwise_affine=False),
            nn.Linear(inputs, HIDDEN),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(HIDDEN, classes),
        )


class Plain(nn.Module):
    """The heads of one run as anyone would write them."""

    def __init__(self, variant: str, classes: int) -> None:
        super().__init__()
        self.guided = variant.startswith("amber2")
        self.fusion = Head(2 * DIM, classes)
        if self.guided:
            self.speech, self.text = Head(DIM, classes), Head(DIM, classes)

    def forward(self, speech: Tensor, text: Tensor) -> list[Tensor]:
        """Return log-probabilities (B, C), the student's first."""
        out = [self.fusion(torch.cat([speech, text], dim=1))]
        if self.guided:
            out += [self.speech(speech), self.text(text)]
        return [log_softmax(logits, dim=1) for logits in out]


def kl(target: Tensor, log_q: Tensor) -> Tensor:
    return kl_div(log_q, target, reduction="none").sum(dim=1)


def js(target: Tensor, log_q: Tensor) -> Tensor:
    q = log_q.exp()
    log_m = ((target + q) / 2).log()
    return (kl(target, log_m) + kl(q, log_m)) / 2


def objective(log_p: list[Tensor], y: Tensor, distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    student, *experts = log_p
    total = distance(y, student)
    if experts:
        with torch.no_grad():
            weights = torch.softmax(torch.stack([-distance(y, p) for p in experts]) / 0.5, dim=0)
        for weight, p in zip(weights, experts, strict=True):
            total = total + 0.5 * weight * distance(p.detach().exp(), student) + distance(y, p) / len(experts)
    return total.mean()


Batches = Callable[[str, bool], Iterable[tuple[Tensor, Tensor, Tensor]]]


def plain_run(variant: str, seed: int, batches: Batches, classes: int, epochs: int, fused: bool) -> None:
    """Train one run and keep its best state by the likelihood of dev, which is looked at every `EVERY` steps."""
    torch.manual_seed(seed)
    model, best, lowest, step = Plain(variant, classes), {}, float("inf"), 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2, fused=fused)
    distance = js if variant == "amber2-js" else kl
    for _ in range(epochs):
        for speech, text, y in batches("train", True):
            target = one_hot(y.argmax(dim=1), classes).float() if variant == "ce" else y
            optimizer.zero_grad()
            objective(model(speech, text), target, distance).backward()
            optimizer.step()
            step += 1
            if step % EVERY == 0:
                model.eval()
                with torch.no_grad():
                    score = sum(float(kl(y, model(speech, text)[0]).sum()) for speech, text, y in batches("dev", False))
                model.train()
                if score < lowest:
                    lowest, best = score, {name: value.clone() for name, value in model.state_dict().items()}
    assert best  # noqa: S101


def in_memory(inputs: dict[str, tuple[Tensor, Tensor, Tensor]]) -> Batches:
    def batches(part: str, shuffled: bool) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        speech, text, y = inputs[part]
        order = torch.randperm(len(y)) if shuffled else torch.arange(len(y))
        for rows in order.split(BATCH if shuffled else 2048):
            yield speech[rows], text[rows], y[rows]

    return batches


class Files(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """One `.npy` per utterance and modality."""

    def __init__(self, folder: Path, parts: tuple[Tensor, Tensor, Tensor]) -> None:
        self.folder, self.y = folder, parts[2]
        folder.mkdir(parents=True)
        for modality, x in zip(("speech", "text"), parts[:2], strict=True):
            for i, row in enumerate(x.numpy()):
                np.save(folder / f"{modality}-{i}.npy", row)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        speech, text = (torch.from_numpy(np.load(self.folder / f"{m}-{i}.npy")) for m in ("speech", "text"))
        return speech, text, self.y[i]


def from_files(folder: Path, inputs: dict[str, tuple[Tensor, Tensor, Tensor]], workers: int) -> Batches:
    loaders = {
        part: torch.utils.data.DataLoader(
            Files(folder / part, tensors), batch_size=BATCH, shuffle=part == "train", num_workers=workers
        )
        for part, tensors in inputs.items()
    }
    return lambda part, _shuffled: loaders[part]


def gemm_flops() -> float:
    """Return the floating-point operations a second of a large float32 matrix product."""
    a, b = torch.randn(3072, 3072), torch.randn(3072, 3072)
    a @ b
    started = time.perf_counter()
    for _ in range(5):
        a @ b
    return 5 * 2 * 3072**3 / (time.perf_counter() - started)


def run_flops(variant: str, classes: int, train_rows: int, dev_rows: int, epochs: int) -> float:
    """Return the operations of one run's matrix products: forward and weight gradient, and forward on dev."""
    heads = [2 * DIM, DIM, DIM] if variant.startswith("amber2") else [2 * DIM]
    weights = sum(HIDDEN * (inputs + classes) for inputs in heads)
    looks = epochs * train_rows / BATCH / EVERY
    return 2 * weights * (2 * epochs * train_rows + looks * dev_rows)


def iemocap(epochs: int, rivals: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        utterances = make(folder, IEMOCAP, seed=0)
        cache = bring_in(folder, "bench")
        with h5py.File(folder / "features.h5") as file:
            speech, text = (torch.from_numpy(file[m][:, 0]).float() for m in ("speech", "text"))
        y = torch.from_numpy(utterances.votes / utterances.votes.sum(axis=1, keepdims=True)).float()
        parts = {"train": np.flatnonzero(utterances.fold > 2), "dev": np.flatnonzero(utterances.fold == 2)}
        inputs = {part: (speech[rows], text[rows], y[rows]) for part, rows in parts.items()}
        equal_steps(folder, cache, inputs, epochs, rivals)
        to_their_best(folder, cache)


def all_runs(runs: Path) -> tuple[str, ...]:
    seeds = ",".join(map(str, range(SEEDS)))
    return ("--runs", str(runs), "--variants", ",".join(VARIANTS), "--seeds", seeds, "--set", "splits.scheme=column")


def equal_steps(
    folder: Path, cache: Path, inputs: dict[str, tuple[Tensor, Tensor, Tensor]], epochs: int, rivals: int
) -> None:
    overrides = [part for value in (*EQUAL, f"train.epochs={epochs}") for part in ("--set", value)]
    before, _ = train(cache, *all_runs(folder / "equal"), *overrides)
    taken = steps(folder / "equal")
    runs, (train_rows, dev_rows) = len(taken), (len(inputs[part][2]) for part in ("train", "dev"))

    def loops(batches: Batches, seeds: int, epochs: int, fused: bool = False) -> float:
        """Return the seconds that all runs would take."""
        started = time.perf_counter()
        for variant in VARIANTS:
            for seed in range(seeds):
                plain_run(variant, seed, batches, IEMOCAP.classes, epochs, fused)
        return (time.perf_counter() - started) * runs / (len(VARIANTS) * seeds)

    memory = in_memory(inputs)
    plain, fused = loops(memory, rivals, epochs), loops(memory, rivals, epochs, fused=True)
    after, _ = train(cache, *all_runs(folder / "again"), *overrides)
    ours = (before + after) / 2  # the machine's speed may have changed meanwhile
    # Reading files makes every epoch alike: two of them are enough.
    files = {
        workers: loops(from_files(folder / f"npy{workers}", inputs, workers), 1, 2) * epochs / 2 for workers in (0, 2)
    }
    flops = sum(run_flops(v, IEMOCAP.classes, train_rows, dev_rows, epochs) for v in VARIANTS) * runs / len(VARIANTS)
    print(f"{runs} runs of {epochs} epochs, {IEMOCAP.size} x ({DIM} + {DIM}), batch {BATCH}, dev every {EVERY} steps")
    print(f"last look of amber train at step {min(taken)} to {max(taken)} of {epochs * -(-train_rows // BATCH)}")
    print(f"{torch.get_num_threads()} threads; amber train, start to finish: {before:.1f} and {after:.1f} s")
    for what, seconds in (
        ("plain loop in memory, AdamW", plain),
        ("plain loop in memory, fused AdamW", fused),
        ("a .npy per utterance, DataLoader, 0 workers", files[0]),
        ("a .npy per utterance, DataLoader, 2 workers", files[2]),
    ):
        print(f"{what}: {seconds:.1f} s, {seconds / ours:.2f} times amber's")
    peak = gemm_flops()
    share = flops / ours / peak
    print(
        f"achieved {flops / ours / 1e9:.0f} GFLOP/s of the machine's {peak / 1e9:.0f} (GEMM): {share:.2f}", flush=True
    )


def to_their_best(folder: Path, cache: Path) -> None:
    seconds, _ = train(cache, *all_runs(folder / "best"))
    taken = steps(folder / "best")
    print(f"{len(taken)} runs with all defaults, to their best step: {seconds:.1f} s (at most 180)")
    print(f"last steps: {min(taken)} to {max(taken)}, median {np.median(taken):.0f}", flush=True)


def msp(size: int, layers: list[int], folder: Path | None) -> None:
    print(f"{size} utterances, {DIM} + {DIM} a layer, {MSP.classes} classes, one amber2 run with all defaults")
    rows = []
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    for number in layers:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            place = Path(name)
            written = 2 * size * number * DIM * 2  # bytes
            free = shutil.disk_usage(place).free
            print(f"{number} layers: {2 * written / 1e9:.1f} GB of disk needed, {free / 1e9:.1f} GB free", flush=True)
            if free < 2.1 * written:
                sys.exit("not enough disk: choose another --folder, a smaller --size or fewer --layers")
            started = time.perf_counter()
            cache = cached(place, replace(MSP, size=size, layers=number))
            print(f"written and imported in {time.perf_counter() - started:.0f} s", flush=True)
            forget(cache)
            options = ("--variants", "amber2", "--seeds", "0", "--set", "splits.scheme=official")
            seconds, peak = train(cache, "--runs", str(place / "runs"), *options)
            rows.append((number, seconds, peak, steps(place / "runs")[0]))
    print("layers  seconds  peak GB  last step   (at most 300 s and 4 GB)")
    for number, seconds, peak, step in rows:
        print(f"{number:6}  {seconds:7.0f}  {peak:7.2f}  {step:9}")


def cached(folder: Path, settings: Settings) -> Path:
    """Return a cache with a corpus that another process writes: see `main`."""
    size = [f"--{name}={getattr(settings, name)}" for name in vars(settings)]
    corpora = Path(__file__).with_name("corpora.py")
    subprocess.run([sys.executable, str(corpora), "--out", str(folder), *size], check=True)
    cache = bring_in(folder, "bench")
    (folder / "features.h5").unlink()
    return cache


def forget(folder: Path) -> None:
    """Drop files from the system's memory, so that they are read from disk."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["iemocap", "msp"], default="iemocap")
    parser.add_argument("--epochs", type=int, default=10, help="of the runs of equal steps")
    parser.add_argument("--rivals", type=int, default=1, help="seeds that the in-memory loops are timed on")
    parser.add_argument("--size", type=int, default=MSP.size, help="utterances of the MSP-Podcast part")
    parser.add_argument("--layers", default="1,4,13", help="of the MSP-Podcast part")
    parser.add_argument("--folder", type=Path, help="for temporary files of the MSP-Podcast part")
    options = parser.parse_args()
    if options.part == "msp":  # it takes minutes and 22 GB of disk: only when asked for
        msp(options.size, [int(number) for number in options.layers.split(",")], options.folder)
    else:
        iemocap(options.epochs, options.rivals)


if __name__ == "__main__":
    main()

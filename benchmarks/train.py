"""Training through `amber train` against loops that people write: `python benchmarks/train.py [--part iemocap|msp]`.

`iemocap`: 5,531 utterances x (768 + 768), 4 classes, 5 folds, batch 64, 3 seeds of ce, soft, amber2 and amber2-js: 60
runs of a fixed number of epochs. `amber train` is timed from start to finish, files included. Its rivals are timed in
training alone (with the score on dev after each epoch, and the best state kept): the same model and objective in plain
PyTorch, one run after another, from tensors in memory with the plain and with the fused AdamW; and from a `Dataset`
that reads one `.npy` an utterance and modality through a `DataLoader`. The rivals are timed on `--rivals` seeds of fold
1 (one: 4 runs) and multiplied: all runs are of one size.

`msp`: 264,705 utterances, float16, 8 classes, the official split; one `amber2` run of 10 epochs, its time and memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, one_hot

VARIANTS = ("ce", "soft", "amber2", "amber2-js")
DIM, HIDDEN, FOLDS, SEEDS, BATCH = 768, 256, 5, 3, 64


def write(folder: Path, size: int, classes: int, splits: Iterable[str]) -> None:
    """Write a table with votes and random features in float16."""
    rng = np.random.default_rng(0)
    votes = rng.multinomial(5, np.full(classes, 1 / classes), size=size)
    header = ["id", "speaker", "fold", *(f"vote_c{c}" for c in range(classes))]
    rows = [[f"u{i}", f"s{split}", split, *v] for i, (split, v) in enumerate(zip(splits, votes, strict=True))]
    (folder / "table.csv").write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    with h5py.File(folder / "features.h5", "w") as file:
        for name in ("speech", "text"):
            array = file.create_dataset(name, (size, DIM), dtype="float16")
            for start in range(0, size, 8192):
                n = min(8192, size - start)
                array[start : start + n] = rng.standard_normal((n, DIM), dtype=np.float32)


def amber(*arguments: object) -> float:
    """Run the command line; return the seconds it took."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "amber.cli", "-q", *map(str, arguments)], check=True)
    return time.perf_counter() - started


def bring_in(folder: Path) -> None:
    h5 = folder / "features.h5"
    amber("cache", "import", "--dataset", "bench", "--table", folder / "table.csv", "--features", folder / "cache",
          "--speech", f"{h5}:/speech", "--text", f"{h5}:/text")  # fmt: skip


def train(folder: Path, epochs: int, *arguments: str) -> float:
    fixed = [f"train.epochs={epochs}", f"train.patience={epochs}", "splits.scheme=column"]
    overrides = [part for value in fixed for part in ("--set", value)]
    return amber("train", "--features", folder / "cache", "--runs", folder / "runs", *overrides, *arguments)


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
    """Train one run and keep its best state by the likelihood of dev."""
    torch.manual_seed(seed)
    model, best, lowest = Plain(variant, classes), {}, float("inf")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2, fused=fused)
    distance = js if variant == "amber2-js" else kl
    for _ in range(epochs):
        model.train()
        for speech, text, y in batches("train", True):
            target = one_hot(y.argmax(dim=1), classes).float() if variant == "ce" else y
            optimizer.zero_grad()
            objective(model(speech, text), target, distance).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            score = sum(float(kl(y, model(speech, text)[0]).sum()) for speech, text, y in batches("dev", False))
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
    """One `.npy` an utterance and modality."""

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
    return 2 * weights * epochs * (2 * train_rows + dev_rows)


def iemocap(epochs: int, rivals: int) -> None:
    size, classes = 5531, 4
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, size, classes, [str(i % FOLDS + 1) for i in range(size)])
        bring_in(folder)
        seeds = ",".join(map(str, range(SEEDS)))
        ours = train(
            folder, epochs, "--variants", ",".join(VARIANTS), "--seeds", seeds, "--set", f"train.batch_size={BATCH}"
        )
        assert len(list((folder / "runs").glob("*/*/*/DONE"))) == len(VARIANTS) * FOLDS * SEEDS  # noqa: S101
        with h5py.File(folder / "features.h5") as file:
            x = [torch.from_numpy(file[m][:]).float() for m in ("speech", "text")]
        y = torch.from_numpy(np.random.default_rng(0).multinomial(5, np.full(classes, 1 / classes), size=size) / 5)
        fold = torch.arange(size) % FOLDS
        rows = {"train": (fold > 1).nonzero()[:, 0], "dev": (fold == 1).nonzero()[:, 0]}
        inputs = {part: (x[0][r], x[1][r], y[r].float()) for part, r in rows.items()}
        times = len(VARIANTS) * FOLDS * SEEDS / (len(VARIANTS) * rivals)

        def loops(batches: Batches, seeds: int, epochs: int, fused: bool = False) -> float:
            started = time.perf_counter()
            for variant in VARIANTS:
                for seed in range(seeds):
                    plain_run(variant, seed, batches, classes, epochs, fused)
            return time.perf_counter() - started

        memory = in_memory(inputs)
        plain = loops(memory, rivals, epochs) * times
        fused = loops(memory, rivals, epochs, fused=True) * times
        # Reading files makes every epoch alike: two of them are enough.
        files = {
            workers: loops(from_files(folder / f"npy{workers}", inputs, workers), 1, 2) * FOLDS * SEEDS * epochs / 2
            for workers in (0, 2)
        }
    runs = len(VARIANTS) * FOLDS * SEEDS
    flops = sum(run_flops(v, classes, len(rows["train"]), len(rows["dev"]), epochs) for v in VARIANTS) * FOLDS * SEEDS
    print(f"{runs} runs of {epochs} epochs, {size} x ({DIM} + {DIM}), batch {BATCH}, {torch.get_num_threads()} threads")
    print(f"amber train, start to finish: {ours:.1f} s")
    for what, seconds in (
        ("plain loop in memory, AdamW", plain),
        ("plain loop in memory, fused AdamW", fused),
        ("a .npy an utterance, DataLoader, 0 workers", files[0]),
        ("a .npy an utterance, DataLoader, 2 workers", files[2]),
    ):
        print(f"{what}: {seconds:.1f} s, {seconds / ours:.2f} times amber's")
    peak = gemm_flops()
    print(
        f"achieved {flops / ours / 1e9:.0f} GFLOP/s of the machine's {peak / 1e9:.0f} (GEMM): {flops / ours / peak:.2f}"
    )


def msp(epochs: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The shares of MSP-Podcast's Train, Development and Test1.
        parts = np.random.default_rng(1).choice(["train", "dev", "test"], p=[0.64, 0.13, 0.23], size=size)
        write(folder, size, 8, parts)
        bring_in(folder)
        (folder / "features.h5").unlink()
        seconds = train(folder, epochs, "--variants", "amber2", "--seeds", "0")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{size} x ({DIM} + {DIM}) float16, 8 classes, one amber2 run of {epochs} epochs: {seconds:.0f} s")
    print(f"largest peak of memory of the import and the training: {peak:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["iemocap", "msp"])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rivals", type=int, default=1, help="seeds that the in-memory loops are timed on")
    parser.add_argument("--size", type=int, default=264_705, help="of the MSP-Podcast part")
    options = parser.parse_args()
    if options.part in (None, "iemocap"):
        iemocap(options.epochs, options.rivals)
    if options.part in (None, "msp"):
        msp(options.epochs, options.size)


if __name__ == "__main__":
    main()

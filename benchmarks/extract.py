"""Extraction with a wav2vec2-base-sized model (random weights): `python benchmarks/extract.py [--size N] [--bf16]`.

Prints two ratios of one run: the whole stage's wall time over the time spent in the model's forward pass, and the usual
loop (one utterance at a time through `AutoModel`, one `.npy` each) over the stage. Durations are those of
MSP-Podcast: 1.9 to 12 s, 5.7 s on average.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import AutoFeatureExtractor, AutoModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from amber.audio import SAMPLE_RATE
from amber.config_file import load
from amber.console import Console
from amber.extract import stage
from amber.extract.encoders import speech
from amber.features.store import feature_sets
from amber.machine import set_thread_defaults


def durations(size: int) -> np.ndarray:
    drawn = np.random.default_rng(0).gamma(7.0, 5.7 / 7.0, size=4 * size)
    return drawn[(drawn >= 1.9) & (drawn <= 12.0)][:size]


def corpus(folder: Path, size: int) -> list[Path]:
    rng = np.random.default_rng(1)
    paths = [folder / f"u{i}.wav" for i in range(size)]
    for path, seconds in zip(paths, durations(size), strict=True):
        soundfile.write(path, rng.normal(size=int(seconds * SAMPLE_RATE)) * 0.1, SAMPLE_RATE)
    rows = "".join(f"{path.stem},{path.name},s,1\n" for path in paths)
    (folder / "table.csv").write_text("id,audio,speaker,vote_x\n" + rows)
    return paths


def timed_forward() -> list[float]:
    """Make the encoder record the duration of each of its forward passes."""
    spent: list[float] = []
    whole = speech.hidden_states

    def noted(*arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return whole(*arguments)
        finally:
            spent.append(time.perf_counter() - started)

    speech.hidden_states = noted
    return spent


def agreement(cache: Path, out: Path) -> float:
    """Return the lowest cosine, over utterances and layers, between the stage's features and the loop's."""
    (store,) = feature_sets(cache, "table")
    loop = np.stack([np.load(out / f"{uid}.npy") for uid in store.ids()]).astype(np.float64)  # (N, L, D)
    ours = store.every_layer().astype(np.float64)
    norms = np.linalg.norm(loop, axis=-1) * np.linalg.norm(ours, axis=-1)
    return float(((loop * ours).sum(axis=-1) / norms).min())


def timed_stage(overrides: list[str]) -> tuple[float, float, float]:
    """Return the seconds of the whole stage, those in the model's forward passes, and the peak memory in GB."""
    spent = timed_forward()
    started = time.perf_counter()
    stage.run(load(None, overrides), Console())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return time.perf_counter() - started, sum(spent), peak


def timed_loop(model_folder: Path, paths: list[Path], out: Path) -> float:
    """Return the seconds of the usual loop."""
    started = time.perf_counter()
    model, extractor = (
        AutoModel.from_pretrained(model_folder, trust_remote_code=False).eval(),
        AutoFeatureExtractor.from_pretrained(model_folder, trust_remote_code=False),
    )
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        values = extractor(samples, sampling_rate=rate, return_tensors="pt").input_values
        with torch.inference_mode():
            states = model(values, output_hidden_states=True).hidden_states
        np.save(out / f"{path.stem}.npy", torch.stack([s[0].mean(dim=0) for s in states]).numpy().astype(np.float16))
    return time.perf_counter() - started


def alone(task: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a process of its own, whose threads and memory are the function's alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(task, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder / "model")
        Wav2Vec2FeatureExtractor().save_pretrained(folder / "model")
        paths = corpus(folder, options.size)
        precision = "bf16" if options.bf16 else "fp32"
        overrides = ["corpus.dataset=table", f"corpus.root={folder}", f"features.cache={folder / 'cache'}"]
        overrides += [f"features.speech={folder / 'model'}", f"features.precision={precision}"]
        loop = alone(timed_loop, folder / "model", paths, folder)
        set_thread_defaults()  # as the command line does, before torch is loaded
        ours, forward, peak = alone(timed_stage, overrides)
        model = sum(file.stat().st_size for file in (folder / "model").glob("*.safetensors")) / 1e9
        cosine = agreement(folder / "cache", folder)
    print(f"{options.size} utterances, {durations(options.size).sum():.0f} s of audio, {precision}")
    print(f"peak memory of the stage {peak:.2f} GB, of which the model's weights {model:.2f} GB")
    print(f"stage {ours:.1f} s · forward passes {forward:.1f} s · stage over forward: {ours / forward:.2f}")
    print(f"plain loop (fp32) {loop:.1f} s · plain loop over stage: {loop / ours:.2f}")
    print(f"lowest cosine between the features of the two: {cosine:.5f}")


if __name__ == "__main__":
    main()

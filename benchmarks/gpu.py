"""What a GPU makes of extraction and training: `python benchmarks/gpu.py [--size N] [--device cuda] [--tiny]`.

Models have random weights in the sizes of wav2vec2-base, wav2vec2-large, WavLM-large and Whisper large. Of each, in
seconds for the same recordings (lengths as in MSP-Podcast): `amber extract`, loading the model included; the forward
passes alone, of the same batches, already in memory; and the usual loop, one utterance at a time through `AutoModel`.
Then 75 runs (five variants, five folds, three seeds) train on features of the demo corpus.

With `--tiny` all of it is small enough for a CPU in CI: then it shows that the command works, not how fast it is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers as hf

from amber.audio import SAMPLE_RATE
from amber.config_file import load
from amber.console import Console
from amber.extract import encoders, stage
from amber.extract.batching import batches
from amber.extract.encoders import speech
from amber.machine import Device, choose
from amber.train import stage as training

VARIANTS = "[ce, soft, amber2, speech, text]"
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
STABLE = {**LARGE, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
TINY |= {"conv_dim": (16,) * 7, "num_conv_pos_embedding_groups": 2, "num_conv_pos_embeddings": 16}


def whisper(width: int, layers: int, heads: int) -> Any:
    options = {"encoder_layers": layers, "encoder_attention_heads": heads, "encoder_ffn_dim": 4 * width}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": heads, "decoder_ffn_dim": width}
    return hf.WhisperModel(hf.WhisperConfig(d_model=width, num_mel_bins=80, **options, **decoder))


def models(tiny: bool) -> dict[str, Callable[[], Any]]:
    """Return the makers of models by name."""
    if tiny:
        return {
            "wav2vec2": lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**TINY)),
            "whisper": lambda: whisper(32, 1, 2),
        }
    return {
        "wav2vec2-base": lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config()),
        "wav2vec2-large": lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**STABLE)),
        "wavlm-large": lambda: hf.WavLMModel(hf.WavLMConfig(**STABLE)),
        "whisper-large": lambda: whisper(1280, 32, 20),
    }


def recordings(folder: Path, size: int, longest: float) -> list[Path]:
    """Write noise of the lengths of MSP-Podcast's turns, and a table of it."""
    random = np.random.default_rng(0)
    seconds = np.clip(random.gamma(7.0, 5.7 / 7.0, size), min(1.9, longest), longest)
    paths = [folder / f"u{i}.wav" for i in range(size)]
    for path, length in zip(paths, seconds, strict=True):
        soundfile.write(path, random.normal(size=int(length * SAMPLE_RATE)) * 0.1, SAMPLE_RATE)
    rows = "".join(f"{path.stem},{path.name},s,1\n" for path in paths)
    (folder / "table.csv").write_text("id,audio,speaker,vote_x\n" + rows)
    return paths


def timed(work: Callable[[], object], device: Device) -> float:
    """Return the seconds that some work takes until the device has done it."""
    started = time.perf_counter()
    work()
    if device.name.startswith("cuda"):
        torch.cuda.synchronize(device.name)
    return time.perf_counter() - started


def forward_alone(model: Path, signals: Sequence[np.ndarray], device: Device) -> float:
    """Return the seconds of the forward passes over all signals (T,), in amber's batches, once everything is warm."""
    info = encoders.find(str(model), "speech")
    encoder: Any = info.load(device)
    planned = batches([info.heard(len(signal)) for signal in signals], info.budget_on(device), info.padding)
    prepared = [encoder.prepare(signal) for signal in signals]
    spent: list[float] = []
    whole = speech.hidden_states

    def noted(*arguments: Any) -> Any:
        found: list[Any] = []
        spent.append(timed(lambda: found.append(whole(*arguments)), device))
        return found[0]

    encoder.pooled([prepared[i] for i in planned[0]])
    speech.hidden_states = noted
    try:
        for chosen in planned:
            encoder.pooled([prepared[i] for i in chosen])
    finally:
        speech.hidden_states = whole
    return sum(spent)


def plain_loop(model: Path, paths: Sequence[Path], device: Device) -> None:
    """Encode one utterance at a time, as a script would."""
    loaded = hf.AutoModel.from_pretrained(model, trust_remote_code=False).eval().to(device.name)
    extractor = hf.AutoFeatureExtractor.from_pretrained(model, trust_remote_code=False)
    loaded = loaded.get_encoder() if loaded.config.model_type == "whisper" else loaded
    for path in paths:
        samples, _ = soundfile.read(path, dtype="float32")
        inputs = extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").to(device.name)
        with torch.inference_mode():
            states = loaded(**inputs, output_hidden_states=True).hidden_states
        torch.stack([state[0].mean(dim=0) for state in states]).cpu()


def extraction(folder: Path, make: Callable[[], Any], paths: Sequence[Path], device: Device) -> tuple[float, ...]:
    """Return the seconds of the stage, of its forward passes and of the plain loop for one model."""
    torch.manual_seed(0)
    made, model = make(), folder / "model"
    made.save_pretrained(model)
    kind = hf.WhisperFeatureExtractor if made.config.model_type == "whisper" else hf.Wav2Vec2FeatureExtractor
    kind().save_pretrained(model)
    del made
    options = [f"corpus.root={folder.parent}", f"features.cache={folder / 'cache'}", f"features.speech={model}"]
    options += ["corpus.dataset=table", f"features.device={device.name}"]
    ours = timed(lambda: stage.run(load(None, options), Console(quiet=True)), device)
    forward = forward_alone(model, [soundfile.read(path, dtype="float32")[0] for path in paths], device)
    return ours, forward, timed(lambda: plain_loop(model, paths, device), device)


def runs(folder: Path, device: Device, tiny: bool) -> tuple[int, float]:
    """Train on features of the demo corpus; return the number of runs and the seconds."""
    small = ["train.seeds=[0]", "train.folds=[1]", "train.steps=20", "train.candidates=[{layer: last}]"]
    size, more = (40, small) if tiny else (600, [])
    options = [f"corpus.options.size={size}", f"features.cache={folder / 'demo'}", f"train.runs={folder / 'runs'}"]
    config = load(None, [*options, f"train.variants={VARIANTS}", f"train.device={device.name}", *more])
    quiet = Console(quiet=True)
    stage.run(config, quiet)
    started = time.perf_counter()
    plan = training.run(config, "demo", quiet)
    return len(plan.runs), time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=500, help="recordings")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="small models, few recordings: a test on a CPU")
    options = parser.parse_args(arguments)
    device = choose(options.device, "auto")
    where = torch.cuda.get_device_name(device.name) if device.name.startswith("cuda") else device.name
    print(f"{where}, {device.precision}, torch {torch.__version__}\n")
    print("| model | x realtime | amber s | forward s | amber / forward | loop s | loop / amber |\n" + "|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = recordings(folder, 6 if options.tiny else options.size, 1.0 if options.tiny else 12.0)
        audio = sum(soundfile.info(path).duration for path in paths)
        for model, make in models(options.tiny).items():
            ours, forward, loop = extraction(folder / model, make, paths, device)
            shown = f"{audio / ours:.0f} | {ours:.1f} | {forward:.1f} | {ours / forward:.2f} | {loop:.1f}"
            print(f"| {model} | {shown} | {loop / ours:.2f} |", flush=True)
        count, seconds = runs(folder, device, options.tiny)
        print(f"\n{count} runs trained in {seconds:.1f} s")


if __name__ == "__main__":
    main()

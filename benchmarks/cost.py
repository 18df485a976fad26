"""What a corpus of MSP-Podcast 2.0's size costs, on paper: `python benchmarks/cost.py [--times 10] [--gpu L4]`.

Every assumption stands in this file. FLOPs are those of the products (two for a multiplication and an addition) of a
forward pass over an utterance of mean length; a GPU does its peak times the utilisation, an assumption, as there is no
GPU to measure on. Decoding is at the rate that was measured (`benchmarks/decoding.py`), on as many cores per GPU as an
engine has readers. All GPUs share one disk, which is read and written. The three overlap, so what is waited for is the
slowest. Bytes are those of the arrays; prices are per GPU-hour, with its share of the machine.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

UTTERANCES, HOURS = 264_705, 400.0  # MSP-Podcast 2.0
TOKENS = 3.6  # word pieces of a transcript per second of audio, with the two that mark its ends
HZ = 50  # frames of a speech encoder per second
READERS = 4  # cores per GPU that decode (`extract/engine.py`)
DECODED = 8000.0  # seconds of audio in WAV of 16 kHz that a core reads per second (`benchmarks/decoding.py`)
WAV = 32_000  # bytes of WAV per second, 16 kHz, 16 bits
DISK = 1e9  # bytes per second that all GPUs together read and write: an assumption
PEAK = {"L4": 121e12, "A100": 312e12, "H100": 989e12}  # dense bf16 FLOP/s, by the makers' data sheets
PRICE = {"L4": 0.80, "A100": 2.50, "H100": 4.00}  # dollars per GPU-hour on demand: an assumption, look yours up


@dataclass(frozen=True)
class Encoder:
    """A transformer of `layers` x `dim` (feed-forward 4 dim), in front of it convolutions of `front` FLOPs per second.

    `rate` are its positions per second of audio; `window` the seconds to which every utterance is padded, 0 for none.
    """

    name: str
    modality: str
    layers: int
    dim: int
    rate: float
    front: float = 0.0
    window: float = 0.0

    def flops(self, seconds: float) -> float:
        """Return FLOPs per utterance of so many seconds."""
        length = max(seconds, self.window)
        positions = length * self.rate
        weights = 12 * self.dim**2  # of a layer: four projections, and a feed-forward of 4 dim
        return self.layers * (2 * weights + 4 * positions * self.dim) * positions + self.front * length


def convolutions() -> float:
    """Return FLOPs per second of the seven convolutions of wav2vec 2.0 and its kin, from 16 kHz to 50 Hz."""
    rate, inputs, total = 16_000.0, 1, 0.0
    for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)):
        rate /= stride
        total += 2 * rate * 512 * inputs * kernel
        inputs = 512
    return total


ENCODERS = (
    Encoder("wav2vec2-base, HuBERT, WavLM base", "speech", 12, 768, HZ, convolutions()),
    Encoder("wav2vec2, HuBERT, WavLM large", "speech", 24, 1024, HZ, convolutions()),
    Encoder("whisper-small, its 30 s window", "speech", 12, 768, HZ, 0.0, 30.0),
    Encoder("whisper-large-v3, its 30 s window", "speech", 32, 1280, HZ, 0.0, 30.0),
    Encoder("bert-base, roberta-base", "text", 12, 768, TOKENS),
    Encoder("roberta-large", "text", 24, 1024, TOKENS),
)


def stored(encoder: Encoder, level: str, hours: float, utterances: float) -> float:
    """Return the bytes of a feature set in float16: all layers pooled, or every frame of one layer."""
    if level == "pooled":
        return utterances * (encoder.layers + 1) * encoder.dim * 2
    return hours * 3600 * encoder.rate * encoder.dim * 2


def waits(encoder: Encoder, level: str, hours: float, utterances: float, flops: float, gpus: int) -> dict[str, float]:
    """Return the seconds that each resource needs for a feature set, all of which are used at once."""
    seconds, speech = hours * 3600, encoder.modality == "speech"
    moved = stored(encoder, level, hours, utterances) + (seconds * WAV if speech else 0.0)
    return {
        "encoding": encoder.flops(seconds / utterances) * utterances / flops / gpus,
        "decoding": seconds / DECODED / (READERS * gpus) if speech else 0.0,
        "disk": moved / DISK,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, default=1.0, help="how many times the size")
    parser.add_argument("--gpu", choices=PEAK, default="A100")
    parser.add_argument("--utilisation", type=float, default=0.3, help="share of the peak that a forward pass reaches")
    options = parser.parse_args()
    utterances, hours = UTTERANCES * options.times, HOURS * options.times
    flops = PEAK[options.gpu] * options.utilisation
    print(f"{utterances:,.0f} utterances, {hours:,.0f} hours, {options.gpu} at {options.utilisation:.0%} of its peak\n")
    print("| encoder | level | GFLOP per s of audio | GB | GPU-hours | one GPU | eight | dollars, one and eight |")
    print("|---|---|---|---|---|---|---|---|")
    for encoder in ENCODERS:
        for level in ("pooled", "frames"):
            cells = [
                encoder.name,
                level,
                f"{encoder.flops(hours * 3600 / utterances) / hours / 3600 * utterances / 1e9:.1f}",
            ]
            cells += [f"{stored(encoder, level, hours, utterances) / 1e9:,.1f}"]
            walls, dollars = [], []
            for gpus in (1, 8):
                needed = waits(encoder, level, hours, utterances, flops, gpus)
                slowest = max(needed, key=lambda what: needed[what])
                walls.append(f"{needed[slowest] / 60:,.1f} min ({slowest})")
                dollars.append(f"{needed[slowest] / 3600 * gpus * PRICE[options.gpu]:,.2f}")
            cells += [
                f"{waits(encoder, level, hours, utterances, flops, 1)['encoding'] / 3600:.2f}",
                *walls,
                ", ".join(dollars),
            ]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

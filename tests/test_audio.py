"""Reading audio: right samples, right span, right rate, or a reason why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from amber.extract import audio

RATE = 16_000


def tone(seconds: float, rate: int = RATE, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_a_file_at_the_right_rate_is_read_to_the_sample(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0), RATE, subtype="FLOAT")
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav", RATE), tone(1.0))
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav", RATE, 0.25, 0.75), tone(1.0)[4000:12000])


def test_stereo_at_another_rate_becomes_mono_at_the_wanted_rate(tmp_path: Path) -> None:
    left = tone(1.0, 44_100)
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), 44_100)
    signal = audio.read(tmp_path / "a.wav", RATE)
    assert signal.shape == (RATE,)
    assert np.argmax(np.abs(np.fft.rfft(signal))) == 440
    np.testing.assert_allclose(signal[100:-100], tone(1.0)[100:-100] / 2, atol=2e-3)


def bad_files(folder: Path) -> dict[str, str]:
    (folder / "empty.wav").write_bytes(b"")
    (folder / "noise.wav").write_bytes(b"not audio at all" * 100)
    (folder / "stub.wav").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    soundfile.write(folder / "short.wav", tone(0.01), RATE)
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
    return {
        "none.wav": "no such file",
        "empty.wav": "can't be read",
        "noise.wav": "can't be read",
        "stub.wav": "git lfs pull",
        "short.wav": "holds 10 ms",
        "nan.wav": "not finite",
    }


def test_unusable_files_say_why(tmp_path: Path) -> None:
    for name, says in bad_files(tmp_path).items():
        with pytest.raises(audio.AudioError, match=says):
            audio.read(tmp_path / name, RATE)


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.5, 0.2), (-1.0, 1.0), (0.0, 2.0), (2.0, None)])
def test_a_span_outside_the_file_is_refused(tmp_path: Path, start: float, end: float | None) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0), RATE)
    with pytest.raises(audio.AudioError, match="not within"):
        audio.read(tmp_path / "a.wav", RATE, start, end)

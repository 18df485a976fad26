"""Audio files that are not what they claim fail by name, intact ones are read."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from amber.audio import AudioError, duration, opened
from amber.extract import audio

RATE = 16_000


def voice(length: float = 2.0, rate: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.normal(size=round(length * rate))).astype(np.float32)


def encoded(signal: np.ndarray, form: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, signal, rate, format=form, subtype=subtype)
    return content.getvalue()


def put(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAVEX", "PCM_16"),
        ("WAV", "FLOAT"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("NIST", "PCM_16"),
        ("CAF", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("MP3", "MPEG_LAYER_III"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
    ],
)
def test_a_file_whose_end_is_missing_fails(tmp_path: Path, form: str, subtype: str, share: float) -> None:
    whole = encoded(voice(), form, subtype)
    assert len(audio.read(put(tmp_path, "whole", whole), RATE)) == pytest.approx(2 * RATE, abs=RATE // 100)
    with pytest.raises(AudioError) as error:
        audio.read(put(tmp_path, "cut", whole[: int(len(whole) * share)]), RATE)
    assert "the span" not in str(error.value)


def test_the_message_says_how_much_is_there(tmp_path: Path) -> None:
    whole = encoded(voice(), "WAV", "PCM_16")
    path = put(tmp_path, "a.wav", whole[: 44 + 2 * RATE])
    with pytest.raises(AudioError, match=r"holds 1\.00 s of the 2\.00 s that its header says"):
        audio.read(path, RATE)
    with pytest.raises(AudioError, match="its end is missing"):
        audio.length(path, RATE)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 64_036])
def test_a_header_that_did_not_know_the_length_is_accepted(tmp_path: Path, size: int) -> None:
    content = bytearray(encoded(voice(), "WAV", "PCM_16"))
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    assert len(audio.read(put(tmp_path, "a.wav", bytes(content)), RATE)) == 2 * RATE


def chunks(form: str, samples: int | None = None, after: bytes = b"", behind: bytes = b"") -> bytes:
    """Return a WAV or AIFF with bytes after its samples, and behind the whole; `samples` is what its header says."""
    content = bytearray(encoded(voice(), form, "PCM_16"))
    sound, order = (b"data", "<") if form != "AIFF" else (b"SSND", ">")
    if samples is not None:
        struct.pack_into(f"{order}I", content, content.index(sound) + 4, 2 * samples + (8 if form == "AIFF" else 0))
    content += after
    struct.pack_into(f"{order}I", content, 4, len(content) - 8)
    return bytes(content) + behind


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "AIFF"])
@pytest.mark.parametrize("silence", [0, 5000])
def test_a_file_that_holds_more_than_its_header_says_fails(tmp_path: Path, form: str, silence: int) -> None:
    """libsndfile reads what the header says, and mentions the rest in its log only."""
    whole = chunks(form, RATE // 2)
    at = len(whole) - 3 * RATE
    path = put(tmp_path, "a", whole[:at] + bytes(silence) + whole[at + silence :])
    with pytest.raises(AudioError, match=r"its header says 0\.50 s, but 48,000 more bytes follow; convert it anew"):
        audio.read(path, RATE)


LIST = b"LIST" + struct.pack("<I", 216) + b"INFOISFT" + struct.pack("<I", 204) + bytes(204)


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "AIFF"])
@pytest.mark.parametrize(
    ("after", "behind"),
    [
        (LIST, b""),
        (b"id3 " + struct.pack("<I", 300) + b"ID3" + bytes(297), b""),
        (b"bext" + struct.pack("<I", 602) + bytes(602) + b"iXML" + struct.pack("<I", 400) + b"<a/>" * 100, b""),
        (b"_PMX" + struct.pack("<I", 5000) + b"<cut", b""),
        (bytes(4000), b""),
        (b"\x01\x02" * 60, b""),
        (b"", bytes(4000)),
        (b"", b"TAG" + b"\x01" * 125),
        (b"", b"\x01\x02\x03" * 1000),
    ],
)
def test_what_follows_the_samples_is_no_harm(tmp_path: Path, form: str, after: bytes, behind: bytes) -> None:
    if form == "AIFF" and after[:1].isalpha():
        after = after[:4] + after[4:8][::-1] + after[8:]
    assert len(audio.read(put(tmp_path, "a", chunks(form, None, after, behind)), RATE)) == 2 * RATE


@pytest.mark.parametrize("padded", [True, False])
def test_samples_of_an_odd_number_of_bytes_may_be_padded(tmp_path: Path, padded: bool) -> None:
    content = bytearray(encoded(voice()[: RATE + 1], "WAV", "PCM_U8") + LIST)
    at = len(content) - len(LIST)
    content[at - (RATE + 1) % 2 : at] = b"\0" if padded else b""
    struct.pack_into("<I", content, 4, len(content) - 8)
    assert len(audio.read(put(tmp_path, "a.wav", bytes(content)), RATE)) == RATE + 1


def test_what_lies_beside_a_file_is_no_part_of_it(tmp_path: Path) -> None:
    path = put(tmp_path, "clip.mp3", encoded(voice(), "MP3", "MPEG_LAYER_III"))
    alone = audio.read(path, RATE)
    twin = bytes.fromhex("0005160700020000") + b"Mac OS X        " + struct.pack(">H", 2)
    twin += struct.pack(">III", 9, 50, 3760) + struct.pack(">III", 2, 3810, 286)
    put(tmp_path, "._clip.mp3", twin + bytes(4096 - len(twin)))
    np.testing.assert_array_equal(audio.read(path, RATE), alone)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros(RATE, np.float32), "no signal"),
        (np.full(RATE, 0.25, np.float32), "no signal"),
        (np.tile(np.array([0, 1, 0, -1], np.float32) / 32_768, RATE // 4), "no signal"),
        (np.stack([voice(), -voice()], axis=1), "cancel"),
    ],
)
def test_no_signal_is_not_taken_for_speech(tmp_path: Path, samples: np.ndarray, says: str) -> None:
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    with pytest.raises(AudioError, match=says):
        audio.read(tmp_path / "a.wav", RATE)


def test_channels_that_cancel_out_but_for_the_codec_s_noise_are_no_signal(tmp_path: Path) -> None:
    path = put(tmp_path, "a.wav", encoded(np.stack([voice(), -voice()], axis=1), "WAV", "IMA_ADPCM"))
    with pytest.raises(AudioError, match="cancel"):
        audio.read(path, RATE)


def test_a_silent_span_of_a_recording_is_no_signal_and_a_silent_channel_is_no_harm(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.concatenate([voice(1.0), np.zeros(RATE, np.float32)]), RATE)
    assert len(audio.read(tmp_path / "a.wav", RATE, 0.0, 1.0)) == RATE
    with pytest.raises(AudioError, match="no signal"):
        audio.read(tmp_path / "a.wav", RATE, 1.2, 1.8)
    soundfile.write(tmp_path / "b.wav", np.stack([voice(), np.zeros_like(voice())], axis=1), RATE)
    assert len(audio.read(tmp_path / "b.wav", RATE)) == 2 * RATE


@pytest.mark.parametrize(("samples", "rate"), [(399, 16_000), (199, 8_000), (1_199, 48_000), (19_199, 768_000)])
def test_how_short_a_clip_is_does_not_contradict_the_limit(tmp_path: Path, samples: int, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", voice(rate=768_000)[:samples], rate)
    with pytest.raises(AudioError, match=r"holds 24\.\d+ ms, less than 25 ms"):
        audio.read(tmp_path / "a.wav", RATE)


def test_a_rate_that_no_recording_has_is_refused(tmp_path: Path) -> None:
    content = bytearray(encoded(voice(0.5), "WAV", "PCM_16"))
    content[24:28] = struct.pack("<I", 1)
    with pytest.raises(AudioError, match="claims 1 Hz"):
        audio.read(put(tmp_path, "a.wav", bytes(content)), RATE)


def test_a_flac_that_claims_days_is_refused_before_there_is_memory_for_them(tmp_path: Path) -> None:
    content = bytearray(encoded(voice(0.5), "FLAC", "PCM_16"))
    content[21] |= 0x0F  # the number of samples is the last 36 bits of STREAMINFO's bytes 13 to 17
    content[22:26] = b"\xff" * 4
    with pytest.raises(AudioError):
        audio.read(put(tmp_path, "a.flac", bytes(content)), RATE)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1e300), (1e300, None), (-1e300, 1.0), (0.0, 5e8)])
def test_a_huge_span_is_refused(tmp_path: Path, start: float, end: float | None) -> None:
    soundfile.write(tmp_path / "a.wav", voice(), RATE)
    for call in (audio.read, audio.length):
        with pytest.raises(AudioError, match="not within"):
            call(tmp_path / "a.wav", RATE, start, end)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    for path in (tmp_path / "pipe.wav", tmp_path / "folder.wav", Path("/dev/zero"), tmp_path / "nul\0.wav"):
        with pytest.raises(AudioError):
            audio.read(path, RATE)


def test_files_that_fail_are_closed(tmp_path: Path) -> None:
    bad = [put(tmp_path, "noise.wav", b"not audio" * 500), put(tmp_path, "cut.wav", encoded(voice(), "WAV")[:20_000])]
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in bad * 5:
        with pytest.raises(AudioError):
            audio.read(path, RATE)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@pytest.mark.parametrize("rate", [16_000, 8_000, 44_100])
def test_a_long_recording_read_in_blocks_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([voice(3, rate), voice(3, rate) / 2], axis=1), rate)
    at_once = audio.read(tmp_path / "a.wav", RATE)
    monkeypatch.setattr(audio, "LONG", 0)
    monkeypatch.setattr(audio, "BLOCK", 9_000)
    in_blocks = audio.read(tmp_path / "a.wav", RATE)
    assert len(in_blocks) == len(at_once)
    np.testing.assert_allclose(in_blocks, at_once, atol=1e-5)


def test_the_length_of_a_file_is_its_header_s(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", voice(), RATE)
    assert duration(tmp_path / "a.wav") == 2.0
    with opened(tmp_path / "a.wav") as file:
        assert file.channels == 1

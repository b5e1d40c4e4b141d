"""A clip's small MP3 and its picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from otoscope.audio import write_audio
from otoscope.explorer.sounds import HOP_S, N_BANDS, as_mp3, listen, mel_digits


def sweep(seconds: float, rate: int) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (200 * time + 300 * time**2))).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000])
def test_an_mp3_begins_and_ends_where_the_clip_does(rate):
    """Against the waveform itself: no sample more, and a click where it was."""
    wave = sweep(1.5, rate)
    at = round(0.7 * rate)
    wave[at : at + 2] = [1, -1]
    decoded, decoded_rate = soundfile.read(io.BytesIO(as_mp3(wave, rate)))
    assert decoded_rate == rate
    assert len(decoded) == len(wave)
    assert abs(int(np.abs(np.diff(decoded, 2)).argmax()) + 1 - at) <= 3
    inner = slice(rate // 10, at - rate // 10)
    shifts = [np.corrcoef(wave[inner], np.roll(decoded, shift)[inner])[0, 1] for shift in range(-20, 21)]
    assert int(np.argmax(shifts)) - 20 == 0  # no delay


def test_an_mp3_is_small():
    rng = np.random.default_rng(0)
    wave = sweep(4, 16_000) + 0.01 * rng.standard_normal(64_000).astype(np.float32)
    assert len(as_mp3(wave, 16_000)) / 4 < 5_500  # bytes per second


def test_a_tone_lies_in_its_band_and_a_click_in_its_column():
    rate = 16_000
    time = np.arange(rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 1000 * time)
    mel = picture(mel_digits(tone.astype(np.float32), rate))
    edges = 700 * (
        10 ** (np.linspace(*(2595 * np.log10(1 + np.array([40, 8000]) / 700)), N_BANDS + 2) / 2595) - 1
    )
    loudest = int(mel[:, 20:-20].mean(axis=1).argmax())
    assert edges[loudest] < 1000 < edges[loudest + 2]
    click = np.zeros(rate, dtype=np.float32)
    click[round(0.4321 * rate)] = 1
    columns = picture(mel_digits(click, rate)).mean(axis=0)
    middle = np.average(np.arange(len(columns)), weights=columns**4)
    assert (middle + 0.5) * HOP_S == pytest.approx(0.4321, abs=HOP_S / 2)


def picture(digits: str) -> np.ndarray:
    values = np.array([int(digit, 16) for digit in digits])
    return values.reshape(N_BANDS, -1)


@pytest.mark.parametrize(("rate", "kept"), [(16_000, 16_000), (44_100, 24_000), (9_000, 11_025)])
def test_a_clip_keeps_its_rate_where_mp3_has_it(rate, kept, tmp_path):
    write_audio(tmp_path / "a.wav", sweep(1, rate), rate)
    sound = listen(str(tmp_path / "a.wav"), 0.25, 0.75)
    assert soundfile.info(io.BytesIO(sound.mp3)).samplerate == kept
    assert sound.duration_s == pytest.approx(0.5, abs=1e-3)
    assert sound.top_hz == kept / 2
    assert len(sound.mel) == N_BANDS * round(0.5 / HOP_S)
    assert listen(str(tmp_path / "a.wav"), 0, 1, audio=False).mp3 == b""

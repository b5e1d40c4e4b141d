"""The open descriptors, against sounds whose numbers are known and against librosa's own."""

from __future__ import annotations

import librosa
import numpy as np
import pandas as pd
import pytest

from otoscope.audio import write_audio
from otoscope.factors import compute_factors
from otoscope.factors.descriptors import DESCRIPTORS, FRAME, HOP, SAMPLE_RATE, describe

TIME_S = np.arange(SAMPLE_RATE) / SAMPLE_RATE  # one second


def tone(f0_hz: float, *, harmonics: int = 10, level: float = 0.3) -> np.ndarray:
    partials = [np.sin(2 * np.pi * f0_hz * k * TIME_S) / k for k in range(1, harmonics + 1)]
    wave = np.sum(partials, axis=0)
    return (level * wave / np.abs(wave).max()).astype(np.float32)


def noise(seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(SAMPLE_RATE)).astype(np.float32)


@pytest.mark.parametrize("f0_hz", [82.4, 220.0, 880.0])
def test_pitch_of_a_steady_tone(f0_hz):
    numbers = describe(tone(f0_hz))
    assert numbers["f0_median_semitones"] == pytest.approx(12 * np.log2(f0_hz / 27.5), abs=0.1)
    assert numbers["f0_std_semitones"] < 0.2
    assert numbers["voiced_fraction"] > 0.95
    assert numbers["hnr_mean_db"] > 15


def test_slope_of_a_glide():
    semitones = 24 + 6 * TIME_S  # six semitones a second
    phase = 2 * np.pi * np.cumsum(27.5 * 2 ** (semitones / 12)) / SAMPLE_RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, 8))
    assert describe(0.1 * wave.astype(np.float32))["f0_slope_semitones_per_s"] == pytest.approx(6, abs=0.3)


def test_noise_has_no_pitch_and_a_flat_spectrum():
    numbers = describe(noise())
    assert np.isnan(numbers["f0_median_semitones"])
    assert np.isnan(numbers["hnr_mean_db"])
    assert numbers["voiced_fraction"] == 0
    assert numbers["tilt_db_per_octave"] == pytest.approx(0, abs=0.5)
    # Mean of the log of an exponential variable over the log of its mean: -10 log10(e) 0.5772 dB.
    assert numbers["flatness_mean_db"] == pytest.approx(-2.507, abs=0.15)


def test_level_and_crest_of_a_sine():
    numbers = describe((0.1 * np.sin(2 * np.pi * 440 * TIME_S)).astype(np.float32))
    assert numbers["level_dbfs"] == pytest.approx(-23.01, abs=0.01)  # 0.1 / sqrt(2)
    assert numbers["crest_db"] == pytest.approx(3.01, abs=0.01)
    assert numbers["zero_crossings_per_s"] == pytest.approx(880, abs=2)


def test_peaks_and_segments_of_a_pulsing_tone():
    envelope = 0.5 * (1 - np.cos(2 * np.pi * 4 * TIME_S))  # four pulses
    numbers = describe((tone(200) * envelope).astype(np.float32))
    assert numbers["level_peaks_per_s"] == pytest.approx(4, abs=0.1)
    half = np.where(TIME_S < 0.5, tone(200), 0.001 * noise())
    assert describe(half.astype(np.float32))["voiced_fraction"] == pytest.approx(0.5, abs=0.06)


def test_spectral_shape_agrees_with_librosa():
    wave = noise(1) + tone(300)
    numbers = describe(wave)
    amplitude = np.abs(librosa.stft(wave, n_fft=FRAME, hop_length=HOP))
    centroid = librosa.feature.spectral_centroid(S=amplitude, sr=SAMPLE_RATE)
    spread = librosa.feature.spectral_bandwidth(S=amplitude, sr=SAMPLE_RATE)
    assert numbers["centroid_mean_hz"] == pytest.approx(centroid.mean(), rel=1e-4)
    assert numbers["bandwidth_mean_hz"] == pytest.approx(spread.mean(), rel=1e-4)
    mel = librosa.feature.melspectrogram(S=amplitude**2, sr=SAMPLE_RATE, n_mels=40, fmax=SAMPLE_RATE / 2)
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=13)
    for i in (1, 5, 12):
        assert numbers[f"mfcc{i}_mean"] == pytest.approx(mfcc[i].mean(), abs=1e-3)


def test_table_reports_what_cannot_be_measured(tmp_path):
    sounds = {
        "tone": tone(220),
        "noise": noise(),
        "short": tone(220)[:800],
        "silent": np.zeros(SAMPLE_RATE, np.float32),
    }
    clips = clips_of(tmp_path, sounds)
    factors = compute_factors("descriptors", clips, workers=2, progress=False)
    assert list(factors.table.clip_id) == list(sounds)
    assert factors.names == [name for name, _, _ in DESCRIPTORS]
    table = factors.table.set_index("clip_id")
    assert table.loc["short", factors.names].isna().all()
    assert table.loc["silent", factors.names].isna().all()
    assert table.loc["tone", factors.names].notna().all()
    problems = factors.problems.set_index("clip_id").problem
    assert set(problems.index) == {"noise", "short", "silent"}
    assert problems["short"].startswith("too short: 0.050 s")
    assert problems["silent"] == "silent"
    assert "f0_median_semitones" in problems["noise"]


def test_a_stretch_is_measured_alone_and_workers_do_not_matter(tmp_path):
    clips = clips_of(tmp_path, {"a": np.concatenate([tone(220), tone(440)])})
    clips = pd.concat(
        [clips.assign(clip_id="first", stop_s=1.0), clips.assign(clip_id="second", start_s=1.0)]
    )
    one = compute_factors("descriptors", clips, workers=1, progress=False)
    two = compute_factors("descriptors", clips, workers=2, progress=False)
    pd.testing.assert_frame_equal(one.table, two.table)
    octave = one.table.f0_median_semitones.diff().iloc[1]
    assert octave == pytest.approx(12, abs=0.1)


def clips_of(folder, sounds: dict[str, np.ndarray]) -> pd.DataFrame:
    rows = []
    for name, wave in sounds.items():
        path = folder / f"{name}.wav"
        write_audio(path, wave, SAMPLE_RATE)
        rows.append((name, str(path), 0.0, len(wave) / SAMPLE_RATE, "train", name))
    return pd.DataFrame(rows, columns=["clip_id", "path", "start_s", "stop_s", "split", "group"])

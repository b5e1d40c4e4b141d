"""The factors of synthsing, measured back from the waveform by estimators that know nothing of how it was made."""

from dataclasses import replace

import librosa
import numpy as np
import pandas as pd
import pytest
from scipy import signal

from otoscope.audio import write_audio
from otoscope.datasets.synthsing import SAMPLE_RATE, Voice, draw_voice, render
from otoscope.datasets.synthsing.factors import true_moments
from otoscope.datasets.synthsing.plan import parse_clip_id
from otoscope.datasets.synthsing.voice import _perturbation
from otoscope.factors import moment_factors

SINGERS = ("female1", "male1", "female4", "male2")


def sounding(voice: Voice, waveform: np.ndarray, margin_s: float = 0.1) -> np.ndarray:
    start_s, stop_s = voice.onset_s + margin_s, voice.duration_s - voice.offset_s - margin_s
    return waveform[round(start_s * SAMPLE_RATE) : round(stop_s * SAMPLE_RATE)].astype(np.float64)


def pitch_of_first_harmonic(voice: Voice, waveform: np.ndarray) -> np.ndarray:
    """Instantaneous frequency of the band around the first harmonic, in cents around the median."""
    band = signal.butter(2, (0.7 * voice.f0_hz, 1.4 * voice.f0_hz), "bandpass", fs=SAMPLE_RATE, output="sos")
    phase = np.unwrap(np.angle(signal.hilbert(signal.sosfiltfilt(band, waveform))))
    hz = np.diff(phase)[2_000:-2_000] * SAMPLE_RATE / (2 * np.pi)
    return 1200 * np.log2(np.maximum(hz, 1.0) / np.median(hz))


def strongest_rate_hz(curve: np.ndarray, low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(signal.detrend(curve) * np.hanning(len(curve)), 1 << 18))
    rate_hz = np.fft.rfftfreq(1 << 18, 1 / SAMPLE_RATE)
    spectrum[(rate_hz < low_hz) | (rate_hz > high_hz)] = 0
    return rate_hz[spectrum.argmax()]


def envelope(waveform: np.ndarray, below_hz: float) -> np.ndarray:
    low_pass = signal.butter(3, below_hz, fs=SAMPLE_RATE, output="sos")
    return np.sqrt(np.maximum(signal.sosfiltfilt(low_pass, waveform.astype(np.float64) ** 2), 1e-12))


@pytest.mark.slow  # librosa compiles for half a minute
@pytest.mark.parametrize("technique", ["belt", "straight", "breathy", "lip_trill", "spoken"])
def test_f0_is_what_pyin_hears(technique):
    voice = draw_voice(0, "female1", technique, "i")
    hz, _, _ = librosa.pyin(
        sounding(voice, render(voice), 0.02), sr=SAMPLE_RATE, fmin=voice.f0_hz / 1.8, fmax=voice.f0_hz * 1.8,
        frame_length=1_024, fill_na=None,
    )  # fmt: skip
    assert np.exp(np.log(hz).mean()) == pytest.approx(voice.f0_hz, rel=0.03)


def test_f0_glide_goes_from_start_to_end():
    voice = replace(
        draw_voice(0, "female1", "straight", "i"),
        f0_glide_semitones=-6.0,
        f0_drift_cents=3.0,
        vibrato_extent_cents=4.0,
    )
    cents = pitch_of_first_harmonic(voice, sounding(voice, render(voice), 0.0))
    assert cents[-1_000:].mean() - cents[:1_000].mean() == pytest.approx(-600, abs=60)


@pytest.mark.parametrize("singer", SINGERS)
def test_vibrato_rate_and_extent_are_in_the_pitch(singer):
    voice = replace(draw_voice(0, singer, "vibrato", "u"), f0_glide_semitones=0.0, vibrato_extent_cents=60.0)
    cents = pitch_of_first_harmonic(voice, sounding(voice, render(voice), 0.2))
    assert strongest_rate_hz(cents, 3.0, 12.0) == pytest.approx(voice.vibrato_rate_hz, rel=0.04)
    at_rate = np.exp(-2j * np.pi * voice.vibrato_rate_hz * np.arange(len(cents)) / SAMPLE_RATE)
    window = np.hanning(len(cents))
    extent = 2 * abs((signal.detrend(cents) * window * at_rate).sum()) / window.sum()
    assert extent == pytest.approx(60.0, rel=0.2)


def test_a_trill_spends_its_time_at_two_notes():
    def share_near_the_middle(squareness: float) -> float:
        voice = replace(
            draw_voice(0, "female1", "trill", "u"), vibrato_extent_cents=90.0, vibrato_squareness=squareness,
            f0_glide_semitones=0.0, f0_drift_cents=3.0,
        )  # fmt: skip
        cents = pitch_of_first_harmonic(voice, sounding(voice, render(voice), 0.2))
        return float(np.mean(np.abs(cents - cents.mean()) < 30))

    assert share_near_the_middle(0.9) < 0.6 * share_near_the_middle(0.0)


@pytest.mark.parametrize("singer", SINGERS)
def test_am_rate_and_depth_are_in_the_envelope(singer):
    # wide formants: narrow ones ring on through the closed lips
    voice = replace(draw_voice(0, singer, "lip_trill", "a"), bandwidth_scale=3.0)
    curve = envelope(sounding(voice, render(voice), 0.2), 60.0)
    assert strongest_rate_hz(curve, 10.0, 45.0) == pytest.approx(voice.am_rate_hz, rel=0.03)
    window = np.hanning(len(curve))
    at_rate = np.exp(-2j * np.pi * voice.am_rate_hz * np.arange(len(curve)) / SAMPLE_RATE)
    first_to_mean = 2 * abs((curve * window * at_rate).sum()) / (curve * window).sum()
    assert first_to_mean == pytest.approx(voice.am_depth / (2 - voice.am_depth), rel=0.3)


@pytest.mark.parametrize("singer", SINGERS)
def test_trillo_has_the_onsets_it_says(singer):
    voice = draw_voice(0, singer, "trillo", "a")
    level_db = 20 * np.log10(envelope(render(voice), 20.0))
    peaks, _ = signal.find_peaks(level_db, prominence=6.0, distance=800)
    assert abs(len(peaks) - voice.n_onsets) <= 1


@pytest.mark.parametrize("hnr_db", [0.0, 12.0])
def test_hnr_is_pulses_over_breath(hnr_db):
    voice = replace(
        draw_voice(0, "male1", "straight", "a"), hnr_db=hnr_db, snr_db=90.0, channel_tilt_db_per_octave=0.0,
        channel_ripple_db=0.0, reverb_db=-60.0,
    )  # fmt: skip
    mixed, pure = render(voice).astype(np.float64), render(replace(voice, hnr_db=90.0)).astype(np.float64)
    harmonic = pure * (mixed @ pure) / (pure @ pure)
    measured_db = 10 * np.log10(np.sum(harmonic**2) / np.sum((mixed - harmonic) ** 2))
    assert measured_db == pytest.approx(hnr_db, abs=0.5)


def test_tilt_is_a_slope_in_decibels_per_octave():
    voice = replace(draw_voice(0, "male1", "straight", "a"), hnr_db=60.0, snr_db=90.0)
    hz, flat = signal.welch(render(replace(voice, tilt_db_per_octave=-4.0)), SAMPLE_RATE, nperseg=1_024)
    _, steep = signal.welch(render(replace(voice, tilt_db_per_octave=-9.0)), SAMPLE_RATE, nperseg=1_024)
    band = (hz > 600) & (hz < 4_000)
    slope = np.polyfit(np.log2(hz[band]), 10 * np.log10(steep[band] / flat[band]), 1)[0]
    assert slope == pytest.approx(-5.0, abs=0.4)


@pytest.mark.parametrize("vowel", ["a", "e", "i"])
def test_formants_are_what_linear_prediction_finds(vowel):
    voice = replace(
        draw_voice(0, "male1", "straight", vowel), f0_hz=90.0, snr_db=70.0, hnr_db=30.0, formant_glide_semitones=0.0,
        channel_ripple_db=0.01, reverb_db=-40.0,
    )  # fmt: skip
    waveform = sounding(voice, render(voice), 0.2)
    whitened = signal.lfilter([1.0, -0.97], [1.0], waveform)
    whitened = signal.resample_poly(whitened, 11, 16)  # 11 kHz: five formants
    roots = np.roots(librosa.lpc(whitened * np.hanning(len(whitened)), order=12))
    roots = roots[(roots.imag > 0) & (np.abs(roots) > 0.9)]
    found_hz = np.sort(np.angle(roots) * 11_000 / (2 * np.pi))
    for true_hz in (voice.f1_hz, voice.f2_hz, voice.f3_hz):
        assert np.min(np.abs(found_hz / true_hz - 1)) < 0.1


@pytest.mark.parametrize("percent", [0.5, 8.0])
def test_jitter_and_shimmer_are_mean_absolute_steps(percent):
    deviation = _perturbation(np.random.default_rng(0), 200, percent)
    assert 100 * np.abs(np.diff(1 + deviation)).mean() / (1 + deviation).mean() == pytest.approx(
        percent, rel=1e-9
    )


def test_jitter_is_in_the_sound():
    def spread_of_periods(percent: float) -> float:
        voice = replace(
            draw_voice(0, "male1", "vocal_fry", "i"), jitter_percent=percent, f0_drift_cents=3.0, f0_hz=50.0,
            f0_glide_semitones=0.0, vibrato_extent_cents=4.0, shimmer_percent=1.0, bandwidth_scale=2.0,
        )  # fmt: skip
        curve = envelope(sounding(voice, render(voice)), 150.0)
        pulses, _ = signal.find_peaks(curve, distance=SAMPLE_RATE // 100, prominence=0.2 * curve.max())
        period = np.diff(pulses)
        return 100 * np.abs(np.diff(period)).mean() / period.mean()

    assert spread_of_periods(8.0) == pytest.approx(8.0, rel=0.25)
    assert spread_of_periods(0.5) < 1.5


@pytest.mark.parametrize("technique", ["belt", "trillo", "vocal_fry"])
def test_level_is_exact(technique):
    voice = draw_voice(0, "male3", technique, "o")
    waveform = render(voice).astype(np.float64)
    assert 10 * np.log10(np.mean(waveform**2)) == pytest.approx(voice.level_dbfs, abs=1e-3)


def test_true_moments_are_what_is_heard_there(tmp_path):
    """Pitch and level of frames, measured from the sound, against the tracks that it was made from."""
    names = [
        f"s0-{singer}-{technique}-a-0" for singer in SINGERS[:2] for technique in ("vibrato", "straight")
    ]
    time_s = np.arange(0.02, 1.5, 0.02)
    clips = pd.DataFrame({"clip_id": names, "start_s": 0.0, "stop_s": 1.5, "split": "train", "group": "a"})
    clips["path"] = [str(tmp_path / f"{name}.wav") for name in names]
    for name, path in zip(names, clips.path):
        write_audio(path, render(draw_voice(*parse_clip_id(name))), SAMPLE_RATE)
    times = {"start_s": time_s - 0.01, "stop_s": time_s + 0.01, "time_s": time_s}
    rows = pd.concat([pd.DataFrame({"clip_id": name, **times}) for name in names], ignore_index=True)
    true, info = true_moments(clips, rows)
    heard = moment_factors(clips, rows, progress=False).table
    assert list(info.name) == list(true.columns[3:])
    both = (heard.voiced == 1) & true.true_f0_hz.notna()
    assert both.mean() > 0.5
    assert 12 * np.abs(np.log2(heard.f0_hz / true.true_f0_hz))[both].median() < 0.3
    for _, own in true.assign(level=heard.level_dbfs)[both].groupby("clip_id"):
        assert own.level.corr(own.true_loudness_db) > 0.6
    assert true.true_loudness_db.max() <= 0

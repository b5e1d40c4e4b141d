"""The open factor set: about 40 acoustic descriptors of a clip, on librosa and numpy.

Audio is analysed at 16 kHz in frames of 64 ms every 16 ms. Pitch, 60 to 1,200 Hz, is the period of highest
autocorrelation after the spectrum was flattened by a square root (as Tolonen & Karjalainen 2000: a strong formant
else passes for the pitch); harmonics-to-noise ratio is from the plain autocorrelation at that period
(Boersma 1993). A frame is voiced if both stand out and it is no more than 40 dB below the loudest. Pitch and
quality are NaN in a clip without voiced frames: a whisper has no pitch of 0 Hz.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import pandas as pd

from otoscope.audio import read_audio
from otoscope.clips import channels
from otoscope.compute import cpu_count, one_thread_each, thread_map
from otoscope.compute import progress as progress_bar
from otoscope.errors import AudioError
from otoscope.factors.tables import KEYS, Factors, report_problems

SAMPLE_RATE = 16_000
FRAME, HOP = 1024, 256  # samples: 64 ms, 16 ms
F0_MIN_HZ, F0_MAX_HZ = 60.0, 1200.0
SHORTEST_S = 2 * FRAME / SAMPLE_RATE  # a clip shorter than two frames says nothing about change in time

_VOICED_CORRELATION = 0.5
_PITCH_STRENGTH = 0.25  # of the flattened autocorrelation; noise through formants stays below
_OCTAVE_COST = 0.01  # of the autocorrelation: of a period and its double, the shorter is meant
_QUIET_DB = -40.0  # relative to the loudest frame
_FLOOR = 1e-10
_N_MFCC = 13

DESCRIPTORS: tuple[tuple[str, str, str], ...] = (
    ("f0_median_semitones", "semitones above 27.5 Hz", "pitch"),
    ("f0_std_semitones", "semitones", "pitch"),
    ("f0_range_semitones", "semitones, 10th to 90th percentile", "pitch"),
    ("f0_slope_semitones_per_s", "semitones/s", "pitch"),
    ("f0_change_semitones", "semitones, mean absolute change per 16 ms", "pitch"),
    ("level_dbfs", "dB re full scale", "loudness"),
    ("level_median_dbfs", "dB re full scale", "loudness"),
    ("level_std_db", "dB", "loudness"),
    ("level_range_db", "dB, 10th to 90th percentile", "loudness"),
    ("crest_db", "dB, peak over RMS", "loudness"),
    ("centroid_mean_hz", "Hz", "spectral"),
    ("centroid_std_hz", "Hz", "spectral"),
    ("bandwidth_mean_hz", "Hz", "spectral"),
    ("rolloff85_mean_hz", "Hz", "spectral"),
    ("flatness_mean_db", "dB", "spectral"),
    ("flux_mean", "", "spectral"),
    ("alpha_ratio_db", "dB, 50-1000 over 1000-5000 Hz", "spectral"),
    ("hammarberg_db", "dB, peak in 0-2 over peak in 2-5 kHz", "spectral"),
    ("tilt_db_per_octave", "dB/octave, 100-6000 Hz", "spectral"),
    ("zero_crossings_per_s", "1/s", "spectral"),
    *((f"mfcc{i}_mean", "", "mfcc") for i in range(1, _N_MFCC)),
    *((f"mfcc{i}_std", "", "mfcc") for i in range(1, 5)),
    ("hnr_mean_db", "dB", "quality"),
    ("hnr_std_db", "dB", "quality"),
    ("level_change_db", "dB, mean absolute change per 16 ms, voiced", "quality"),
    ("voiced_fraction", "", "rhythm"),
    ("voiced_segments_per_s", "1/s", "rhythm"),
    ("voiced_segment_mean_s", "s", "rhythm"),
    ("level_peaks_per_s", "1/s", "rhythm"),
)


def build(
    clips: pd.DataFrame, *, workers: int | None = None, progress: bool = True, skip_unreadable: bool = False
) -> Factors:
    """Compute the descriptors of every clip; see `otoscope.factors.compute_factors`."""
    items = list(zip(clips.path, clips.start_s, clips.stop_s, channels(clips)))
    values = np.full((len(items), len(DESCRIPTORS)), np.nan)
    known: dict[int, str] = {}
    with one_thread_each(), progress_bar("descriptors", len(items), unit="clips", show=progress) as bar:
        measure = partial(_measure_or_skip, skip=skip_unreadable)
        measured = thread_map(measure, items, workers=workers or cpu_count())
        for index, (numbers, problem) in enumerate(measured):
            values[index] = numbers
            if problem:
                known[index] = problem
            bar.advance()
    info = pd.DataFrame(DESCRIPTORS, columns=["name", "unit", "family"])
    keys = clips[list(KEYS)].reset_index(drop=True)
    table = pd.concat([keys, pd.DataFrame(values, columns=list(info["name"]))], axis=1)
    return Factors(table, info, report_problems(table, known))


def describe(waveform: np.ndarray) -> dict[str, float]:
    """Return the descriptors of a mono waveform [samples] at 16 kHz of at least 128 ms that is not silent."""
    level = _frame_levels(waveform)
    spectrum = _power_spectrum(waveform)
    n = min(len(level), spectrum.shape[1])
    level, spectrum = level[:n], spectrum[:, :n]
    loud = level > level.max() + _QUIET_DB
    f0_hz, has_pitch, correlation = _pitch(waveform, n)
    voiced = loud & has_pitch & (correlation > _VOICED_CORRELATION)
    return {
        **_pitch_numbers(f0_hz, voiced),
        **_level_numbers(waveform, level),
        **_spectral_numbers(waveform, spectrum[:, loud]),
        **_mfcc_numbers(spectrum[:, loud]),
        **_quality_numbers(correlation, level, voiced),
        **_rhythm_numbers(level, voiced),
    }


def frame_numbers(waveform: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return of each frame of 16 ms: level (dBFS), pitch (Hz), whether voiced, centroid (Hz), flatness (dB), and tilt
    (dB/octave, NaN where it is silent)."""
    level, power = _frame_levels(waveform), _power_spectrum(waveform)
    n = min(len(level), power.shape[1])
    level, power = level[:n], power[:, :n]
    f0_hz, has_pitch, correlation = _pitch(waveform, n)
    voiced = (level > level.max() + _QUIET_DB) & has_pitch & (correlation > _VOICED_CORRELATION)
    frequency = np.arange(power.shape[0]) * SAMPLE_RATE / FRAME
    amplitude = np.sqrt(power)
    centroid = frequency @ amplitude / np.maximum(amplitude.sum(axis=0), _FLOOR)
    flat = np.maximum(power[1:], _FLOOR)
    flatness_db = 10 * (np.log10(flat).mean(axis=0) - np.log10(flat.mean(axis=0)))
    tilt = np.where(power.max(axis=0) > _FLOOR, _tilt_db_per_octave(power), np.nan)
    return level, f0_hz, voiced, centroid, flatness_db, tilt


def _measure_or_skip(item: tuple[str, float, float, int | None], *, skip: bool) -> tuple[np.ndarray, str]:
    try:
        return _measure_stretch(item)
    except AudioError as error:
        if not skip:
            raise
        return np.full(len(DESCRIPTORS), np.nan), error.reason


def _measure_stretch(item: tuple[str, float, float, int | None]) -> tuple[np.ndarray, str]:
    path, start_s, stop_s, channel = item
    waveform, _ = read_audio(path, sample_rate=SAMPLE_RATE, start_s=start_s, stop_s=stop_s, channel=channel)
    if len(waveform) < SHORTEST_S * SAMPLE_RATE:
        return (
            np.full(len(DESCRIPTORS), np.nan),
            f"too short: {len(waveform) / SAMPLE_RATE:.3f} s of at least {SHORTEST_S:.3f} s",
        )
    if np.abs(waveform).max() < _FLOOR:
        return np.full(len(DESCRIPTORS), np.nan), "silent"
    numbers = describe(waveform)
    return np.array([numbers[name] for name, _, _ in DESCRIPTORS]), ""


def _frame_levels(waveform: np.ndarray) -> np.ndarray:
    """Return each frame's RMS level in dB re full scale (a full-scale square wave is 0 dB)."""
    import librosa

    rms = librosa.feature.rms(y=waveform, frame_length=FRAME, hop_length=HOP)[0]
    return 20 * np.log10(np.maximum(rms, _FLOOR))


def _power_spectrum(waveform: np.ndarray) -> np.ndarray:
    import librosa

    return np.abs(librosa.stft(waveform, n_fft=FRAME, hop_length=HOP)) ** 2


def _pitch(waveform: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for the first `n` frames the pitch in Hz, whether there is one, and the autocorrelation at its period."""
    from scipy.fft import irfft, rfft

    frames = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, FRAME // 2), FRAME)[::HOP][:n]
    window = np.hanning(FRAME).astype(np.float32)
    amplitude = np.abs(rfft((frames - frames.mean(axis=1, keepdims=True)) * window, 2 * FRAME, axis=1))
    lags = np.arange(int(SAMPLE_RATE / F0_MAX_HZ), int(np.ceil(SAMPLE_RATE / F0_MIN_HZ)) + 1)
    around = np.concatenate([[lags[0] - 1], lags, [lags[-1] + 1]])
    flat = irfft(amplitude, axis=1)
    flat = flat[:, around] / np.maximum(flat[:, :1], _FLOOR)
    left, centre, right = flat[:, :-2], flat[:, 1:-1], flat[:, 2:]
    is_peak = (centre > left) & (centre >= right)
    strength = np.where(is_peak, centre - _OCTAVE_COST * np.log2(lags / lags[0]), -np.inf)
    best = strength.argmax(axis=1)[:, None]
    low, top, high = (np.take_along_axis(side, best, axis=1)[:, 0] for side in (left, centre, right))
    bend = np.minimum(low - 2 * top + high, -_FLOOR)
    lag = lags[best[:, 0]] + np.clip(0.5 * (low - high) / bend, -0.5, 0.5)  # the top of a parabola
    has_pitch = np.isfinite(strength.max(axis=1)) & (top > _PITCH_STRENGTH)
    plain = irfft(amplitude**2, axis=1)
    plain = plain[:, around] / np.maximum(plain[:, :1], _FLOOR)
    of_window = irfft(np.abs(rfft(window, 2 * FRAME)) ** 2)
    plain /= of_window[around] / of_window[0]  # a periodic frame gives 1 at its period, whatever the window
    correlation = np.max([np.take_along_axis(plain, best + k, axis=1)[:, 0] for k in range(3)], axis=0)
    return SAMPLE_RATE / lag, has_pitch, correlation


def _pitch_numbers(f0_hz: np.ndarray, voiced: np.ndarray) -> dict[str, float]:
    names = [name for name, _, family in DESCRIPTORS if family == "pitch"]
    if voiced.sum() < 3:
        return dict.fromkeys(names, np.nan)
    semitones = 12 * np.log2(f0_hz / 27.5)
    time_s = np.arange(len(f0_hz)) * HOP / SAMPLE_RATE
    low, high = np.percentile(semitones[voiced], [10, 90])
    pairs = voiced[1:] & voiced[:-1]
    steps = np.abs(np.diff(semitones))[pairs]
    return {
        "f0_median_semitones": float(np.median(semitones[voiced])),
        "f0_std_semitones": float(semitones[voiced].std()),
        "f0_range_semitones": float(high - low),
        "f0_slope_semitones_per_s": float(np.polyfit(time_s[voiced], semitones[voiced], 1)[0]),
        "f0_change_semitones": float(steps.mean()) if len(steps) else np.nan,
    }


def _level_numbers(waveform: np.ndarray, level: np.ndarray) -> dict[str, float]:
    whole = 10 * np.log10(max(float(np.mean(np.square(waveform, dtype=np.float64))), _FLOOR**2))
    low, high = np.percentile(level, [10, 90])
    return {
        "level_dbfs": whole,
        "level_median_dbfs": float(np.median(level)),
        "level_std_db": float(level.std()),
        "level_range_db": float(high - low),
        "crest_db": float(20 * np.log10(np.abs(waveform).max()) - whole),
    }


def _spectral_numbers(waveform: np.ndarray, power: np.ndarray) -> dict[str, float]:
    frequency = np.arange(power.shape[0]) * SAMPLE_RATE / FRAME
    amplitude = np.sqrt(power)
    total = np.maximum(amplitude.sum(axis=0), _FLOOR)
    centroid = frequency @ amplitude / total
    spread = np.sqrt(((frequency[:, None] - centroid) ** 2 * amplitude).sum(axis=0) / total)
    rolloff = frequency[(np.cumsum(power, axis=0) >= 0.85 * power.sum(axis=0)).argmax(axis=0)]
    flat = np.maximum(power[1:], _FLOOR)
    flatness_db = 10 * (np.log10(flat).mean(axis=0) - np.log10(flat.mean(axis=0)))
    shape = amplitude / total
    mean_power = power.mean(axis=1)

    def band(low_hz: float, high_hz: float) -> np.ndarray:
        return mean_power[(frequency >= low_hz) & (frequency < high_hz)]

    tilt = _tilt_db_per_octave(mean_power[:, None])[0]
    crossings = np.count_nonzero(np.diff(np.signbit(waveform)))
    return {
        "centroid_mean_hz": float(centroid.mean()),
        "centroid_std_hz": float(centroid.std()),
        "bandwidth_mean_hz": float(spread.mean()),
        "rolloff85_mean_hz": float(rolloff.mean()),
        "flatness_mean_db": float(flatness_db.mean()),
        "flux_mean": float(np.sqrt((np.diff(shape, axis=1) ** 2).sum(axis=0)).mean())
        if shape.shape[1] > 1
        else np.nan,
        "alpha_ratio_db": _ratio_db(band(50, 1000).sum(), band(1000, 5000).sum()),
        "hammarberg_db": _ratio_db(band(0, 2000).max(), band(2000, 5000).max()),
        "tilt_db_per_octave": float(tilt),
        "zero_crossings_per_s": float(crossings * SAMPLE_RATE / len(waveform)),
    }


def _tilt_db_per_octave(power: np.ndarray) -> np.ndarray:
    """Return the slope from 100 to 6,000 Hz of each column of a power spectrum [frequencies, columns]."""
    frequency = np.arange(power.shape[0]) * SAMPLE_RATE / FRAME
    tilted = (frequency >= 100) & (frequency <= 6000)
    level_db = 10 * np.log10(np.maximum(power[tilted], _FLOOR))
    # Weighted by 1/f, each octave counts the same.
    return np.polyfit(np.log2(frequency[tilted]), level_db, 1, w=1 / np.sqrt(frequency[tilted]))[0]


def _mfcc_numbers(power: np.ndarray) -> dict[str, float]:
    from scipy.fft import dct

    log_mel = 10 * np.log10(np.maximum(_mel_filters() @ power, _FLOOR))
    mfcc = dct(log_mel, axis=0, type=2, norm="ortho")[1:_N_MFCC]
    means = {f"mfcc{i + 1}_mean": float(mean) for i, mean in enumerate(mfcc.mean(axis=1))}
    stds = {f"mfcc{i + 1}_std": float(std) for i, std in enumerate(mfcc[:4].std(axis=1))}
    return means | stds


@lru_cache(maxsize=1)
def _mel_filters() -> np.ndarray:
    import librosa

    return librosa.filters.mel(sr=SAMPLE_RATE, n_fft=FRAME, n_mels=40, fmax=SAMPLE_RATE / 2)


def _quality_numbers(correlation: np.ndarray, level: np.ndarray, voiced: np.ndarray) -> dict[str, float]:
    if voiced.sum() < 3:
        return {"hnr_mean_db": np.nan, "hnr_std_db": np.nan, "level_change_db": np.nan}
    periodic = np.clip(correlation[voiced], 1e-4, 1 - 1e-4)  # within +-40 dB
    hnr_db = 10 * np.log10(periodic / (1 - periodic))
    steps = np.abs(np.diff(level))[voiced[1:] & voiced[:-1]]
    return {
        "hnr_mean_db": float(hnr_db.mean()),
        "hnr_std_db": float(hnr_db.std()),
        "level_change_db": float(steps.mean()) if len(steps) else np.nan,
    }


def _rhythm_numbers(level: np.ndarray, voiced: np.ndarray) -> dict[str, float]:
    seconds = len(level) * HOP / SAMPLE_RATE
    segments = int(np.count_nonzero(np.diff(voiced.astype(int), prepend=0) == 1))
    return {
        "voiced_fraction": float(voiced.mean()),
        "voiced_segments_per_s": segments / seconds,
        "voiced_segment_mean_s": float(voiced.sum()) * HOP / SAMPLE_RATE / segments if segments else 0.0,
        "level_peaks_per_s": _count_peaks(level) / seconds,
    }


def _count_peaks(level: np.ndarray) -> int:
    """Return how many peaks of the level stand out by 3 dB or more."""
    from scipy.signal import find_peaks

    edge = level.min() - 3
    return len(find_peaks(np.concatenate([[edge], level, [edge]]), prominence=3)[0])


def _ratio_db(above: float, below: float) -> float:
    return float(10 * np.log10(max(above, _FLOOR) / max(below, _FLOOR)))

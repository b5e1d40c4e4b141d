"""The true factors of synthsing: what made each clip, with unit and family."""

import numpy as np
import pandas as pd

from otoscope.datasets.synthsing.plan import draw_voice, parse_clip_id
from otoscope.datasets.synthsing.voice import tracks

FACTORS = pd.DataFrame(
    [
        ("f0_hz", "Hz", "pitch", "geometric mean of the fundamental frequency"),
        ("f0_glide_semitones", "semitones", "pitch", "change of pitch from start to end"),
        ("f0_drift_cents", "cents", "pitch", "standard deviation of the slow random drift of pitch"),
        ("vibrato_rate_hz", "Hz", "pitch", "rate of the periodic change of pitch (vibrato or trill)"),
        ("vibrato_extent_cents", "cents", "pitch", "half of its peak-to-peak size"),
        ("vibrato_squareness", "", "pitch", "0 for a sine, towards 1 for steps between two notes"),
        ("f1_hz", "Hz", "formants", "geometric mean of the first formant"),
        ("f2_hz", "Hz", "formants", "geometric mean of the second formant"),
        ("f3_hz", "Hz", "formants", "geometric mean of the third formant"),
        ("f2_glide_semitones", "semitones", "formants", "change of the second formant from start to end"),
        ("tilt_db_per_octave", "dB/octave", "spectral", "slope of the radiated source spectrum above 200 Hz"),
        ("channel_tilt_db_per_octave", "dB/octave", "spectral", "slope of room and microphone"),
        ("hnr_db", "dB", "quality", "harmonics over breath noise, at the mouth"),
        ("jitter_percent", "%", "quality", "local jitter: mean absolute step of the period over its mean"),
        (
            "shimmer_percent",
            "%",
            "quality",
            "local shimmer: mean absolute step of pulse heights over their mean",
        ),
        ("level_dbfs", "dBFS", "loudness", "RMS level of the clip"),
        ("swell_db", "dB", "loudness", "change of loudness from start to end"),
        ("snr_db", "dB", "loudness", "voice over background noise"),
        ("am_rate_hz", "Hz", "rhythm", "rate of the periodic change of loudness"),
        ("am_depth", "", "rhythm", "its depth: loudness falls to 1 - depth once per cycle"),
        ("onset_rate_hz", "Hz", "rhythm", "onsets per second of sound"),
        ("attack_s", "s", "rhythm", "time in which the sound rises"),
    ],
    columns=["name", "unit", "family", "description"],
)
"""One row per factor; `family` is one of pitch, formants, spectral, quality, loudness, rhythm."""


def ground_truth(clips: pd.DataFrame) -> pd.DataFrame:
    """Return the factors that made each clip.

    Parameters
    ----------
    clips : DataFrame
        Rows of `load`, in any order and number. A stretch of a clip has the factors of the whole clip.

    Returns
    -------
    DataFrame
        ``clip_id, start_s, stop_s``, then a float column for each row of `FACTORS`; rows as in `clips`.

    Raises
    ------
    InputError
        If a clip is not one of synthsing's.
    """
    rows = []
    for name in clips["clip_id"]:
        voice = draw_voice(*parse_clip_id(name))
        sound_s = voice.duration_s - voice.onset_s - voice.offset_s
        made = {
            **vars(voice),
            "f2_glide_semitones": voice.formant_glide_semitones,
            "onset_rate_hz": voice.n_onsets / sound_s,
        }
        rows.append([made[factor] for factor in FACTORS["name"]])
    factors = pd.DataFrame(rows, columns=list(FACTORS["name"]), index=clips.index, dtype=float)
    return pd.concat([clips[["clip_id", "start_s", "stop_s"]], factors], axis=1)


MOMENTS = pd.DataFrame(
    [
        ("true_f0_hz", "Hz", "pitch"),
        ("true_loudness_db", "dB", "loudness"),
        ("true_f2_hz", "Hz", "formants"),
    ],
    columns=["name", "unit", "family"],
)
"""What the voice does at a moment: pitch, loudness re its loudest, second formant; NaN before and after it sounds."""


def true_moments(clips: pd.DataFrame, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what made the sound at the moment of each row, and what describes it, as `otoscope.factors` takes them.

    Parameters
    ----------
    clips : DataFrame
        Rows of `load`.
    rows : DataFrame
        Frames of these clips: ``clip_id, start_s, stop_s, time_s``.
    """
    starts_s = dict(zip(clips["clip_id"], clips["start_s"]))
    parts = []
    for name, own in rows.drop_duplicates(["clip_id", "start_s", "stop_s"]).groupby("clip_id", sort=False):
        voice = draw_voice(*parse_clip_id(name))
        time_s, f0_hz, loudness, f2_hz = tracks(voice)
        at_s = own["time_s"].to_numpy() - starts_s[name]
        gain = np.interp(at_s, time_s, loudness) / loudness.max()
        sounds = (at_s > voice.onset_s) & (at_s < voice.duration_s - voice.offset_s) & (gain > 1e-6)
        level_db = 20 * np.log10(np.maximum(gain, 1e-6))
        values = [np.interp(at_s, time_s, f0_hz), level_db, np.interp(at_s, time_s, f2_hz)]
        found = {column: np.where(sounds, value, np.nan) for column, value in zip(MOMENTS["name"], values)}
        parts.append(own[["clip_id", "start_s", "stop_s"]].assign(**found))
    return pd.concat(parts, ignore_index=True), MOMENTS


def true_factors(clips: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return `ground_truth` and what describes it (``name, unit, family``), as `otoscope.factors` takes them."""
    return ground_truth(clips), FACTORS[["name", "unit", "family"]]

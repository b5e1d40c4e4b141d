"""The true factors of synthsing: what made each clip, with unit and family."""

import pandas as pd

from otoscope.datasets.synthsing.plan import draw_voice, parse_clip_id

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


def true_factors(clips: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return `ground_truth` and what describes it (``name, unit, family``), as `otoscope.factors` takes them."""
    return ground_truth(clips), FACTORS[["name", "unit", "family"]]

"""Who sings what, and how: the parameters of every clip, drawn from a seed.

A parameter of a clip is its technique's centre plus what the singer always does, what the singer does with this
technique, and what happened in this clip. All three are drawn from streams of their own, keyed by (pool, singer,
technique, vowel, take), so that a clip is the same whichever others are drawn beside it.
"""

from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd

from otoscope.datasets.synthsing.voice import Voice
from otoscope.errors import InputError

TECHNIQUES = (
    "belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry",
)  # fmt: skip
VOWELS = ("a", "e", "i", "o", "u")
DURATIONS_S = (1.6, 2.0, 2.4)
POOLS = ("dataset", "pretraining")

# name, sex and split; the order lets the first few singers fill every side of the split
SINGERS = (
    ("female1", "train"), ("male3", "test"), ("female3", "valid"), ("male1", "train"), ("female2", "test"),
    ("male4", "valid"), ("female4", "train"), ("male2", "train"), ("female5", "train"), ("male5", "test"),
    ("female7", "train"), ("male6", "train"), ("female8", "test"), ("male7", "train"), ("female6", "valid"),
    ("male8", "train"), ("female9", "train"), ("male9", "train"), ("female10", "train"), ("male10", "test"),
)  # fmt: skip


@dataclass(frozen=True)
class _Spread:
    """How a parameter varies around its technique's centre; ratios are of the natural logarithm."""

    centre: float
    singer: float
    style: float  # of a singer in one technique
    clip: float
    low: float
    high: float
    ratio: bool = False


_SPREADS = {
    "onset_s": _Spread(0.05, 0, 0, 0.25, 0.02, 0.2, ratio=True),
    "offset_s": _Spread(0.05, 0, 0, 0.25, 0.02, 0.2, ratio=True),
    "attack_s": _Spread(0.06, 0.15, 0.2, 0.3, 0.015, 0.4, ratio=True),
    "release_s": _Spread(0.12, 0.15, 0.2, 0.3, 0.03, 0.5, ratio=True),
    "swell_db": _Spread(-1.0, 1.0, 1.0, 2.0, -12, 12),
    "note_semitones": _Spread(0.0, 0, 1.0, 3.0, -8, 8),
    "f0_glide_semitones": _Spread(0.0, 0.1, 0.2, 0.4, -10, 6),
    "f0_drift_cents": _Spread(9.0, 0.2, 0.2, 0.3, 3, 200, ratio=True),
    "vibrato_rate_hz": _Spread(5.4, 0.06, 0.06, 0.08, 3.5, 9.0, ratio=True),
    "vibrato_extent_cents": _Spread(14.0, 0.2, 0.25, 0.35, 4, 200, ratio=True),
    "vibrato_squareness": _Spread(0.1, 0.0, 0.05, 0.05, 0, 1),
    "jitter_percent": _Spread(0.6, 0.2, 0.2, 0.25, 0.15, 18, ratio=True),
    "shimmer_percent": _Spread(3.5, 0.2, 0.2, 0.25, 0.8, 45, ratio=True),
    "tilt_db_per_octave": _Spread(-7.0, 0.4, 0.3, 0.4, -15, -2),
    "hnr_db": _Spread(20.0, 1.0, 1.0, 1.3, -12, 32),
    "tract": _Spread(1.0, 0.03, 0.01, 0.01, 0.85, 1.2, ratio=True),
    "f1_ratio": _Spread(1.0, 0.04, 0.04, 0.04, 0.6, 1.6, ratio=True),
    "f2_ratio": _Spread(1.0, 0.04, 0.04, 0.04, 0.6, 1.4, ratio=True),
    "f3_ratio": _Spread(1.0, 0.03, 0.02, 0.02, 0.7, 1.3, ratio=True),
    "f4_ratio": _Spread(1.0, 0.03, 0.02, 0.02, 0.7, 1.3, ratio=True),
    "f5_ratio": _Spread(1.0, 0.03, 0.02, 0.02, 0.7, 1.3, ratio=True),
    "bandwidth_scale": _Spread(1.0, 0.1, 0.05, 0.08, 0.6, 3, ratio=True),
    "formant_glide_semitones": _Spread(0.0, 0.1, 0.15, 0.3, -8, 8),
    "am_rate_hz": _Spread(6.0, 0.1, 0.1, 0.15, 3, 34, ratio=True),
    "am_depth": _Spread(0.07, 0.15, 0.15, 0.3, 0.02, 0.97, ratio=True),
    "onset_rate_hz": _Spread(0.0, 0.12, 0.08, 0.08, 0, 10, ratio=True),  # 0: one onset
    "onset_jitter": _Spread(0.05, 0.2, 0.2, 0.2, 0.01, 0.15, ratio=True),
    "gap_db": _Spread(-14.0, 1.0, 1.5, 2.0, -40, -3),
    "gap_fraction": _Spread(0.5, 0.05, 0.05, 0.05, 0.3, 0.8),
    "channel_tilt_db_per_octave": _Spread(0.0, 0.1, 0, 0.3, -2, 2),
    "channel_ripple_db": _Spread(0.5, 0, 0, 0.3, 0.2, 3, ratio=True),
    "reverb_s": _Spread(0.18, 0.1, 0, 0.3, 0.06, 0.5, ratio=True),
    "reverb_db": _Spread(-17.0, 1.0, 0, 2.5, -25, -6),
    "snr_db": _Spread(50.0, 1.5, 0, 2.5, 30, 65),
    "level_dbfs": _Spread(-27.0, 1.0, 0.7, 1.5, -38, -20),
}

_TECHNIQUE_CENTRES: dict[str, dict[str, float]] = {
    "straight": {},
    "vibrato": {
        "vibrato_extent_cents": 65.0, "vibrato_rate_hz": 5.6, "am_depth": 0.12, "tilt_db_per_octave": -6.4,
    },
    "trill": {"vibrato_extent_cents": 95.0, "vibrato_rate_hz": 6.3, "vibrato_squareness": 0.6},
    "trillo": {
        "onset_rate_hz": 6.0, "gap_db": -17.0, "attack_s": 0.035, "hnr_db": 11.0, "tilt_db_per_octave": -7.8,
    },
    "belt": {
        "tilt_db_per_octave": -4.2, "f1_ratio": 1.18, "note_semitones": 2.0, "level_dbfs": -24.5,
        "vibrato_extent_cents": 24.0, "hnr_db": 22.0,
    },
    "breathy": {
        "tilt_db_per_octave": -9.8, "hnr_db": 4.5, "attack_s": 0.1, "bandwidth_scale": 1.25,
        "level_dbfs": -29.0,
    },
    "inhaled": {
        "hnr_db": -3.0, "jitter_percent": 1.6, "shimmer_percent": 7.0, "attack_s": 0.16, "swell_db": 5.0,
        "bandwidth_scale": 1.25, "note_semitones": 1.5, "f0_drift_cents": 25.0, "level_dbfs": -29.0,
    },
    "lip_trill": {
        "am_rate_hz": 24.0, "am_depth": 0.75, "f1_ratio": 0.86, "f2_ratio": 0.9, "f3_ratio": 0.95,
        "tilt_db_per_octave": -9.4, "hnr_db": 18.0,
    },
    "spoken": {
        "note_semitones": -4.0, "f0_glide_semitones": -3.5, "f0_drift_cents": 90.0, "onset_rate_hz": 1.7,
        "formant_glide_semitones": 3.0, "gap_db": -9.0, "gap_fraction": 0.4, "jitter_percent": 1.0,
        "hnr_db": 16.0, "tilt_db_per_octave": -8.4, "bandwidth_scale": 1.3, "level_dbfs": -30.0,
    },
    "vocal_fry": {
        "f0_hz": 46.0, "f0_drift_cents": 60.0, "jitter_percent": 6.0, "shimmer_percent": 16.0, "hnr_db": 18.0,
        "tilt_db_per_octave": -5.6, "level_dbfs": -30.0,
    },
}  # fmt: skip

# How much freer than the others a technique is with a parameter (a factor on its deviations)
_FREEDOM = {
    ("spoken", "f0_glide_semitones"): 5.0,
    ("spoken", "formant_glide_semitones"): 3.0,
    ("trill", "vibrato_rate_hz"): 1.3,
    ("trill", "vibrato_squareness"): 2.5,
    ("lip_trill", "am_depth"): 0.5,
}

# An adult male's formants for sung vowels, Hz (round numbers in the range of published averages)
_VOWEL_HZ = {
    "a": (740, 1180, 2550, 3450, 4400),
    "e": (450, 1950, 2560, 3500, 4400),
    "i": (310, 2200, 2950, 3550, 4450),
    "o": (470, 850, 2500, 3350, 4350),
    "u": (340, 780, 2400, 3300, 4300),
}
_SEX_F0_HZ = {"female": 290.0, "male": 150.0}
_SEX_TRACT = {"female": 1.16, "male": 1.0}
_VOICE_FIELDS = tuple(field.name for field in fields(Voice))


def plan_clips(*, seed: int = 0, n_singers: int = 20, takes: int = 1, pool: str = "dataset") -> pd.DataFrame:
    """Draw the parameters of `n_singers` x 10 techniques x 5 vowels x `takes` clips.

    Parameters
    ----------
    seed : int
        0 or more. Another seed gives other singers under the same names.
    n_singers : int
        Data sets have at most 20 named singers; the pretraining pool has no end.
    takes : int
        Clips of each singer, technique and vowel.
    pool : {"dataset", "pretraining"}
        Pools share no random stream, whatever the seeds: a model pretrained on one has never heard the other.
        The pretraining pool is a little more varied.

    Returns
    -------
    DataFrame
        ``clip_id, singer, sex, technique, vowel, take``, then a column for each field of `Voice`.
    """
    if pool not in POOLS:
        raise InputError(f"pool must be one of {', '.join(POOLS)}; got '{pool}'")
    if seed < 0 or takes < 1 or n_singers < 1:
        raise InputError(f"seed must be >= 0, takes and n_singers >= 1; got {seed}, {takes}, {n_singers}")
    if pool == "dataset" and n_singers > len(SINGERS):
        raise InputError(f"synthsing has {len(SINGERS)} singers; got n_singers={n_singers}")
    rows = [
        {
            "clip_id": clip_id(seed, singer, technique, vowel, take, pool=pool),
            "singer": singer, "sex": _sex(singer), "technique": technique, "vowel": vowel, "take": take,
            **asdict(draw_voice(seed, singer, technique, vowel, take, pool=pool)),
        }
        for singer in _singers(n_singers, pool)
        for technique in TECHNIQUES
        for vowel in VOWELS
        for take in range(takes)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def voice_of(row: pd.Series) -> Voice:
    """Return the `Voice` in one row of `plan_clips`."""
    return Voice(**{name: row[name] for name in _VOICE_FIELDS})


def draw_voice(
    seed: int, singer: str, technique: str, vowel: str, take: int = 0, *, pool: str = "dataset"
) -> Voice:
    """Draw the parameters of one clip."""
    key = (POOLS.index(pool), *_singer_key(singer))
    place = TECHNIQUES.index(technique)
    streams = {
        "singer": _stream(seed, (*key, 0)),
        "style": _stream(seed, (*key, 1, place)),
        "clip": _stream(seed, (*key, 2, place, VOWELS.index(vowel), take)),
    }
    spread = 1.15 if pool == "pretraining" else 1.0
    drawn = _draw_parameters(technique, streams, spread)
    clip = streams["clip"]

    sex = _sex(singer)
    register = 2 ** (np.clip(streams["singer"].standard_normal(), -2, 2) * 1.6 * spread / 12)
    f0_hz = _SEX_F0_HZ[sex] * register * 2 ** (drawn.pop("note_semitones") / 12)
    if "f0_hz" in _TECHNIQUE_CENTRES[technique]:  # fry forgets the note
        f0_hz = _TECHNIQUE_CENTRES[technique]["f0_hz"] * (f0_hz / 210.0) ** 0.4
    tract = _SEX_TRACT[sex] * drawn.pop("tract")
    formants_hz = {
        f"f{i}_hz": float(hz * tract * drawn.pop(f"f{i}_ratio"))
        for i, hz in enumerate(_VOWEL_HZ[vowel], start=1)
    }
    formants_hz["f1_hz"] = max(formants_hz["f1_hz"], 1.02 * float(f0_hz))  # singers tune F1 to a high note
    if clip.random() < 0.5:
        drawn["formant_glide_semitones"] *= -1
    duration_s = float(clip.choice(DURATIONS_S))
    sound_s = duration_s - drawn["onset_s"] - drawn["offset_s"]
    return Voice(
        duration_s=duration_s,
        f0_hz=float(f0_hz),
        n_onsets=max(1, round(drawn.pop("onset_rate_hz") * sound_s)),
        noise_seed=int(clip.integers(2**62)),
        **formants_hz,
        **drawn,
    )


def clip_id(
    seed: int, singer: str, technique: str, vowel: str, take: int = 0, *, pool: str = "dataset"
) -> str:
    """Name a clip, such as ``s0-female1-lip_trill-a-0``."""
    return f"{'p' if pool == 'pretraining' else 's'}{seed}-{singer}-{technique}-{vowel}-{take}"


def parse_clip_id(name: str) -> tuple[int, str, str, str, int]:
    """Return seed, singer, technique, vowel and take of a data set's clip.

    Raises
    ------
    InputError
        If `name` is not the name of a synthsing clip.
    """
    parts = name.split("-")
    if len(parts) == 5 and parts[0][:1] == "s" and parts[0][1:].isdigit() and parts[4].isdigit():
        seed, singer, technique, vowel, take = parts
        if singer in dict(SINGERS) and technique in TECHNIQUES and vowel in VOWELS:
            return int(seed[1:]), singer, technique, vowel, int(take)
    raise InputError(f"'{name}' is no clip of synthsing; its clips are named like 's0-female1-belt-a-0'")


def _draw_parameters(
    technique: str, streams: dict[str, np.random.Generator], spread: float
) -> dict[str, float]:
    normal = {
        level: dict(zip(_SPREADS, np.clip(rng.standard_normal(len(_SPREADS)), -2.2, 2.2), strict=True))
        for level, rng in streams.items()
    }
    drawn = {}
    for name, parameter in _SPREADS.items():
        centre = _TECHNIQUE_CENTRES[technique].get(name, parameter.centre)
        deviation = spread * sum(getattr(parameter, level) * normal[level][name] for level in streams)
        deviation *= _FREEDOM.get((technique, name), 1.0)
        value = centre * np.exp(deviation) if parameter.ratio else centre + deviation
        drawn[name] = float(np.clip(value, parameter.low, parameter.high))
    return drawn


def _singers(n_singers: int, pool: str) -> list[str]:
    if pool == "dataset":
        return [name for name, _ in SINGERS[:n_singers]]
    return [f"{('female', 'male')[i % 2]}{i // 2 + 1}" for i in range(n_singers)]


def _sex(singer: str) -> str:
    return singer.rstrip("0123456789")


def _singer_key(singer: str) -> tuple[int, int]:
    sex = _sex(singer)
    return ("female", "male").index(sex), int(singer[len(sex) :])


def _stream(seed: int, key: tuple[int, ...]) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))

"""A tree with VocalSet's own folder and file names and short synthetic sound: `write_fake_vocalset`.

The names of the 15 training singers are the published ones, oddities included (2,699 files, checked in
``tests/datasets/test_vocalset.py``); the five test singers follow the same pattern with their own oddities. Each
technique sounds different, so that a probe has something to learn.
"""

from __future__ import annotations

import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

RATE = 44_100
VOWELS = "aeiou"
TEST_SINGERS = ("female2", "female8", "male10", "male3", "male5")
ALL_SINGERS = tuple([f"female{i}" for i in range(1, 10)] + [f"male{i}" for i in range(1, 12)])
TEN = (
    "belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry",
)  # fmt: skip

Layout = Literal["1.1", "1.2"]


def write_fake_vocalset(
    root: str | Path,
    *,
    version: Layout = "1.1",
    singers: Sequence[str] | None = None,
    per_technique: int | None = None,
    seconds: float = 0.3,
    seed: int = 0,
) -> Path:
    """Write the tree as unpacked, and return `root`, the folder that holds ``FULL/`` or ``data_by_singer/``.

    Parameters
    ----------
    root : path
        Made if need be.
    version : str
        "1.1": ``FULL/<singer>/<context>/<technique>``; "1.2": ``data_by_singer/...`` (and ``data_by_technique``,
        which holds the same again and must not be read).
    singers : sequence of str, optional
        Such as ("female1", "male3"); all 20 by default.
    per_technique : int, optional
        At most so many files of each singer and technique, and none of the seven techniques that are not studied;
        the oddities of a technique's names go first. By default all: 3,617 files and two resource forks.
    seconds : float
        Of each file, at 44.1 kHz: 0.3 s is 26 kB.
    seed : int
        Of the sound.
    """
    root = Path(root)
    audio = root / ("FULL" if version == "1.1" else "data_by_singer")
    rng = np.random.default_rng(seed)
    for singer in singers or ALL_SINGERS:
        voice = _voice(singer, rng)
        names = published_names(singer)
        for context, technique, stem in names if per_technique is None else _few(names, per_technique):
            path = audio / singer / context / technique / f"{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            sung = "vibrato" if technique == "vibrado" else technique
            _write(path, _sing(sung, stem[-1], voice, seconds, rng))
    _write_company(root, audio, version)
    return root


def published_names(singer: str) -> list[tuple[str, str, str]]:
    """Return (context, technique folder, file name without .wav) of a singer's files."""
    short = ("f" if singer.startswith("f") else "m") + singer.lstrip("femal")
    names = [
        name
        for name in _regular(short)
        if not any(name[2].startswith(gone) for gone in _GONE.get(singer, ()))
    ]
    for context, technique, stem in _ODD.get(singer, ()):
        vowels = VOWELS if stem.endswith("_?") else [""]
        names += [(context, technique, stem.replace("?", vowel)) for vowel in vowels]
    return names


def _regular(short: str) -> Iterable[tuple[str, str, str]]:
    """The 182 names a singer has where nothing is missing and nothing odd."""
    for context in ("arpeggios", "scales"):
        for technique in ("belt", "breathy", "lip_trill", "straight", "vibrato", "vocal_fry"):
            yield from ((context, technique, f"{short}_{context}_{technique}_{v}") for v in VOWELS)
        for technique in ("fast_forte", "fast_piano", "slow_forte", "slow_piano"):
            for key in "cf":
                yield from ((context, technique, f"{short}_{context}_{key}_{technique}_{v}") for v in VOWELS)
    for technique in ("forte", "inhaled", "messa", "pp", "straight", "trill", "trillo"):
        yield from (("long_tones", technique, f"{short}_long_{technique}_{v}") for v in VOWELS)
    yield "excerpts", "spoken", f"{short}_row_spoken"
    for technique in ("straight", "vibrato"):
        yield from (
            ("excerpts", technique, f"{short}_{song}_{technique}") for song in ("caro", "dona", "row")
        )


_GONE: dict[str, tuple[str, ...]] = {  # regular names that are not there (by how they start)
    "female1": ("f1_arpeggios_belt",),
    "female2": ("f2_arpeggios_vibrato",),
    "female4": (
        "f4_arpeggios_straight", "f4_scales_straight", "f4_long_messa_i", "f4_long_trill_", "f4_scales_f_",
    ),
    "female6": ("f6_arpeggios_belt",),
    "female7": ("f7_long_trillo",),
    "female9": ("f9_arpeggios_c_fast_piano",),
    "male1": ("m1_scales_straight_u", "m1_scales_vocal_fry_a", "m1_scales_vocal_fry_i", "m1_scales_vocal_fry_u"),
    "male2": ("m2_dona_vibrato",),
    "male4": ("m4_row_spoken",),
    "male6": (
        "m6_arpeggios_c_fast_forte_a", "m6_arpeggios_f_fast_forte_a",
        "m6_arpeggios_c_fast_piano_a", "m6_arpeggios_f_fast_piano_a",
    ),
    "male8": ("m8_row_straight", "m8_caro_vibrato", "m8_scales_c_slow_forte", "m8_scales_f_slow_forte"),
    "male10": (
        "m10_caro_vibrato", "m10_dona_vibrato", "m10_row_vibrato", "m10_scales_c_fast_piano", "m10_scales_f_fast_piano",
    ),
}  # fmt: skip

_ODD: dict[str, tuple[tuple[str, str, str], ...]] = {  # "?" stands for each vowel
    "female1": (("arpeggios", "belt", "f1_arpeggios_belt_c_?"),),
    "female2": (
        ("arpeggios", "vibrado", "f2_arpeggios_vibrato_?"),
        ("arpeggios", "vibrado", "slow_vibrato_arps"),
        ("arpeggios", "fast_piano", "fast_piano_arps_f"),
        ("arpeggios", "lip_trill", "lip_trill_arps"),
        ("scales", "straight", "f2_scales_straight_u(1)"),
        ("scales", "vibrato", "f2_scales_vibrato_a(1)"),
        ("scales", "vocal_fry", "scales_vocal_fry"),
    ),
    "female3": (("scales", "fast_piano", "scales_fast_piano_f"),),
    "female4": (
        ("arpeggios", "straight", "arpeggios_straight_?"),
        ("scales", "straight", "scales_straight_?"),
    ),
    "female6": (
        ("arpeggios", "belt", "f6_arpeggios_belt_1_?"),
        ("arpeggios", "belt", "f6_arpeggios_belt_2_?"),
    ),
    "female7": (
        ("long_tones", "trillo", "f7_ long_trillo_?"),
        ("scales", "slow_piano", "f7_scales_c_slow_piano"),
    ),
    "female9": (("arpeggios", "fast_forte", "arps_fast_piano_c"),),
    "male1": (("scales", "straight", "m1_straight_tone_scales_u"),),
    "male3": (
        ("scales", "lip_trill", "scales_lip_trill"),
        ("arpeggios", "fast_piano", "arps_c_fast_piano"),
    ),
    "male4": (("excerpts", "spoken", "m4_ row_spoken"),),
    "male8": (
        ("excerpts", "straight", "row_straight"),
        ("excerpts", "vibrato", "m9_caro_vibrato"),
        ("scales", "slow_forte", "m8_scales_c_sow_forte_?"),
        ("scales", "slow_forte", "m8_scales_f_sow_forte_?"),
    ),
    "male10": (
        ("excerpts", "vibrato", "caro_vibrato"),
        ("excerpts", "vibrato", "dona_vibrato"),
        ("excerpts", "vibrato", "row_vibrato"),
        ("scales", "fast_piano", "scales_c_fast_piano_?"),
        ("scales", "fast_piano", "scales_f_fast_piano_?"),
    ),
}


def _few(names: list[tuple[str, str, str]], per_technique: int) -> list[tuple[str, str, str]]:
    """Return at most so many files of each studied technique that are kept, and every odd one that is not."""
    kept: list[tuple[str, str, str]] = []
    count: dict[str, int] = {}
    for context, technique, stem in reversed(names):  # oddities stand last
        sung = "vibrato" if technique == "vibrado" else technique
        if sung not in TEN or (context == "excerpts" and sung != "spoken"):
            continue
        usable = stem.endswith(("_spoken", *(f"_{vowel}" for vowel in VOWELS)))
        count[sung] = count.get(sung, 0) + usable
        if not usable or count[sung] <= per_technique:
            kept.append((context, technique, stem))
    return kept


def _voice(singer: str, rng: np.random.Generator) -> tuple[float, float]:
    """Return a singer's own pitch (Hz) and brightness (a slope of the harmonics)."""
    f0_hz = rng.uniform(210, 360) if singer.startswith("f") else rng.uniform(100, 190)
    return f0_hz, rng.uniform(1.0, 1.6)


def _sing(
    technique: str, vowel: str, voice: tuple[float, float], seconds: float, rng: np.random.Generator
) -> np.ndarray:
    """Return a few tenths of a second of a caricature of the technique."""
    f0_hz, slope = voice
    n = max(int(seconds * RATE), 1)
    t = np.arange(n) / RATE
    f0 = np.full(n, f0_hz * 2 ** (rng.integers(0, 8) / 12))
    loud, noise, level = np.ones(n), 0.002, 0.3
    phase = rng.uniform(0, 2 * np.pi)
    if technique == "vibrato":
        f0 = f0 * 2 ** (0.8 / 12 * np.sin(2 * np.pi * 12 * t + phase))
    elif technique == "trill":
        f0 = f0 * 2 ** (1 / 12 * (np.sin(2 * np.pi * 14 * t + phase) > 0))
    elif technique == "trillo":
        loud = 0.1 + 0.9 * (np.sin(2 * np.pi * 16 * t + phase) > 0)
    elif technique == "lip_trill":
        loud, slope = 0.55 + 0.45 * np.sin(2 * np.pi * 28 * t + phase), slope + 1.0
    elif technique == "belt":
        level, slope = 0.6, slope - 0.6
    elif technique == "breathy":
        noise, level, slope = 0.06, 0.12, slope + 0.6
    elif technique == "inhaled":
        noise, level = 0.15, 0.03
    elif technique == "spoken":
        f0 = f0 * 0.7 * 2 ** (np.linspace(3, -3, n) / 12)
    elif technique == "vocal_fry":
        f0 = np.full(n, 38.0 + rng.uniform(-6, 6))
    angle = 2 * np.pi * np.cumsum(f0) / RATE
    formant_hz = {"a": 850, "e": 550, "i": 320, "o": 500, "u": 350}.get(vowel, 650)
    tone = np.zeros(n)
    for h in range(1, 9):
        strength = h**-slope * (1 + 2 * np.exp(-(((h * f0.mean() - formant_hz) / 250) ** 2)))
        tone += strength * np.sin(h * angle)
    tone /= np.abs(tone).max() + 1e-9
    return np.clip(level * loud * tone + noise * rng.normal(size=n), -1, 1)


def _write(path: Path, waveform: np.ndarray) -> None:
    """Write 16 bit mono; soundfile would wait for the disk at every file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((waveform * 32767).astype("<i2").tobytes())


def _write_company(root: Path, audio: Path, version: Layout) -> None:
    """Write what else the archive holds: lists of singers, a readme, resource forks, the same audio again."""
    train = [singer for singer in ALL_SINGERS if singer not in TEST_SINGERS]
    (root / "train_singers_technique.txt").write_text("\n".join(train) + "\n")
    (root / "test_singers_technique.txt").write_text("\n".join(TEST_SINGERS) + "\n")
    (root / "readme-anon.txt").write_text("A fake VocalSet for tests.\n")
    (audio / ".DS_Store").write_bytes(b"\0" * 16)
    fork = root / "__MACOSX" / audio.name / "male3" / "scales" / "belt"
    fork.mkdir(parents=True, exist_ok=True)
    for name in ("._m3_scales_belt_a.wav", "._m3_scales_belt_e.wav"):
        (fork / name).write_bytes(b"\0\5\x16\7" + b"\0" * 60)
    if version == "1.2":
        first = next(audio.rglob("*.wav"))
        again = root / "data_by_technique" / first.parent.name
        again.mkdir(parents=True, exist_ok=True)
        (again / first.name).write_bytes(first.read_bytes())

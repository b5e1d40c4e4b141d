"""The 88 functionals: their two family tables, and openSMILE where it is installed."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from otoscope.errors import InputError
from otoscope.factors import compute_factors, egemaps, egemaps_families
from otoscope.results import FAMILIES


def test_counts_of_both_family_tables():
    paper = egemaps_families("paper").family.value_counts().to_dict()
    assert paper == {
        "pitch": 14, "formants": 18, "mfcc": 16, "spectral": 17, "quality": 6, "loudness": 12, "rhythm": 5
    }  # fmt: skip
    corrected = egemaps_families("corrected").family.value_counts().to_dict()
    assert corrected == paper | {"pitch": 10, "quality": 10, "loudness": 11, "rhythm": 6}
    assert set(FAMILIES) == set(paper)
    with pytest.raises(InputError, match="did you mean 'corrected'"):
        egemaps_families("correct")


def test_what_was_corrected():
    paper = egemaps_families("paper").set_index("name").family
    corrected = egemaps_families("corrected").set_index("name").family
    moved = paper.index[paper != corrected]
    assert set(moved[moved.str.startswith("logRelF0-H1-")]) == set(moved) - {"loudnessPeaksPerSec"}
    assert set(corrected[moved]) == {"quality", "rhythm"}


def test_paper_table_is_what_the_published_rules_give():
    """The rules as published: the first that fits decides."""
    rules = [
        (("F1", "F2", "F3"), "formants"), (("F0",), "pitch"), (("jitter", "shimmer", "HNR"), "quality"),
        (("loudness", "equivalentSoundLevel"), "loudness"), (("oiced",), "rhythm"),
        (("slope", "spectral", "alphaRatio", "hammarberg"), "spectral"), (("mfcc",), "mfcc"),
    ]  # fmt: skip
    for name, family in zip(*egemaps_families("paper")[["name", "family"]].to_numpy().T):
        assert family == next(to for parts, to in rules if any(part in name for part in parts))


def test_names_are_those_of_real_files(egemaps_csv):
    assert list(pd.read_csv(egemaps_csv, nrows=1).columns[1:]) == list(egemaps_families().name)


def test_missing_package_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    egemaps._extractor.cache_clear()
    with pytest.raises(InputError, match=r"otoscope\[egemaps\]"):
        egemaps._extractor()


SAMPLE_RATE = 16_000
TONE = sum(
    0.1 * np.sin(2 * np.pi * 220 * k * np.arange(SAMPLE_RATE) / SAMPLE_RATE) / k for k in range(1, 9)
).astype(np.float32)


def measured(folder, sounds: dict[str, np.ndarray], **options):
    """The factors of sounds [samples] or [samples, channels]."""
    pytest.importorskip("opensmile", reason="the extra 'egemaps' is not installed")
    egemaps._extractor.cache_clear()
    rows = []
    for name, wave in sounds.items():
        soundfile.write(folder / f"{name}.wav", wave, SAMPLE_RATE, subtype="FLOAT")
        rows.append((name, str(folder / f"{name}.wav"), 0.0, len(wave) / SAMPLE_RATE, "train", name))
    clips = pd.DataFrame(rows, columns=["clip_id", "path", "start_s", "stop_s", "split", "group"])
    return compute_factors("egemaps", clips, progress=False, **{"workers": 1} | options)


def test_a_sound_without_voice_has_no_pitch_of_0(tmp_path):
    noise = (0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)).astype(np.float32)
    factors = measured(tmp_path, {"noise": noise, "tone": TONE})
    values = factors.table.set_index("clip_id")
    unvoiced = values.columns[values.loc["noise"].isna()]
    families = pd.Series(factors.families)[unvoiced]
    assert {"pitch", "formants", "quality"} <= set(families)
    assert not families.isin(["loudness"]).any()
    for name in ("F1amplitudeLogRelF0_sma3nz_amean", "mfcc1V_sma3nz_amean", "MeanVoicedSegmentLengthSec"):
        assert name in unvoiced
    for name in ("alphaRatioUV_sma3nz_amean", "mfcc1_sma3_amean", "VoicedSegmentsPerSec"):
        assert name not in unvoiced
    problems = factors.problems.set_index("clip_id").problem
    assert problems["noise"].startswith(
        "no voiced frame: 58 functionals of voiced sound say nothing, they are NaN"
    )
    left = measured(
        tmp_path, {"noise": noise}, families="paper"
    )  # as the published code had it, but not silently
    assert left.table["F0semitoneFrom27.5Hz_sma3nz_amean"][0] == 0
    assert "openSMILE's zeros are left" in left.problems.problem[0]
    assert (
        "NaN" in measured(tmp_path, {"noise": noise}, families="paper", keep_zeros=False).problems.problem[0]
    )


def test_stereo_is_heard_as_the_mean_of_its_channels(tmp_path):
    low = 0.3 * np.roll(TONE, 100)
    sounds = {"both": np.column_stack([TONE, low]), "mean": (TONE + low) / 2, "left": TONE}
    values = measured(tmp_path, sounds).table.set_index("clip_id")
    np.testing.assert_allclose(values.loc["both"].iloc[2:], values.loc["mean"].iloc[2:], rtol=1e-4, atol=1e-6)
    assert not np.allclose(
        values.loc["both"].iloc[2:], values.loc["left"].iloc[2:], rtol=1e-2, equal_nan=True
    )


def test_processes_change_nothing_but_the_time(tmp_path):
    sounds = {f"t{i}": TONE[: 8000 + 300 * i] for i in range(18)}  # three chunks
    one, two = (measured(tmp_path, sounds, workers=workers) for workers in (1, 2))
    pd.testing.assert_frame_equal(one.table, two.table)
    assert list(two.table.clip_id) == list(sounds)


def test_functionals_of_a_tone(tmp_path):
    factors = measured(tmp_path, {"tone": TONE, "short": TONE[:800]}, families="paper")
    assert factors.table.shape == (2, 3 + 88)
    pitch = factors.table["F0semitoneFrom27.5Hz_sma3nz_amean"]
    assert pitch[0] == pytest.approx(36.0, abs=0.2)  # 220 Hz: three octaves above 27.5 Hz
    assert np.isnan(pitch[1])
    problems = factors.problems.set_index("clip_id").problem
    assert problems["short"].startswith("too short: 0.050 s")
    assert problems["tone"].startswith("no unvoiced frame: 7 functionals")

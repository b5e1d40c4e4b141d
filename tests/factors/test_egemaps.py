"""The 88 functionals: their two family tables, and openSMILE where it is installed."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from otoscope.audio import write_audio
from otoscope.errors import InputError
from otoscope.factors import FAMILIES, compute_factors, egemaps, egemaps_families


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


def test_functionals_of_a_tone(tmp_path):
    pytest.importorskip("opensmile", reason="the extra 'egemaps' is not installed")
    egemaps._extractor.cache_clear()
    sample_rate = 16_000
    time_s = np.arange(sample_rate) / sample_rate
    left = sum(0.1 * np.sin(2 * np.pi * 220 * k * time_s) / k for k in range(1, 9))
    rows = []
    for name, wave in {"tone": left, "short": left[:800]}.items():
        write_audio(tmp_path / f"{name}.wav", wave.astype(np.float32), sample_rate)
        rows.append((name, str(tmp_path / f"{name}.wav"), 0.0, len(wave) / sample_rate, "train", name))
    clips = pd.DataFrame(rows, columns=["clip_id", "path", "start_s", "stop_s", "split", "group"])
    factors = compute_factors("egemaps", clips, workers=1, families="paper", progress=False)
    assert factors.table.shape == (2, 3 + 88)
    pitch = factors.table["F0semitoneFrom27.5Hz_sma3nz_amean"]
    assert pitch[0] == pytest.approx(36.0, abs=0.2)  # 220 Hz: three octaves above 27.5 Hz
    assert np.isnan(pitch[1])
    assert list(factors.problems.clip_id) == ["short"]
    assert factors.problems.problem[0].startswith("too short: 0.050 s")

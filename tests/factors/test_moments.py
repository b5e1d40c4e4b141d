"""Level, pitch and spectrum of frames: a sound whose moments are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.audio import write_audio
from otoscope.errors import InputError
from otoscope.factors import moment_factors


@pytest.fixture
def clips(tmp_path) -> pd.DataFrame:
    """Silence to 1.0 s, then 220 Hz of amplitude 0.1, then from 1.5 s 440 Hz of 0.4; the clip begins at 0.5 s."""
    time_s = np.arange(2 * 16_000) / 16_000
    tone = np.where(
        time_s < 1.5, 0.1 * np.sin(2 * np.pi * 220 * time_s), 0.4 * np.sin(2 * np.pi * 440 * time_s)
    )
    write_audio(tmp_path / "a.wav", np.where(time_s < 1.0, 0.0, tone), 16_000)
    about = {"clip_id": ["a"], "path": [str(tmp_path / "a.wav")], "start_s": 0.5, "stop_s": 2.0}
    return pd.DataFrame(about).assign(split="train", group="a")


def test_moments_are_measured_where_they_are(clips):
    time_s = np.arange(0.51, 2.0, 0.02)
    rows = pd.DataFrame({"clip_id": "a", "start_s": time_s - 0.01, "stop_s": time_s + 0.01, "time_s": time_s})
    found = moment_factors(clips, rows, progress=False)
    table = found.table.set_index(rows.time_s.round(2))
    assert table.level_dbfs[1.25] == pytest.approx(20 * np.log10(0.1 / np.sqrt(2)), abs=0.2)
    assert table.level_dbfs[1.75] == pytest.approx(20 * np.log10(0.4 / np.sqrt(2)), abs=0.2)
    assert table.level_dbfs[0.75] < -100
    assert table.f0_hz[1.25] == pytest.approx(220, rel=0.01)
    assert table.f0_hz[1.75] == pytest.approx(440, rel=0.01)
    assert np.isnan(table.f0_hz[0.75])
    assert table.voiced[[0.75, 1.25]].tolist() == [0, 1]
    assert table.centroid_hz[1.75] > table.centroid_hz[1.25]
    assert table.level_change_db[0.99] > 20  # the onset
    assert abs(table.level_change_db[1.25]) < 0.5
    assert list(found.info.name) == list(found.table.columns[3:])


def test_rows_of_one_moment_are_one(clips):
    rows = pd.DataFrame(
        {"clip_id": "a", "start_s": [0.5, 0.5], "stop_s": 0.6, "time_s": 0.55, "band": [0, 1]}
    )
    assert len(moment_factors(clips, rows, progress=False).table) == 1
    with pytest.raises(InputError, match="no time_s"):
        moment_factors(clips, rows.drop(columns="time_s"))
    with pytest.raises(InputError, match="not in the clips table, such as 'b'"):
        moment_factors(clips, rows.assign(clip_id="b"))


def test_tilt_is_the_slope_of_the_spectrum(tmp_path):
    """Summed white noise falls by 6 dB an octave; where nothing sounds there is no slope."""
    noise = np.random.default_rng(0).standard_normal(16_000)
    brown = np.cumsum(noise)
    brown = 0.1 * (brown - np.linspace(brown[0], brown[-1], 16_000)) / brown.std()
    write_audio(tmp_path / "b.wav", np.r_[np.zeros(8000), brown], 16_000)
    clips = pd.DataFrame({"clip_id": ["b"], "path": [str(tmp_path / "b.wav")], "start_s": 0.0, "stop_s": 1.5})
    time_s = np.arange(0.1, 1.4, 0.02)
    rows = pd.DataFrame({"clip_id": "b", "start_s": time_s - 0.01, "stop_s": time_s + 0.01, "time_s": time_s})
    tilt = moment_factors(
        clips.assign(split="train", group="b"), rows, progress=False
    ).table.tilt_db_per_octave
    assert np.isnan(tilt[time_s < 0.4]).all()
    assert tilt[time_s > 0.6].mean() == pytest.approx(-6, abs=0.5)

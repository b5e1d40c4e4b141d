"""A user's own table of factors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.errors import InputError
from otoscope.factors import compute_factors

CLIPS = pd.DataFrame(
    {
        "clip_id": ["a", "b", "c"],
        "path": ["a.wav", "b.wav", "c.wav"],
        "start_s": 0.0,
        "stop_s": [1.0, 2.0, 3.0],
        "split": "train",
        "group": ["a", "b", "c"],
    }
)


def test_whole_clips_in_any_order_with_families(tmp_path):
    path, families = tmp_path / "own.csv", tmp_path / "families.csv"
    path.write_text("clip_id,temperature_c,wind_m_per_s\nc,3.5,1\na,1.5,\n")
    families.write_text("name,family,unit\ntemperature_c,weather,°C\n")
    factors = compute_factors("csv", CLIPS, path=path, families=families)
    np.testing.assert_array_equal(factors.table.temperature_c, [1.5, np.nan, 3.5])
    np.testing.assert_array_equal(factors.table.wind_m_per_s, [np.nan, np.nan, 1])
    assert factors.families == {"temperature_c": "weather", "wind_m_per_s": "other"}
    assert list(factors.info.unit) == ["°C", ""]
    problems = dict(zip(factors.problems.clip_id, factors.problems.problem))
    assert problems == {"a": "not measurable here: wind_m_per_s", "b": f"no row in {path}"}


def test_stretches_from_parquet_and_chosen_columns(tmp_path):
    path = tmp_path / "own.parquet"
    table = CLIPS[["clip_id", "start_s", "stop_s"]].assign(mood=["x", "y", "z"], f0_hz=[1, 2, 3])
    table.to_parquet(path)
    factors = compute_factors("csv", CLIPS, path=path, columns=["f0_hz"])
    assert list(factors.table.f0_hz) == [1, 2, 3]
    with pytest.raises(InputError, match=r"column 'mood' is not numeric \(such as 'x'\)"):
        compute_factors("csv", CLIPS, path=path)
    table.assign(stop_s=9.0).to_parquet(path)
    with pytest.raises(InputError, match="whole_clip=True"):
        compute_factors("csv", CLIPS, path=path, columns=["f0_hz"])


def test_numbers_as_clip_ids_stay_as_written(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("clip_id,f0_hz\n007,1.0\n")
    clips = CLIPS.assign(clip_id=["007", "8", "9"])
    assert compute_factors("csv", clips, path=path).table.f0_hz[0] == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,f0_hz\na,1\n", "no column clip_id; did you mean 'clip'"),
        ("clip_id\na\n", "no factor column"),
        ("clip_id,f0_hz\nz,1\n", "none of its clip ids is in the clips table"),
    ],
)
def test_messages(tmp_path, text, message):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        compute_factors("csv", CLIPS, path=path)


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match="no such table"):
        compute_factors("csv", CLIPS, path=tmp_path / "none.csv")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match=r"a table is a \.csv, \.tsv, \.jsonl or \.parquet"):
        compute_factors("csv", CLIPS, path=tmp_path / "a.txt")


def test_how_many_clips_a_table_knows_is_said(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("clip_id,f0_hz\na,1\nz.wav,2\n")
    (note,) = compute_factors("csv", CLIPS, path=path).notes
    assert note.endswith(
        "1 of 3 clips have a row in it; 'b' is a clip without one, 'z.wav' a row without a clip"
    )
    path.write_text("clip_id,f0_hz\na,1\nb,2\n")
    assert compute_factors("csv", CLIPS, path=path).notes == ()


def test_factors_and_families_may_be_called_null(tmp_path):
    path, families = tmp_path / "own.csv", tmp_path / "families.csv"
    path.write_text("clip_id,null,NA,on\na,1,NA,True\nb,2,3,False\nc,nan,4,True\n")
    families.write_text("name,family\nnull,None\nNA,nan\n")
    factors = compute_factors("csv", CLIPS, path=path, families=families)
    np.testing.assert_array_equal(factors.table["null"], [1, 2, np.nan])
    np.testing.assert_array_equal(factors.table["NA"], [np.nan, 3, 4])
    np.testing.assert_array_equal(factors.table["on"], [1, 0, 1])
    assert factors.families == {"null": "None", "NA": "nan", "on": "other"}


def test_one_bad_recording_does_not_stop_the_descriptors_when_skipped(tmp_path):
    import soundfile

    from otoscope.errors import AudioError

    paths = [str(tmp_path / f"{name}.wav") for name in "abc"]
    for path in paths:
        soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=16_000), 16_000)
    clips = CLIPS.assign(path=paths, stop_s=1.0)
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"b\.wav"):
        compute_factors("descriptors", clips, progress=False)
    factors = compute_factors("descriptors", clips, progress=False, skip_unreadable=True)
    assert factors.table.level_dbfs.notna().tolist() == [True, False, True]
    assert "cannot be decoded" in factors.problems.set_index("clip_id").problem["b"]

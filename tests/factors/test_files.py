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

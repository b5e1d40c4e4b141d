"""Selections of factors and counts of families, on a table small enough to see through."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.disentanglement import Disentanglement, family_counts, select_factors, summarise
from otoscope.errors import InputError

TABLE = pd.DataFrame(
    {
        "factor": list("abcd"),
        "family": ["pitch", "pitch", "mfcc", "weather"],
        "r2": [0.9, 0.8, 0.7, 0.6],
        "r2_cv": [0.5, 0.6, 0.05, 0.4],
        "completeness": [0.2, 0.3, 1.0, np.nan],
        "effective_dims": [8.0, 4.0, 1.0, np.nan],
        "r2_counted": [0.5, 0.6, 0.05, 0.1],  # d is the label's
        "r2_label": [0.0, 0.0, 0.0, 0.3],
        "r2_beyond": [0.5, 0.6, 0.05, 0.1],
        "effective_dims_matched": [4.0, 2.0, 1.0, np.nan],
        "completeness_published": [0.3, 0.4, 1.0, np.nan],
        "ranked": [True, True, False, True],
    }
)
RESULT = Disentanglement(TABLE, pd.DataFrame(), 0.4, np.zeros((5, 4)))


def test_selections():
    assert list(select_factors(TABLE, "top10_r2", n=2).factor) == ["b", "a"]
    assert list(select_factors(TABLE, "top10_r2", score="r2", n=2).factor) == ["a", "b"]
    assert list(select_factors(TABLE, "top10_completeness", n=3).factor) == [
        "b",
        "a",
    ]  # c is under the floor, d has none
    assert list(select_factors(TABLE, "r2_floor").factor) == ["a", "b", "d"]
    with pytest.raises(InputError, match="did you mean 'top10_r2'"):
        select_factors(TABLE, "top_r2")


def test_summary_by_hand():
    summary = summarise(RESULT, n=2).set_index("selection")
    top = summary.loc["top10_r2"]
    assert top.r2_mean == pytest.approx(0.55)
    assert top.r2_std == pytest.approx(0.05)
    assert top.completeness_mean == pytest.approx(0.25)
    assert top.effective_dims_mean == pytest.approx(6)
    assert top.effective_dims_matched_mean == pytest.approx(3)
    assert top.completeness_published_mean == pytest.approx(0.35)
    assert top.r2_in_sample_mean == pytest.approx(0.85)
    assert summary.loc["r2_floor", "r2_mean"] == pytest.approx(0.4)  # d counts by what is beyond the label
    by_cv = summarise(RESULT, n=2, score="r2_cv").set_index("selection")
    assert by_cv.loc["r2_floor", "r2_mean"] == pytest.approx(0.5)
    assert summary.n_factors.tolist() == [2, 2, 3]
    assert list(summarise(RESULT))[:5] == [
        "selection", "r2_mean", "r2_std", "completeness_mean", "completeness_std"
    ]  # fmt: skip


def test_family_counts():
    counts = family_counts(RESULT, n=3)
    assert list(counts)[:7] == ["pitch", "formants", "mfcc", "spectral", "quality", "loudness", "rhythm"]
    assert counts.iloc[0].to_dict() == {
        "pitch": 2, "formants": 0, "mfcc": 0, "spectral": 0, "quality": 0, "loudness": 0, "rhythm": 0, "weather": 1
    }  # fmt: skip

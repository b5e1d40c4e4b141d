"""Entropy estimates against closed forms, and ties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma

from otoscope.disentanglement import factor_entropy, histogram_entropy, knn_entropy
from otoscope.errors import InputError


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_closed_forms(seed):
    rng = np.random.default_rng(seed)
    assert knn_entropy(rng.uniform(0, 4, 5000)) == pytest.approx(2.0, abs=0.05)
    assert knn_entropy(rng.normal(0, 3, 5000)) == pytest.approx(0.5 * np.log2(2 * np.pi * np.e * 9), abs=0.05)
    assert knn_entropy(rng.exponential(1, 5000)) == pytest.approx(np.log2(np.e), abs=0.05)


def test_against_a_plain_version():
    x = np.random.default_rng(0).standard_normal(60)
    distances = np.sort(np.abs(x[:, None] - x[None]), axis=1)[:, 3]  # 0 is the value itself
    expected = (digamma(60) - digamma(3) + np.log(2) + np.log(distances).mean()) / np.log(2)
    assert knn_entropy(x) == pytest.approx(expected)


def test_units_shift_by_their_logarithm():
    x = np.random.default_rng(0).standard_normal(500)
    assert knn_entropy(1000 * x) == pytest.approx(knn_entropy(x) + np.log2(1000))
    table = factor_entropy(pd.DataFrame({"hz": 1000 * x, "khz": x}))
    assert table.entropy_knn_bits[0] == pytest.approx(table.entropy_knn_bits[1])
    raw = factor_entropy(pd.DataFrame({"hz": 1000 * x, "khz": x}), z_score=False)
    assert raw.entropy_knn_bits[0] == pytest.approx(raw.entropy_knn_bits[1] + np.log2(1000))


def test_ties():
    x = np.random.default_rng(0).standard_normal(2000)
    assert knn_entropy(np.round(x, 1)) == pytest.approx(
        knn_entropy(x), abs=0.05
    )  # rounding alone says little
    often_zero = np.where(np.arange(2000) < 1000, 0.0, x)  # half of all values are one
    assert -np.inf < knn_entropy(often_zero) < knn_entropy(x) - 3
    assert knn_entropy(np.ones(10)) == -np.inf
    assert np.isnan(knn_entropy(np.arange(3.0)))
    table = factor_entropy(pd.DataFrame({"a": often_zero, "b": np.round(x, 1)}))
    assert table.n_tied[0] == 1000
    assert table.largest_tie[0] == 0.5
    assert table.mixed.tolist() == [True, False]  # rounding is no atom
    assert np.isnan(table.entropy_knn_bits[0])
    assert table.entropy_hist_bits[0] == pytest.approx(histogram_entropy(often_zero))


def test_histogram():
    assert histogram_entropy(np.arange(1000)) == pytest.approx(np.log2(10))
    assert histogram_entropy([0, 0, 0, 1]) == pytest.approx(0.8112781)
    assert histogram_entropy(np.ones(5)) == 0
    assert np.isnan(histogram_entropy([np.nan]))


def test_table():
    factors = pd.DataFrame({"a": [1.0, 2.0, np.nan, 4.0, 7.0, 9.0], "b": np.ones(6)})
    table = factor_entropy(factors, families={"a": "pitch"})
    assert list(table)[:4] == ["factor", "family", "entropy_knn_bits", "entropy_hist_bits"]
    assert table.n_rows.tolist() == [5, 6]
    assert table.family.tolist() == ["pitch", "other"]
    assert table.mixed.tolist() == [False, True]
    assert np.isnan(table.entropy_knn_bits[1])
    assert table.entropy_hist_bits[1] == 0


def test_text_is_no_factor():
    with pytest.raises(InputError, match="factor 'a' is not numeric"):
        factor_entropy(pd.DataFrame({"a": ["x", "y"]}))


def test_values_that_only_rounding_errors_tell_apart_are_ties():
    counts = np.random.default_rng(0).integers(0, 5, 2000).astype(float)
    noisy = counts + np.random.default_rng(1).normal(scale=1e-15, size=2000)
    assert np.isfinite(knn_entropy(noisy))
    assert knn_entropy(noisy) == pytest.approx(knn_entropy(counts), abs=0.01)

"""The whole chain on real eGeMAPS functionals of singing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma
from sklearn.linear_model import Lasso

from otoscope.disentanglement import (
    factor_entropy,
    family_counts,
    lasso_path,
    measure_disentanglement,
    measure_in_sample,
)
from otoscope.factors import egemaps_families


@pytest.fixture(scope="module")
def real(egemaps_csv) -> tuple[pd.DataFrame, np.ndarray]:
    """88 functionals of 600 recordings, and their singers."""
    table = pd.read_csv(egemaps_csv).drop_duplicates("clip").iloc[::4][:600]
    return table.drop(columns="clip").reset_index(drop=True), table["clip"].str.split("_").str[0].to_numpy()


def families(table: str) -> dict[str, str]:
    info = egemaps_families(table)
    return dict(zip(info.name, info.family))


def test_entropies_of_all_88(real):
    factors, _ = real
    table = factor_entropy(factors, families=families("corrected"))
    assert len(table) == 88
    assert (np.isfinite(table.entropy_knn_bits) == ~table.mixed).all()
    assert table.mixed.sum() < 5  # a few lengths of segments are 0 in many clips
    assert table.entropy_hist_bits.between(0, np.log2(10)).all()
    # No density of variance 1 has more entropy than the normal one.
    assert table.entropy_knn_bits.max() < 0.5 * np.log2(2 * np.pi * np.e) + 0.1
    assert "other" not in set(table.family)


def test_entropies_are_those_of_a_plain_version_where_nothing_is_tied(real):
    factors, _ = real
    z = (factors - factors.mean()) / factors.std(ddof=0)
    table = factor_entropy(factors).set_index("factor")
    raw = factor_entropy(factors, z_score=False).set_index("factor")
    checked = 0
    for name in table.index[table.n_tied == 0]:
        x = z[name].to_numpy()
        third = np.sort(np.abs(x[:, None] - x), axis=1)[:, 3]
        expected = (digamma(len(x)) - digamma(3) + np.log(2 * third).mean()) / np.log(2)
        assert table.entropy_knn_bits[name] == pytest.approx(expected, abs=1e-3), name
        shift = np.log2(factors[name].std(ddof=0))
        assert raw.entropy_knn_bits[name] == pytest.approx(expected + shift, abs=1e-3), name
        counts = np.histogram(factors[name], 10)[0]
        p = counts[counts > 0] / len(x)
        assert table.entropy_hist_bits[name] == pytest.approx(-(p * np.log2(p)).sum())
        checked += 1
    assert checked > 60


def test_families_of_real_columns(real):
    factors, _ = real
    for table, pitch in (("paper", 14), ("corrected", 10)):
        found = pd.Series(families(table))[factors.columns].value_counts()
        assert (found["pitch"], found["formants"], found["mfcc"], found.sum()) == (pitch, 18, 16, 88)


def test_lasso_of_a_low_rank_mixture(real):
    """Codes mixed from 30 directions of the factors: found again, and the objective is scikit-learn's."""
    factors, singers = real
    rng = np.random.default_rng(0)
    z = (factors - factors.mean()) / factors.std(ddof=0)
    directions = np.linalg.svd(z, full_matrices=False)[2][:30]
    codes = z.to_numpy() @ directions.T @ rng.standard_normal((30, 200)) + 0.5 * rng.standard_normal(
        (600, 200)
    )
    x = (codes - codes.mean(axis=0)) / codes.std(axis=0)
    ours = lasso_path(x, z.to_numpy(), np.array([0.1]))[:, 0]
    for j in range(0, 88, 8):
        y = z.iloc[:, j].to_numpy()
        theirs = Lasso(alpha=0.1, max_iter=10_000, tol=1e-8).fit(x, y).coef_
        objectives = [((y - x @ w) ** 2).mean() / 2 + 0.1 * np.abs(w).sum() for w in (ours[j], theirs)]
        assert objectives[0] == pytest.approx(objectives[1], rel=1e-6)
    subset = factors.iloc[:, ::8]
    held_out = measure_disentanglement(codes, subset, groups=singers, families=families("corrected"))
    assert (held_out.factors.r2_cv > 0.3).sum() >= 6
    noise = measure_disentanglement(rng.standard_normal(codes.shape), subset, groups=singers)
    assert (noise.factors.r2_cv < 0.1).all()
    published = measure_in_sample(codes, factors, families=families("paper"))
    counts = family_counts(published, score="r2")
    assert counts.sum(axis=1).item() == 10

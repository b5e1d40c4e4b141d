"""InfoMEC on codes of known structure, and against scikit-learn's mutual information and ridge."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import mutual_info_score, r2_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from otoscope.disentanglement import infomec
from otoscope.errors import InputError

RNG = np.random.default_rng(0)
SOURCES = RNG.standard_normal((1000, 3))
FACTORS = pd.DataFrame(SOURCES, columns=["a", "b", "c"])


def test_a_latent_for_each_factor_is_best_in_all():
    found = infomec(np.column_stack([SOURCES**3, np.zeros(1000)]), FACTORS, ridge=1e-3)
    assert found.modularity > 0.98
    assert found.compactness > 0.98
    assert np.isnan(found.latents.modularity[3])  # dead
    assert 0.4 < found.explicitness < 0.8  # a cube is not read linearly
    assert infomec(SOURCES, FACTORS).explicitness > 0.99


def test_what_each_score_misses():
    copies = infomec(np.column_stack([SOURCES, SOURCES]), FACTORS)  # each factor twice
    assert copies.modularity > 0.98
    assert copies.compactness == pytest.approx((1 / 2 - 1 / 6) / (1 - 1 / 6), abs=0.02)
    mixed = infomec(SOURCES @ (np.eye(3) - 2 / 3), FACTORS)  # a reflection: each latent of all three
    assert mixed.modularity < 0.3
    assert mixed.compactness < 0.3
    assert mixed.explicitness > 0.99
    chance = infomec(np.random.default_rng(2).standard_normal((1000, 3)), FACTORS)
    assert chance.information.max() < 0.02
    assert chance.explicitness < 0.01


def test_against_scikit_learn():
    rng = np.random.default_rng(3)
    codes = np.maximum(SOURCES @ rng.standard_normal((3, 5)) - 1, 0)  # silent in most rows
    groups = np.repeat(np.arange(20), 50)
    found = infomec(codes, FACTORS, groups=groups, bins=8)

    def cut(values):
        """Bins of equal rows; ties go where the first of them goes."""
        ranks = pd.Series(values).rank(method="min").to_numpy() - 1
        return np.floor(ranks * 8 / len(values)).astype(int)

    expected = np.empty((5, 3))
    for i in range(5):
        for j in range(3):
            latent, factor = cut(codes[:, i]), cut(SOURCES[:, j])
            cells = len(set(zip(latent, factor)))
            chance = (cells - len(set(latent)) - len(set(factor)) + 1) / 2000
            entropy = mutual_info_score(factor, factor)
            expected[i, j] = max(mutual_info_score(latent, factor) - chance, 0) / entropy
    np.testing.assert_allclose(found.information, expected, atol=1e-9)
    shares = expected / expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.latents.modularity, (shares.max(axis=1) - 1 / 3) / (2 / 3), atol=1e-9)
    shares = expected / expected.sum(axis=0)
    np.testing.assert_allclose(found.factors.compactness, (shares.max(axis=0) - 1 / 5) / (4 / 5), atol=1e-9)
    model = make_pipeline(StandardScaler(), Ridge(alpha=1.0))
    for j in range(3):
        guess = cross_val_predict(model, codes, SOURCES[:, j], groups=groups, cv=GroupKFold(5))
        assert found.factors.explicitness[j] == pytest.approx(
            max(r2_score(SOURCES[:, j], guess), 0), abs=5e-3
        )


def test_missing_and_constant_factors():
    factors = FACTORS.assign(constant=1.0)
    factors.loc[::2, "b"] = np.nan
    found = infomec(SOURCES, factors)
    assert np.isnan(found.factors.compactness[3])
    assert found.factors.compactness[:3].min() > 0.95
    with pytest.raises(InputError, match="at least 2 bins"):
        infomec(SOURCES, FACTORS, bins=1)

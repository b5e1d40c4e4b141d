"""Disentanglement on codes of known structure, and its cross-validation against a plain loop over scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Lasso
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from otoscope.clips import group_folds
from otoscope.disentanglement import (
    measure_all,
    measure_disentanglement,
    measure_in_sample,
    pca_codes,
    random_codes,
    shuffle_factors,
    summarise,
)
from otoscope.disentanglement.crossval import cross_validate
from otoscope.errors import InputError

GROUPS = np.repeat(np.arange(10), 30)


def true_factors(n_factors: int = 6, seed: int = 0) -> pd.DataFrame:
    values = np.random.default_rng(seed).standard_normal((len(GROUPS), n_factors))
    return pd.DataFrame(values, columns=[f"f{i}" for i in range(n_factors)])


def test_codes_that_are_the_factors_score_near_one():
    factors = true_factors()
    for result in (
        measure_disentanglement(factors.to_numpy(), factors, groups=GROUPS),
        measure_in_sample(factors.to_numpy(), factors, alpha=0.01),
    ):
        assert (result.factors.r2 > 0.99).all()
        assert (result.factors.completeness > 0.99).all()
        assert result.disentanglement > 0.99
    held_out = measure_disentanglement(factors.to_numpy(), factors, groups=GROUPS)
    assert (held_out.factors.r2_cv > 0.99).all()
    assert (held_out.factors.effective_dims < 1.05).all()


def test_random_codes_say_nothing_held_out_and_much_as_published():
    """1,024 random numbers per clip, 300 clips, nothing to find."""
    factors = true_factors()
    codes = np.random.default_rng(1).standard_normal((len(GROUPS), 1024))
    sound = measure_disentanglement(codes, factors, groups=GROUPS)
    assert (sound.factors.r2_cv < 0.05).all()
    assert not sound.factors.ranked.any()
    assert np.isnan(sound.disentanglement)
    assert summarise(sound).n_factors.tolist() == [0, 0, 0]
    paper = measure_in_sample(codes, factors)
    published = summarise(paper, score="r2").set_index("selection").loc["top10_completeness"]
    assert published.r2_mean > 0.2  # of pure noise, in-sample
    assert published.completeness_mean > 0.4


def test_a_factor_without_coefficients():
    factors = pd.DataFrame({"noise": np.random.default_rng(0).standard_normal(len(GROUPS))})
    codes = np.random.default_rng(1).standard_normal((len(GROUPS), 4))
    paper = measure_in_sample(codes, factors, alpha=0.5).factors.iloc[0]
    assert (paper.completeness, paper.n_nonzero, paper.ranked) == (1.0, 0, True)
    assert paper.r2 == pytest.approx(0, abs=1e-12)
    sound = measure_disentanglement(codes, factors, groups=GROUPS, alphas=[0.5]).factors.iloc[0]
    assert np.isnan(sound.completeness)
    assert not sound.ranked


def test_nested_cross_validation_is_that_of_a_plain_loop():
    rng = np.random.default_rng(3)
    x = np.maximum(rng.standard_normal((200, 40)), 0) * rng.uniform(0.1, 5, 40)
    x[:, 7] = np.where(
        np.arange(200) < 3, 1.0, 0.0
    )  # alive in a few rows only: constant in most training folds
    y = x[:, :2] @ np.array([[1.0, 0.2], [0.5, 0.0]]) + rng.standard_normal((200, 2)) * [0.5, 3]
    alphas = np.array([0.3, 0.1, 0.03])
    folds = group_folds(np.repeat(np.arange(20), 10), 4)
    found = cross_validate(x, y, folds, alphas)

    def fitted(train, alpha, target):
        scale_x, scale_y = StandardScaler().fit(x[train]), StandardScaler().fit(y[train])
        model = Lasso(alpha=alpha, tol=1e-10, max_iter=100_000)
        model.fit(scale_x.transform(x[train]), scale_y.transform(y[train])[:, target])
        return lambda rows: (
            model.predict(scale_x.transform(x[rows])) * scale_y.scale_[target] + scale_y.mean_[target]
        )

    for target in range(2):
        predicted = np.zeros(200)
        for fold in range(4):
            losses = []
            for alpha in alphas:
                loss = 0.0
                for inner in set(range(4)) - {fold}:
                    rows = folds == inner
                    error = y[rows, target] - fitted(~rows & (folds != fold), alpha, target)(rows)
                    loss += (error**2).sum()
                losses.append(loss)
            best = alphas[int(np.argmin(losses))]
            predicted[folds == fold] = fitted(folds != fold, best, target)(folds == fold)
        assert found.r2_cv[target] == pytest.approx(r2_score(y[:, target], predicted), abs=2e-3)


def test_a_group_effect_does_not_generalise():
    """A code that names the group predicts a factor of the group in-sample, not for new groups."""
    rng = np.random.default_rng(0)
    level = rng.standard_normal(10)
    factors = pd.DataFrame({"level": level[GROUPS] + 0.1 * rng.standard_normal(len(GROUPS))})
    codes = np.eye(10)[GROUPS] + 0.01 * rng.standard_normal((len(GROUPS), 10))
    row = measure_disentanglement(codes, factors, groups=GROUPS).factors.iloc[0]
    assert row.r2_cv < 0.1
    assert measure_disentanglement(codes, factors).factors.r2_cv.iloc[0] > 0.9  # rows for groups: it leaks


def test_missing_values_leave_their_rows_out():
    factors = true_factors(3)
    codes = np.column_stack([factors.f0, factors.f1, np.random.default_rng(2).standard_normal(len(GROUPS))])
    holes = factors.copy()
    holes.loc[::3, "f1"] = np.nan
    holes["constant"] = 1.0
    table = measure_disentanglement(codes, holes, groups=GROUPS).factors.set_index("factor")
    assert table.loc["f1", "n_rows"] == 200
    assert table.loc["f1", "r2_cv"] > 0.99
    assert table.loc["f0", "n_rows"] == 300
    assert np.isnan(table.loc["constant", "r2"])
    assert not table.loc["constant", "ranked"]
    holes["rare"] = np.where(GROUPS < 2, factors.f0, np.nan)  # in two groups: nothing to hold out
    assert np.isnan(measure_disentanglement(codes, holes, groups=GROUPS).factors.r2_cv.iloc[-1])
    kept = ~holes.f1.isna()
    alone = measure_disentanglement(codes[kept], holes.loc[kept, ["f1"]], groups=GROUPS[kept]).factors
    assert table.loc["f1", "r2_cv"] == pytest.approx(alone.r2_cv[0], abs=1e-6)


def test_nulls():
    rng = np.random.default_rng(0)
    factors = true_factors()
    dense = factors.to_numpy() @ rng.standard_normal((6, 20)) + 0.1 * rng.standard_normal((len(GROUPS), 20))
    assert random_codes(dense, 64, seed=0).shape == (300, 64)
    np.testing.assert_array_equal(random_codes(dense, 64, seed=1), random_codes(dense, 64, seed=1))
    components = pca_codes(dense, 64)
    assert components.shape == (300, 20)  # no more than there are
    covariance = np.cov(components.T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)
    assert (np.diff(np.diag(covariance)) < 1e-9).all()
    assert pca_codes(dense, 5, train=np.arange(300) < 10).shape == (300, 5)
    mixed = shuffle_factors(factors, seed=0)
    np.testing.assert_allclose(np.sort(mixed.f0), np.sort(factors.f0))
    np.testing.assert_allclose(mixed.corr(), factors.corr())
    assert abs(np.corrcoef(mixed.f0, factors.f0)[0, 1]) < 0.2
    results = measure_all(
        {"dense": dense, "shuffled": dense}, {"dense": factors, "shuffled": mixed}, groups=GROUPS, workers=2
    )
    assert results["dense"].factors.r2_cv.min() > 0.9
    assert results["shuffled"].factors.r2_cv.max() < 0.1


def test_tables_have_the_promised_columns_and_workers_change_nothing():
    factors = true_factors(3)
    codes = np.random.default_rng(0).standard_normal((300, 20)) + np.tile(factors, 7)[:, :20]
    families = {"f0": "pitch"}
    one = measure_disentanglement(codes, factors, groups=GROUPS, families=families, workers=1)
    two = measure_disentanglement(codes, factors, groups=GROUPS, families=families, workers=2)
    pd.testing.assert_frame_equal(one.factors, two.factors)
    assert list(one.factors)[:8] == [
        "factor", "family", "r2", "r2_cv", "completeness", "effective_dims", "n_nonzero", "importance"
    ]  # fmt: skip
    assert list(one.factors.family) == ["pitch", "other", "other"]
    assert list(one.latents) == ["latent", "importance", "disentanglement"]
    assert one.latents.importance.sum() == pytest.approx(1)
    assert one.disentanglement == pytest.approx((one.latents.importance * one.latents.disentanglement).sum())


def test_bad_input():
    factors = true_factors(2)
    for measure in (measure_disentanglement, measure_in_sample):
        with pytest.raises(InputError, match=r"factor 'mood' is not numeric \(such as 'glad'\)"):
            measure(np.ones((300, 2)), factors.assign(mood="glad"))
    with pytest.raises(InputError, match="for 300 rows of factors"):
        measure_disentanglement(np.ones((5, 2)), factors)
    with pytest.raises(InputError, match="1 numbers are not"):
        measure_disentanglement(np.where(np.arange(600).reshape(300, 2) == 5, np.nan, 1.0), factors)
    with pytest.raises(InputError, match="a group for each"):
        measure_disentanglement(np.ones((300, 2)), factors, groups=[1, 2])
    with pytest.raises(InputError, match="at least 3 groups; got 2"):
        measure_disentanglement(np.ones((300, 2)), factors, groups=np.arange(300) % 2)

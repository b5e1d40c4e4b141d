"""The best factors chosen on other folds; jackknife intervals over groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from otoscope.disentanglement import (
    Disentanglement,
    HeldOut,
    compare_best,
    cross_fitted,
    factor_intervals,
    jackknife,
    measure_disentanglement,
    measure_in_sample,
)
from otoscope.errors import InputError

ROWS = 400


def result(error: np.ndarray, *, seed: int = 0, owned: bool = False) -> Disentanglement:
    """Return held-out predictions of unit factors, off by `error` [folds, factors] times noise."""
    n_factors = error.shape[1]
    truth = np.random.default_rng(9).standard_normal((ROWS, n_factors))
    folds = np.tile(np.arange(ROWS) % 4, (n_factors, 1)).T.astype(np.int16)
    noise = np.random.default_rng(seed).standard_normal(truth.shape)
    predictions = (truth + np.take_along_axis(error, folds, axis=0) * noise).astype(np.float32)
    label = np.zeros_like(predictions)
    factors = pd.DataFrame({"factor": [f"f{i}" for i in range(n_factors)], "label_owned": owned})
    held_out = HeldOut(truth, predictions, label, predictions, folds)
    return Disentanglement(factors, pd.DataFrame(), np.nan, np.zeros((2, n_factors)), held_out)


def test_the_other_folds_choose():
    good_on_even = np.array([[0.1, 0.5, 0.3], [0.5, 0.1, 0.3]] * 2)  # f0 on folds 0 and 2, f1 on 1 and 3
    found = cross_fitted({"a": result(good_on_even)}, n=1)
    assert found.factors[["half", "factor"]].to_numpy().tolist() == [["even", "f1"], ["odd", "f0"]]
    held_out = result(good_on_even).held_out
    even = (np.arange(ROWS) % 4) % 2 == 0
    expected = [held_out.r2(even)[1], held_out.r2(~even)[0]]
    np.testing.assert_allclose(found.factors.a, expected)
    assert found.means["a"] == pytest.approx(np.mean(expected))
    assert found.means["a"] < held_out.r2().max()


def test_luck_is_not_counted():
    """Forty factors held alike: the ten best by one score look better than they are, chosen elsewhere they do not."""
    gains, honest = [], []
    for seed in range(10, 20):
        alike = result(np.full((4, 40), 0.7), seed=seed)
        gains.append(np.sort(alike.held_out.r2())[-10:].mean() - alike.held_out.r2().mean())
        honest.append(cross_fitted({"a": alike}).means["a"] - alike.held_out.r2().mean())
    assert min(gains) > 0.02
    assert abs(np.mean(honest)) < 0.015


def test_both_sides_have_the_same_factors_and_a_null_has_no_say():
    a = result(np.tile([0.1, 0.2, 0.6, 0.7], (4, 1)))
    b = result(np.tile([0.9, 0.3, 0.2, 0.8], (4, 1)), seed=1)
    both = cross_fitted({"a": a, "b": b}, n=2)
    assert set(both.factors.factor) == {"f1", "f2"}
    assert set(cross_fitted({"a": a, "b": b}, n=2, by=["a"]).factors.factor) == {"f0", "f1"}
    none = cross_fitted({"a": a, "b": b}, n=2, r2_floor=0.999)
    assert none.factors.empty
    assert np.isnan(none.means["a"])
    assert cross_fitted({"a": result(np.full((4, 2), 0.5), owned=True)}).factors.beyond_label.all()


def test_what_is_not_alike_is_refused():
    a, b = result(np.full((4, 3), 0.5)), result(np.full((4, 2), 0.5))
    with pytest.raises(InputError, match="'b' was not measured on the factors"):
        cross_fitted({"a": a, "b": b})
    codes = np.random.default_rng(0).standard_normal((40, 3))
    with pytest.raises(InputError, match="no held-out predictions"):
        cross_fitted({"a": measure_in_sample(codes, pd.DataFrame({"f": codes[:, 0]}))})


def test_jackknife_of_a_mean_of_groups_is_its_t_interval():
    values = np.random.default_rng(0).standard_normal(6)
    groups = np.repeat(np.arange(6), 10)
    found = jackknife(lambda kept: np.repeat(values, 10)[kept].mean(), groups)
    standard_error = values.std(ddof=1) / np.sqrt(6)
    assert found.standard_error == pytest.approx(standard_error)
    assert found.low == pytest.approx(values.mean() - t.ppf(0.975, 5) * standard_error)
    assert found.n_groups == 6
    assert np.isnan(jackknife(lambda kept: 1.0, np.zeros(5)).low)


def test_paired_difference_is_of_the_same_factors():
    groups = np.arange(ROWS) // 40
    a, b = (result(np.full((4, 12), 0.5), seed=seed) for seed in (0, 1))
    same = compare_best(a, a, groups)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    alike = compare_best(a, b, groups)
    assert alike.low < 0 < alike.high
    worse = compare_best(a, result(np.full((4, 12), 0.8), seed=1), groups)
    assert 0 < worse.low < worse.value < worse.high
    assert worse.n_groups == 10


def test_intervals_of_factors_against_plain_refits():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 25)
    codes = rng.standard_normal((200, 6))
    factors = pd.DataFrame(
        {"one": codes[:, 0], "two": codes[:, 0] + codes[:, 1]}
    ) + 0.5 * rng.standard_normal((200, 2))
    factors.loc[3, "two"] = np.nan
    found = measure_disentanglement(codes, factors, groups=groups)
    table = factor_intervals(codes, factors, found, groups, workers=1)
    assert table.n_groups.tolist() == [8, 8]
    for name in ("r2_cv", "effective_dims", "completeness"):
        assert (table[f"{name}_low"] < found.factors[name]).all()
        assert (table[f"{name}_high"] > found.factors[name]).all()
    alpha = found.factors.alpha[0]
    entropies = []
    for group in [None, *range(8)]:
        kept = groups != group if group is not None else np.ones(200, dtype=bool)
        refit = measure_in_sample(codes[kept], factors.loc[kept, ["one"]], alpha=alpha).factors
        entropies.append(np.log(refit.effective_dims[0]))
    without = np.array(entropies[1:])
    reach = t.ppf(0.975, 7) * np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum())
    assert table.effective_dims_low[0] == pytest.approx(np.exp(entropies[0] - reach), rel=1e-6)
    expected = 1 - (entropies[0] - reach) / np.log(6)
    assert table.completeness_high[0] == pytest.approx(expected, rel=1e-6)

"""Forest importance, mutual information gap and SAP, on codes whose scores are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mutual_info_score

from otoscope.disentanglement import gap_scores, measure_disentanglement, measure_forest
from otoscope.errors import InputError

GROUPS = np.repeat(np.arange(8), 25)


@pytest.fixture
def factors():
    values = np.random.default_rng(0).uniform(-1, 1, (len(GROUPS), 3))
    return pd.DataFrame(values, columns=["a", "b", "c"])


def test_a_forest_sees_what_a_line_does_not(factors):
    codes = np.column_stack([factors.a, factors.b, np.abs(factors.c)])
    target = pd.DataFrame({"square": factors.c**2, "v": np.abs(factors.a)})
    forest = measure_forest(codes, target, groups=GROUPS, n_trees=40, max_features=1.0)
    lasso = measure_disentanglement(codes, target, groups=GROUPS)
    assert (forest.factors.r2_cv > 0.9).all()
    assert lasso.factors.r2_cv[1] < 0.1  # |a| is no line on a
    assert (forest.factors.importance == "forest").all()
    assert (forest.factors.completeness > 0.9).all()
    assert forest.disentanglement > 0.9
    assert forest.weights[:, 0].argmax() == 2
    assert forest.weights[:, 1].argmax() == 0
    np.testing.assert_allclose(forest.weights.sum(axis=0), 1)
    assert list(forest.factors) == list(lasso.factors)


def test_a_forest_on_noise_is_not_ranked(factors):
    noise = np.random.default_rng(1).standard_normal((len(GROUPS), 20))
    result = measure_forest(noise, factors, groups=GROUPS, n_trees=30)
    assert not result.factors.ranked.any()
    assert (result.factors.r2 > 0.3).all()  # in-sample
    again = measure_forest(noise, factors, groups=GROUPS, n_trees=30)
    pd.testing.assert_frame_equal(result.factors, again.factors)


def test_gaps_of_true_and_of_doubled_codes(factors):
    noise = np.random.default_rng(1).standard_normal((len(GROUPS), 2))
    alone = gap_scores(np.column_stack([factors, noise]), factors)
    assert (alone.sap > 0.9).all()
    assert (alone.mig > 0.8).all()  # what is left is the chance information of 200 rows
    doubled = gap_scores(np.column_stack([factors, factors]), factors)
    np.testing.assert_allclose(doubled[["mig", "sap"]], 0, atol=1e-9)


def test_gaps_against_scikit_learn(factors):
    codes = np.random.default_rng(2).standard_normal((len(GROUPS), 6)) + np.tile(factors, 2)
    codes[:, 5] = 3.0  # constant
    factors = factors.assign(constant=1.0)
    factors.loc[:9, "b"] = np.nan
    table = gap_scores(codes, factors, bins=8).set_index("factor")
    for name in ("a", "b"):
        there = factors[name].notna().to_numpy()
        target = np.digitize(factors[name][there], np.histogram_bin_edges(factors[name][there], 8)[1:-1])
        information = sorted(
            mutual_info_score(np.digitize(z, np.histogram_bin_edges(z, 8)[1:-1]), target)
            for z in codes[there].T
        )
        entropy = mutual_info_score(target, target)
        assert table.mig[name] == pytest.approx((information[-1] - information[-2]) / entropy)
        r2 = sorted(np.corrcoef(z, factors[name][there])[0, 1] ** 2 for z in codes[there].T[:5])
        assert table.sap[name] == pytest.approx(r2[-1] - r2[-2])
    assert table.loc["constant"].isna().all()
    with pytest.raises(InputError, match="at least 2 bins"):
        gap_scores(codes, factors, bins=1)
    assert gap_scores(codes[:, :1], factors)[["mig", "sap"]].isna().all(axis=None)

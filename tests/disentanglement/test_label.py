"""The label null, what is held beyond it, and which factors are the label's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.disentanglement import (
    COLUMNS,
    completeness,
    label_owned,
    living,
    measure_all,
    measure_disentanglement,
    measure_forest,
    measure_in_sample,
    measure_label,
)
from otoscope.errors import InputError

GROUPS = np.repeat(np.arange(10), 30)
RNG = np.random.default_rng(0)
CLASSES = np.array(list("abcd"))[RNG.integers(0, 4, len(GROUPS))]
LEVEL = pd.Series(CLASSES).map({"a": 0.0, "b": 1.0, "c": 2.0, "d": 5.0}).to_numpy()
FREE, INSIDE = RNG.standard_normal((2, len(GROUPS)))
FACTORS = pd.DataFrame(
    {
        "free": FREE,  # nothing of the label
        "label_only": LEVEL + 0.3 * RNG.standard_normal(len(GROUPS)),  # what is left is not in the codes
        "both": LEVEL + INSIDE,  # and this is
        "noise": RNG.standard_normal(len(GROUPS)),
    }
)
CODES = np.column_stack([FREE, LEVEL, INSIDE, RNG.standard_normal((len(GROUPS), 5)), np.zeros(len(GROUPS))])


def test_label_null_by_hand():
    classes = np.array(["a", "b", "a", "b", "a", "c"] * 5)
    groups = np.repeat(np.arange(3), 10)
    factors = pd.DataFrame({"x": np.arange(30.0)})
    classes[groups != 0] = np.where(
        classes[groups != 0] == "c", "a", classes[groups != 0]
    )  # c is in one fold only
    null = measure_label(classes, factors, groups=groups, n_folds=3)
    folds, truth = null.held_out.folds[:, 0], np.arange(30.0)
    for row in range(30):
        train = folds != folds[row]
        same = train & (classes == classes[row])
        expected = truth[same if same.any() else train].mean()
        assert null.held_out.predictions[row, 0] == pytest.approx(expected, rel=1e-6)
        assert same.any() == (classes[row] != "c")
    spread = ((truth - truth.mean()) ** 2).sum()
    expected = 1 - ((truth - null.held_out.predictions[:, 0]) ** 2).sum() / spread
    assert null.factors.r2_cv[0] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(null.factors.completeness[0])


def test_factors_that_are_the_labels_are_ranked_by_what_is_beyond():
    table = measure_disentanglement(CODES, FACTORS, groups=GROUPS, classes=CLASSES).factors.set_index(
        "factor"
    )
    assert table.label_owned.to_dict() == {"free": False, "label_only": True, "both": True, "noise": False}
    assert table.loc["label_only", "r2_cv"] > 0.9
    assert table.loc["label_only", "r2_beyond"] < 0.05
    assert not table.loc["label_only", "ranked"]
    assert table.loc["both", "r2_beyond"] > 0.95
    assert table.loc["both", "ranked"]
    assert table.loc["free", "r2_counted"] == table.loc["free", "r2_cv"]
    assert table.loc["both", "r2_counted"] == table.loc["both", "r2_beyond"]
    null = measure_label(CLASSES, FACTORS, groups=GROUPS).factors.set_index("factor")
    np.testing.assert_allclose(null.r2_cv, table.r2_label, atol=1e-6)
    assert null.ranked.to_dict() == {"free": False, "label_only": True, "both": True, "noise": False}
    alone = measure_disentanglement(CODES, FACTORS, groups=GROUPS).factors
    assert not alone.label_owned.any()
    np.testing.assert_allclose(alone.r2_cv, table.r2_cv, atol=1e-12)


def test_the_rule():
    assert label_owned([0.11, 0.11, 0.09, 0.5, np.nan], [0.2, 0.3, 0.01, 0.9, 0.5]).tolist() == [
        True, False, False, True, False
    ]  # fmt: skip


def test_held_out_scores_are_those_of_the_table():
    result = measure_disentanglement(CODES, FACTORS, groups=GROUPS, classes=CLASSES)
    np.testing.assert_allclose(result.held_out.r2(), result.factors.r2_cv, atol=1e-6)
    np.testing.assert_allclose(result.held_out.r2_beyond(), result.factors.r2_beyond, atol=1e-6)
    half = GROUPS < 5
    truth, guess = FACTORS.both[half], result.held_out.predictions[half, 2]
    expected = 1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
    assert result.held_out.r2(half)[2] == pytest.approx(expected, abs=1e-6)


def test_a_label_of_another_length():
    with pytest.raises(InputError, match="a class for each of the 300 rows; got 2"):
        measure_disentanglement(CODES, FACTORS, groups=GROUPS, classes=["a", "b"])


def test_one_base_for_all_and_dead_dimensions_are_none():
    wide = np.column_stack([CODES, np.zeros((len(GROUPS), 40))])
    assert living(wide) == living(CODES) == 8
    assert living(wide + 1e6) == 8
    results = measure_all({"codes": CODES, "wide": wide, "narrow": CODES[:, :3]}, FACTORS, groups=GROUPS)
    for result in results.values():
        table = result.factors
        assert (table.base == 8).all()
        expected = completeness(result.weights, base=8)
        np.testing.assert_allclose(table.completeness, expected)
        np.testing.assert_allclose(table.completeness, 1 - np.log(table.effective_dims) / np.log(8))
        np.testing.assert_allclose(table.completeness_published, completeness(result.weights))
    assert results["narrow"].factors.n_alive[0] == 3
    np.testing.assert_allclose(
        results["wide"].factors.completeness, results["codes"].factors.completeness, atol=1e-9
    )
    own = measure_all({"codes": CODES, "narrow": CODES[:, :3]}, FACTORS, groups=GROUPS, base=None)
    assert own["narrow"].factors.base[0] == 3
    published = measure_in_sample(wide, FACTORS).factors
    np.testing.assert_array_equal(published.completeness, published.completeness_published)


def test_every_table_has_the_columns_that_are_described():
    for result in (
        measure_disentanglement(CODES, FACTORS, groups=GROUPS),
        measure_in_sample(CODES, FACTORS),
        measure_label(CLASSES, FACTORS, groups=GROUPS),
        measure_forest(CODES, FACTORS, groups=GROUPS, n_trees=3),
    ):
        assert list(result.factors) == list(COLUMNS)


def test_matched_fits_are_sparser():
    table = measure_disentanglement(CODES, FACTORS, groups=GROUPS).factors
    there = table[table.ranked]
    assert (there.n_nonzero_matched <= there.n_nonzero).all()
    assert (there.effective_dims_matched <= there.effective_dims + 1e-9).all()
    assert (there.alpha_matched >= there.alpha).all()

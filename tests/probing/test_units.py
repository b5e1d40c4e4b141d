"""Single units against scikit-learn and numbers counted by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_recall_curve, roc_auc_score

from otoscope.errors import InputError
from otoscope.probing import area_under_curve, single_units

rng = np.random.default_rng(0)
N, N_UNITS = 400, 12
TRUTH = rng.random(N) < 0.3
LEARN = np.arange(N) < 250
DENSE = rng.standard_normal((N, N_UNITS))
DENSE[:, 4] -= 1.5 * TRUTH  # speaks by being low
DENSE[:, 7] += 0.8 * TRUTH
DENSE = DENSE.round(1)  # ties
SPARSE = np.where(rng.random((N, N_UNITS)) < 0.1, rng.random((N, N_UNITS)), 0.0)
SPARSE[:, 5] = np.where(TRUTH & (rng.random(N) < 0.6), 1.0 + rng.random(N).round(1), 0.0)
SPARSE[:, 9] = np.where(TRUTH & (rng.random(N) < 0.2), 3.0, 0.0)


def found(codes, concepts=None, **options):
    concepts = pd.DataFrame({"c": TRUTH}) if concepts is None else concepts
    table, outputs = single_units(codes, concepts, learn=LEARN, judge=~LEARN, **options)
    return table.set_index(["concept", "choice", "k"]), outputs


@pytest.mark.parametrize("codes", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_the_best_unit_is_the_one_of_largest_area(codes):
    table, outputs = found(codes)
    row = table.loc["c", "auc", 1]
    areas = np.array([roc_auc_score(TRUTH[LEARN], codes[LEARN, u]) for u in range(N_UNITS)])
    best = int(np.abs(areas - 0.5).argmax())
    sign = 1 if areas[best] >= 0.5 else -1
    assert row.units == ("-" if sign < 0 else "") + str(best)
    values = sign * codes[:, best]
    assert row.learn_auc == pytest.approx(roc_auc_score(TRUTH[LEARN], values[LEARN]))
    assert row.auc == pytest.approx(roc_auc_score(TRUTH[~LEARN], values[~LEARN]))
    assert row.auc == pytest.approx(area_under_curve(values[~LEARN], TRUTH[~LEARN]))
    assert row.chance == TRUTH[~LEARN].mean()
    np.testing.assert_array_equal(outputs["c", "auc", 1], values[~LEARN])
    thresholds = np.unique(values[LEARN])
    taken = max(thresholds[::-1], key=lambda t: f1_score(TRUTH[LEARN], values[LEARN] >= t)) <= values
    assert row.precision == pytest.approx((taken & TRUTH)[~LEARN].sum() / taken[~LEARN].sum())
    assert row.recall == pytest.approx((taken & TRUTH)[~LEARN].sum() / TRUTH[~LEARN].sum())


@pytest.mark.parametrize("codes", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_the_purest_unit_has_the_highest_precision_at_a_tenth_of_the_rows(codes):
    table, _ = found(codes)
    row = table.loc["c", "pure", 1]

    def precision(values):
        precisions, recalls, _ = precision_recall_curve(TRUTH[LEARN], values[LEARN])
        return precisions[
            np.flatnonzero(recalls >= 0.1)[-1]
        ]  # thresholds rise, so the highest that is enough

    best = max(precision(sign * codes[:, u]) for u in range(N_UNITS) for sign in (1, -1))
    assert row.learn_precision == pytest.approx(best)
    sign, unit = (-1, int(row.units[1:])) if row.units.startswith("-") else (1, int(row.units))
    assert precision(sign * codes[:, unit]) == pytest.approx(best)


def test_where_a_sparse_unit_fires():
    table, _ = found(SPARSE)
    row, on = table.loc["c", "fires", 1], SPARSE > 0
    scores = [f1_score(TRUTH[LEARN], on[LEARN, u]) for u in range(N_UNITS)]
    assert row.units == str(int(np.argmax(scores))) == "5"
    assert row.precision == 1.0
    assert row.recall == pytest.approx(on[~LEARN & TRUTH, 5].mean())
    assert "fires" not in found(DENSE)[0].index.get_level_values("choice")


def test_several_units_are_a_logistic_regression_on_the_best():
    table, outputs = found(DENSE, ks=[1, 2])
    areas = np.array([roc_auc_score(TRUTH[LEARN], DENSE[LEARN, u]) for u in range(N_UNITS)])
    best = np.argsort(-np.abs(areas - 0.5))[:2]
    assert {unit.lstrip("-") for unit in table.loc["c", "auc", 2].units.split()} == set(map(str, best))
    x = DENSE[:, best]
    x = (x - x[LEARN].mean(0)) / x[LEARN].std(0)
    model = LogisticRegression(C=1.0, tol=1e-8).fit(x[LEARN], TRUTH[LEARN])
    np.testing.assert_allclose(outputs["c", "auc", 2], model.decision_function(x[~LEARN]), atol=1e-3)
    assert table.loc["c", "auc", 2].auc == pytest.approx(
        roc_auc_score(TRUTH[~LEARN], model.decision_function(x[~LEARN])), abs=2e-3
    )


def test_rows_where_a_concept_is_not_defined_count_for_nothing():
    odd = np.arange(N) % 2 == 1
    concepts = pd.DataFrame({"c": TRUTH, "half": np.where(odd, TRUTH, np.nan)})
    table, outputs = found(DENSE, concepts, ks=[1])
    row = table.loc["half", "auc", 1]
    sign, unit = (-1, int(row.units[1:])) if row.units.startswith("-") else (1, int(row.units))
    judged = ~LEARN & odd
    assert row.auc == pytest.approx(roc_auc_score(TRUTH[judged], sign * DENSE[judged, unit]))
    assert row.chance == TRUTH[judged].mean()
    assert len(outputs["half", "auc", 1]) == judged.sum()
    assert table.loc["c", "auc", 1].equals(found(DENSE, ks=[1])[0].loc["c", "auc", 1])


def test_a_concept_that_always_holds_is_left_out():
    concepts = pd.DataFrame({"c": TRUTH, "always": True, "only learnt": TRUTH & LEARN})
    assert set(found(DENSE, concepts)[0].index.get_level_values("concept")) == {"c"}


def test_sides_that_share_a_row_are_refused():
    with pytest.raises(InputError, match="keep them apart"):
        single_units(DENSE, pd.DataFrame({"c": TRUTH}), learn=LEARN, judge=~LEARN | (np.arange(N) == 0))
    with pytest.raises(InputError, match="expected codes"):
        single_units(DENSE[:3], pd.DataFrame({"c": TRUTH}), learn=LEARN, judge=~LEARN)

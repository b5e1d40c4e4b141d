"""The nested cross-validation against plain loops over scikit-learn: the number, the grid, what the label leaves."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Lasso
from sklearn.metrics import r2_score

from otoscope.clips import group_folds
from otoscope.disentanglement import lasso_path
from otoscope.disentanglement.crossval import DECADES, MATCHED, PER_DECADE, cross_validate

N_BASE = DECADES * PER_DECADE + 1


def _benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "lasso.py"
    spec = importlib.util.spec_from_file_location("lasso_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["lasso_benchmark"] = module
    spec.loader.exec_module(module)
    return module


BENCHMARK = _benchmark()


@pytest.mark.parametrize("seed", [2, 3, 5, 18, 20, 34, 39])
def test_held_out_r2_is_that_of_scikit_learn(seed):
    """A sample of the 200 cases of benchmarks/lasso.py."""
    x, y, folds = BENCHMARK.random_case(seed)
    found = cross_validate(x, y, folds)
    exact = BENCHMARK.nested(x, y[:, 0], folds, found.alphas[0], tol=1e-8)
    assert exact.tie > 1e-6
    assert found.r2_cv[0] == pytest.approx(exact.r2, abs=1e-4)


def predictable(n: int = 240, p: int = 30):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, p)) @ rng.standard_normal((p, p))
    y = np.column_stack([x @ rng.standard_normal(p) + 0.05 * rng.standard_normal(n), rng.standard_normal(n)])
    return x, y, group_folds(np.arange(n) // 12, 5)


def test_the_grid_is_extended_only_where_weak_penalties_predict_best():
    x, y, folds = predictable()
    found = cross_validate(x, y, folds)
    assert found.n_tried[0] > N_BASE  # linear and nearly without noise
    assert found.n_tried[1] <= N_BASE  # chance
    ratio = found.alpha / found.alphas[:, 0]
    assert ratio[0] < 10.0**-DECADES
    assert ratio[1] == 1
    assert found.strong_edge[1] > 0.5
    assert found.strong_edge[0] == 0
    np.testing.assert_allclose(found.alphas[:, -1] / found.alphas[:, 0], 1e-4)
    scaled = (x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0)
    empty = lasso_path(*scaled, found.alphas[:, :1])
    assert not empty.any()
    exact = cross_validate(x, x @ np.ones((30, 1)), folds)
    assert exact.weak_edge[0] == 1  # without any noise the weakest is the best that is allowed


def test_matched_r2_is_of_a_sparser_fit_within_reach_of_the_best():
    x, y, folds = predictable()
    found = cross_validate(x, y, folds)
    assert found.alpha_matched[0] > found.alpha[0]
    assert found.r2_cv[0] - 2 * MATCHED < found.r2_cv_matched[0] < found.r2_cv[0]


def test_given_penalties_are_all_there_is():
    x, y, folds = predictable()
    found = cross_validate(x, y, folds, np.array([0.3, 0.1]))
    np.testing.assert_array_equal(found.alphas, [[0.3, 0.1]] * 2)
    assert found.alpha[0] == 0.1
    assert found.weak_edge[0] == 1


def test_beyond_the_label_both_sides_are_centred_by_class_on_training_rows():
    rng = np.random.default_rng(1)
    n, alpha = 200, 0.05
    classes = rng.integers(0, 4, n)
    folds = group_folds(np.arange(n) // 10, 4)
    classes[folds == 2] = np.where(rng.random((folds == 2).sum()) < 0.3, 4, classes[folds == 2])  # only there
    x = rng.standard_normal((n, 12)) + 2 * rng.standard_normal((5, 12))[classes]
    y = 3 * rng.standard_normal(5)[classes] + x[:, 0] + 0.5 * rng.standard_normal(n)
    found = cross_validate(x, y[:, None], folds, np.array([alpha]), classes=classes)
    predicted, baseline = np.empty(n), np.empty(n)
    for fold in range(4):
        train = folds != fold

        means = {c: train & (classes == c) if (train & (classes == c)).any() else train for c in range(5)}
        centre_x = np.array([x[means[c]].mean(axis=0) for c in range(5)])[classes]
        centre_y = np.array([y[means[c]].mean() for c in range(5)])[classes]
        cx, cy = x - centre_x, y - centre_y
        sx, sy = cx[train].std(axis=0), cy[train].std()
        model = Lasso(alpha=alpha, tol=1e-10, fit_intercept=False).fit(cx[train] / sx, cy[train] / sy)
        out = ~train
        baseline[out] = centre_y[out]
        predicted[out] = baseline[out] + model.predict(cx[out] / sx) * sy
    np.testing.assert_allclose(found.baseline[:, 0], baseline, atol=1e-9)
    np.testing.assert_allclose(found.predictions[:, 0], predicted, atol=1e-4)
    expected = 1 - ((y - predicted) ** 2).sum() / ((y - baseline) ** 2).sum()
    assert found.r2_cv[0] == pytest.approx(expected, abs=1e-5)
    plain = cross_validate(x, y[:, None], folds, np.array([alpha]))
    assert plain.r2_cv[0] == pytest.approx(r2_score(y, plain.predictions[:, 0]), abs=1e-9)


def test_a_path_whose_error_rises_a_little_goes_on():
    """Case 173's curve dips, rises by less than counts as risen, and dips again further on."""
    x, y, folds = BENCHMARK.random_case(173)
    found = cross_validate(x, y, folds, workers=1)
    assert found.n_tried[0] >= N_BASE
    exact = BENCHMARK.nested(x, y[:, 0], folds, found.alphas[0], tol=1e-6)
    assert found.r2_cv[0] == pytest.approx(exact.r2, abs=1e-4)

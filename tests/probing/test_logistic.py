"""The batched logistic regression against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from otoscope.probing.logistic import fit_logistic, principal_axes, to_features


def data(n: int, p: int, k: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    x = rng.standard_normal((k, p))[y] + 2 * rng.standard_normal((n, p))
    return x * rng.uniform(0.5, 2, p) + 1, y


@pytest.mark.parametrize(("n", "p"), [(120, 20), (60, 150)])
def test_coefficients_of_scikit_learn(n, p):
    x, y = data(n, p, 4)
    strengths = np.array([1e-3, 1e-1, 3.0])
    features = principal_axes(x)
    fits = fit_logistic(features, np.eye(4)[y], np.ones((3, n)), strengths, tol=1e-12)
    for weights, c in zip(fits, strengths):
        model = LogisticRegression(C=c, tol=1e-10, max_iter=100_000).fit(x, y)
        coefs, intercepts = to_features(features, weights)
        np.testing.assert_allclose(coefs, model.coef_.T, atol=1e-4)
        # Intercepts of a softmax are free up to a constant.
        np.testing.assert_allclose(
            intercepts - intercepts.mean(), model.intercept_ - model.intercept_.mean(), atol=1e-3
        )


def test_masks_leave_rows_out_and_problems_do_not_mix():
    x, y = data(100, 10, 3)
    features = principal_axes(x)
    masks = np.ones((2, 100))
    masks[1, ::2] = 0
    batch = fit_logistic(features, np.eye(3)[y], masks, np.array([0.1, 0.1]), tol=1e-12)
    model = LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000).fit(x[1::2], y[1::2])
    np.testing.assert_allclose(to_features(features, batch[1])[0], model.coef_.T, atol=1e-4)
    alone = fit_logistic(features, np.eye(3)[y], masks[:1], np.array([0.1]), tol=1e-12)
    np.testing.assert_allclose(batch[0], alone[0], atol=1e-5)


def test_several_labels_are_each_their_own_regression():
    x, y = data(150, 12, 4)
    labels = np.column_stack([y == 0, y % 2, np.random.default_rng(1).random(150) < 0.3]).astype(float)
    features = principal_axes(x)
    weights = fit_logistic(
        features, labels, np.ones((1, 150)), np.array([0.05]), multi_label=True, tol=1e-12
    )[0]
    for k in range(3):
        model = LogisticRegression(C=0.05, tol=1e-10, max_iter=10_000).fit(x, labels[:, k])
        np.testing.assert_allclose(to_features(features, weights)[0][:, k], model.coef_[0], atol=1e-4)


def test_start_changes_nothing_but_the_time():
    x, y = data(100, 10, 3)
    features, mask = principal_axes(x), np.ones((1, 100))
    near = fit_logistic(features, np.eye(3)[y], mask, np.array([0.03]))
    warm = fit_logistic(features, np.eye(3)[y], mask, np.array([0.1]), start=near, tol=1e-12)
    cold = fit_logistic(features, np.eye(3)[y], mask, np.array([0.1]), tol=1e-12)
    np.testing.assert_allclose(warm[0, :-1], cold[0, :-1], atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_principal_axes_give_the_features_back(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    x[:, 1] = x[:, 0]  # one direction without variance
    axes = principal_axes(x)
    np.testing.assert_allclose(axes.scores @ axes.axes + axes.mean, x, atol=1e-9)
    np.testing.assert_allclose(axes.axes @ axes.axes.T, np.eye(len(axes.axes)), atol=1e-9)
    assert len(axes.axes) == 7

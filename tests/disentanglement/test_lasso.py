"""The Lasso solver against scikit-learn: objective within 1e-6, coefficients where they are unique."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from otoscope.disentanglement import lasso_gram, lasso_path
from otoscope.disentanglement.coordinate_descent import start
from otoscope.disentanglement.homotopy import follow
from otoscope.errors import InputError


def problem(n: int, p: int, targets: int, *, share: float = 1.0, seed: int = 0):
    """Standardised codes of which `share` are active, and targets made of some of them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 10)) @ rng.standard_normal((10, p)) + 2 * rng.standard_normal((n, p))
    x = (
        np.where(x >= np.quantile(x, 1 - share, axis=1, keepdims=True), np.maximum(x, 0), 0)
        if share < 1
        else x
    )
    y = x[:, :5] @ rng.standard_normal((5, targets)) + 3 * rng.standard_normal((n, targets))
    return standardised(x), standardised(y)


def standardised(v):
    std = v.std(axis=0)
    return (v - v.mean(axis=0)) / np.where(std > 0, std, 1)


def objective(x, y, w, alpha):
    return ((y - x @ w) ** 2).mean() / 2 + alpha * np.abs(w).sum()


@pytest.mark.parametrize(
    ("n", "p", "share"), [(200, 30, 1.0), (60, 200, 1.0), (80, 256, 0.25), (80, 256, 0.02)]
)
def test_objective_of_scikit_learn(n, p, share):
    x, y = problem(n, p, 4, share=share)
    alphas = np.array([0.05, 0.3, 0.1])  # any order
    coefs = lasso_path(x, y, alphas)
    assert coefs.shape == (4, 3, p)
    for t in range(4):
        for a, alpha in enumerate(alphas):
            model = Lasso(alpha=alpha, max_iter=100_000, tol=1e-12, fit_intercept=False).fit(x, y[:, t])
            ours, theirs = (objective(x, y[:, t], w, alpha) for w in (coefs[t, a], model.coef_))
            assert ours == pytest.approx(theirs, rel=1e-6)
            if n > p:  # unique
                np.testing.assert_allclose(coefs[t, a], model.coef_, atol=2e-4)


def test_optimality_conditions_hold():
    x, y = problem(100, 300, 3, share=0.2, seed=1)
    for t, w in enumerate(lasso_path(x, y, np.array([0.1]), tol=1e-10)[:, 0]):
        slope = x.T @ (y[:, t] - x @ w) / len(x)
        assert np.abs(slope).max() <= 0.1 + 1e-4
        np.testing.assert_allclose(slope[w != 0], 0.1 * np.sign(w[w != 0]), atol=1e-4)


def test_orthogonal_features_are_soft_thresholded():
    x = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 5)))[0] * np.sqrt(40)
    y = x @ np.array([[1.0], [-0.5], [0.05], [0.0], [0.2]])
    np.testing.assert_allclose(lasso_path(x, y, np.array([0.1]))[0, 0], [0.9, -0.4, 0, 0, 0.1], atol=1e-6)


def test_equal_and_constant_columns():
    x, y = problem(50, 8, 1)
    x = np.column_stack([x] + [x[:, :1]] * 40 + [np.zeros((50, 3))])  # ties past any threshold
    w = lasso_path(x, y, np.array([0.05]))[0, 0]
    model = Lasso(alpha=0.05, tol=1e-12, max_iter=100_000, fit_intercept=False).fit(x, y[:, 0])
    assert objective(x, y[:, 0], w, 0.05) == pytest.approx(objective(x, y[:, 0], model.coef_, 0.05), rel=1e-6)
    assert (w[-3:] == 0).all()


def test_each_target_may_have_its_own_penalty_and_threads_change_nothing():
    x, y = problem(100, 40, 3)
    gram, xy, yy = x.T @ x / 100, y.T @ x / 100, (y**2).mean(axis=0)
    shared = lasso_gram(gram, xy, yy, np.array([0.2, 0.1, 0.05]), workers=1)
    own = lasso_gram(gram, xy, yy, np.array([[0.2], [0.1], [0.05]]), workers=3, tol=1e-12)
    for t in range(3):
        np.testing.assert_allclose(own[t, 0], shared[t, t], atol=1e-3)
    np.testing.assert_array_equal(
        lasso_path(x, y, np.array([0.1]), workers=1), lasso_path(x, y, np.array([0.1]), workers=4)
    )


@pytest.mark.parametrize(
    ("n", "p", "share"), [(150, 40, 1.0), (60, 200, 1.0), (100, 256, 0.2), (100, 256, 0.02)]
)
def test_the_path_is_exact_down_to_weak_penalties(n, p, share):
    x, y = problem(n, p, 3, share=share, seed=2)
    y[:, 2] = np.random.default_rng(0).standard_normal(n)
    gram, xy, yy = x.T @ x / n, y.T @ x / n, (y**2).mean(axis=0)
    alphas = np.abs(xy).max(axis=1)[:, None] * 10.0 ** -np.arange(0, 3.1, 0.5)
    coefs = lasso_gram(gram, xy, yy, alphas)
    assert not coefs[:, 0].any()  # at the strongest nothing is kept
    for t in range(3):
        for a, alpha in enumerate(alphas[t]):
            slope = xy[t] - gram @ coefs[t, a]
            assert np.abs(slope).max() <= alpha * (1 + 1e-7)
            on = coefs[t, a] != 0
            np.testing.assert_allclose(slope[on], alpha * np.sign(coefs[t, a][on]), rtol=1e-6)


def test_a_path_goes_on_where_it_was_left():
    x, y = problem(80, 120, 1, share=0.3, seed=3)
    gram, xy, yy = x.T @ x / 80, y.T @ x / 80, (y**2).mean(axis=0)
    alphas = np.array([0.3, 0.1, 0.03, 0.01, 0.003])
    state, parts = start(xy[0]), np.empty((5, 120))
    for piece in (slice(0, 2), slice(2, 3), slice(3, 5)):
        follow(gram, xy[0], float(yy[0]), alphas[piece], 1e-9, 1000, state, parts[piece])
    np.testing.assert_allclose(parts, lasso_gram(gram, xy, yy, alphas)[0], atol=1e-8)


def test_coordinate_descent_takes_over_where_the_way_is_lost():
    x, y = problem(80, 60, 1, seed=5)
    gram, xy, yy = x.T @ x / 80, y.T @ x / 80, float((y[:, 0] ** 2).mean())
    alphas = np.array([0.2, 0.05])
    found = np.empty((2, 60))
    follow(gram, xy[0], yy, alphas, -1.0, 1000, start(xy[0]), found)  # no gap is small enough
    np.testing.assert_allclose(found, lasso_path(x, y, alphas)[0], atol=1e-6)


def test_more_columns_than_their_rank():
    """A wide projection of few dimensions: columns that depend on others are left out, not stumbled over."""
    x, y = problem(120, 20, 2, seed=4)
    x = standardised(x @ np.random.default_rng(1).standard_normal((20, 150)))
    for t, path in enumerate(lasso_path(x, y, np.array([0.1, 0.01, 0.001]))):
        for alpha, w in zip((0.1, 0.01, 0.001), path):
            slope = x.T @ (y[:, t] - x @ w) / len(x)
            assert np.abs(slope).max() <= alpha * (1 + 1e-6)
            assert np.count_nonzero(w) <= 20


def test_bad_input():
    with pytest.raises(InputError, match="above 0"):
        lasso_path(np.ones((3, 2)), np.ones((3, 1)), np.array([0.0]))
    with pytest.raises(InputError, match="rows, features"):
        lasso_path(np.ones((3, 2)), np.ones((4, 1)), np.array([0.1]))

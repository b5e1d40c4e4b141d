"""When is the Lasso solution the only one, and how far may completeness move when it is not?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.disentanglement import completeness_range, free_directions, lasso_path, measure_in_sample


def fit(x, y, alpha):
    coefs = lasso_path(x, y[:, None], np.array([alpha]), tol=1e-10)[0, 0]
    return x.T @ x / len(x), x.T @ y / len(x), coefs, alpha


@pytest.fixture
def clean():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 12))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = x[:, 0] + 0.5 * x[:, 1] + 0.1 * rng.standard_normal(100)
    return x, (y - y.mean()) / y.std()


def test_independent_columns_have_one_solution(clean):
    problem = fit(*clean, 0.1)
    assert free_directions(*problem) == 0
    low, high = completeness_range(*problem)
    assert low == pytest.approx(high)


def test_twins_may_share_their_weight(clean):
    x, y = clean
    twins = np.column_stack([x, x[:, 0], -x[:, 0]])  # column 0 three times
    gram, xy, coefs, alpha = fit(twins, y, 0.1)
    assert free_directions(gram, xy, coefs, alpha) == 2
    low, high = completeness_range(gram, xy, coefs, alpha)
    # Any split of the weight of column 0 over its twins is as good: completeness of the two extremes, by hand.
    weights = np.abs(fit(x, y, 0.1)[2])
    gathered = np.append(weights, [0, 0])
    even = np.append(weights, [weights[0] / 3, weights[0] / 3])
    even[0] = weights[0] / 3

    def plain(w):
        p = w[w > 0] / w.sum()
        return 1 + (p * np.log(p)).sum() / np.log(len(w))

    assert high == pytest.approx(plain(gathered), abs=1e-4)
    assert low == pytest.approx(plain(even), abs=1e-4)
    assert low < high - 0.1


def test_latents_that_fire_for_one_clip_are_reported():
    rng = np.random.default_rng(1)
    factor = rng.standard_normal(60)
    factor[7] += 8  # an outlying clip
    codes = rng.standard_normal((60, 5))
    alone = np.zeros((60, 3))
    alone[7] = [1.0, 0.3, 7.0]  # three latents, that clip only: equal once standardised
    factors = pd.DataFrame({"loud": factor})
    row = measure_in_sample(np.column_stack([codes, alone]), factors).factors.iloc[0]
    assert row.n_free == 2
    assert measure_in_sample(np.column_stack([codes, alone[:, :1]]), factors).factors.n_free[0] == 0


def test_two_right_answers_have_the_same_objective(clean):
    x, y = clean
    twins = np.column_stack([x, x[:, 0]])
    coefs = fit(twins, y, 0.1)[2]
    moved = coefs.copy()
    moved[[0, -1]] = (coefs[0] + coefs[-1]) / 2

    def objective(w):
        return ((y - twins @ w) ** 2).mean() / 2 + 0.1 * np.abs(w).sum()

    assert objective(moved) == pytest.approx(objective(coefs), abs=1e-12)

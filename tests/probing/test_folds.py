"""Outer folds over all groups, against a plain loop of scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from otoscope.errors import InputError
from otoscope.probing import fold_table, mean_interval, probe_folds

GROUPS = np.repeat(np.arange(6), 25)


def data(seed: int = 0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, len(GROUPS))
    return rng.standard_normal((3, 8))[y] + rng.standard_normal((len(GROUPS), 8)), y


def test_every_group_is_scored_by_a_probe_that_has_not_heard_it():
    x, y = data()
    found = probe_folds(x, y, groups=GROUPS, strengths=[0.1])
    predicted = np.zeros(len(y), dtype=int)
    for group in range(6):
        out = group == GROUPS
        scaled = (x - x[~out].mean(axis=0)) / x[~out].std(axis=0)
        model = LogisticRegression(C=0.1, tol=1e-8, max_iter=10_000).fit(scaled[~out], y[~out])
        predicted[out] = model.predict(scaled[out])
    assert list(found) == ["all"]
    whole = found["all"]
    np.testing.assert_array_equal(whole.predictions, predicted)
    assert (whole.n_test, whole.n_groups) == (150, 6)
    expected = mean_interval((predicted == y).astype(float), GROUPS, scale="share")
    assert (whole.score, whole.score_low, whole.score_high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )


def test_which_groups_were_seen():
    """One row that the dictionary saw makes its group a seen one."""
    x, y = data()
    seen = np.zeros(len(y), dtype=bool)
    seen[[3, 30, 31]] = True  # of groups 0 and 1
    found = probe_folds(x, y, groups=GROUPS, seen=seen)
    table = fold_table(found).set_index("groups")
    assert list(table.index) == ["all", "unseen", "seen"]
    assert list(table.n_groups) == [6, 4, 2]
    assert found["unseen"].score == found["all"].correct[GROUPS > 1].mean()
    assert {"score", "score_low", "score_high", "trusted", "metric"} <= set(table)
    assert list(probe_folds(x, y, groups=GROUPS, seen=np.ones(len(y), dtype=bool))) == ["all", "seen"]


def test_the_penalty_is_chosen_without_the_fold():
    x = np.random.default_rng(0).standard_normal((150, 5))
    y = x[:, 0] + 0.5 * np.random.default_rng(1).standard_normal(150)
    changed = y.copy()
    changed[GROUPS == 5] += 100.0  # of one group alone: its own predictions must not move
    a, b = (probe_folds(x, label, groups=GROUPS)["all"] for label in (y, changed))
    np.testing.assert_allclose(a.predictions[GROUPS == 5], b.predictions[GROUPS == 5])
    assert not np.allclose(a.predictions[GROUPS != 5], b.predictions[GROUPS != 5])
    out = GROUPS == 5
    scaled = (x - x[~out].mean(axis=0)) / x[~out].std(axis=0)
    alone = probe_folds(x, y, groups=GROUPS, strengths=[0.1])["all"]
    model = Ridge(alpha=10).fit(scaled[~out], y[~out])
    np.testing.assert_allclose(alone.predictions[out], model.predict(scaled[out]))


def test_bad_input():
    x, y = data()
    with pytest.raises(InputError, match="at least 3 groups; got 2"):
        probe_folds(x, y, groups=GROUPS % 2)
    with pytest.raises(InputError, match="whether each of 150 rows was seen"):
        probe_folds(x, y, groups=GROUPS, seen=[True])
    with pytest.raises(InputError, match="one class only"):
        probe_folds(x, np.where(GROUPS == 0, 1, 0), groups=GROUPS)

"""Intervals against scipy, plain loops and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, r2_score

from otoscope.errors import InputError
from otoscope.probing import bootstrap_mean, paired_difference, scoring, wilson
from otoscope.probing.scoring import _macro_average_precision

GROUPS = np.repeat(np.arange(8), 10)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (8, 10), (321, 400), (400, 400)])
def test_wilson_is_scipys(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(k, n), (expected.low, expected.high), atol=1e-12)


def test_wilson_of_what_cannot_be():
    with pytest.raises(InputError, match="at least one example"):
        wilson(0, 0)
    with pytest.raises(InputError, match="0 to 3 can be right; got 5"):
        wilson(5, 3)


def test_without_a_score_there_is_no_interval(recwarn):
    truth = np.full((80, 1), 0.5)  # a number that never changes has no R2
    found = scoring.interval("number", truth, truth, GROUPS, seed=0, n_bootstrap=100)
    assert np.isnan(found).all()
    assert not recwarn.list


def test_bootstrap_draws_groups():
    values = np.random.default_rng(0).random(8)[GROUPS]  # nothing varies within a group
    mean, low, high = bootstrap_mean(values, GROUPS, seed=3)
    own = np.array([values[g == GROUPS].mean() for g in range(8)])
    rng = np.random.default_rng(0)
    plain = [own[rng.integers(0, 8, 8)].mean() for _ in range(20_000)]
    assert mean == pytest.approx(own.mean())
    np.testing.assert_allclose((low, high), np.quantile(plain, [0.025, 0.975]), atol=0.02)
    by_row = bootstrap_mean(values, np.arange(80), seed=3)
    assert by_row[2] - by_row[1] < (high - low) / 2  # what rows would claim


def test_one_group_has_no_interval():
    mean, low, high = bootstrap_mean(np.array([1.0, 0.0, 1.0, 1.0]), ["a"] * 4)
    assert mean == 0.75
    assert np.isnan([low, high]).all()


def test_same_seed_same_interval():
    values = np.random.default_rng(0).random(80)
    assert bootstrap_mean(values, GROUPS, seed=1) == bootstrap_mean(values, GROUPS, seed=1)
    assert bootstrap_mean(values, GROUPS, seed=1) != bootstrap_mean(values, GROUPS, seed=2)


def test_pairing_takes_out_what_is_hard_for_both():
    rng = np.random.default_rng(0)
    ease = np.repeat([0.1, 0.9], 4)[GROUPS]  # singers differ much
    a = (rng.random(80) < ease).astype(float)
    b = np.where(np.arange(80) % 20 == 0, 1 - a, a)  # four clips differ
    difference, low, high = paired_difference(a, b, GROUPS, seed=0)
    assert difference == pytest.approx((a - b).mean())
    single = bootstrap_mean(a, GROUPS, seed=0)
    assert high - low < (single[2] - single[1]) / 2
    assert paired_difference(a, a, GROUPS, seed=0) == (0, 0, 0)
    with pytest.raises(InputError, match="as many values"):
        paired_difference(a, b[:5], GROUPS, seed=0)


def test_average_precision_is_scikit_learns_also_weighted_and_tied():
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 3)) < [0.2, 0.5, 0.8]).astype(float)
    outputs = np.round(targets + rng.standard_normal((60, 3)), 1)  # ties
    draws = rng.multinomial(60, np.full(60, 1 / 60), size=5).astype(float)
    expected = [
        np.mean([average_precision_score(targets[:, c], outputs[:, c], sample_weight=w) for c in range(3)])
        for w in draws
    ]
    np.testing.assert_allclose(_macro_average_precision(outputs, targets, draws), expected)


def test_intervals_of_numbers_and_of_several_classes_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((80, 1)) + rng.standard_normal(8)[GROUPS][:, None]
    guess = truth + rng.standard_normal((80, 1))
    classes = (rng.random((80, 2)) < 0.4).astype(float)
    logits = classes + rng.standard_normal((80, 2))

    def plain(score) -> np.ndarray:
        draws = [
            np.concatenate([np.flatnonzero(g == GROUPS) for g in rng.integers(0, 8, 8)]) for _ in range(2000)
        ]
        return np.quantile([score(rows) for rows in draws], [0.025, 0.975])

    found = scoring.interval("number", guess, truth, GROUPS, seed=0, n_bootstrap=2000)
    np.testing.assert_allclose(found, plain(lambda rows: r2_score(truth[rows], guess[rows])), atol=0.03)
    found = scoring.interval("multi", logits, classes, GROUPS, seed=0, n_bootstrap=2000)
    expected = plain(lambda rows: average_precision_score(classes[rows], logits[rows], average="macro"))
    np.testing.assert_allclose(found, expected, atol=0.03)
    hits = (rng.random((80, 1)) < 0.7) * np.array([[1.0, -1.0]])  # logits of two classes, the first is true
    first = np.tile([1.0, 0.0], (80, 1))
    found = scoring.interval("class", hits, first, GROUPS, seed=0, n_bootstrap=2000)
    right = (hits.argmax(axis=1) == 0).astype(float)
    assert found == bootstrap_mean(right, GROUPS, seed=0, n_bootstrap=2000)[1:]


def test_a_class_without_drawn_rows_is_left_out():
    targets = np.array([[1.0, 0], [0, 0], [1, 0]])
    outputs = np.array([[2.0, 0], [1, 0], [3, 0]])
    np.testing.assert_allclose(_macro_average_precision(outputs, targets, np.ones((1, 3))), [1.0])
    assert np.isnan(_macro_average_precision(outputs, targets, np.array([[0.0, 1, 0]])))[0]

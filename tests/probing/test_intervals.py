"""Intervals against scipy and plain loops; `test_coverage.py` measures how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import binomtest, t, ttest_1samp
from sklearn.metrics import average_precision_score, r2_score

from otoscope.errors import InputError
from otoscope.multiple_testing import holm
from otoscope.probing import mean_interval, p_value, paired_difference, scoring, wilson
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


def test_of_equal_groups_it_is_the_t_interval_over_their_means():
    values = np.random.default_rng(0).random(80)
    means = values.reshape(8, 10).mean(axis=1)
    found = mean_interval(values, GROUPS)
    half = t.ppf(0.975, 7) * means.std(ddof=1) / np.sqrt(8)
    np.testing.assert_allclose((found.low, found.high), (means.mean() - half, means.mean() + half))
    assert (found.df, found.n_groups, found.trusted) == (7, 8, True)
    assert found.value == pytest.approx(values.mean())
    shares = mean_interval(values, GROUPS, scale="share")
    assert shares.se == found.se
    centre, width = logit(values.mean()), half / (values.mean() * (1 - values.mean()))
    np.testing.assert_allclose(logit([shares.low, shares.high]), (centre - width, centre + width))


def test_unequal_groups_against_a_plain_jackknife():
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b", "c", "d"], [10, 20, 30, 40])
    values = rng.random(100) + 0.2 * (groups == "d")
    found = mean_interval(values, groups)
    assert found.value == pytest.approx(values.mean())  # over clips: a larger group counts for more
    without = np.array([values[groups != g].mean() for g in "abcd"])
    se = np.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum())
    df = 100**2 / (10**2 + 20**2 + 30**2 + 40**2) - 1
    half = t.ppf(0.975, df) * se
    np.testing.assert_allclose((found.low, found.high), (values.mean() - half, values.mean() + half))
    assert p_value(found, null=values.mean() - half) == pytest.approx(0.05)


def test_all_right_is_as_many_trials_as_groups():
    found = mean_interval(np.ones(80), GROUPS, scale="share")
    assert (found.low, found.high) == wilson(8, 8)
    assert not found.trusted
    found = mean_interval(np.zeros(80), GROUPS, scale="share")
    assert (found.low, found.high) == wilson(0, 8)


@pytest.mark.parametrize(
    ("share", "n_groups", "trusted"),
    [
        (0.8, 5, True),
        (0.85, 5, False),
        (0.85, 8, True),
        (0.95, 20, True),
        (0.96, 20, False),
        (0.1, 5, False),
    ],
)
def test_a_score_near_its_ceiling_is_not_trusted(share, n_groups, trusted):
    of_groups = np.full(n_groups, share)
    of_groups[:2] += [0.02, -0.02]
    groups = np.repeat(np.arange(n_groups), 10)
    values = np.repeat(of_groups, 10)
    assert mean_interval(values, groups, scale="share").trusted == trusted
    assert mean_interval(values, groups).trusted


def test_without_a_score_or_with_one_group_there_is_no_interval(recwarn):
    truth = np.full((80, 1), 0.5)  # a number that never changes has no R2
    found = scoring.interval("number", truth, truth, GROUPS)
    assert np.isnan([found.value, found.low, found.high]).all()
    found = mean_interval(np.array([1.0, 0.0, 1.0, 1.0]), ["a"] * 4, scale="share")
    assert found.value == 0.75
    assert np.isnan([found.low, found.high, p_value(found)]).all()
    assert (found.n_groups, found.trusted) == (1, False)
    only_there = np.repeat([[1.0], [0.0]], [10, 70], axis=0)  # without the first group the class has no rows
    found = scoring.interval("multi", only_there, only_there, GROUPS)
    assert found.value == 1
    assert np.isnan(found.low)
    assert not recwarn.list


def test_pairing_takes_out_what_is_hard_for_both():
    rng = np.random.default_rng(0)
    ease = np.repeat([0.1, 0.9], 4)[GROUPS]  # singers differ much
    a = (rng.random(80) < ease).astype(float)
    b = np.where(np.arange(80) % 20 == 0, 1 - a, a)  # four clips differ
    found = paired_difference(a, b, GROUPS)
    own = (a - b).reshape(8, 10).mean(axis=1)
    assert found.value == pytest.approx((a - b).mean())
    assert p_value(found) == pytest.approx(ttest_1samp(own, 0).pvalue)
    single = mean_interval(a, GROUPS)
    assert found.high - found.low < (single.high - single.low) / 2
    same = paired_difference(a, a, GROUPS)
    assert (same.value, same.low, same.high, p_value(same), same.trusted) == (0, 0, 0, 1, False)
    with pytest.raises(InputError, match="as many values"):
        paired_difference(a, b[:5], GROUPS)


def test_holm_is_worked_out_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.4, np.nan, 0.9, 0.8]), [1, np.nan, 1, 1])
    assert len(holm([])) == 0


def test_holm_is_seldom_wrong_about_any_of_a_family():
    rng = np.random.default_rng(0)
    wrong = [(holm(rng.random(12)) <= 0.05).any() for _ in range(2000)]
    assert np.mean(wrong) < 0.065
    assert np.mean([(rng.random(12) <= 0.05).any() for _ in range(2000)]) > 0.4  # as it was without


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

    def plain(score) -> tuple[float, float]:
        without = np.array([score(np.flatnonzero(g != GROUPS)) for g in range(8)])
        return score(np.arange(80)), np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum())

    found = scoring.interval("number", guess, truth, GROUPS)
    assert (found.value, found.se) == pytest.approx(plain(lambda rows: r2_score(truth[rows], guess[rows])))
    assert (found.low + found.high) / 2 == pytest.approx(found.value)
    found = scoring.interval("multi", logits, classes, GROUPS)
    expected = plain(lambda rows: average_precision_score(classes[rows], logits[rows], average="macro"))
    assert (found.value, found.se) == pytest.approx(expected)
    assert logit(found.low) + logit(found.high) == pytest.approx(2 * logit(found.value))
    hits = (rng.random((80, 1)) < 0.7) * np.array([[1.0, -1.0]])  # logits of two classes, the first is true
    first = np.tile([1.0, 0.0], (80, 1))
    found = scoring.interval("class", hits, first, GROUPS)
    right = (hits.argmax(axis=1) == 0).astype(float)
    assert found == mean_interval(right, GROUPS, scale="share")
    better = scoring.difference("multi", 10 * classes, logits, classes, GROUPS)
    assert better.value == pytest.approx(1 - expected[0])


def test_a_class_without_drawn_rows_is_left_out():
    targets = np.array([[1.0, 0], [0, 0], [1, 0]])
    outputs = np.array([[2.0, 0], [1, 0], [3, 0]])
    np.testing.assert_allclose(_macro_average_precision(outputs, targets, np.ones((1, 3))), [1.0])
    assert np.isnan(_macro_average_precision(outputs, targets, np.array([[0.0, 1, 0]])))[0]

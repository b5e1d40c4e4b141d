"""Formulas of DCI, against an independent few-line version and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from otoscope.disentanglement import completeness, disentanglement, effective_dims


def plain_completeness(column: np.ndarray) -> float:
    p = [v / sum(column) for v in column if v > 0]
    return 1 + sum(v * np.log(v) for v in p) / np.log(len(column))


def test_against_a_plain_version():
    rng = np.random.default_rng(0)
    importance = rng.random((50, 7)) * (rng.random((50, 7)) < 0.4)
    np.testing.assert_allclose(completeness(importance), [plain_completeness(c) for c in importance.T])
    scores, weights = disentanglement(importance)
    used = importance.sum(axis=1) > 0
    np.testing.assert_allclose(scores[used], [plain_completeness(r) for r in importance[used]])
    assert np.isnan(scores[~used]).all()
    np.testing.assert_allclose(weights, importance.sum(axis=1) / importance.sum())


@pytest.mark.parametrize(("dims", "expected"), [(2048, 0.607), (768, 0.549)])
def test_twenty_equal_coefficients(dims, expected):
    importance = np.zeros((dims, 1))
    importance[:20] = 0.3
    assert completeness(importance)[0] == pytest.approx(expected, abs=5e-4)
    assert effective_dims(importance)[0] == pytest.approx(20)


def test_empty_one_and_uniform():
    importance = np.zeros((100, 3))
    importance[4, 1] = 2.5
    importance[:, 2] = 1.0
    np.testing.assert_allclose(completeness(importance), [np.nan, 1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(completeness(importance, empty=1.0), [1.0, 1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(effective_dims(importance), [np.nan, 1.0, 100.0])


def test_two_latents_by_hand():
    importance = np.array([[3.0, 0.0], [1.0, 4.0]])
    scores, weights = disentanglement(importance)
    h = -(0.2 * np.log2(0.2) + 0.8 * np.log2(0.8))
    np.testing.assert_allclose(scores, [1.0, 1 - h])
    np.testing.assert_allclose(weights, [3 / 8, 5 / 8])

"""Activations are judged before training: against numpy on whole arrays, and on planted faults."""

import numpy as np
import pytest
import torch

from otoscope.errors import InputError
from otoscope.saes.training import normalise
from otoscope.saes.training.preflight import COLUMNS, divisors, moments, preflight, preflight_table


def rows_of(n_rows=500, width=40, seed=0):
    return np.random.default_rng(seed).normal(size=(n_rows, width)).astype(np.float32)


def look(x):
    return preflight(moments([x]))


def test_moments_in_blocks_are_those_of_all_rows_even_far_from_zero():
    x = rows_of().astype(np.float64) + 1e5
    found = moments([x[:7], x[7:7], x[7:300], x[300:]])
    assert found.n_rows == 500
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x.T, bias=True), atol=1e-9)


def test_numbers_are_those_worked_out_by_hand():
    x = np.array([[1.0, 0.0], [3.0, 0.0], [1.0, 2.0], [3.0, 2.0]])  # mean (2, 1), variances 1 and 1
    found = look(x)
    assert found.mean_over_spread == pytest.approx(np.sqrt(5 / 2))
    assert (found.largest_dimension, found.largest_severity) == (0, pytest.approx(2.0))
    assert found.effective_rank == pytest.approx(2.0)
    assert (found.outliers, found.outlier_share, found.duplicates) == (0, 0.0, 0)


def test_repeated_rows_are_counted_across_blocks():
    x = rows_of()
    assert moments([x[:100], x[50:150], x[:1]]).n_duplicates == 51
    assert moments([np.array([[0.0, 1.0]]), np.array([[-0.0, 1.0]])]).n_duplicates == 1
    assert "repeat an earlier one" in look(np.concatenate([x, x[:50]])).advice


def test_an_outlying_dimension_is_seen_and_limited():
    x = rows_of()
    x[:, 7] = 100 * x[:, 7] + 3000
    found = look(x)
    assert (found.outliers, found.largest_dimension, found.limited) == (1, 7, 1)
    energy = (x.astype(np.float64) ** 2).mean(0)
    assert found.outlier_share == pytest.approx(energy[7] / energy.sum())
    assert found.largest_severity == pytest.approx(abs(x[:, 7].mean()) / x[:, 7].std(), rel=1e-4)
    assert found.effective_rank > 30  # the outlier does not hide the others
    assert "dimensions (first in size: 7)" in found.advice
    assert "brings a dimension down to 6 times the median" in found.advice
    divided = x.std(0) / divisors(moments([x]))
    assert divided[7] == pytest.approx(6, rel=1e-4)
    np.testing.assert_allclose(np.delete(divided, 7), np.delete(x.std(0), 7) / np.median(x.std(0)), rtol=1e-4)


def test_a_mean_beyond_the_spread_is_seen():
    x = rows_of()
    shift = np.full(40, 20 * np.sqrt(x.var(0).sum() / 40), dtype=np.float32)
    found = look(x + shift)
    assert found.mean_over_spread == pytest.approx(20, rel=0.02)
    assert "mean is 20." in found.advice
    assert "nothing stands out" in look(x).advice


def test_a_low_rank_is_seen():
    basis = rows_of(4, 40, seed=1)
    found = look(rows_of(500, 4) @ basis)
    assert 2 < found.effective_rank <= 4.001
    assert "of 40 directions" in found.advice


def test_constant_rows_and_no_rows():
    found = look(np.ones((5, 3)))
    assert (found.mean_over_spread, found.effective_rank, found.duplicates) == (np.inf, 0.0, 4)
    with pytest.raises(InputError, match="no activations"):
        moments([])
    np.testing.assert_array_equal(divisors(moments([np.ones((5, 3))])), 1)


def test_table_has_the_stated_columns():
    table = preflight_table({3: look(rows_of()), "final": look(rows_of())})
    assert tuple(table) == COLUMNS
    assert table["layer"].tolist() == [3, "final"]


@pytest.mark.parametrize("kind", ["auto", "center", "scale", "whiten"])
def test_rows_are_normalised_part_by_part_and_by_a_diagonal_alone_where_it_is_one(kind, monkeypatch):
    x = torch.from_numpy(rows_of() * np.linspace(1, 30, 40, dtype=np.float32) + 5)
    found = normalise.fit_normalisers(kind, iter([{0: x}]))[0]
    monkeypatch.setattr(normalise, "PART_ROWS", 64)
    by_matrix = ((x.double() - found.mean) @ found.transform).float()
    if kind == "whiten":
        torch.testing.assert_close(found(x), by_matrix)
    else:
        assert torch.equal(found(x), by_matrix)

"""Nulls for dictionaries, against scikit-learn and by hand."""

import numpy as np
import pytest

from otoscope.errors import InputError
from otoscope.saes.nulls import fit_ica, fit_pca, permuted, random_topk


def rows_of(n_rows=300, width=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, width)) @ rng.normal(size=(width, width)) + 5


def test_pca_is_scikit_learns_and_its_error_that_of_k_components():
    from sklearn.decomposition import PCA

    train, test = rows_of(), rows_of(100, seed=1)
    pca, theirs = fit_pca(train), PCA(4).fit(train)
    np.testing.assert_allclose(np.abs(pca.codes(test)[:, :4]), np.abs(theirs.transform(test)), atol=1e-8)
    left = test - theirs.inverse_transform(theirs.transform(test))
    assert pca.fvu(test, 4) == pytest.approx((left**2).sum() / ((test - test.mean(0)) ** 2).sum())
    assert pca.fvu(test) == pytest.approx(0, abs=1e-12)


def test_pca_has_no_more_components_than_the_rows_have_directions():
    assert fit_pca(rows_of(5)).analysis.shape == (12, 4)
    with pytest.raises(InputError, match="2 rows"):
        fit_pca(np.ones((1, 3)))


def test_ica_finds_independent_sources():
    rng = np.random.default_rng(0)
    sources, mixing = rng.laplace(size=(4000, 3)), rng.normal(size=(3, 5))
    x = sources @ mixing + 2
    found = fit_ica(x, 10)
    codes = found.codes(x)
    assert codes.shape == (4000, 3)  # x has three directions
    assert np.abs(np.corrcoef(sources.T, codes.T)[:3, 3:]).max(1).min() > 0.98
    assert found.fvu(x) == pytest.approx(0, abs=1e-9)


def test_random_codes_keep_the_k_largest_and_nothing_negative():
    x = rows_of()
    z = random_topk(x, 64, 5, mean=x.mean(0), scale=x.std(0), seed=3)
    whole = random_topk(x, 64, 64, mean=x.mean(0), scale=x.std(0), seed=3)
    assert z.shape == (300, 64)
    assert ((z > 0).sum(1) == 5).all()
    for row, all_of_it in zip(z, whole):
        assert sorted(row[row > 0]) == sorted(all_of_it)[-5:]
    assert 0.4 < (whole > 0).mean() < 0.6


def test_permuted_rows_keep_each_dimension_and_lose_what_they_share():
    x = rows_of(2000)
    mixed = permuted(x, seed=0)
    np.testing.assert_array_equal(np.sort(mixed, 0), np.sort(x, 0))
    off = ~np.eye(12, dtype=bool)
    assert np.abs(np.corrcoef(x.T)[off]).max() > 0.4
    assert np.abs(np.corrcoef(mixed.T)[off]).max() < 0.1

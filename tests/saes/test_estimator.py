"""TopKCoder keeps scikit-learn's manners."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from otoscope.errors import InputError
from otoscope.saes import TopKCoder


@parametrize_with_checks([TopKCoder(n_latents=12, k=3, epochs=2)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(120, 8))


def test_fit_transform_inverse_score(x):
    coder = TopKCoder(n_latents=32, k=4, epochs=30, lr=1e-2).fit(x)
    codes = coder.transform(x)
    assert codes.shape == (120, 32)
    assert ((codes > 0).sum(1) <= 4).all()
    assert coder.components_.shape == (32, 8)
    back = coder.inverse_transform(codes)
    bias = (
        coder.sae_.decoder_bias.detach().numpy()
    )  # rows are centred in training, and this brings the mean back
    np.testing.assert_allclose(back, codes @ coder.components_ + bias, rtol=1e-6)
    expected = 1 - ((back - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert coder.score(x) == pytest.approx(expected)
    assert coder.score(x) > 0.3
    assert coder.get_feature_names_out()[0] == "topkcoder0"


def test_normalised_rows_come_back_whole(x):
    coder = TopKCoder(n_latents=32, k=8, epochs=30, lr=1e-2, normalise="scale").fit(x * 5 + 100)
    assert coder.score(x * 5 + 100) > 0.5


def test_pipeline_and_grid_search(x):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), TopKCoder(n_latents=16, epochs=5, lr=1e-2)),
        {"topkcoder__k": [1, 8]},
        cv=3,
    ).fit(x)
    assert search.best_params_ == {"topkcoder__k": 8}


def test_random_state_decides(x):
    coder = TopKCoder(n_latents=16, k=2, epochs=2, random_state=5)
    np.testing.assert_array_equal(coder.fit(x).components_, clone(coder).fit(x).components_)
    other = TopKCoder(n_latents=16, k=2, epochs=2, random_state=6).fit(x)
    assert not np.array_equal(coder.components_, other.components_)


def test_k_above_n_latents_is_refused_when_fitting(x):
    with pytest.raises(InputError, match="k must be from 1 to n_latents = 4"):
        TopKCoder(n_latents=4, k=5).fit(x)

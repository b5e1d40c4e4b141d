"""Reconstruction metrics against numbers worked out in other ways."""

import numpy as np
import pytest
import torch

from otoscope.errors import InputError
from otoscope.saes import TopKConfig, reconstruction_metrics
from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.kinds.topk import TopK


class Fixed(SparseAutoencoder):
    """Reconstructs every row as `value`, or as itself."""

    def __init__(self, width, value=None):
        super().__init__(TopKConfig(n_latents=width, k=1), width)
        self.value = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self._target = value

    def encode(self, x):
        return x

    def decode(self, z):
        return z if self._target is None else self._target.expand_as(z)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_fvu_of_the_mean_is_one_and_of_identity_zero(offset):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(1000, 5)) + offset)
    assert reconstruction_metrics(Fixed(5, x.mean(0)), x, chunk_rows=64).fvu == pytest.approx(1.0, rel=1e-9)
    assert reconstruction_metrics(Fixed(5), x, chunk_rows=64).fvu == 0.0


def test_fvu_is_one_minus_r2():
    r2_score = pytest.importorskip("sklearn.metrics").r2_score
    x = np.random.default_rng(0).normal(size=(200, 6))
    sae = TopK(TopKConfig(n_latents=20, k=3), 6).double()
    expected = 1 - r2_score(x, sae(torch.from_numpy(x)).detach(), multioutput="variance_weighted")
    measured = reconstruction_metrics(sae, x, chunk_rows=33)
    assert measured.fvu == pytest.approx(expected, rel=1e-12)
    codes = sae.encode(torch.from_numpy(x)).detach().numpy()
    assert measured.mse == pytest.approx(((sae(torch.from_numpy(x)).detach().numpy() - x) ** 2).mean())
    assert measured.l0 == pytest.approx((codes > 0).sum(1).mean())
    assert measured.dead_fraction == pytest.approx(((codes > 0).sum(0) == 0).mean())
    np.testing.assert_allclose(measured.density, (codes > 0).mean(0))
    assert measured.dense_fraction == ((codes > 0).mean(0) > 0.5).mean()


def test_equal_rows_have_no_fvu():
    sae = TopK(TopKConfig(n_latents=20, k=3), 6)
    assert np.isnan(reconstruction_metrics(sae, np.ones((4, 6), np.float32)).fvu)


@pytest.mark.parametrize("x", [np.zeros((0, 6)), np.zeros(6), np.zeros((3, 5))])
def test_bad_rows_are_refused(x):
    with pytest.raises(InputError):
        reconstruction_metrics(TopK(TopKConfig(n_latents=20, k=3), 6), x.astype(np.float32))

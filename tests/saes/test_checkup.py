"""Verdicts on dictionaries whose state is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from otoscope.saes import TopK, TopKConfig, build_sae, make_config
from otoscope.saes.checkup import COLUMNS, convergence, health, judge


def identity(width=8, k=2, n_latents=None):
    """An autoencoder whose latent j is feature j."""
    n_latents = n_latents or width
    sae = TopK(TopKConfig(n_latents=n_latents, k=k), width)
    with torch.no_grad():
        sae.encoder_weight.copy_(torch.eye(n_latents, width))
        sae.encoder_bias.zero_()
        sae.decoder_weight.copy_(torch.eye(n_latents, width))
    return sae


def one_hots(n_rows=400, width=8, seed=0):
    return np.eye(width, dtype=np.float32)[np.random.default_rng(seed).integers(0, width, n_rows)]


def test_a_dictionary_that_is_right_is_healthy_and_beats_pca():
    found = health(identity(), one_hots(), one_hots(seed=1))
    assert (found.alive, found.dead, found.dense, found.state) == (8, 0, 0, "healthy")
    assert found.fvu == pytest.approx(0)
    assert found.pca_k == 2
    assert 0.6 < found.pca_fvu < 0.8  # two of seven equal directions
    assert (found.alive_rows, found.held_out_rows) == (400, 400)
    assert tuple(vars(found)) == COLUMNS


def test_latents_are_counted_dead_on_the_rows_that_are_named():
    test = np.eye(8, dtype=np.float32)[[0, 1, 2]]
    found = health(identity(), one_hots(), test)
    assert (found.dead, found.dead_held_out, found.held_out_rows) == (0, 5, 3)
    silent = health(identity(n_latents=16), one_hots(), one_hots(seed=1))
    assert (silent.alive, silent.dead, silent.state) == (8, 8, "worn")
    assert silent.verdict == "worn: 8 of 16 latents alive"


def test_latents_that_never_switch_off_are_a_collapse():
    x = one_hots() * 0.1
    x[:, 0] = 5 + x[:, 1]  # latent 0 is on in every row, and reconstructs most of it
    found = health(identity(k=1), x, x)
    assert (found.alive, found.dense, found.dense_activity) == (1, 1, 1.0)
    assert found.state == "collapsed"


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ((1024, 1024, 0, 0.0, 0.2), "healthy"),
        ((1024, 833, 3, 0.03, 0.2), "healthy: 833 of 1,024 latents alive"),
        ((1024, 700, 0, 0.0, 0.2), "worn: 700 of 1,024 latents alive"),
        ((1024, 1000, 20, 0.3, 0.2), "worn: 20 latents on in over half of the rows make 30% of all activity"),
        ((1024, 87, 51, 0.9, 0.2), "collapsed: 87 of 1,024 latents carry everything"),
        ((1024, 27, 10, 0.9, 1.009), "collapsed: it tells held-out rows no better than their mean (FVU 1.01)"),
        (
            (1024, 900, 40, 0.7, 0.2),
            "collapsed: 40 latents that are on in over half of the rows make 70% of all activity",
        ),
        ((1024, 900, 0, 0.0, float("nan")), "collapsed: it tells held-out rows no better than their mean (FVU nan)"),
    ],
)  # fmt: skip
def test_verdicts(numbers, verdict):
    state, words = judge(*numbers)
    assert words == verdict
    assert state == verdict.split(":")[0]


def test_convergence_compares_the_last_two_tenths():
    errors = np.concatenate([np.linspace(2, 1, 16), [1.0, 1.0, 0.9, 0.9]])
    history = pd.DataFrame({"validation_mse": errors, "train_mse": 0.0, "best": np.arange(20) == 18})
    assert convergence(history) == (19.0, 20.0, pytest.approx(0.1))
    history["validation_mse"], history["train_mse"] = np.nan, 1.0
    assert convergence(history)[2] == 0
    assert np.isnan(convergence(history[:1])[2])  # one epoch has no slope
    assert np.isnan(convergence(None)).all()


def test_a_run_that_still_improves_says_so():
    sae = identity()
    sae.history = pd.DataFrame({"validation_mse": [1.0, 0.8], "best": [False, True]})
    found = health(sae, one_hots(), one_hots())
    assert not found.converged
    assert found.verdict == "healthy; the error still fell by 20.0% in the last tenth of training"


def test_held_out_rows_of_which_far_more_latents_are_on():
    """A threshold that was learnt from rows of one active entry lets seven of louder rows pass."""
    sae = build_sae(make_config("batch-topk", n_latents=8, k=1), 8, seed=0).eval()
    sae.load_state_dict(identity().state_dict() | {"threshold": torch.tensor(0.5)}, strict=False)
    loud = 1 - one_hots(seed=1)
    found = health(sae, one_hots(), loud)
    assert (found.state, found.l0) == ("healthy", 7)
    said = "healthy; 7 latents are on in a held-out row and 1 in a training row: held-out rows are unlike what it"
    assert found.verdict.startswith(said)
    assert "unlike" not in health(sae, one_hots(), one_hots(seed=1)).verdict

"""Faults that other libraries had: a test for each, which fails if we have it.

Numbers are those of issues and pull requests of decoderesearch/SAELens.
"""

import dataclasses

import numpy as np
import pytest
import torch

from otoscope.errors import ProvenanceError
from otoscope.saes import make_config, reconstruction_metrics, train_saes
from otoscope.saes.base import build_sae
from otoscope.saes.fast.step import backward
from otoscope.saes.metrics import Tally
from otoscope.saes.training.normalise import fit_normalisers, fold
from otoscope.saes.training.options import TrainingOptions

AUX = {"k": 4, "dead_after_rows": 15, "aux_k": 3}
AUX_KINDS = {"topk-gao": AUX, "batch-topk": AUX, "matryoshka": {**AUX, "prefixes": (0.25, 1.0)}}


def with_dead(kind):
    """An autoencoder in float64 whose last six latents are dead, and whose decoder bias is far from 0."""
    sae = build_sae(make_config(kind, n_latents=24, **AUX_KINDS[kind]), 6, seed=0).double()
    with torch.no_grad():
        sae.decoder_bias.copy_(torch.arange(6.0) + 5)
        sae.encoder_bias[18:] = -20
    sae.rows_since_fired[18:] = 15
    return sae.train()


def rows(n=10, seed=1):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 5


@pytest.mark.parametrize("kind", AUX_KINDS)
def test_643_the_auxiliary_loss_adds_no_decoder_bias_and_counts_once(kind):
    sae, x = with_dead(kind), rows()
    pre = sae.pre_codes(x).detach()
    z = sae.selection.keep(pre.relu())
    error = x - (z @ sae.decoder_weight + sae.decoder_bias)
    top = pre[:, 18:].topk(3, dim=1)
    dead = torch.zeros(10, 6, dtype=torch.float64).scatter(1, top.indices, top.values)
    auxiliary = ((dead @ sae.decoder_weight[18:] - error) ** 2).mean() / 32
    ends = sae.config.prefix_ends if kind == "matryoshka" else [24]
    parts = [((z[:, :end] @ sae.decoder_weight[:end] + sae.decoder_bias - x) ** 2).mean() for end in ends]
    torch.testing.assert_close(sae.loss(x).total, sum(parts) / len(parts) + auxiliary)


@pytest.mark.parametrize("kind", AUX_KINDS)
def test_644_every_prefix_has_the_bias_once_and_the_auxiliary_loss_gives_it_no_gradient(kind):
    sae, x = with_dead(kind), rows()
    pre = sae.pre_codes(x.clone()).detach()
    error = torch.ones_like(x, requires_grad=True) * sae.decoder_bias
    auxiliary = sae.aux_loss(pre, error)
    assert auxiliary > 0
    gradient = torch.autograd.grad(auxiliary, sae.decoder_bias, allow_unused=True)[0]
    assert gradient is None
    silent = torch.zeros(10, 24, dtype=torch.float64)
    torch.testing.assert_close(sae.decode(silent), sae.decoder_bias.expand(10, 6))


def test_665_711_variance_is_about_the_mean_of_each_dimension():
    x = torch.tensor([[2.0, 0.0], [0.0, 4.0]])  # mean (1, 2): variance 5, by hand
    tally = Tally(1, 1, 2, torch.device("cpu"))
    for row, guess in zip(x, torch.tensor([[2.0, 1.0], [0.0, 3.0]])):  # in two batches
        tally.add(row[None], guess[None], torch.zeros(1, dtype=torch.int64))
    assert tally.fvu[0] == pytest.approx(1 / 5)


def test_665_711_the_mean_explains_nothing_however_long_it_is():
    x = np.random.default_rng(0).normal(size=(500, 6)) + 1000 * np.arange(6)
    sae = build_sae(make_config("topk-gao", n_latents=8, k=1), 6).double()
    with torch.no_grad():
        sae.decoder_bias.copy_(torch.from_numpy(x.mean(0)))
        sae.encoder_weight.zero_()
    assert reconstruction_metrics(sae, x).fvu == pytest.approx(1)


OTHER = {
    "epochs": 3, "batch_size": 8, "lr": 0.1, "warmup_steps": 2, "decay_fraction": 0.5, "normalise": "center",
    "start": "data", "revive": False, "frozen": "encoder", "data_seed": 1, "select": "paper", "precision": "float64",
}  # fmt: skip


def test_682_no_option_is_ignored_when_training_goes_on(tmp_path):
    assert set(OTHER) == {field.name for field in dataclasses.fields(TrainingOptions)}
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)

    def train(**options):
        config = make_config("topk", n_latents=16, k=2)
        return train_saes(
            {0: x}, config, validation={0: x}, checkpoint=tmp_path, progress=False, **{"epochs": 2, **options}
        )

    train()
    for name, value in OTHER.items():
        with pytest.raises(ProvenanceError, match=name):
            train(**{name: value})


@pytest.mark.parametrize("kind", ["topk", "topk-gao", "relu", "jumprelu"])
def test_723_gradients_in_bfloat16_are_those_of_float32_and_not_scaled(kind):
    options = {"k": 4} if kind.startswith("topk") else {}
    x = rows(64).float()
    gradients = []
    for half in (False, True):
        sae = build_sae(make_config(kind, n_latents=24, **options), 6, seed=0).train()
        backward(sae, x, half=half)
        gradients.append(sae.decoder_weight.grad.clone())
    assert gradients[1].dtype == torch.float32
    torch.testing.assert_close(gradients[1].norm(), gradients[0].norm(), rtol=0.05, atol=0)


@pytest.mark.parametrize("normalise", ["auto", "center", "scale", "whiten"])
@pytest.mark.parametrize("kind", ["jumprelu", "batch-topk", "matryoshka"])
def test_764_771_folding_moves_no_threshold(kind, normalise):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 6)) * [1, 1, 1, 1, 1, 300] + 40)
    options = {} if kind == "jumprelu" else {"k": 2}
    sae = build_sae(make_config(kind, n_latents=24, **options), 6, seed=0).double().eval()
    normaliser = fit_normalisers(normalise, iter([{0: x}]))[0]
    if kind == "jumprelu":
        with torch.no_grad():
            sae.log_threshold.copy_(torch.linspace(-2, 0.5, 24))
    else:
        sae.threshold.fill_(0.6)
    inner = sae.encode(normaliser(x))
    outer = fold(sae, normaliser).encode(x)
    assert 0.02 < (inner > 0).double().mean() < 0.98  # the threshold decides something
    torch.testing.assert_close(outer, inner)

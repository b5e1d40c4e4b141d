"""The paper's TopK: its definition, its sparsities, and its written-out gradients."""

import pytest
import torch

from otoscope.errors import InputError
from otoscope.saes import TopKConfig
from otoscope.saes.base import stack
from otoscope.saes.fast.step import backward, reconstruct, train_step
from otoscope.saes.kinds.topk import TopK


def plain_forward(sae, x, k):
    hidden = torch.relu(x @ sae.encoder_weight.T + sae.encoder_bias)
    top = hidden.topk(k, dim=-1)
    codes = torch.zeros_like(hidden).scatter(-1, top.indices, top.values)
    return codes, codes @ sae.decoder_weight


@pytest.mark.parametrize(
    ("sparsity", "k"), [(0.75, 512), (0.80, 409), (0.85, 307), (0.90, 204), (0.95, 102), (0.99, 20)]
)
def test_the_papers_sparsities(sparsity, k):
    config = TopKConfig(n_latents=2048, sparsity=sparsity)
    assert config.active == k
    assert config.sparsity_target == sparsity
    assert config.name == f"topk-2048-s{sparsity:g}"


def test_sparsity_is_exact_in_decimals():
    assert TopKConfig(n_latents=1000, sparsity=0.9).active == 100  # (1 - 0.9) * 1000 is 99.99... in binary


def test_names_tell_k_from_sparsity():
    assert TopKConfig(n_latents=64, k=4).name == "topk-64-k4"


@pytest.mark.parametrize(
    "options", [{}, {"k": 3, "sparsity": 0.5}, {"k": 0}, {"k": 17}, {"sparsity": 1.0}, {"sparsity": -0.1}]
)
def test_bad_k_is_refused(options):
    with pytest.raises(InputError, match=r"k|sparsity"):
        TopKConfig(n_latents=16, **options)


def test_starts_as_linear_layers_do():
    torch.manual_seed(3)
    encoder, decoder = torch.nn.Linear(12, 40), torch.nn.Linear(40, 12, bias=False)
    sae = TopK(TopKConfig(n_latents=40, k=4), 12, seed=3)
    assert torch.equal(sae.encoder_weight, encoder.weight)
    assert torch.equal(sae.encoder_bias, encoder.bias)
    assert torch.equal(sae.decoder_weight, decoder.weight.T)


@pytest.mark.parametrize("k", [1, 3, 40])
def test_forward_is_equation_one(k):
    sae = TopK(TopKConfig(n_latents=40, k=k), 12)
    x = torch.randn(9, 12)
    codes, reconstruction = plain_forward(sae, x, k)
    assert torch.equal(sae.encode(x), codes)
    torch.testing.assert_close(sae(x), reconstruction)
    with torch.no_grad():
        fast, counts = reconstruct(sae, x)
    torch.testing.assert_close(fast, reconstruction)
    assert torch.equal(counts, (codes > 0).sum(0))


def test_ties_keep_exactly_k():
    sae = TopK(TopKConfig(n_latents=8, k=3), 4)
    with torch.no_grad():
        sae.encoder_weight.zero_()
        sae.encoder_bias.fill_(1.0)
    assert (sae.encode(torch.randn(5, 4)) > 0).sum(-1).tolist() == [3] * 5


@pytest.mark.parametrize("k", [2, 12])  # a sparse and a dense path
def test_rows_without_positive_codes_have_none_and_no_gradient(k):
    sae = TopK(TopKConfig(n_latents=16, k=k), 4)
    with torch.no_grad():
        sae.encoder_bias.fill_(-100.0)
    x = torch.randn(5, 4)
    assert not sae.encode(x).any()
    torch.testing.assert_close(backward(sae, x), x.square().mean())
    assert not sae.encoder_weight.grad.any()
    assert not sae.decoder_weight.grad.any()


def autograd_gradients(sae, x):
    for parameter in sae.parameters():
        parameter.grad = None
    mse = sae.loss(x).total
    mse.sum().backward()
    return mse.detach(), {name: parameter.grad.clone() for name, parameter in sae.named_parameters()}


@pytest.mark.parametrize("decoder_bias", [False, True])
@pytest.mark.parametrize("ks", [[3], [30], [2, 3, 5], [20, 30]])
def test_written_out_gradients_are_autograds(ks, decoder_bias):
    members = [
        TopK(TopKConfig(n_latents=32, k=k, decoder_bias=decoder_bias), 7, seed=i).double()
        for i, k in enumerate(ks)
    ]
    sae = stack(members).train()
    x = torch.randn(11, 7, dtype=torch.float64)
    expected_mse, expected = autograd_gradients(sae, x)
    mse = backward(sae, x)
    torch.testing.assert_close(mse, expected_mse, rtol=1e-12, atol=0)
    for name, parameter in sae.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-10, atol=1e-14)


def test_gradients_pass_a_numerical_check():
    sae = TopK(TopKConfig(n_latents=20, k=3), 5).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    backward(sae, x)
    gradient = sae.encoder_weight.grad.clone()
    latent = int((sae.encode(x) > 0).any(0).nonzero()[0])
    step = 1e-6
    with torch.no_grad():
        sae.encoder_weight[latent, 2] += step
        above = sae.loss(x).mse
        sae.encoder_weight[latent, 2] -= 2 * step
        below = sae.loss(x).mse
    torch.testing.assert_close((above - below) / (2 * step), gradient[latent, 2], rtol=1e-6, atol=1e-10)


def test_wrong_width_is_refused():
    sae = TopK(TopKConfig(n_latents=8, k=2), 5)
    with pytest.raises(InputError, match="width 5, got width 6"):
        sae.encode(torch.zeros(3, 6))


def test_a_subclass_keeps_its_own_loss_and_hooks():
    """The fast path stands for TopK's own methods alone; at 5 of 64 active latents it would be taken."""
    from otoscope.compute import Lanes
    from otoscope.saes.base import Loss
    from otoscope.saes.fast.adam import Adam

    class Other(TopK):
        steps = 0

        def loss(self, x, progress=1.0):
            mse = (self(x) - x).square().mean()
            return Loss(mse + self.encoder_bias.square().sum(), mse)

        def after_step(self):
            self.steps += 1

    sae = Other(TopKConfig(n_latents=64, k=5), 8).train()
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    sae.loss(x).total.backward()
    expected = {name: value.grad.clone() for name, value in sae.named_parameters()}
    backward(sae, x)
    for name, value in sae.named_parameters():
        torch.testing.assert_close(value.grad, expected[name])
    train_step(sae, x, Adam(sae.named_parameters()), 1e-3, Lanes())
    assert sae.steps == 1

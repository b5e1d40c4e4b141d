"""The fast path of the TopK kinds: selection, gradients and Adam in one, against autograd and torch's Adam."""

import copy

import numpy as np
import pytest
import torch

from otoscope.compute import Lanes
from otoscope.saes import make_config, train_saes
from otoscope.saes.base import build_sae, stack
from otoscope.saes.fast import kernels, sparse, step
from otoscope.saes.fast.adam import Adam
from otoscope.saes.fast.step import reconstruct, train_step

OPTIONS = {"topk": {}, "topk with bias": {"decoder_bias": True}, "topk-gao": {}, "batch-topk": {}}


@pytest.fixture(params=[1, 3], ids=["one core", "three cores"])
def lanes(request):
    lanes = Lanes(request.param)
    yield lanes
    lanes.close()


@pytest.fixture(autouse=True)
def always_sparse(monkeypatch):
    monkeypatch.setattr(step, "SPARSE_BELOW", 2.0)


def make(label, ks, *, n_latents=40, n_inputs=7):
    """Build one autoencoder for each k, with weights that all matter, and stack them."""
    members = []
    for seed, k in enumerate(ks):
        config = make_config(label.split()[0], n_latents=n_latents, k=k, **OPTIONS[label])
        sae = build_sae(config, n_inputs, seed=seed).double()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        sae.after_step()
        members.append(sae)
    return stack(members).train()


def rows(n, width=7, seed=0):
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_autograd(sae, x):
    """Set all gradients as the fast path should have them; return the mean squared error."""
    loss = sae.loss(x)
    loss.total.sum().backward()
    sae.adjust_gradients()
    return loss.mse.detach()


@pytest.mark.parametrize("n_rows", [1, 13, 300])  # 300 take more than one block
@pytest.mark.parametrize("ks", [[3], [40], [4, 4, 4]])
@pytest.mark.parametrize("label", OPTIONS)
def test_gradients_are_autograds(label, ks, n_rows, lanes):
    sae, x = make(label, ks), rows(n_rows)
    other = copy.deepcopy(sae)
    optimiser = Adam(sae.named_parameters())
    mse = train_step(sae, x, optimiser, 0.0, lanes)
    torch.testing.assert_close(mse, by_autograd(other, x), rtol=1e-12, atol=0)
    for (
        name,
        parameter,
    ) in other.named_parameters():  # after one step the running mean is a tenth of the gradient
        gradient = optimiser.tensors()[f"mean.{name}"] / (1 - 0.9)
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-9, atol=1e-14)
        torch.testing.assert_close(sae.get_parameter(name), parameter, rtol=1e-14, atol=1e-14)
    for name, buffer in other.named_buffers():
        torch.testing.assert_close(sae.get_buffer(name), buffer, rtol=1e-12, atol=0)


def test_members_of_a_stack_may_differ_in_k(lanes):
    sae, x = make("topk", [2, 3, 30]), rows(11)
    other = copy.deepcopy(sae)
    optimiser = Adam(sae.named_parameters())
    train_step(sae, x, optimiser, 0.0, lanes)
    by_autograd(other, x)
    gradient = optimiser.tensors()["mean.encoder_weight"] / (1 - 0.9)
    torch.testing.assert_close(gradient, other.encoder_weight.grad, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("label", OPTIONS)
def test_steps_are_torchs_adam(label, lanes):
    sae = make(label, [4])
    other = copy.deepcopy(sae)
    optimiser, theirs = Adam(sae.named_parameters()), torch.optim.Adam(other.parameters(), lr=1e-2)
    for seed in range(20):
        x = rows(16, seed=seed)
        train_step(sae, x, optimiser, 1e-2, lanes)
        theirs.zero_grad()
        by_autograd(other, x)
        theirs.step()
        other.after_step()
    for name, value in other.state_dict().items():
        torch.testing.assert_close(sae.state_dict()[name], value, rtol=1e-10, atol=1e-12)


def test_cores_change_nothing_but_rounding():
    x = np.random.default_rng(0).normal(size=(256, 768)).astype(np.float32)
    found = []
    for n in (1, 2):
        sae = build_sae(make_config("topk", n_latents=512, k=20), 768).train()
        optimiser, lanes = Adam(sae.named_parameters()), Lanes(n)
        for part in torch.from_numpy(x).split(32):
            train_step(sae, part, optimiser, 1e-3, lanes)
        lanes.close()
        found.append(sae)
    torch.testing.assert_close(found[0].encoder_weight, found[1].encoder_weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("label", ["topk", "topk with bias", "topk-gao"])
@pytest.mark.parametrize("ks", [[4], [4, 4]])
def test_reconstruction_and_counts(label, ks):
    sae, x = make(label, ks).eval(), rows(30)
    reconstruction, counts = reconstruct(sae, x)
    torch.testing.assert_close(reconstruction, sae(x))
    assert torch.equal(counts, (sae.encode(x) != 0).sum(-2))


def test_rows_without_positive_codes_leave_the_weights_alone(lanes):
    sae, x = make("topk", [3]), rows(5)
    with torch.no_grad():
        sae.encoder_bias.fill_(-100.0)
    before = copy.deepcopy(sae.state_dict())
    mse = train_step(sae, x, Adam(sae.named_parameters()), 1e-3, lanes)
    torch.testing.assert_close(mse, x.square().mean())
    assert all(torch.equal(sae.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("whole_batch", [False, True])
def test_selection_keeps_exactly_the_largest(dtype, whole_batch):
    rng = np.random.default_rng(0)
    pre = rng.normal(size=(50, 64)).astype(dtype)
    pre[:20] = rng.integers(-3, 4, size=(20, 64))  # ties
    pre[20] = -1.0
    pre[21] = 0.0
    pre[22, 5] = 1e-42 if dtype == np.float32 else 1e-310  # below the normal range
    for k in (1, 7, 64):
        active = sparse._room([k], 50, pre)
        pre_and_bits = sparse._with_bits(pre)
        if whole_batch:
            kernels.select_batch(*pre_and_bits, 0, 50 * k, active, 0, 50)
            groups = [(pre.ravel(), 50 * k, active.values[: active.stops[-1]])]
        else:
            kernels.select_rows(*pre_and_bits, 50, active, 0, 50)
            spans = zip(active.starts, active.stops)
            groups = [(row, k, active.values[a:b]) for row, (a, b) in zip(pre, spans)]
        for entries, n, kept in groups:
            expected = np.sort(entries)[::-1][:n]
            assert np.array_equal(np.sort(kept)[::-1], expected[expected > 0])
        for i in range(50):
            entries = slice(active.starts[i], active.stops[i])
            assert np.array_equal(pre[i, active.columns[entries]], active.values[entries])


def test_a_failing_lane_is_heard(lanes):
    def fail(first, last):
        if last == 6:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        lanes(fail, 6)


def test_lanes_cover_every_index_once():
    for n in (1, 2, 5):
        lanes = Lanes(n)
        assert [i for part in lanes(lambda a, b: list(range(a, b)), 13) for i in part] == list(range(13))
        assert sum(len(part) for part in lanes(lambda a, b: list(range(a, b)), 3)) == 3
        lanes.close()


def test_a_lone_autoencoder_trains_on_several_cores_as_on_one():
    before = torch.get_num_threads()
    x = {0: np.random.default_rng(0).normal(size=(96, 640)).astype(np.float32)}
    config = make_config("topk", n_latents=400, k=8)  # large enough to share
    found = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            (sae,) = train_saes(x, config, validation=x, epochs=2, progress=False, device="cpu")
            assert torch.get_num_threads() == n
            found.append(sae.history.validation_mse.iloc[-1])
    finally:
        torch.set_num_threads(before)
    assert found[0] == pytest.approx(found[1], rel=1e-5)

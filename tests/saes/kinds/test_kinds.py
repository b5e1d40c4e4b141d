"""Every kind against a few lines of plain PyTorch, alone and stacked."""

import dataclasses

import pytest
import torch

from otoscope.errors import InputError, UnknownNameError
from otoscope.registry import Registry
from otoscope.saes import SAEConfig, SparseAutoencoder, make_config, train_saes
from otoscope.saes.base import build_sae, stack
from otoscope.saes.fast.step import backward
from otoscope.saes.kinds.archetypal import project_to_simplex
from otoscope.saes.registry import SAES

OPTIONS = {
    "topk": {"k": 4},
    "topk-gao": {"k": 4, "dead_after_rows": 15, "aux_k": 3},
    "relu": {"l1": 0.3},
    "batch-topk": {"k": 4, "dead_after_rows": 15, "aux_k": 3},
    "jumprelu": {"l0": 0.2, "bandwidth": 0.5},
    "gated": {"l1": 0.3},
    "matryoshka": {"k": 4, "prefixes": (0.25, 1.0), "dead_after_rows": 15, "aux_k": 3},
    "archetypal": {"k": 4, "n_points": 6},
    "temporal": {"k": 4, "prefixes": (0.25, 1.0), "contrast": 0.7, "temperature": 0.5},
}
KINDS = sorted(OPTIONS)


def make(kind, *, seed=0, n_inputs=6, n_latents=24, randomise=True):
    sae = build_sae(make_config(kind, n_latents=n_latents, **OPTIONS[kind]), n_inputs, seed=seed).double()
    if randomise:  # so that biases and norms matter
        generator = torch.Generator().manual_seed(seed + 100)
        with torch.no_grad():
            for name, parameter in sae.named_parameters():
                if name not in ("mixture", "relaxation"):
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return sae


def rows(n=10, width=6, seed=1):
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_all_kinds_are_tested_and_registered():
    assert set(SAES.names()) >= set(KINDS)
    assert all(SAES.get(kind).config_class.kind == kind for kind in KINDS)


def test_unknown_kinds_and_options_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="'gated'"):
        make_config("gatd", n_latents=3)
    with pytest.raises(InputError, match="did you mean 'sparsity'"):
        make_config("topk", n_latents=3, sparsiti=0.5)
    with pytest.raises(InputError, match="n_latents"):
        make_config("topk", k=1)


@pytest.mark.parametrize("kind", ["topk-gao", "topk", "archetypal"])
def test_topk_kinds_forward(kind):
    sae, x = make(kind), rows()
    shift = sae.decoder_bias if kind == "topk-gao" else 0.0
    hidden = torch.relu((x - shift) @ sae.encoder_weight.T + sae.encoder_bias)
    codes = torch.zeros_like(hidden)
    for row in range(len(x)):
        best = hidden[row].argsort(descending=True)[:4]
        codes[row, best] = hidden[row, best]
    decoder = sae.mixture @ sae.points + sae.relaxation if kind == "archetypal" else sae.decoder_weight
    torch.testing.assert_close(sae.encode(x), codes)
    torch.testing.assert_close(sae(x), codes @ decoder + shift)


def test_relu_forward_and_loss():
    sae, x = make("relu"), rows()
    codes = torch.relu(x @ sae.encoder_weight.T + sae.encoder_bias)
    error = codes @ sae.decoder_weight + sae.decoder_bias - x
    penalty = (codes * sae.decoder_weight.norm(dim=1)).sum(1).mean()
    torch.testing.assert_close(sae.encode(x), codes)
    torch.testing.assert_close(sae.loss(x).total, (error**2).sum(1).mean() + 0.3 * penalty)
    torch.testing.assert_close(sae.loss(x).mse, (error**2).mean())


def test_penalties_ramp_up():
    sae, x = make("relu"), rows()
    full = sae.loss(x).total
    sae.progress = 0.0
    none = sae.loss(x).total
    sae.progress = 0.025  # half of the first 5 %
    torch.testing.assert_close(sae.loss(x).total, (full + none) / 2)


def test_batch_topk_keeps_the_largest_of_the_batch_then_a_threshold():
    sae, x = make("batch-topk"), rows()
    sae.train()
    hidden = torch.relu((x - sae.decoder_bias) @ sae.encoder_weight.T + sae.encoder_bias)
    smallest = hidden.flatten().sort(descending=True).values[4 * len(x) - 1]
    torch.testing.assert_close(sae.encode(x), torch.where(hidden >= smallest, hidden, 0.0))
    sae.loss(x)
    torch.testing.assert_close(sae.threshold, smallest)  # the first batch sets it
    first = sae.threshold.clone()
    sae.loss(2 * x)
    assert first < sae.threshold
    sae.eval()
    torch.testing.assert_close(sae.encode(x), torch.where(hidden > sae.threshold, hidden, 0.0))
    torch.testing.assert_close(sae.encode(x[:1]), sae.encode(x)[:1])  # no row depends on its batch


def test_matryoshka_averages_nested_errors():
    sae, x = make("matryoshka"), rows()
    sae.train()
    codes = sae.encode(x)
    nested = [((codes[:, :n] @ sae.decoder_weight[:n] + sae.decoder_bias - x) ** 2).mean() for n in (6, 24)]
    torch.testing.assert_close(sae.loss(x).total, sum(nested) / 2)
    torch.testing.assert_close(sae.loss(x).mse, nested[-1])


@pytest.mark.parametrize("prefixes", [(), (0.5, 0.25, 1.0), (0.5,), (0.0, 1.0)])
def test_matryoshka_refuses_prefixes_that_do_not_nest(prefixes):
    with pytest.raises(InputError, match="prefixes"):
        make_config("matryoshka", n_latents=8, k=2, prefixes=prefixes)


def test_jumprelu_forward_and_pseudo_derivatives():
    sae, x = make("jumprelu"), rows()
    threshold = sae.log_threshold.exp()
    pre = torch.relu(x @ sae.encoder_weight.T + sae.encoder_bias)
    codes = pre * (pre > threshold)
    error = codes @ sae.decoder_weight + sae.decoder_bias - x
    torch.testing.assert_close(sae.encode(x), codes)
    loss = sae.loss(x)
    torch.testing.assert_close(
        loss.total, (error**2).sum(1).mean() + 0.2 * (codes > 0).sum(1).double().mean()
    )
    loss.total.backward()
    # eqs. 11 and 12 by hand: kernel of width 0.5 around the threshold
    inside = ((pre - threshold).abs() < 0.25).double()
    d_codes = (2 * error / len(x)) @ sae.decoder_weight.T
    d_threshold = (-(threshold / 0.5) * inside * d_codes - 0.2 / len(x) / 0.5 * inside).sum(0)
    torch.testing.assert_close(sae.log_threshold.grad, d_threshold * threshold)
    d_pre = d_codes * (pre > threshold)
    torch.testing.assert_close(sae.encoder_bias.grad, d_pre.sum(0))


def test_gated_forward_and_loss():
    sae, x = make("gated"), rows()
    shared = (x - sae.decoder_bias) @ sae.encoder_weight.T
    gate = shared + sae.encoder_bias
    codes = (gate > 0) * torch.relu(shared * sae.magnitude_scale.exp() + sae.magnitude_bias)
    torch.testing.assert_close(sae.encode(x), codes)

    def squares(z):
        return ((z @ sae.decoder_weight + sae.decoder_bias - x) ** 2).sum(1).mean()

    expected = squares(codes) + 0.3 * gate.relu().sum(1).mean() + squares(gate.relu())
    torch.testing.assert_close(sae.loss(x).total, expected)
    sae.loss(x).total.backward()
    with_auxiliary = sae.decoder_weight.grad.clone()
    sae.zero_grad()
    squares(sae.encode(x)).backward()
    torch.testing.assert_close(with_auxiliary, sae.decoder_weight.grad)  # the auxiliary decoder is frozen


def test_archetypal_atoms_stay_near_the_hull():
    sae, x = make("archetypal"), rows(50)
    sae.init_from_data(x)
    sae.train()
    optimiser = torch.optim.SGD(sae.parameters(), lr=5.0)
    for _ in range(5):
        backward(sae, x)
        optimiser.step()
        sae.after_step()
    assert (sae.mixture >= 0).all()
    torch.testing.assert_close(sae.mixture.sum(1), torch.ones(24, dtype=torch.float64))
    assert (sae.relaxation.norm(dim=1) <= sae.radius * (1 + 1e-12)).all()
    torch.testing.assert_close(sae.radius, sae.points.norm(dim=1).mean())


def test_simplex_projection_is_the_nearest_point():
    scipy_optimize = pytest.importorskip("scipy.optimize")
    target = torch.tensor([0.4, -0.3, 1.2, 0.1], dtype=torch.float64)
    found = scipy_optimize.minimize(
        lambda v: ((v - target.numpy()) ** 2).sum(),
        [0.25] * 4,
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda v: v.sum() - 1},
        options={"ftol": 1e-14},
    )
    torch.testing.assert_close(
        project_to_simplex(target[None])[0], torch.from_numpy(found.x), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("kind", ["topk-gao", "batch-topk", "matryoshka"])
def test_auxk_gradient_reaches_dead_latents_in_the_encoder(kind):
    sae, x = make(kind), rows()
    sae.train()
    with torch.no_grad():
        sae.encoder_bias[:6] = -50.0  # their pre-codes are negative everywhere: TopK alone never reaches them
        sae.rows_since_fired[:6] = (
            10  # with the ten rows of x they have been silent for 15, the others have not
        )
    backward(sae, x)
    assert (sae.rows_since_fired >= 15).nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5]
    reached = sae.encoder_weight.grad[:6].norm(dim=1) > 0
    assert reached.sum() >= 3  # aux_k of them for each row
    assert sae.encoder_bias.grad[:6].any()
    without = build_sae(
        make_config(kind, n_latents=24, **{**OPTIONS[kind], "aux_coefficient": 0.0}), 6
    ).double()
    without.load_state_dict(sae.state_dict())
    backward(without.train(), x)
    assert not without.encoder_weight.grad[:6].any()


def test_unit_norm_decoders_stay_so_and_their_gradients_are_tangent():
    sae, x = make("topk-gao"), rows()
    sae.after_step()
    torch.testing.assert_close(sae.decoder_weight.norm(dim=1), torch.ones(24, dtype=torch.float64))
    backward(sae.train(), x)
    sae.adjust_gradients()
    along = (sae.decoder_weight.grad * sae.decoder_weight).sum(1)
    torch.testing.assert_close(along, torch.zeros_like(along), atol=1e-14, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_does_what_its_members_do(kind):
    members = [make(kind, seed=seed).train() for seed in (0, 1, 2)]
    stacked, x = stack(members).train(), rows(30)
    for _ in range(2):  # the second time some latents are dead
        losses = backward(stacked, x)
        alone = torch.stack([backward(member, x) for member in members])
        torch.testing.assert_close(losses, alone, rtol=1e-12, atol=1e-14)
    for name, parameter in stacked.named_parameters():
        expected = torch.stack([member.get_parameter(name).grad for member in members])
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-13)
    stacked.adjust_gradients()
    stacked.after_step()
    for member in members:
        member.adjust_gradients()
        member.after_step()
    for name, buffer in stacked.state_dict().items():
        expected = torch.stack([member.state_dict()[name] for member in members])
        torch.testing.assert_close(buffer, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_files_keep_codes_to_the_bit(kind, tmp_path):
    sae, x = make(kind), rows()
    sae.train().loss(x)  # so that thresholds and counters are not at their start
    sae.eval().save_pretrained(tmp_path)
    loaded = SparseAutoencoder.from_pretrained(tmp_path)
    assert loaded.config == sae.config
    assert torch.equal(loaded.encode(x), sae.encode(x))
    assert torch.equal(loaded(x), sae(x))


def test_silence_is_counted_in_rows():
    sae, x = make("topk-gao"), rows(10)
    sae.train().loss(x)
    fired = (sae.encode(x) != 0).any(0)
    assert sae.rows_since_fired.tolist() == [0 if on else 10 for on in fired]


class Mine(SparseAutoencoder):
    """A third party's kind: one matrix, the largest latent only, written for two dimensions and not stackable."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config(SAEConfig):
        kind = "mine"
        gain: float = 1.0

    config_class = Config

    def __init__(self, config, n_inputs, *, seed=0):
        super().__init__(config, n_inputs, seed=seed)
        start = torch.randn(config.n_latents, n_inputs, generator=torch.Generator().manual_seed(seed))
        self.weight = torch.nn.Parameter(start)

    def encode(self, x):
        z = x @ self.weight.T
        return self.config.gain * z * (z == z.max(dim=1, keepdim=True).values)

    def decode(self, z):
        return z @ self.weight


def test_a_third_partys_kind_trains_and_is_saved_beside_ours(tmp_path, monkeypatch):
    registry = Registry("SAE kind", "otoscope.saes")
    registry.add("mine", Mine)
    monkeypatch.setattr(SAES, "_own", {**SAES._own, **registry._own})
    x = rows(60).float().numpy()
    configs = [make_config("mine", n_latents=9, gain=0.5), make_config("topk", n_latents=9, k=2)]
    saes = train_saes({0: x}, configs, seeds=(0, 1), epochs=5, progress=False, device="cpu", normalise="none")
    assert saes[0].history.train_mse.is_monotonic_decreasing
    saes[0].save_pretrained(tmp_path)
    assert torch.equal(Mine.from_pretrained(tmp_path).weight, saes[0].weight)


def test_temporal_adds_a_contrast_between_neighbours():
    """Against the formula over a loop of pairs, and its gradients against those of the loop."""
    sae, x = make("temporal"), rows()
    sae.train()
    plain = dataclasses.replace(sae.config, contrast=0.0)
    codes = sae.encode(x)
    nested = [((codes[:, :n] @ sae.decoder_weight[:n] + sae.decoder_bias - x) ** 2).mean() for n in (6, 24)]
    firsts, seconds = codes[0::2, :6], codes[1::2, :6]
    total = sum(nested) / 2
    for i in range(5):
        for one, others in ((firsts[i], seconds), (seconds[i], firsts)):
            cosines = torch.stack([torch.cosine_similarity(one, other, dim=0) / 0.5 for other in others])
            total = total - 0.7 * torch.log_softmax(cosines, 0)[i] / 10
    parameters = [sae.encoder_weight, sae.decoder_weight, sae.encoder_bias, sae.decoder_bias]
    wanted = torch.autograd.grad(total, parameters)
    found = sae.loss(x)
    torch.testing.assert_close(found.total, total)
    torch.testing.assert_close(found.mse, nested[-1])
    backward(sae, x)
    for parameter, gradient in zip(parameters, wanted):
        torch.testing.assert_close(parameter.grad, gradient)
    other = build_sae(plain, 6).double()
    other.load_state_dict(sae.state_dict())
    torch.testing.assert_close(other.train().loss(x).total, sum(nested) / 2)
    with pytest.raises(InputError, match="pairs of neighbours; got 9 rows"):
        sae.loss(x[:9])

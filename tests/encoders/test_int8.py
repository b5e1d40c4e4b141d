"""Products in int8: against the same arithmetic written in numpy, and how far they move a model's states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import otoscope
from otoscope.encoders import attention, int8, precision, rows
from otoscope.errors import InputError

from .conftest import FAMILIES

BFLOAT16 = 2**-8
"""The largest relative error of rounding to it."""

if not int8.works():
    pytest.skip("this PyTorch gives no exact int8 products on this processor", allow_module_level=True)


class TestLinear:
    @pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("bias", [True, False])
    def test_it_is_the_quantised_product(self, kind, bias) -> None:
        torch.manual_seed(0)
        layer = nn.Linear(70, 33, bias=bias)
        x = (3 * torch.randn(2, 5, 70)).to(kind)
        got = int8.linear(layer)(x)
        assert got.dtype == torch.bfloat16
        values, weight = x.float().numpy(), layer.weight.detach().numpy()
        # In float32 as there: a value half-way between two steps, common in bfloat16, would go either way.
        whole = np.rint(values * (np.float32(127) / abs(values).max(-1, keepdims=True)))
        steps = abs(weight).max(-1) / 127
        sums = whole.astype(int) @ np.round(weight / steps[:, None]).astype(int).T
        expected = sums * (abs(values).max(-1, keepdims=True) / 127) * steps
        expected += layer.bias.detach().numpy() if bias else 0
        np.testing.assert_allclose(got.double(), expected, rtol=BFLOAT16, atol=1e-5)

    def test_it_is_close_to_the_exact_product(self) -> None:
        torch.manual_seed(0)
        layer, x = nn.Linear(768, 256), torch.randn(100, 768)
        exact = layer(x)
        assert (int8.linear(layer)(x) - exact).norm() / exact.norm() < 0.012

    def test_zeros_give_the_bias(self) -> None:
        layer = nn.Linear(64, 8)
        with torch.no_grad():
            layer.weight[3] = 0
        got = int8.linear(layer)(torch.zeros(2, 64))
        assert torch.equal(got, layer.bias.bfloat16().expand(2, -1))
        assert torch.isfinite(int8.linear(layer)(torch.randn(2, 64))).all()

    @pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_does_not_come_out_as_a_number(self, kind, bad) -> None:
        x = torch.randn(3, 64).to(kind)
        x[1, 7] = bad
        got = int8.linear(nn.Linear(64, 8))(x)
        assert torch.isfinite(got).all(1).tolist() == [True, False, True]
        assert not torch.isfinite(got[1]).any()


class TestAttention:
    @pytest.mark.parametrize("n_tokens", [5, attention.BLOCK + 37])
    @pytest.mark.parametrize(("spread", "limit"), [(0.1, 0.01), (1, 0.01), (3, 0.02)])
    @pytest.mark.parametrize("offset", [0, 20])
    def test_it_is_softmax_attention(self, n_tokens, spread, limit, offset, threads) -> None:
        torch.manual_seed(0)
        query, key, value = (torch.randn(2, n_tokens, 3, 16).transpose(1, 2) for _ in range(3))
        key = key + offset * torch.randn(16)  # as trained models have it: a part that all keys share
        query, key, value = (x.bfloat16() for x in (spread * query, key, value))
        exact = functional.scaled_dot_product_attention(
            query.double(), key.double(), value.double(), scale=0.3
        )
        exact = exact.transpose(1, 2)
        for n_threads in (1, 2):
            threads(n_threads)
            got = attention.attend(query, key, value, 0.3)
            assert got.dtype == torch.bfloat16
            assert (got - exact).norm() / exact.norm() < limit

    @pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_does_not_come_out_as_a_number(self, bad) -> None:
        query, key, value = (torch.randn(1, 2, 7, 16).bfloat16() for _ in range(3))
        query[0, 1, 3, 2] = bad
        got = attention.attend(query, key, value, 0.25)
        finite = torch.isfinite(got).all(-1)
        assert not finite[0, 3, 1]
        assert finite.sum() == 13

    def test_a_mask_is_left_to_pytorch(self) -> None:
        n = attention.LONG
        query = torch.randn(1, 2, n, 16).bfloat16()
        mask = torch.ones(1, 1, n, n, dtype=torch.bool).tril()
        module = nn.Module()
        module.is_causal = False
        got, _ = attention.forward(module, query, query, query, mask, scaling=0.25)
        expected = functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
        assert torch.equal(got, expected.transpose(1, 2))


def test_exponentials_reach_from_one_to_nothing() -> None:
    scores = torch.tensor([[0.0, -1, -10, -80, -1e4], [3.0e38, 0, 1, 2, 3.0e38]]).bfloat16()
    powers, sums = torch.empty_like(scores), torch.empty(2)
    rows.exponentials(rows.bits_of(scores), rows.LOG2_E, rows.bits_of(powers), sums.numpy())
    expected = torch.softmax(scores.double(), 1)
    assert torch.allclose(powers.double() / sums[:, None], expected, rtol=BFLOAT16, atol=1e-30)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_computes_in_int8(name, folders, noise, monkeypatch, threads) -> None:
    monkeypatch.setattr(int8, "LARGE", 0)  # the models here are small
    monkeypatch.setattr(attention, "LONG", 1)
    exact = otoscope.load_encoder(folders(name), device="cpu", dtype="float32").hidden_states(noise.short)
    encoder = otoscope.load_encoder(folders(name), device="cpu", dtype="int8")
    states = encoder.hidden_states(noise.short)
    threads(2)
    shared = encoder.hidden_states(noise.short)
    for layer, state in states.items():
        error = (state - exact[layer]).norm() / exact[layer].norm()
        assert 0 < error < 0.08  # products over 32 values round more than those over 768
        assert torch.equal(shared[layer], state) or not encoder.reentrant


def test_a_long_clip_of_the_ast_attends_fast(folders, monkeypatch, noise) -> None:
    encoder = otoscope.load_encoder(folders("ast"), device="cpu", dtype="int8")
    calls, attend = [], attention.attend
    monkeypatch.setattr(attention, "attend", lambda *args: calls.append(1) or attend(*args))
    monkeypatch.setattr(attention, "LONG", 20)
    encoder.hidden_states(noise.short)
    assert len(calls) == encoder.n_layers
    encoder.dtype_asked = "auto"
    encoder.keep_dtype("float32")  # and back: transformers' own way
    encoder.hidden_states(noise.short)
    assert len(calls) == encoder.n_layers
    exact = otoscope.load_encoder(folders("ast"), device="cpu", dtype="float32")
    for layer, state in exact.hidden_states(noise.short).items():
        assert torch.equal(encoder.hidden_states(noise.short)[layer], state)


def test_the_built_in_model_moves_little() -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal((2, 32_000)).astype(np.float32)
    exact = otoscope.load_encoder("otoscope-mini", device="cpu").hidden_states(sound)
    encoder = otoscope.load_encoder("otoscope-mini", device="cpu", dtype="int8")
    assert encoder.provenance()["compute_dtype"] == "int8"
    for layer, state in encoder.hidden_states(sound).items():
        assert (state - exact[layer]).norm() / exact[layer].norm() < 0.03


class TestRefused:
    def test_a_module_of_ones_own(self) -> None:
        with pytest.raises(InputError, match="a module of your own is left as it is"):
            otoscope.Encoder.from_module(
                nn.Sequential(nn.Linear(8, 8)), blocks="*", sample_rate=16_000, dtype="int8"
            )

    def test_a_gpu(self) -> None:
        with pytest.raises(InputError, match="int8 is for CPUs, this is 'cuda'; try bfloat16"):
            precision.compute_dtype("int8", "hubert", torch.device("cuda"))

    def test_a_processor_that_cannot(self, monkeypatch, folders) -> None:
        monkeypatch.setattr(int8, "works", lambda: False)
        with pytest.raises(
            InputError, match="no exact int8 products on this processor; try bfloat16 or auto"
        ):
            otoscope.load_encoder(folders("ast"), device="cpu", dtype="int8")

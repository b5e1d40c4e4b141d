"""Edits of codes and states: what they do by hand-computed numbers, and what they leave alone to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from otoscope.errors import InputError
from otoscope.interventions import (
    ablate,
    add,
    along,
    at,
    chain,
    clamp,
    matched_latents,
    mean_difference,
    random_direction,
    replaced_by,
    scale,
    swap,
    through,
    without,
)
from otoscope.saes import build_sae, make_config

KINDS = ("topk", "topk-gao", "batch-topk", "relu", "jumprelu", "gated", "matryoshka", "archetypal")


@pytest.fixture
def state():
    return torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def sae():
    return build_sae(make_config("topk", n_latents=32, k=4), 16, seed=0).eval()


def test_changes_by_hand():
    codes = torch.tensor([[1.0, 2.0, 0.0, 4.0]])
    assert ablate([0, 3])(codes).tolist() == [[0, 2, 0, 0]]
    assert ablate([0, 3], to=[0.5, 0.25])(codes).tolist() == [[0.5, 2, 0, 0.25]]
    assert clamp(1, 7)(codes).tolist() == [[1, 7, 0, 4]]
    assert scale([1, 2], 3)(codes).tolist() == [[1, 6, 0, 4]]
    assert add([2, 3], [1, -1])(codes).tolist() == [[1, 2, 1, 3]]
    assert swap([0, 1], torch.tensor([[9.0, 8.0, 7.0, 6.0]]))(codes).tolist() == [[9, 8, 0, 4]]
    assert chain(scale(0, 2), add(0, 1))(codes).tolist() == [[3, 2, 0, 4]]
    assert codes.tolist() == [[1, 2, 0, 4]]
    assert ablate([])(codes) is codes


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_error_kept_all_latents_at_zero_are_decode_of_zero_and_error(kind, state):
    options = (
        {"k": 4} if "topk" in kind else {"sparsity": 0.875} if kind in ("matryoshka", "archetypal") else {}
    )
    sae = build_sae(make_config(kind, n_latents=32, **options), 16, seed=0).eval()
    with torch.no_grad():
        edited = through(sae, ablate(range(32)))(state)
        error = state - sae(state)
        expected = sae.decode(torch.zeros(2, 9, 32)) + error
        spliced = through(sae, error="spliced")(state)
        assert (edited - expected).abs().max() < 1e-5
        assert torch.equal(spliced, sae(state))
        same = scale(range(32), 1.0)
        assert through(sae, same)(state) is state
        assert through(sae)(state) is state


def test_a_token_whose_codes_stay_stays_to_the_bit(state, sae):
    with torch.no_grad():
        codes = sae.encode(state)
        latent = int((codes > 0).sum((0, 1)).clamp_max(17).argmax())
        active = codes[..., latent] > 0
        assert active.any()
        assert not active.all()
        edited = through(sae, ablate(latent))(state)
    assert torch.equal(edited[~active], state[~active])
    assert not torch.equal(edited[active], state[active])


def test_directions_by_hand(state):
    push = np.zeros(16)
    push[3] = 2
    moved = along(push, 1.5)(state)
    assert torch.equal(moved[..., 3], state[..., 3] + 3)
    assert along(push, 0)(state) is state
    gone = without(np.stack([push, 2 * push]), mean=1.0)(state)
    assert (gone[..., 3] - 1).abs().max() < 1e-5
    assert torch.allclose(gone[..., :3], state[..., :3], atol=1e-6)
    assert (replaced_by(np.arange(16.0))(state) == torch.arange(16.0)).all()


def test_only_where_it_is_asked_for(state):
    mask = np.arange(9) % 2 == 0
    seen = []
    edited = at(mask, lambda own: seen.append(own.shape) or own + 1)(state)
    assert seen == [(2, 5, 16)]
    assert torch.equal(edited[:, ~mask], state[:, ~mask])
    assert torch.equal(edited[:, mask], state[:, mask] + 1)
    assert at(mask, lambda own: own)(state) is state
    assert at(np.zeros(9, bool), lambda own: own + 1)(state) is state
    with pytest.raises(InputError, match="of 8 tokens and the state of 9"):
        at(mask[1:], replaced_by(0.0))(state)


def test_baselines():
    x = np.array([[0.0, 1], [2, 1], [4, 5]])
    assert mean_difference(x, [True, True, False]).tolist() == [-3, -4]
    drawn = random_direction(np.array([3.0, 4, 0]), seed=0)
    assert np.linalg.norm(drawn) == pytest.approx(5)
    density = np.linspace(0, 1, 200)
    wanted = np.array([10, 11, 150])
    others = matched_latents(density, wanted, seed=0)
    assert len({*others, *wanted}) == 6
    assert np.abs(density[others] - density[wanted]).max() < 0.1
    assert np.array_equal(others, matched_latents(density, wanted, seed=0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda sae, x: through(sae, error="lost"), "must be 'kept' or 'spliced'; got 'lost'"),
        (lambda sae, x: through(sae, ablate(32))(x), "no latent 32: the code has 32"),
        (lambda sae, x: ablate([1, 1]), "each once"),
        (lambda sae, x: ablate(-1), "whole numbers from 0"),
        (lambda sae, x: through(sae)(x[..., :8]), "width 16, got width 8"),
        (lambda sae, x: mean_difference(x[0].numpy(), [True] * 9), "got 9 chosen of 9"),
        (lambda sae, x: matched_latents(np.ones(3), [0, 1], seed=0), "cannot match 2 of 3"),
    ],
)
def test_what_cannot_be_done_is_said(make, message, sae, state):
    with pytest.raises(InputError, match=message):
        make(sae, state)

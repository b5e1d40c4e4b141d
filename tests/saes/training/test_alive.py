"""Latents that start at data points, and dead ones that get another start."""

import numpy as np
import pytest
import torch

from otoscope.saes import make_config, train_saes
from otoscope.saes.base import build_sae
from otoscope.saes.training.alive import revive, start_from_data
from otoscope.saes.training.stack import Schedule, Stack

KINDS = {
    "topk": {"k": 3}, "topk-gao": {"k": 3}, "batch-topk": {"k": 3}, "matryoshka": {"k": 3},
    "relu": {}, "gated": {}, "jumprelu": {},
}  # fmt: skip


def rows_of(n_rows=200, width=12, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n_rows, width)).astype(np.float32)) + 3


def fresh(kind, seed=0, n_latents=40):
    sae = build_sae(make_config(kind, n_latents=n_latents, **KINDS[kind]), 12, seed=seed)
    sae.layer = 0
    return sae


@pytest.mark.parametrize("kind", ["topk", "relu"])
def test_latents_point_at_different_rows_and_keep_their_norms(kind):
    x, sae = rows_of(), fresh(kind)
    before = {name: value.detach().norm(dim=-1) for name, value in sae.named_parameters()}
    start_from_data(sae, x)
    directions = torch.nn.functional.normalize(x - x.mean(0), dim=-1)
    cosines = torch.nn.functional.normalize(sae.decoder_weight.detach(), dim=-1) @ directions.T
    nearest = cosines.max(1)
    torch.testing.assert_close(nearest.values, torch.ones(40))
    assert len(set(nearest.indices.tolist())) == 40
    aligned = torch.nn.functional.cosine_similarity(sae.encoder_weight, sae.decoder_weight)
    torch.testing.assert_close(aligned.detach(), torch.ones(40))
    for name in ("encoder_weight", "decoder_weight"):
        torch.testing.assert_close(sae.get_parameter(name).detach().norm(dim=-1), before[name])
    assert not sae.encoder_bias.any()
    other = fresh(kind, seed=1)
    start_from_data(other, x)
    assert not torch.equal(other.decoder_weight, sae.decoder_weight)


def test_fewer_rows_than_latents_give_sums_of_rows():
    sae = fresh("topk")
    norms = sae.decoder_weight.detach().norm(dim=-1)
    start_from_data(sae, torch.cat([rows_of(10), rows_of(10).mean(0, keepdim=True)]))
    assert torch.isfinite(sae.decoder_weight).all()
    torch.testing.assert_close(sae.decoder_weight.detach().norm(dim=-1), norms)
    atoms = torch.nn.functional.normalize(sae.decoder_weight.detach(), dim=-1)
    assert ((atoms @ atoms.T - 2 * torch.eye(40)) > 0.999).sum() < 40


def test_rows_without_a_direction_change_nothing():
    sae, untouched = fresh("topk"), fresh("topk")
    start_from_data(sae, torch.ones(5, 12))
    torch.testing.assert_close(sae.decoder_weight, untouched.decoder_weight)


@pytest.mark.parametrize("kind", ["topk-gao", "batch-topk", "matryoshka", "gated", "jumprelu"])
def test_kinds_of_unit_norm_start_as_their_authors_have_them(kind):
    sae, untouched = fresh(kind), fresh(kind)
    start_from_data(sae, rows_of())
    torch.testing.assert_close(sae.encoder_weight, untouched.encoder_weight)


def test_kinds_without_atoms_of_their_own_are_left_alone():
    sae = build_sae(make_config("archetypal", n_latents=8, k=2, n_points=4), 12)
    before = sae.encoder_weight.detach().clone()
    start_from_data(sae, rows_of())
    assert torch.equal(sae.encoder_weight, before)
    sae.layer = 0
    assert revive(Stack([sae]), rows_of(), 0) == 0


@pytest.mark.parametrize("kind", ["batch-topk", "matryoshka"])
def test_kinds_that_select_from_a_batch_are_left_to_auxk(kind):
    """Revived, their atoms of norm 1 add whole rows, as many as there are: the error rose 20-fold on real rows."""
    x = rows_of(720, 12) * torch.linspace(0.1, 3, 12)
    config = make_config(kind, n_latents=96, k=3)
    own, other = (
        train_saes({0: x.numpy()}, config, epochs=12, revive=revive, progress=False)[0]
        for revive in (True, False)
    )
    assert torch.equal(own.decoder_weight, other.decoder_weight)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"batch-topk", "matryoshka"}))
@pytest.mark.parametrize("n_members", [1, 2])
def test_dead_latents_and_only_they_start_again(kind, n_members):
    x = rows_of() - 3
    saes = [fresh(kind, seed) for seed in range(n_members)]
    for sae in saes:
        start_from_data(sae, x)
    stacked = Stack(saes)
    for batch in x.split(50):
        stacked.step(batch, Schedule(1e-3, 4))
    with torch.no_grad():
        stacked.module.encoder_bias[..., 5:9] = -1e6  # never on
    dead = stacked.silence(x)[0] == 0
    assert dead[:, 5:9].all()
    before = {name: value.clone() for name, value in stacked.module.state_dict().items()}
    assert revive(stacked, x, epoch=3) == int(dead.sum())
    after, moments = stacked.module.state_dict(), stacked.optimiser.tensors()
    shape = (n_members, 40)
    for name in ("encoder_weight", "decoder_weight", "encoder_bias"):
        changed = (after[name] != before[name]).view(*shape, -1).any(-1)
        assert not changed[~dead].any()
        assert changed[:, 5:9].all()
        assert not moments[f"mean.{name}"].view(*shape, -1)[dead].any()
        assert moments[f"square.{name}"].view(*shape, -1)[~dead].any()
    assert (stacked.silence(x)[0][:, 5:9] > 0).any()


def test_the_same_epoch_and_seed_revive_alike_and_another_does_not():
    def revived(epoch):
        sae = fresh("topk")
        stacked = Stack([sae])
        with torch.no_grad():
            sae.encoder_bias[:5] = -1e6
        revive(stacked, rows_of(), epoch)
        return sae.encoder_weight.detach().clone()

    assert torch.equal(revived(1), revived(1))
    assert not torch.equal(revived(1), revived(2))

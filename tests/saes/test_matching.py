"""Matching atoms between seeds: known permutations, a brute-force optimum, and what scale does."""

from itertools import permutations

import numpy as np
import pytest
import torch

from otoscope.errors import InputError
from otoscope.saes import TopK, TopKConfig
from otoscope.saes.matching import stability


def sae_of(atoms, seed=0):
    sae = TopK(TopKConfig(n_latents=len(atoms), k=1), atoms.shape[1], seed=seed)
    with torch.no_grad():
        sae.decoder_weight.copy_(torch.as_tensor(atoms))
    return sae


def atoms_of(n=6, width=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width))


def test_a_permuted_and_rescaled_dictionary_is_the_same():
    atoms = atoms_of(20, 8)
    order = np.random.default_rng(1).permutation(20)
    found = stability([sae_of(atoms), sae_of(3 * atoms[order], seed=1)])
    assert found.summary["pw_mcc"] == pytest.approx(1, abs=1e-6)
    assert found.summary["recurring_0.9"] == 1
    assert found.latents.groupby("seed").size().tolist() == [20, 20]
    np.testing.assert_allclose(found.latents["matched_cosine"], 1, atol=1e-6)


def test_mirrored_atoms_count_for_pw_mcc_alone():
    atoms = np.eye(4)
    found = stability([sae_of(atoms), sae_of(-atoms, seed=1)]).summary
    assert found["pw_mcc"] == pytest.approx(1)
    assert found["matched_cosine"] == pytest.approx(0)  # -1 with itself: it is matched with others instead


def test_matching_is_the_best_of_all_permutations():
    first, second = atoms_of(seed=2), atoms_of(seed=3)
    cosines = first @ second.T / np.outer(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    best = max(permutations(range(6)), key=lambda order: cosines[range(6), order].sum())
    absolute = max(np.abs(cosines)[range(6), list(order)].mean() for order in permutations(range(6)))
    found = stability([sae_of(first), sae_of(second, seed=1)])
    np.testing.assert_allclose(
        found.latents.query("seed == 0")["matched_cosine"], cosines[range(6), best], atol=1e-6
    )
    assert found.summary["pw_mcc"] == pytest.approx(absolute, abs=1e-6)
    assert found.summary["recurring_0.7"] == pytest.approx((cosines[range(6), best] > 0.7).mean())


def test_three_seeds_give_three_pairs_and_means_over_the_others():
    same, other = np.eye(3), np.eye(3)[[0, 1, 1]]
    other[2] = [0, 0.6, 0.8]
    found = stability([sae_of(same), sae_of(same, seed=1), sae_of(other, seed=2)])
    assert found.pairs[["seed", "other_seed"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 2]]
    third = found.latents.query("seed == 0 and latent == 2").iloc[0]
    assert third["matched_cosine"] == pytest.approx((1 + 0.8) / 2)
    assert (third["recurring_0.7"], third["recurring_0.9"]) == (1, 0.5)


def test_dead_latents_are_left_out_and_a_left_over_counts_zero():
    atoms = np.eye(3)
    alive = [np.array([True, True, False]), np.array([True, True, True])]
    found = stability([sae_of(atoms), sae_of(atoms, seed=1)], alive=alive)
    assert found.pairs["n_matched"].tolist() == [2]
    assert found.pairs["pw_mcc"].tolist() == [1]
    assert found.latents.query("seed == 1")["matched_cosine"].tolist() == [1, 1, 0]


def test_a_large_dimension_is_divided_out():
    scale = np.array([1000.0, 1, 1, 1, 1, 1, 1, 1])
    first, second = sae_of(atoms_of(8, 8, seed=0) * scale), sae_of(atoms_of(8, 8, seed=1) * scale, seed=1)
    assert stability([first, second]).summary["pw_mcc"] > 0.99
    fair = stability([first, second], scale=scale).summary["pw_mcc"]
    assert fair < 0.8
    first.about = {"training": {"scale": scale.tolist()}}
    assert stability([first, second]).summary["pw_mcc"] == pytest.approx(fair)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="two or more"):
        stability([sae_of(np.eye(3))])
    with pytest.raises(InputError, match="widths"):
        stability([sae_of(np.eye(3)), sae_of(np.eye(4))])
    with pytest.raises(InputError, match="no living latent"):
        stability([sae_of(np.eye(3))] * 2, alive=[np.zeros(3, bool)] * 2)


def test_it_is_a_function_of_the_package_whatever_was_imported_before():
    import otoscope.saes.checkup
    import otoscope.saes.matching  # modules of the same names would take the functions' place

    assert otoscope.saes.stability is otoscope.saes.matching.stability
    assert otoscope.saes.health is otoscope.saes.checkup.health

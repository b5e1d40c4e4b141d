"""A known sparse dictionary is found again."""

import numpy as np
import pytest

from otoscope.saes import make_config, train_saes


def sparse_data(n_rows=4000, n_atoms=48, width=24, n_active=3, seed=0):
    """Draw rows that are sums of `n_active` of `n_atoms` random directions, with amplitudes from 0.5 to 1.5."""
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(n_atoms, width))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = np.zeros((n_rows, n_atoms))
    for row in codes:
        row[rng.choice(n_atoms, n_active, replace=False)] = rng.uniform(0.5, 1.5, n_active)
    return (codes @ atoms).astype(np.float32), atoms


def mean_best_cosine(sae, atoms):
    decoder = sae.decoder_weight.detach().numpy()
    decoder = decoder / np.maximum(np.linalg.norm(decoder, axis=1, keepdims=True), 1e-12)
    return (atoms @ decoder.T).max(1).mean()


@pytest.mark.parametrize(
    ("kind", "options", "at_least"),
    [
        ("topk", {"k": 3}, 0.95),
        ("topk-gao", {"k": 3}, 0.95),
        ("batch-topk", {"k": 3}, 0.95),
    ],
)
def test_topk_kinds_recover_the_dictionary(kind, options, at_least):
    x, atoms = sparse_data()
    (sae,) = train_saes(
        {0: x}, make_config(kind, n_latents=96, **options), epochs=40, batch_size=64, lr=3e-3, decay_fraction=0.5,
        progress=False,
    )  # fmt: skip
    assert mean_best_cosine(sae, atoms) >= at_least

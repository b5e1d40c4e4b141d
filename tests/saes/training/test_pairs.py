"""Neighbouring frames in pairs: which ones, each once, from arrays and from a store that is streamed."""

import numpy as np
import pandas as pd
import pytest
import torch

from otoscope.activations import Activations
from otoscope.errors import InputError
from otoscope.saes import codes_of, coherence, make_config, train_saes
from otoscope.saes.training import rows as source

SEQUENCE = np.repeat([0, 1, 2, 3], [5, 1, 8, 6])
TIMES = np.arange(20, dtype=np.float32)
QUICK = {"epochs": 2, "batch_size": 4, "progress": False, "device": "cpu"}


def pairs_of(rows, epoch, batch_size=4):
    blocks = rows.blocks(epoch, batch_size=batch_size, data_seed=0)
    return torch.cat([block[0].flatten() for block in blocks]).view(-1, 2).int().tolist()


def expected(epoch, kept=None):
    """Pairs by hand: in each stretch of kept frames, 0-1, 2-3, ... or 1-2, 3-4, ..."""
    found, stretch = [], []
    kept = np.ones(20, bool) if kept is None else kept
    for i in range(20):
        if stretch and not (kept[i] and SEQUENCE[i] == SEQUENCE[i - 1] and stretch[-1] == i - 1):
            stretch = []
        if kept[i]:
            stretch.append(i)
            if len(stretch) > 1 and (len(stretch) - 2) % 2 == epoch % 2:
                found.append([i - 1, i])
    return found


@pytest.mark.parametrize("kept", [None, np.arange(20) != 9], ids=["all", "some"])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_pairs_of_arrays(epoch, kept):
    follows = source.follows_of({0: TIMES[:, None]}, SEQUENCE, kept, 20)
    values, own = torch.from_numpy(TIMES[:, None]), follows
    if kept is not None:
        values, own = values[torch.from_numpy(kept)], follows[kept]
    found = pairs_of(source.ArrayRows({0: values}, follows=own), epoch)
    assert sorted(found) == expected(epoch, kept)
    assert found != sorted(found)  # but shuffled
    n_rows = 2 * max(len(expected(0, kept)), len(expected(1, kept)))
    assert source.ArrayRows({0: values}, follows=own).rows_per_epoch == n_rows


class Chunked(np.ndarray):
    chunks = (1000, 1)


class Store:
    """What training uses of a store of frames, with a gap between two stretches of rows."""

    batches = Activations.batches
    spans = ((0, 6), (10, 24))

    def __init__(self, width=1):
        self.x = np.zeros((24, width), np.float32)
        self.x[[*range(6), *range(10, 24)]] = TIMES[:, None]
        self.layers, self.widths, self.provenance = [0], {0: width}, {"encoder": "test"}
        ids = [f"clip{i}" for i in SEQUENCE]
        self.rows = pd.DataFrame({"clip_id": ids, "crop": 0, "time_s": 0.02 * TIMES})

    def array(self, layer):
        return self.x.view(Chunked)

    def layer(self, layer, kept=None):
        values = np.concatenate([self.x[first:stop] for first, stop in self.spans])
        return values if kept is None else values[kept]


@pytest.mark.parametrize("kept", [None, np.arange(20) != 9], ids=["all", "some"])
def test_pairs_of_a_streamed_store(kept):
    store = Store()
    follows = source.follows_of(store, None, kept, 20)
    rows = source.StoreRows(store, [0], kept, torch.from_numpy, "training", follows)
    for epoch in (0, 1):
        wanted = [pair for pair in expected(epoch, kept) if pair != [5, 6]]  # other chunks
        assert sorted(pairs_of(rows, epoch)) == wanted


def test_pairs_of_frequency_patches_are_of_one_band():
    table = pd.DataFrame({"clip_id": "a", "crop": 0, "time_s": [0, 1, 0, 1], "band": [0, 0, 1, 1]})
    store = Store()
    store.rows = table
    assert source.follows_of(store, None, None, 4).tolist() == [True, False, True, False]


def test_what_cannot_be_paired_is_refused():
    config, x = make_config("temporal", n_latents=8, k=2), np.random.default_rng(0).random((20, 4))
    with pytest.raises(InputError, match="give it a store of frames"):
        train_saes({0: x}, config, **QUICK)
    with pytest.raises(InputError, match="no row has its neighbour"):
        train_saes({0: x}, config, sequence=np.arange(20), **QUICK)
    with pytest.raises(InputError, match="even batch_size"):
        train_saes({0: x}, config, sequence=SEQUENCE, **(QUICK | {"batch_size": 5}))
    with pytest.raises(InputError, match="19 entries for 20"):
        train_saes({0: x}, config, sequence=SEQUENCE[:19], **QUICK)
    with pytest.raises(InputError, match="even batch_size"):
        next(Store().batches([0], batch_size=3, pairs=np.ones(20, bool)))


def test_a_contrast_makes_the_first_latents_steadier():
    """Frames are a slow direction of their sound and fast noise: with the contrast, first latents keep to the slow."""
    rng = np.random.default_rng(0)
    sequence = np.repeat(np.arange(60), 20)
    slow = np.repeat(rng.standard_normal((60, 6)), 20, axis=0)
    x = np.concatenate([slow, rng.standard_normal((1200, 6))], axis=1).astype(np.float32)
    follows = np.r_[sequence[:-1] == sequence[1:], False]
    steady = {}
    for contrast in (0.0, 1.0):
        config = make_config("temporal", n_latents=40, k=6, contrast=contrast, temperature=0.1)
        (sae,) = train_saes({0: x}, config, sequence=sequence, epochs=20, batch_size=64, progress=False)
        steady[contrast] = coherence(codes_of(sae, x)[:, : sae.config.prefix_ends[0]], follows).cosine
    assert steady[1.0] > steady[0.0] + 0.1

"""Files: what is written, what is refused, and that nothing is lost."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from otoscope.errors import InputError, ModelError
from otoscope.saes import (
    SparseAutoencoder,
    TopKConfig,
    codes_of,
    encode_rows,
    reconstruction_metrics,
    train_saes,
)
from otoscope.saes.kinds.gated import Gated
from otoscope.saes.kinds.topk import TopK


@pytest.fixture
def saved(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    config = TopKConfig(n_latents=16, sparsity=0.8)
    (sae,) = train_saes({6: x}, config, seeds=(3,), validation={6: x[:20]}, epochs=2, progress=False)
    sae.save_pretrained(tmp_path / sae.name)
    return sae, tmp_path / sae.name


def test_round_trip(saved):
    sae, folder = saved
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "history.csv",
        "model.safetensors",
    ]
    loaded = SparseAutoencoder.from_pretrained(folder)
    assert isinstance(loaded, TopK)
    assert (loaded.layer, loaded.seed, loaded.config, loaded.about) == (6, 3, sae.config, sae.about)
    assert all(torch.equal(value, sae.state_dict()[name]) for name, value in loaded.state_dict().items())
    pd.testing.assert_frame_equal(loaded.history, sae.history, check_dtype=False)
    assert not loaded.training


def test_the_card_says_what_it_is_and_its_numbers(saved):
    sae, folder = saved
    card = (folder / "README.md").read_text()
    best = sae.history[sae.history.best].iloc[0]
    assert card.startswith("---\nlibrary_name: otoscope\n")
    assert "layer 6" in card
    assert f"| validation_mse | {best.validation_mse:.6g} |" in card
    assert "| batch_size | 32 |" in card


def test_double_precision_survives(tmp_path):
    sae = TopK(TopKConfig(n_latents=8, k=2), 4).double()
    sae.save_pretrained(tmp_path)
    assert TopK.from_pretrained(tmp_path).encoder_weight.dtype == torch.float64


def test_another_class_is_refused(saved):
    with pytest.raises(InputError, match="holds a TopK, not a Gated"):
        Gated.from_pretrained(saved[1])


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format 99, this version reads up to 1: upgrade"),
        ({"kind": "topkk"}, "did you mean 'topk'"),
        ({"config": {"n_latents": 16, "k": 3, "novelty": 1}}, "novelty"),
        ({"config": {"n_latents": 16, "k": 30}}, "k must be from 1 to n_latents"),
        ({"config": {"n_latents": 17, "k": 3}}, "does not hold what its config.json describes"),
        ({"n_inputs": 7}, "does not hold what its config.json describes"),
    ],
)
def test_configs_that_do_not_fit_are_refused(saved, changes, message):
    edit(saved[1], **changes)
    with pytest.raises(ModelError, match=message):
        SparseAutoencoder.from_pretrained(saved[1])


def test_broken_files_are_refused(saved):
    folder = saved[1]
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is not what was written"):
        SparseAutoencoder.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save({"encoder_weight": torch.zeros(1)}, folder / "model.pt")
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        SparseAutoencoder.from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        SparseAutoencoder.from_pretrained(folder)
    with pytest.raises(ModelError, match="no such directory"):
        SparseAutoencoder.from_pretrained(folder / "nowhere")
    with pytest.raises(ModelError, match=f"folders of its own: {folder.name}; name one"):
        SparseAutoencoder.from_pretrained(folder.parent)
    (folder.parent / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no config\.json"):
        SparseAutoencoder.from_pretrained(folder.parent / "empty")


def test_a_failed_save_leaves_the_old_files(saved, monkeypatch):
    sae, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        sae.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


class Store:
    """What `encode_rows` uses of an activations store."""

    def __init__(self, x):
        self._x = x
        self.layers = [6]
        self.rows = pd.DataFrame({"clip_id": [f"c{i}" for i in range(len(x))], "crop": 0})
        self.rows = self.rows.assign(start_s=np.arange(len(x)) * 0.5, stop_s=np.arange(len(x)) * 0.5 + 5)

    def layer(self, layer):
        return self._x


def test_encoding_lists_active_latents_by_row(saved):
    sae = saved[0]
    x = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
    table = encode_rows(sae, Store(x), chunk_rows=7)
    assert table.columns.tolist() == ["clip_id", "start_s", "stop_s", "latent", "value"]
    codes = np.zeros((30, 16), np.float32)
    codes[table.clip_id.str[1:].astype(int), table.latent] = table.value
    np.testing.assert_allclose(codes, sae.encode(torch.from_numpy(x)).detach().numpy(), rtol=1e-6, atol=1e-7)
    assert (table.value > 0).all()
    assert (table.start_s == table.clip_id.str[1:].astype(int) * 0.5).all()


@pytest.mark.filterwarnings("error")
def test_rows_may_be_read_only(saved):
    """A memory map, say: PyTorch warns of such an array, and our own copy of it is none of the user's business."""
    sae = saved[0]
    x = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
    expected = encode_rows(sae, Store(x)), codes_of(sae, x), reconstruction_metrics(sae, x).fvu
    trained = train_saes({6: x}, sae.config, validation={6: x}, epochs=1, progress=False)[0]
    x.setflags(write=False)
    again = encode_rows(sae, Store(x)), codes_of(sae, x), reconstruction_metrics(sae, x).fvu
    pd.testing.assert_frame_equal(again[0], expected[0])
    np.testing.assert_array_equal(again[1], expected[1])
    assert again[2] == expected[2]
    also = train_saes({6: x}, sae.config, validation={6: x}, epochs=1, progress=False)[0]
    torch.testing.assert_close(also.decoder_weight, trained.decoder_weight, rtol=0, atol=0)


def test_encoding_refuses_what_does_not_fit(saved):
    x = np.zeros((5, 6), np.float32)
    with pytest.raises(InputError, match="no activations of layer 2"):
        encode_rows(saved[0], Store(x), layer=2)
    with pytest.raises(InputError, match="width 6, got width 5"):
        encode_rows(saved[0], Store(x[:, :5]))
    x[3] = np.inf
    with pytest.raises(InputError, match=r"row 3 \(clip 'c3'\)"):
        encode_rows(saved[0], Store(x))

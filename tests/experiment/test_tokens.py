"""Runs whose dictionaries learn from patches of time and frequency: the explorer knows the band of each peak."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from shards import read_shard

from otoscope.activations import Activations
from otoscope.errors import SpecError
from otoscope.experiment import read_latents, run
from otoscope.experiment.needs import needs
from otoscope.experiment.spec import resolve
from otoscope.explorer import write_explorer
from otoscope.saes import SparseAutoencoder, codes_of

N_BANDS = 4
WAYS = {
    "dictionaries alone": ["saes.rows=tokens"],
    "all": ["extraction.pool=tokens", "factors.whole_clip=true", "saes.epochs=2", "saes.batch_size=256"],
}


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """A random AST of 1.04 s: 4 bands of 9 moments, every 0.1 s."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoders") / "patches"
    ASTModel(
        ASTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            max_length=104, num_mel_bins=48,
        )
    ).save_pretrained(folder)  # fmt: skip
    ASTFeatureExtractor(num_mel_bins=48, max_length=104).save_pretrained(folder)
    return folder


def settings(patches, root, way):
    return [
        "dataset.options={n_singers: 4}",
        f"dataset.root={root}",
        "dataset.licence=ours, not to be passed on",
        f"encoders=[{{name: {patches}, layers: [1]}}]",
        "saes={n_latents: 24, sparsities: [0.9], seeds: [0], epochs: 2}",
        "probing.few_latents=[]",
        "probing.regularisation=[0.01]",
        "probing.guide=false",
        "disentanglement.alphas=[0.1]",
        "disentanglement.infomec=none",
        "disentanglement.null_sparsity=0.9",
        "disentanglement.nulls=[]",
        "latents.permutations=20",
        *WAYS[way],
    ]


@pytest.fixture(scope="module", params=["dictionaries alone", pytest.param("all", marks=pytest.mark.slow)])
def made(request, patches, tmp_path_factory):
    root = tmp_path_factory.mktemp("synthsing")
    out = tmp_path_factory.mktemp("runs") / "run"
    return run("demo", out=out, settings=settings(patches, root, request.param))


def test_the_peaks_band_goes_from_the_spec_to_the_page(made):
    found = [Activations.open(folder) for folder in (made.root / "activations").iterdir()]
    (store,) = [one for one in found if one.provenance["pool"] == "tokens"]
    per_clip = store.rows.groupby("clip_id").band
    assert (per_clip.nunique() == N_BANDS).all()
    assert (per_clip.size() % N_BANDS == 0).all()

    (folder,) = (about.parent for about in (made.root / "latents").rglob("about.json"))
    described = read_latents(folder)
    edges_hz = store.provenance["bands_hz"]["1"]
    assert described.about["bands_hz"] == edges_hz
    assert described.about["licence"] == "ours, not to be passed on"
    assert len(edges_hz) == N_BANDS
    assert np.all(np.diff(edges_hz, axis=0) > 0)  # the higher, the higher
    sae = SparseAutoencoder.from_pretrained(made.root / described.about["sae"]["folder"])
    codes = pd.DataFrame(codes_of(sae, store.layer(1)))
    examples = described.examples[described.examples.value > 0]
    for example in examples.itertuples():
        own = np.flatnonzero(store.rows.clip_id == example.clip_id)
        peak = store.rows.iloc[own[codes.loc[own, example.latent].argmax()]]
        assert (example.band, example.peak_s) == (peak.band, pytest.approx(peak.time_s))  # clips begin at 0 s
    assert examples.band.nunique() > 1

    data = write_explorer(made).parent / "data"
    about = read_shard(data / "run.js", "run")
    assert about["in_scripts"] is True
    assert about["dictionaries"][0]["bands_hz"] == edges_hz
    pages = read_shard(data / "d0" / "latents-0.js", "d0/latents-0")
    for latent, own in described.examples.groupby("latent"):
        shown = [example["band"] for example in pages[str(latent)]["examples"]]
        assert sorted(-1 if band is None else band for band in shown) == sorted(own.band)


def test_disk_is_reckoned_for_every_band(patches, tmp_path):
    clips = pd.DataFrame(
        {
            "clip_id": ["a", "b"], "path": "x.wav", "start_s": 0.0, "stop_s": 2.0,
            "split": ["train", "test"], "group": ["a", "b"], "word": ["a", "b"],
        }
    )  # fmt: skip
    spec = {"dataset": {"name": "folder", "label": "word"}, "encoders": [{"name": str(patches)}]}
    disk = {
        rows: needs(resolve(spec | {"saes": {"rows": rows}}), clips, out=tmp_path / rows).disk["frames"]
        for rows in ("frames", "tokens")
    }
    assert disk["tokens"] == N_BANDS * disk["frames"]


def test_rows_of_patches_without_factors_of_their_own_are_refused_before_anything_is_made():
    spec = {"dataset": {"name": "synthsing", "label": "technique"}, "extraction": {"pool": "tokens"}}
    with pytest.raises(SpecError, match=r"factors.whole_clip: true.*saes.rows: tokens"):
        resolve(spec)
    assert resolve(spec | {"factors": {"whole_clip": True}}).extraction.pool == "tokens"
    with pytest.raises(SpecError, match=r"saes.rows: tokens goes with extraction.pool: mean"):
        resolve(spec | {"factors": {"whole_clip": True}, "saes": {"rows": "tokens"}})

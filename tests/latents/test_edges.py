"""Little to go by: dead dictionaries, few clips, no labels; and input that does not fit."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
import torch

from otoscope.errors import InputError
from otoscope.experiment import read_latents, write_latents
from otoscope.latents import NO_MEANING, codes_of_array, describe_codes, describe_latents
from otoscope.saes import TopKConfig, build_sae


def corpus(n: int) -> pd.DataFrame:
    clips = pd.DataFrame(
        {"clip_id": [f"c{i}" for i in range(n)], "path": "x.wav", "start_s": 0.0, "stop_s": 1.0}
    )
    return clips.assign(split="train", group=clips.clip_id)


def describe(codes: np.ndarray, clips: pd.DataFrame, **options):
    return describe_codes(codes_of_array(codes), clips[["clip_id"]], clips, progress=False, **options)


@pytest.mark.parametrize("n", [1, 5, 40])
@pytest.mark.parametrize("kind", ["dead", "constant", "random"])
def test_little_to_go_by(n, kind, tmp_path):
    codes = {"dead": np.zeros, "constant": np.ones, "random": np.random.default_rng(0).random}[kind]((n, 4))
    clips = corpus(n).assign(word=["yes", "no"][0])
    if n == 40:
        clips["vowel"] = list("aeiou" * 8)
        clips.loc[:9, "split"] = "test"
    found = describe(codes, clips)
    assert (found.latents.name == NO_MEANING).all()
    assert (found.latents.alive == (kind != "dead")).all()
    back = read_latents(write_latents(found, tmp_path / "latents"))
    assert back.about == found.about
    for name in ("latents", "examples", "labels", "neighbours", "activity", "judged"):
        assert len(getattr(back, name)) == len(getattr(found, name))
    assert (back.latents.evidence != "").all()


def test_several_rows_of_a_clip_in_any_order():
    clips = corpus(30)
    rng = np.random.default_rng(0)
    codes = rng.random((90, 3)) * (rng.random((90, 3)) < 0.5)
    rows = pd.DataFrame({"clip_id": np.tile(clips.clip_id, 3)})
    found = describe_codes(codes_of_array(codes), rows, clips, progress=False)
    activity = found.activity.set_index(["clip_id", "latent"])
    for clip in ("c0", "c29"):
        own = codes[rows.clip_id == clip]
        for latent in range(3):
            if own[:, latent].any():
                assert activity["mean"][clip, latent] == pytest.approx(own[:, latent].mean(), rel=1e-5)


def test_what_does_not_fit_is_said():
    clips, codes = corpus(12), np.ones((12, 2))
    with pytest.raises(InputError, match="1 clips of the store are not in the clips table, such as 'c11'"):
        describe_codes(codes_of_array(codes), clips[["clip_id"]], clips.iloc[:11], progress=False)
    with pytest.raises(InputError, match="12 codes, but a table of 11 rows"):
        describe_codes(codes_of_array(codes), clips[["clip_id"]].iloc[:11], clips, progress=False)
    with pytest.raises(InputError, match="label 'mood' is no column"):
        describe(codes, clips, label="mood")
    with pytest.raises(InputError, match="does not know its layer"):
        describe_latents(build_sae(TopKConfig(n_latents=8, k=2), 4), None, clips)


def test_bands_of_a_store_are_told_where_its_rows_have_them():
    """A store of 12 clips, two moments and two bands each; the peak of the only latent lies in band 1."""
    clips = corpus(12)
    rows = pd.DataFrame({"clip_id": np.repeat(clips.clip_id, 4), "start_s": 0.0, "stop_s": 1.0})
    rows = rows.assign(time_s=np.tile([0.1, 0.6, 0.1, 0.6], 12), band=np.tile([0, 0, 1, 1], 12))

    class Store:
        layers, widths = (2,), {2: 4}
        provenance = MappingProxyType(
            {"encoder": "patches", "bands_hz": {"2": [[20.0, 500.0], [400.0, 8000.0]]}}
        )

        def __init__(self, rows: pd.DataFrame) -> None:
            self.rows = rows

        def batches(self, layers, *, batch_size, seed, buffer_rows):
            x = np.random.default_rng(0).standard_normal((len(self.rows), 4)).astype(np.float32)
            x[:, 0] = np.tile([0.0, 1.0, 9.0, 2.0], 12)
            yield np.arange(len(x)), {2: x}

    sae = build_sae(TopKConfig(n_latents=8, k=2), 4)
    with torch.no_grad():
        sae.encoder_weight.zero_()
        sae.encoder_weight.view(-1)[0] = 1.0
        sae.encoder_bias.zero_()
    found = describe_latents(sae, Store(rows), clips, layer=2, progress=False)
    assert found.about["bands_hz"] == [[20.0, 500.0], [400.0, 8000.0]]
    fires = found.examples[found.examples.value > 0]
    assert set(fires.latent) == {0}
    assert set(fires.band) == {1}
    assert set(fires.peak_s) == {0.1}
    pooled = describe_latents(sae, Store(rows.drop(columns="band")), clips, layer=2, progress=False)
    assert "bands_hz" not in pooled.about

"""A run whose dictionaries learn from frames: its numbers made again from the stores and autoencoders it left."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Lasso
from sklearn.model_selection import GroupKFold

from otoscope.activations import Activations, layer_rows
from otoscope.claims.takeaways import TAKEAWAYS
from otoscope.errors import SpecError
from otoscope.experiment import read_latents, run
from otoscope.experiment.spec import resolve
from otoscope.experiment.stages import views
from otoscope.explorer import write_explorer
from otoscope.factors import join_factors, moment_factors
from otoscope.latents import sampled_rows
from otoscope.probing import probe_all
from otoscope.report import write_report
from otoscope.saes import SparseAutoencoder, codes_of


@pytest.fixture(scope="module")
def settings(tiny_encoder, tmp_path_factory):
    return [
        "dataset.options={n_singers: 4}",
        f"dataset.root={tmp_path_factory.mktemp('synthsing')}",
        f"encoders=[{{name: {tiny_encoder}, layers: [2]}}]",
        "extraction.dtype=float16",
        "saes={rows: frames, n_latents: 32, sparsities: [0.9], seeds: [0, 1], epochs: 2}",
        "probing.few_latents=[1]",
        "probing.regularisation=[0.01]",
        "probing.guide=false",
        "disentanglement.alphas=[0.1]",
        "disentanglement.infomec=none",
        "disentanglement.null_sparsity=0.9",
        "disentanglement.nulls=[untrained, random, permuted, pca, ica, label, shuffled]",
        "latents.permutations=20",
    ]


@pytest.fixture(scope="module")
def made(settings, tmp_path_factory):
    return run("demo", out=tmp_path_factory.mktemp("runs") / "run", settings=settings)


@pytest.fixture(scope="module")
def stores(made):
    """The pooled store and the framewise one."""
    found = [Activations.open(folder) for folder in (made.root / "activations").iterdir()]
    return sorted(found, key=len)


@pytest.fixture(scope="module")
def frames(made, stores):
    """The frames' rows with the split of their clips, and layer 2."""
    return layer_rows(stores[1], made.frame("clips")), stores[1].layer(2)


def dictionary(made, name="topk-32-s0.9-seed0"):
    return SparseAutoencoder.from_pretrained(made.root / "saes" / "tiny" / "layer_02" / name)


def test_the_studied_layer_alone_is_kept_framewise_at_true_times(stores):
    pooled, framewise = stores
    assert (pooled.layers, framewise.layers) == ([0, 1, 2], [2])
    assert (pooled.provenance["pool"], framewise.provenance["pool"]) == ("mean", "frames")
    assert framewise.provenance["dtype"] == "float16"
    steps = framewise.rows.groupby("clip_id").time_s.diff().dropna()
    np.testing.assert_allclose(steps, 0.02, atol=1e-9)
    means = pd.DataFrame(framewise.layer(2)).groupby(framewise.rows.clip_id.to_numpy()).mean()
    np.testing.assert_allclose(means.loc[pooled.rows.clip_id], pooled.layer(2), atol=0.01)  # float16


def test_error_and_health_are_of_frames_that_were_held_out(made, frames):
    rows, x = frames
    test = x[(rows.split == "test").to_numpy()].astype(float)
    sae = dictionary(made)
    with torch.no_grad():
        error = sae(torch.from_numpy(test).float()).numpy() - test
    table = made.table("reconstruction").set_index("seed")
    assert table.fvu[0] == pytest.approx((error**2).sum() / ((test - test.mean(0)) ** 2).sum(), rel=1e-4)
    health = made.table("health").set_index("seed").loc[0]
    assert (health.alive_rows, health.held_out_rows) == ((rows.split == "train").sum(), len(test))
    assert made.table("preflight").n_rows.item() == (rows.split == "train").sum()
    assert sae.about["rows"] == (rows.split == "train").sum()


def test_errors_of_nulls_are_of_frames_that_were_held_out(made, frames):
    """Against scikit-learn's principal components of the training frames, and an autoencoder of permuted ones."""
    rows, x = frames
    train, test = (x[(rows.split == split).to_numpy()].astype(float) for split in ("train", "test"))
    variation = ((test - test.mean(0)) ** 2).sum()
    table = made.table("null_reconstruction")
    assert list(table.representation) == ["permuted", "permuted", "pca"]
    k = int(table.k[2])
    pca = PCA(k).fit(train)
    error = pca.inverse_transform(pca.transform(test)) - test
    assert table.fvu[2] == pytest.approx((error**2).sum() / variation, rel=1e-4)
    np.testing.assert_allclose(made.table("health").pca_fvu, table.fvu[2], rtol=1e-6)
    folder = next((made.root / "saes").rglob("permuted*seed1"))
    with torch.no_grad():
        error = SparseAutoencoder.from_pretrained(folder)(torch.from_numpy(test).float()).numpy() - test
    assert table.fvu[1] == pytest.approx((error**2).sum() / variation, rel=1e-4)


def test_claims_are_of_the_main_code(made):
    """Codes minus dense is that of the mean code; each claim has its line."""
    probing = made.table("sae_probing")
    dense = made.table("layer_probing").set_index("layer").score[2]
    main = probing[probing.main].set_index("seed").score
    told = made.table("comparisons").query("comparison == 'codes_minus_dense'").set_index("seed").difference
    np.testing.assert_allclose(told, main - dense, atol=1e-9)
    assert list(made.table("claims").claim) == [takeaway.name for takeaway in TAKEAWAYS]


def test_a_clips_code_is_made_in_three_ways_and_probed(made, stores, frames):
    rows, x = frames
    codes = pd.DataFrame(codes_of(dictionary(made), x))
    clip = rows.clip_id.to_numpy()
    order = stores[0].rows.clip_id
    by_clip = {
        "mean": codes.groupby(clip).mean(),
        "max": codes.groupby(clip).max(),
        "share": (codes > 0).groupby(clip).mean(),
    }
    about = layer_rows(stores[0], made.frame("clips"))
    theirs = probe_all(
        {name: table.loc[order].to_numpy() for name, table in by_clip.items()},
        about.technique,
        split=about.split,
        groups=about.group,
        strengths=[0.01],
    )
    table = made.table("sae_probing")
    own = table[table.seed == 0].set_index("clip_code")
    assert list(own.index) == ["mean", "max", "share"]
    for name, result in theirs.items():
        assert own.score[name] == pytest.approx(result.score, abs=0.011)  # a clip may tip over
    assert list(own.main) == [True, False, False]
    nulls = made.table("null_probing")
    assert set(nulls.clip_code) == {"mean", "max", "share"}
    assert set(nulls.representation) == {"untrained", "random", "permuted", "pca"}


def test_all_other_tables_have_a_row_of_each_code_as_if_rows_were_clips(made):
    for name in ("comparisons", "sparse_probing", "disentanglement", "disentanglement_summary", "stability"):
        assert len(made.table(name)), name
    names = set(made.table("disentanglement").representation)
    assert names >= {"dense", "topk", "untrained", "random", "permuted", "pca", "ica", "label", "shuffled"}
    folder = made.root / "latents" / "tiny" / "layer_02" / "topk-32-s0.9-seed0"
    assert set(pd.read_parquet(folder / "factors.parquet").factor) & {"f0_hz", "level_dbfs"}  # of moments


def test_views_read_in_blocks(made, stores, frames, monkeypatch):
    monkeypatch.setattr(views, "BLOCK_ROWS", 100)  # a few clips' frames; clips lie across blocks
    rows, x = frames
    test = views.View(stores[1], rows).only("test")
    own = (rows.split == "test").to_numpy()
    assert [len(block) for block in test.blocks(2)][:-1] == [100] * (own.sum() // 100)
    np.testing.assert_array_equal(test.layer(2), x[own])
    np.testing.assert_array_equal(test.sample(50, seed=0).layer(2), x[test.sample(50, seed=0).rows.index])
    pooled = layer_rows(stores[0], made.frame("clips"))
    clips = views.View(stores[0], pooled, views.View(stores[1], rows)).only("valid", "test")
    largest = pd.DataFrame(x).groupby(rows.clip_id.to_numpy()).max().loc[clips.rows.clip_id]
    np.testing.assert_array_equal(clips.codes(2, lambda block: block, ["max"])["max"], largest)


def test_factors_of_moments_are_held_by_frames(made, frames):
    """The dense layer's R2 of a frame's level again, by scikit-learn's Lasso, folds over singers."""
    rows, x = frames
    table = made.table("frame_disentanglement")
    names = {
        "level_dbfs",
        "f0_hz",
        "voiced",
        "tilt_db_per_octave",
        "true_f0_hz",
        "true_loudness_db",
        "true_f2_hz",
    }
    assert set(table.factor) >= names
    assert set(table.representation) >= {
        "dense",
        "topk",
        "untrained",
        "random",
        "permuted",
        "pca",
        "shuffled",
    }
    chosen = sampled_rows(rows, n=5000, seed=0, groups=rows.group.to_numpy())
    own, x = rows.iloc[chosen], x[chosen].astype(float)
    level = moment_factors(made.frame("clips"), own, progress=False)
    y = join_factors(own, level).level_dbfs.to_numpy()
    predicted = np.empty(len(y))
    for train, test in GroupKFold(4).split(x, groups=own.group):
        mean, scale, centre, spread = x[train].mean(0), x[train].std(0), y[train].mean(), y[train].std()
        lasso = Lasso(0.1).fit((x[train] - mean) / scale, (y[train] - centre) / spread)
        predicted[test] = lasso.predict((x[test] - mean) / scale) * spread + centre
    expected = 1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    row = table[(table.representation == "dense") & (table.factor == "level_dbfs")].iloc[0]
    assert row.n_rows == len(y)
    assert row.r2_cv == pytest.approx(
        expected, abs=0.05
    )  # folds over the same four singers, scaled otherwise


@pytest.mark.slow  # a whole report
def test_the_report_says_how_clips_codes_were_made(made):
    page = html.unescape(write_report(made).read_text())
    table = page[page.index("A clip's code from its frames") :].split("</table>")[0]
    means = made.table("null_probing").query("representation == 'permuted'").groupby("clip_code").score.mean()
    row = table[table.index("SAE of permuted activations") :].split("</tr>")[0]
    assert [f"{100 * means[way]:.1f}" in row for way in ("mean", "max", "share")] == [True] * 3
    assert "few of them active on each frame" in page
    assert "Level, pitch and spectrum of single frames" in page


def test_the_explorer_reads_latents_of_frames(made, tmp_path):
    page = write_explorer(made.root, out=tmp_path / "explorer", audio=False)
    assert page.is_file()
    found = read_latents(made.root / "latents" / "tiny" / "layer_02" / "topk-32-s0.9-seed0")
    peaks = found.examples.peak_s.dropna()  # of those that fire
    assert peaks.between(0, 3).all()
    assert peaks.nunique() > 20


def test_a_second_run_keeps_all(made, settings):
    again = run("demo", out=made.root, settings=settings)
    assert {stage["status"] for stage in again.stages} == {"kept"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extraction": {"pool": "frames"}}, "extraction.pool: mean"),
        ({"saes": [{"rows": "frames"}, {"rows": "clips", "n_latents": 1024}]}, "one run has one"),
        ({"saes": {"kind": "temporal"}}, "set saes.rows: frames"),
        ({"protocol": "paper"}, "crops: together"),
    ],
)
def test_specs_that_cannot_be(changes, message):
    spec = {"dataset": {"name": "synthsing", "label": "technique"}, "saes": {"rows": "frames"}}
    with pytest.raises(SpecError, match=message):
        resolve(spec | changes)

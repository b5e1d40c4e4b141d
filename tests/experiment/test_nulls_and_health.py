"""Tables of a small run, each number made again from what the run saved: activations, autoencoders, factors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA

from otoscope.activations import Activations, layer_rows
from otoscope.experiment import run
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import Spec, load_spec
from otoscope.experiment.stages import disentanglement
from otoscope.experiment.stages.representations import Representation
from otoscope.results import NULLS
from otoscope.saes import SparseAutoencoder, build_sae, codes_of

DICTIONARY = "topk-32-s0.9-seed"
"""The one that nulls stand beside; a seed follows."""


@pytest.fixture(scope="module")
def made(tiny_encoder, tmp_path_factory):
    """One finished run, and what it said."""
    settings = [
        "dataset.options={n_singers: 5}",
        f"dataset.root={tmp_path_factory.mktemp('synthsing')}",
        f"encoders=[{{name: {tiny_encoder}, layers: [2]}}]",
        "saes.n_latents=32",
        "saes.sparsities=[0.75, 0.9]",
        "saes.epochs=3",
        "probing.few_latents=[]",
        "probing.regularisation=[0.01]",
        "disentanglement.alphas=[0.1, 0.02]",
        "disentanglement.null_sparsity=0.9",
        "disentanglement.null_seeds=null",
    ]
    said: list[str] = []
    return run("demo", out=tmp_path_factory.mktemp("runs") / "run", settings=settings, say=said.append), said


@pytest.fixture(scope="module")
def rows(made):
    """Rows of layer 2 by split."""
    done, _ = made
    (folder,) = (done.root / "activations").iterdir()
    store = Activations.open(folder)
    clips = done.frame("clips")
    splits = layer_rows(store, clips).split.to_numpy()
    return {split: store.layer(2)[splits == split] for split in ("train", "test")}


def saved(done, name: str) -> SparseAutoencoder:
    return SparseAutoencoder.from_pretrained(done.root / "saes" / "tiny" / "layer_02" / name)


def reconstructed(sae: SparseAutoencoder, x: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return sae.decode(sae.encode(torch.from_numpy(x))).numpy()


def fvu(x: np.ndarray, y: np.ndarray) -> float:
    x = x.astype(float)
    return float(((x - y) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum())


def test_preflight_looks_at_the_training_rows(made, rows):
    done, said = made
    (row,) = done.table("preflight").itertuples()
    x = rows["train"].astype(float)
    assert (row.layer, row.n_rows, row.width) == (2, *x.shape)
    spread = np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean())
    assert row.mean_over_spread == pytest.approx(np.linalg.norm(x.mean(axis=0)) / spread, rel=1e-5)
    values = np.linalg.eigvalsh(np.corrcoef(x.T)).clip(1e-300)
    shares = values / values.sum()
    assert row.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-3)
    advice = next(place for place, line in enumerate(said) if row.advice in line)
    assert advice < next(place for place, line in enumerate(said) if line.startswith("saes-tiny: "))


def test_health_says_on_which_rows(made, rows):
    done, _ = made
    table = done.table("health")
    assert list(zip(table.sparsity, table.seed)) == [(0.75, 0), (0.75, 1), (0.9, 0), (0.9, 1)]
    for row in table.itertuples():
        sae = saved(done, f"{row.sae}-seed{row.seed}")
        active = {split: codes_of(sae, x) > 0 for split, x in rows.items()}
        assert row.alive == active["train"].any(axis=0).sum() == 32 - row.dead
        assert row.dead_held_out == 32 - active["test"].any(axis=0).sum()
        assert (row.alive_rows, row.held_out_rows) == (len(rows["train"]), len(rows["test"]))
        assert row.l0 == pytest.approx(active["test"].sum(axis=1).mean())
        assert row.fvu == pytest.approx(fvu(rows["test"], reconstructed(sae, rows["test"])), rel=1e-5)
        pca = PCA(row.pca_k, svd_solver="full").fit(rows["train"].astype(float))
        expected = fvu(rows["test"], pca.inverse_transform(pca.transform(rows["test"].astype(float))))
        assert row.pca_k == row.k
        assert row.pca_fvu == pytest.approx(expected, rel=1e-5)


def test_stability_matches_living_latents_one_to_one(made, rows):
    done, _ = made
    table = done.table("stability")
    assert set(zip(table.representation, table.sparsity)) == {
        ("topk", 0.75),
        ("topk", 0.9),
        ("untrained", 0.9),
        ("permuted", 0.9),
    }
    saes = [saved(done, f"{DICTIONARY}{seed}") for seed in (0, 1)]
    scale = np.array(saes[0].about["training"]["scale"])
    atoms = []
    for sae in saes:
        alive = (codes_of(sae, rows["train"]) > 0).any(axis=0)
        own = sae.decoder_weight.detach().numpy()[alive] / scale
        atoms.append(own / np.linalg.norm(own, axis=1, keepdims=True))
    cosines = atoms[0] @ atoms[1].T
    own, other = linear_sum_assignment(-cosines)
    (row,) = table[(table.representation == "topk") & (table.sparsity == 0.9)].itertuples()
    assert (row.seed, row.other_seed, row.n_matched) == (0, 1, len(own))
    assert row.matched_cosine == pytest.approx(cosines[own, other].mean(), abs=1e-5)
    absolute = np.abs(cosines)
    assert row.pw_mcc == pytest.approx(absolute[linear_sum_assignment(-absolute)].mean(), abs=1e-5)
    latents = done.table("latent_stability")
    latents = latents[(latents.sparsity == 0.9) & (latents.seed == 0)]
    assert len(latents) == len(atoms[0])
    assert latents.matched_cosine.mean() == pytest.approx(cosines[own, other].sum() / len(atoms[0]), abs=1e-5)


def test_null_reconstruction_is_of_test_rows(made, rows):
    done, _ = made
    table = done.table("null_reconstruction").set_index(["representation", "sparsity", "seed"])
    assert sorted(table.index) == sorted(
        [("pca", 0.75, 0), ("pca", 0.9, 0)]
        + [(null, 0.9, seed) for null in ("frozen_decoder", "frozen_encoder", "permuted") for seed in (0, 1)]
    )
    for (null, sparsity, seed), row in table.iterrows():
        if null == "pca":
            assert row.k == {0.75: 8, 0.9: 3}[sparsity]
            pca = PCA(int(row.k), svd_solver="full").fit(rows["train"].astype(float))
            y = pca.inverse_transform(pca.transform(rows["test"].astype(float)))
        else:
            y = reconstructed(saved(done, f"{null}-{DICTIONARY}{seed}"), rows["test"])
        assert row.fvu == pytest.approx(fvu(rows["test"], y), rel=1e-5)
        assert row.mse == pytest.approx(((rows["test"] - y) ** 2).mean(), rel=1e-4)


def test_frozen_parts_stay_as_drawn_and_the_rest_learns(made):
    done, _ = made
    for part, other in (("encoder", "decoder"), ("decoder", "encoder")):
        sae = saved(done, f"frozen_{part}-{DICTIONARY}1")
        drawn = build_sae(sae.config, sae.n_inputs, seed=1)
        scale = np.array(sae.about["training"]["scale"])  # normalising is folded into both sides
        cosines = {}
        for name, folded in (("encoder", 1 / scale), ("decoder", scale)):
            learnt, start = (getattr(own, f"{name}_weight").detach().numpy() for own in (sae, drawn))
            assert learnt.shape == (32, sae.n_inputs)
            learnt = learnt / folded
            learnt, start = (own / np.linalg.norm(own, axis=1, keepdims=True) for own in (learnt, start))
            cosines[name] = (learnt * start).sum(axis=1)
        assert cosines[part] == pytest.approx(np.ones(32), abs=1e-5)
        assert cosines[other].min() < 0.9999


def test_nulls_are_probed_at_one_sparsity(made, rows):
    done, _ = made
    table = done.table("null_probing")
    assert set(table.representation) == {
        "untrained", "random", "frozen_decoder", "frozen_encoder", "permuted", "pca",
    }  # fmt: skip
    assert set(zip(table.sparsity, table.k)) == {(0.9, 3)}
    seeds = table.groupby("representation").seed.nunique().to_dict()
    assert seeds == {null: 1 if null == "pca" else 2 for null in seeds}
    assert table.score.between(0, 1).all()
    assert set(done.table("sae_probing").sae) == {"topk-32-s0.75", "topk-32-s0.9"}


def test_what_the_label_says_stands_beside_each_factor(made):
    done, _ = made
    table = done.table("disentanglement")
    assert set(table.representation) == {"dense", "topk", *NULLS}
    held = table[table.representation != "shuffled"]
    label = held[held.representation == "label"].set_index("factor").r2_cv
    assert held.r2_label.to_numpy() == pytest.approx(held.factor.map(label).to_numpy(), abs=1e-9, nan_ok=True)
    own = held[held.representation != "label"]
    is_owned = (own.r2_label > 0.1) & (own.r2_label > 0.5 * own.r2_cv)
    assert (own.label_owned == is_owned).all()
    assert own.label_owned.any()
    counted = np.where(is_owned, own.r2_beyond, own.r2_cv)
    assert own.r2_counted.to_numpy() == pytest.approx(counted, nan_ok=True)


def test_completeness_is_on_one_base_for_all(made):
    done, _ = made
    table = done.table("disentanglement")
    table = table[table.representation != "label"]
    assert table.base.nunique() == 1
    assert table.base.iloc[0] == table.n_alive.max()
    there = table[table.effective_dims > 0]
    expected = 1 - np.log(there.effective_dims) / np.log(there.base)
    assert there.completeness.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)


def test_one_seed_that_diverged(made, tmp_path):
    """No stability, only the nulls that were asked for, and a warning each time the run is made or looked at."""
    done, _ = made
    sections = done.spec.saes[0].model_dump() | {"seeds": [0], "lr": 100.0, "sparsities": [0.9]}
    nulls = done.spec.disentanglement.model_dump() | {"nulls": ["permuted"]}
    changed = {"saes": sections, "disentanglement": nulls}
    spec = Spec.model_validate(done.spec.model_dump(mode="json") | changed)
    for _ in range(2):
        said: list[str] = []
        other = run(spec, out=tmp_path / "run", reuse=[done.root], say=said.append)
        (row,) = other.table("health").itertuples()
        assert row.state == "collapsed"
        assert f"warning: tiny layer 2, topk-32-s0.9, seed 0: {row.verdict}" in said
    assert {step["status"] for step in other.stages} == {"kept"}
    assert not other.has_table("stability")
    assert set(other.table("null_probing").representation) == {"permuted"}
    assert set(other.table("null_reconstruction").representation) == {"permuted"}


def test_what_has_the_same_numbers_is_measured_once(tmp_path):
    run = RunDirectory(tmp_path, load_spec("demo"))
    run.open()
    codes, factors, measured = np.eye(4), pd.DataFrame({"pitch": range(4)}), []

    def representation(name: str, seed: int, codes: np.ndarray) -> Representation:
        return Representation(f"{name}-{seed}", name, 0.95, seed, lambda: codes, factors)

    def measure(encoder: str, item: Representation) -> dict:
        measured.append(item.key)
        table = pd.DataFrame({"factor": [item.key], "n_alive": 0})
        return {"factors": table, "latents": table, "whole": 0.0, "weights": codes}

    items = [
        representation("untrained", 0, codes),
        representation("untrained", 1, codes),
        representation("frozen_encoder", 0, codes.copy()),
        representation("frozen_encoder", 1, 2 * codes),  # batch-topk's threshold, say, is its own
    ]
    by_key = {item.key: item for item in items}
    with run.stage("disentanglement", in_units=True):
        read = disentanglement._measured(run, {"mini": {1: []}}, lambda encoder, layer: by_key, measure)
        made = read("mini", 1)
    assert sorted(measured) == ["frozen_encoder-1", "untrained-0", "untrained-1"]
    assert list(made) == [item.key for item in items]
    assert made["frozen_encoder-0"]["factors"].factor[0] == "untrained-0"

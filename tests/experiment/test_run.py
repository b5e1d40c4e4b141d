"""A whole run, small: every table with its columns, kept when nothing changed, the same when made again."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from otoscope.errors import InputError
from otoscope.experiment import read_latents, run
from otoscope.report import write_report
from otoscope.results import BEST_LAYER, CODES, NULLS, SCHEMA

COLUMNS = {
    "layer_probing": "encoder, layer, seed, score, score_low, score_high, n_test",
    "reconstruction": "encoder, layer, sae, sparsity, k, seed, mse, fvu, l0, dead_fraction",
    "sae_probing": "encoder, layer, sae, sparsity, k, seed, score, score_low, score_high, n_test",
    "disentanglement": "encoder, layer, representation, sparsity, seed, factor, family, r2, r2_cv, completeness, "
    "effective_dims, n_nonzero, importance",
    "disentanglement_summary": "encoder, layer, representation, sparsity, seed, selection, r2_mean, r2_std, "
    "completeness_mean, completeness_std",
    "latent_disentanglement": "encoder, layer, representation, sparsity, seed, latent, importance, disentanglement",
    "factor_entropy": "factor, family, entropy_knn_bits, entropy_hist_bits",
    "factor_families": "encoder, layer, representation, sparsity, seed, pitch, formants, mfcc, spectral, quality, "
    "loudness, rhythm",
}
SMALL = [
    "dataset.options={n_singers: 5}",
    "saes.n_latents=32",
    "saes.sparsities=[0.75, 0.9]",
    "saes.epochs=3",
    "disentanglement.alphas=[0.1, 0.02]",
    "probing.regularisation=[0.01]",
    "encoders.0.layers=[1, last]",
]


@pytest.fixture(scope="session")
def settings(tiny_encoder, tmp_path_factory) -> list[str]:
    return [*SMALL, f"encoders.0.name={tiny_encoder}", f"dataset.root={tmp_path_factory.mktemp('synthsing')}"]


@pytest.fixture(scope="session")
def done(settings, tmp_path_factory):
    """One finished run."""
    return run("demo", out=tmp_path_factory.mktemp("runs") / "first", settings=settings)


def test_every_table_has_its_columns_first_and_in_order(done):
    for name, columns in COLUMNS.items():
        expected = columns.split(", ")
        assert list(done.table(name).columns[: len(expected)]) == expected, name


def test_the_tables_hold_what_was_asked(done):
    assert list(done.table("layer_probing").layer) == [0, 1, 2]
    saes = done.table("reconstruction")
    assert set(zip(saes.layer, saes.sparsity, saes.k)) == {
        (1, 0.75, 8),
        (1, 0.9, 3),
        (2, 0.75, 8),
        (2, 0.9, 3),
    }
    assert (saes.l0 <= saes.k).all()
    kinds = set(done.table("disentanglement").representation)
    assert kinds == {"dense", "topk", *NULLS}
    trained = {f"topk-32-s{sparsity}-seed{seed}" for sparsity in ("0.75", "0.9") for seed in (0, 1)}
    nulls = {
        f"{null}-topk-32-s0.9-seed{seed}"
        for null in ("frozen_decoder", "frozen_encoder", "permuted")
        for seed in (0, 1)
    }
    for layer in (1, 2):
        folder = done.root / "saes" / "tiny" / f"layer_{layer:02d}"
        assert {own.name for own in folder.iterdir()} == trained | nulls
        for own in folder.iterdir():
            assert {"config.json", "model.safetensors"} <= {file.name for file in own.iterdir()}
    comparisons = done.table("comparisons")
    assert (comparisons.difference_low <= comparisons.difference).all()
    assert set(comparisons.comparison) == {BEST_LAYER, CODES}
    record = json.loads((done.root / "run.json").read_text())
    best = int(comparisons.layer[comparisons.comparison == BEST_LAYER].iloc[0])
    assert record["layers"] == {"tiny": {"best": best, "studied": [1, 2]}}
    assert record["schema"] == SCHEMA
    probes = done.table("layer_probing")
    assert set(probes.metric) == {record["summary"]["metric"]} == {"accuracy"}


def test_each_studied_layer_has_its_latents_described(done):
    for layer in (1, 2):
        (folder,) = (done.root / "latents" / "tiny" / f"layer_{layer:02d}").iterdir()
        assert folder.name == "topk-32-s0.9-seed0"
        found = read_latents(folder)
        assert (found.about["encoder"], found.about["layer"], found.about["rows"]) == ("tiny", layer, "clips")
        assert found.about["sae"]["folder"] == f"saes/tiny/layer_{layer:02d}/{folder.name}"
        assert found.about["licence"] == "CC0-1.0"
        assert found.about["health"]
        assert list(found.latents.latent) == list(range(32))
        assert found.latents.recurrence.notna().all()
        assert len(found.clips) == 250
        assert found.curves.empty
        assert found.examples.peak_s.isna().all()
        density = done.table("health").set_index(["layer", "sae", "seed"]).alive
        assert found.latents.alive.sum() >= density[layer, "topk-32-s0.9", 0]


def test_a_probe_is_scored_on_singers_it_never_heard(done):
    clips = pd.read_parquet(done.root / "clips.parquet")
    tested = set(done.table("predictions").clip_id)
    assert tested == set(clips.clip_id[clips.split == "test"])
    assert not set(clips.group[clips.split == "test"]) & set(clips.group[clips.split != "test"])


def test_nothing_is_made_twice(done, settings):
    before = {file: file.stat().st_mtime_ns for file in (done.root / "results").iterdir()}
    again = run("demo", out=done.root, settings=settings)
    assert {step["status"] for step in again.stages} == {"kept"}
    assert before == {file: file.stat().st_mtime_ns for file in (done.root / "results").iterdir()}


@pytest.mark.slow  # test_shards.py makes a run twice, in two ways
def test_the_same_seed_gives_the_same_tables(done, settings, tmp_path):
    other = run("demo", out=tmp_path / "second", settings=settings)
    for file in sorted((done.root / "results").glob("*.csv")):
        assert file.read_text() == (other.root / "results" / file.name).read_text(), file.name


@pytest.mark.slow  # a run more; test_run_directory.py has the rule
def test_only_what_depends_on_a_change_is_made_again(done, settings, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(done.root, copy)
    changed = run("demo", out=copy, settings=[*settings, "disentanglement.min_r2=0.5"])
    assert [step["stage"] for step in changed.stages if step["status"] == "made"] == [
        "disentanglement",
        "claims",
    ]


@pytest.mark.slow  # test_units.py stops one inside a stage
def test_a_run_that_was_killed_ends_with_the_same_tables(done, settings, tmp_path, monkeypatch):
    from otoscope.experiment.stages import disentanglement, probing

    with monkeypatch.context() as patch:
        patch.setattr(probing, "sae_probing", lambda *args: None)  # never came to it
        patch.setattr(disentanglement, "disentanglement", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("demo", out=tmp_path / "run", settings=settings)
    resumed = run("demo", out=tmp_path / "run", settings=settings)
    status = {step["stage"]: step["status"] for step in resumed.stages}
    assert status["layer_probing"] == "kept"
    assert status["sae_probing"] == status["disentanglement"] == "made"
    for file in (done.root / "results").glob("*.csv"):
        assert file.read_text() == (resumed.root / "results" / file.name).read_text(), file.name


@pytest.mark.slow  # tests/report draws it of tables made up, cli/test_cli.py of a run
def test_the_report_opens_without_a_network(done):
    page = write_report(done)
    assert page == done.root / "report.html"
    for number in range(1, 5):
        assert (done.root / "figures" / f"figure{number}.png").stat().st_size > 5_000
        assert (done.root / "figures" / f"figure{number}.pdf").exists()


def test_a_folder_of_ones_own(tiny_encoder, fsdd, tmp_path):
    """Real recordings: digits of six speakers, tested on speakers that were not trained on."""
    names = sorted(
        f"{digit}_{speaker}_{i}.wav" for digit in range(4) for i in range(4) for speaker in SPEAKERS
    )
    table = pd.DataFrame({"file_name": [str(fsdd / name) for name in names]})
    table[["digit", "speaker"]] = [name.split("_")[:2] for name in names]
    (tmp_path / "mine").mkdir()
    table.to_csv(tmp_path / "mine" / "metadata.csv", index=False)
    spec = {
        "name": "digits",
        "dataset": {"name": "folder", "root": "mine", "label": "digit", "group": "speaker"},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    own = ["encoders.0.layers=[1]", "saes.sparsities=[0.75]", "disentanglement.nulls=[pca]"]
    small = [*SMALL[1:], f"encoders.0.name={tiny_encoder}", *own]
    finished = run(tmp_path / "spec.yaml", out=tmp_path / "run", settings=small)
    assert list(finished.table("layer_probing").n_test.unique()) == [32]  # two of six speakers, 16 clips each
    assert {"pitch", "mfcc"} <= set(finished.table("factor_entropy").family)


SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


@pytest.mark.slow  # forests by the hundred; their scores have tests of their own
def test_forests_are_measured_where_asked(done, settings, tmp_path):
    few = ["disentanglement.forest=true", "disentanglement.nulls=[random]", "disentanglement.folds=2"]
    made = run("demo", out=tmp_path, reuse=[done.root], settings=[*settings, *few, "encoders.0.layers=[2]"])
    table = made.table("disentanglement")
    assert set(table.representation[table.importance == "forest"]) == {"dense", "topk", "random"}
    assert set(made.table("forest_summary").representation) == {"dense", "topk", "random"}
    assert not made.table("disentanglement_summary").isna().all(axis=None)
    assert [step["status"] for step in made.stages[:2]] == ["taken over", "taken over"]


def test_a_run_to_reuse_must_be_one(settings, tmp_path):
    with pytest.raises(InputError, match="is no run to take anything over from"):
        run("demo", out=tmp_path / "run", reuse=[tmp_path / "nothing"], settings=settings)


def test_what_was_deleted_is_made_again(done, settings, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(done.root, copy)
    (copy / "results" / "reconstruction.csv").unlink()
    again = run("demo", out=copy, settings=settings)
    assert [step["stage"] for step in again.stages if step["status"] == "made"] == ["reconstruction"]
    assert again.table("reconstruction").equals(done.table("reconstruction"))

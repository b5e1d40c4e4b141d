"""The commands for single stages, one after the other, as a person would type them."""

from __future__ import annotations

import shutil

import fsspec
import numpy as np
import pandas as pd
import pytest
import soundfile

import otoscope
from otoscope.cli import main
from otoscope.datasets import load_clips
from otoscope.experiment import read_latents


def call(*arguments, code=0) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == code


@pytest.fixture(scope="module")
def work(tmp_path_factory, tiny_encoder):
    """A clips table of four synthetic singers, and the store of a tiny encoder on it."""
    folder = tmp_path_factory.mktemp("work")
    clips = load_clips("synthsing", root=folder / "audio", n_singers=4, show_progress=False)
    clips = clips[clips.vowel.isin(["a", "i"])]
    clips.to_csv(folder / "clips.csv", index=False)
    call(
        "extract",
        folder / "clips.csv",
        "--encoder",
        tiny_encoder,
        "--layers",
        "1,2",
        "--out",
        folder / "store",
    )
    return folder


def test_extract_says_what_it_made(work, tiny_encoder, capsys):
    call("extract", work / "clips.csv", "--encoder", tiny_encoder, "--layers", "1,2", "--out", work / "store")
    assert "80 rows of layers 1, 2" in capsys.readouterr().out


def test_probe(work, capsys):
    call(
        "probe",
        work / "store",
        "--clips",
        work / "clips.csv",
        "--label",
        "technique",
        "--out",
        work / "probe.csv",
    )
    table = pd.read_csv(work / "probe.csv")
    assert list(table.layer) == [1, 2]
    assert {"score", "score_low", "score_high", "n_groups", "trusted"} <= set(table)
    assert "accuracy" in capsys.readouterr().out


def test_probe_by_folds(work, capsys):
    """Every group is scored, where the split tests a fifth of them."""
    asked = ["--clips", work / "clips.csv", "--label", "technique", "--folds"]
    call("probe", work / "store", *asked, "--out", work / "folds.csv")
    table, clips = pd.read_csv(work / "folds.csv"), pd.read_csv(work / "clips.csv")
    assert list(table.layer) == [1, 2]
    assert set(table.groups) == {"all"}
    assert set(table.n_groups) == {clips.group.nunique()}
    assert set(table.n_test) == {len(clips)}
    call("probe", work / "store", *asked, "--guide", code=2)
    assert "--folds" in capsys.readouterr().err


def test_layer_guide(work, tiny_encoder):
    label = ["--clips", work / "clips.csv", "--label", "technique", "--guide", "--out", work / "guide.csv"]
    call("probe", work / "store", *label)
    assert list(pd.read_csv(work / "guide.csv").input) == ["layer"] * 2 + ["weighted_sum", "attention_layers"]
    call(
        "extract", work / "clips.csv", "--encoder", tiny_encoder, "--layers", "1", "--pool", "frames",
        "--out", work / "frames",
    )  # fmt: skip
    call("probe", work / "frames", *label)
    table = pd.read_csv(work / "guide.csv")
    assert list(table.input) == ["layer", "attention_time"]
    assert table.n_test.max() < 80  # clips, not frames


def test_a_table_of_files_alone(work, tiny_encoder, capsys):
    """Whose stretches are whole files, and whose ids are text."""
    files = [str(file) for file in sorted((work / "audio").rglob("*.wav"))[:3]]
    table = pd.DataFrame({"clip_id": ["001", "002", "003"], "path": files, "who": [7, 7, 8]})
    table.loc[3] = ["004", str(work / "nowhere.wav"), 8]
    table.to_csv(work / "files.csv", index=False)
    asked = ["extract", work / "files.csv", "--encoder", tiny_encoder, "--out", work / "files"]
    call(*asked, code=2)
    assert "nowhere.wav: no such file" in capsys.readouterr().err
    call(*asked, "--skip-unreadable", "--group", "who")
    assert f"left out: {work / 'nowhere.wav'}: no such file" in capsys.readouterr().out
    store = otoscope.Activations.open(work / "files")
    assert list(store.rows.clip_id) == ["001", "002", "003"]
    np.testing.assert_allclose(store.rows.stop_s, [soundfile.info(file).duration for file in files])
    call(*asked, "--group", "singer", code=2)
    assert "has no column 'singer'" in capsys.readouterr().err


def test_a_store_behind_a_url(work, capsys):
    fsspec.filesystem("memory").put(str(work / "store"), "/bucket/store", recursive=True)
    call("probe", "memory://bucket/store", "--clips", work / "clips.csv", "--label", "technique")
    assert "accuracy" in capsys.readouterr().out


def test_train_then_encode_and_disentangle(work, tiny_encoder, capsys):
    saes = work / "saes"
    call(
        "train", work / "store", "--clips", work / "clips.csv", "--latents", 32, "--sparsity", "0.75,0.9",
        "--layers", "2", "--epochs", 2, "--out", saes,
    )  # fmt: skip
    assert capsys.readouterr().out.count("FVU") == 2
    sae = saes / "layer_02" / "topk-32-s0.75-seed0"
    assert (sae / "model.safetensors").exists()
    call("encode", sae, work / "clips.csv", "--encoder", tiny_encoder, "--out", work / "codes.parquet")
    codes = pd.read_parquet(work / "codes.parquet")
    assert list(codes.columns) == ["clip_id", "start_s", "stop_s", "latent", "value"]
    assert codes.groupby("clip_id").size().max() <= 8
    assert (codes.value > 0).all()
    call("factors", work / "clips.csv", "--out", work / "factors.parquet")
    assert "factors of 80 clips" in capsys.readouterr().out
    call(
        "disentangle", work / "store", work / "factors.parquet", "--clips", work / "clips.csv", "--layer", 2,
        "--sae", sae, "--out", work / "disentanglement.csv",
    )  # fmt: skip
    table = pd.read_csv(work / "disentanglement.csv")
    assert set(table.representation) == {"dense", "topk-32-s0.75-seed0"}


def test_one_recording_and_the_state_after_the_last_norm(work, tiny_encoder, capsys, monkeypatch):
    """The encoder is found again from any folder, as long as it lies where it lay, with the weights it had."""
    recording = next((work / "audio").rglob("*.wav"))
    tiny_encoder = shutil.copytree(tiny_encoder, work / "tiny")
    monkeypatch.chdir(work)
    store, saes = work / "one", work / "one-saes"
    frames = ["--layers", "1,final", "--pool", "frames"]
    call("extract", recording, "--encoder", "tiny", *frames, "--out", store)
    assert "rows of layers 1, final" in capsys.readouterr().out
    call("train", store, "--latents", 32, "--layers", "final", "--epochs", 1, "--out", saes)
    sae = saes / "final" / "topk-32-s0.95-seed0"
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    call("encode", sae, recording, "--out", work / "one.csv")
    codes = pd.read_csv(work / "one.csv")
    assert list(codes.columns) == ["clip_id", "start_s", "stop_s", "time_s", "latent", "value"]
    assert set(codes.clip_id) == {recording.name}
    kept = otoscope.Activations.open(store).rows
    np.testing.assert_allclose(codes.time_s.unique(), kept.time_s)
    tiny_encoder.rename(work / "moved")
    call("encode", sae, recording, "--out", work / "one.csv", code=2)
    message = (
        f"'tiny', which was used, is no longer at {tiny_encoder}; give its folder or hub id with --encoder"
    )
    assert message in capsys.readouterr().err
    call("encode", sae, recording, "--encoder", work / "moved", "--out", work / "again.csv")
    pd.testing.assert_frame_equal(pd.read_csv(work / "again.csv"), codes)
    config = work / "moved" / "config.json"
    config.write_text(config.read_text().replace('"hidden_act": "gelu"', '"hidden_act": "relu"'))
    call("encode", sae, recording, "--encoder", work / "moved", "--out", work / "again.csv", code=2)
    assert "other weights of 'tiny' were used (weights_sha256" in capsys.readouterr().err
    call("train", store, "--layers", "1,last", "--out", saes, code=2)
    assert "a layer is a number or 'final'; got 'last'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["probe", "nowhere", "--clips", "synthsing", "--label", "x"], "nowhere"),
        (["factors", "no-such-set", "--out", "x.csv"], "no data set, folder"),
        (["extract", "missing.csv", "--encoder", "ast", "--out", "s"], "no such table: 'missing.csv'"),
    ],
)
def test_mistakes(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_numbers_that_are_none(work, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(work / "store"), "--sparsity", "high", "--out", str(work / "x")])
    assert stopped.value.code == 2
    assert "--sparsity takes numbers" in capsys.readouterr().err


def test_latents(work, tiny_encoder, capsys):
    asked = ["--layers", "1", "--pool", "frames", "--encoder", tiny_encoder, "--out", work / "moments"]
    call("extract", work / "clips.csv", *asked)
    train = [
        "--clips",
        work / "clips.csv",
        "--latents",
        24,
        "--epochs",
        1,
        "--seeds",
        "0,1",
        "--batch-size",
        256,
    ]
    call("train", work / "moments", *train, "--out", work / "frame-saes")
    first, second = (work / "frame-saes" / "layer_01" / f"topk-24-s0.95-seed{seed}" for seed in (0, 1))
    out = work / "latents"
    study = ["--clips", work / "clips.csv", "--label", "technique", "--permutations", 20, "--out", out]
    call("factors", work / "clips.csv", "--out", work / "of-clips.parquet")
    capsys.readouterr()
    call(
        "latents", first, work / "moments", *study, "--other", second, "--factors", work / "of-clips.parquet"
    )
    assert "of 24 latents fire" in capsys.readouterr().out
    found = read_latents(out)
    assert found.about["sae"]["folder"] == str(first)
    assert found.about["rows"] == "frames"
    assert found.about["frame_step_s"] == pytest.approx(0.02, abs=1e-3)
    assert {"f0_median_semitones", "level_change_db"} <= set(found.about["factors"])
    alive = found.latents[found.latents.alive]
    assert alive.recurrence.between(-1, 1).all()
    assert set(found.examples.latent) == set(alive.latent)
    tops = found.examples[found.examples.kind == "top"]
    assert (tops.peak_s <= 2.4).all()  # the longest clip
    pairs = found.curves[["clip_id", "latent"]].astype(str)
    assert set(map(tuple, tops[["clip_id", "latent"]].astype(str).to_numpy())) <= set(
        map(tuple, pairs.to_numpy())
    )
    call("latents", first, work / "moments", *study, "--no-moments")  # replaced
    assert "level_change_db" not in read_latents(out).about["factors"]
    (work / "else").mkdir()
    (work / "else" / "mine.txt").touch()
    call("latents", first, work / "moments", *study[:-1], work / "else", "--no-moments", code=2)
    assert "holds something other than latents" in capsys.readouterr().err
    one = next((work / "audio").rglob("*.wav"))
    call("latents", first, work / "moments", "--clips", one, "--out", out, code=2)
    assert "not in the clips table" in capsys.readouterr().err

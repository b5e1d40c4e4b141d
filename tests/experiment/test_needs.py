"""What a run will take, against numbers worked out by hand for a random HuBERT of two blocks, 16 wide."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import soundfile

from otoscope.errors import InputError
from otoscope.experiment import needs as module
from otoscope.experiment.latents_folder import tables_bytes
from otoscope.experiment.needs import needs, store_sizes
from otoscope.experiment.spec import Spec, resolve
from otoscope.saes import train_saes
from otoscope.saes.training.rows import BLOCK_ROWS

SPLITS = ["train"] * 5 + ["valid"] * 2 + ["test"] * 3
CLIPS = pd.DataFrame(
    {
        "clip_id": [f"c{i}" for i in range(10)],
        "path": [f"c{i}.wav" for i in range(10)],
        "start_s": 0.0,
        "stop_s": [0.5, *[3.0] * 9],  # the first is shorter than a crop
        "split": SPLITS,
        "group": SPLITS,
        "word": list("ababababab"),
    }
)
TABLES = 2 * (1300 * 64 + 14 * 10 * 16)  # two layers' 64 latents, of which 16 fire in each of ten clips
SOUND_S = 27.5
LAYER_BYTES = 4 * 2 * 3 * (2 * 16 * 64 + 64)  # float32, two sparsities, three seeds, 64 latents


def spec(name: str | Path, **sections) -> Spec:
    values = {
        "dataset": {"name": "folder", "label": "word"},
        "encoders": [{"name": str(name), "layers": [1, 2]}],
        "saes": {
            "n_latents": 64,
            "sparsities": [0.5, 0.75],
            "seeds": [0, 1, 2],
            "epochs": 2,
            "batch_size": 4,
        },
    }
    return resolve(values | sections)


def test_all_cut_alike(tiny_encoder, tmp_path):
    """Ten clips, whole: a row each of three layers, kept once."""
    found = needs(spec(tiny_encoder), CLIPS, out=tmp_path / "run")
    assert found.disk == {
        "activations": 10 * 3 * 16 * 4,
        "autoencoders": 2 * LAYER_BYTES,
        "latents": TABLES,
        "explorer": TABLES + 6200 * SOUND_S,
        "a checkpoint": 4 * LAYER_BYTES,  # each layer is a bank
    }
    weights = (tiny_encoder / "model.safetensors").stat().st_size
    assert found.memory == {
        "the encoder": 2 * weights,  # and once more as the kernels want them
        "probing all layers": 10 * 3 * 16 * 4,
        "training autoencoders": 6 * LAYER_BYTES,
    }
    assert (found.downloads, found.unknown) == ({}, [])


def test_described_latents_by_hand(tiny_encoder, tmp_path):
    none = needs(spec(tiny_encoder, latents={"describe": "none"}), CLIPS, out=tmp_path / "run")
    assert "latents" not in none.disk
    assert "explorer" not in none.disk
    every = needs(spec(tiny_encoder, latents={"describe": "all"}), CLIPS, out=tmp_path / "run")
    firing = 3 * 14 * 10 * (32 + 16)  # three seeds, two sparsities
    assert every.disk["latents"] == 2 * (6 * 1300 * 64 + firing)
    own = spec(tiny_encoder, saes={"rows": "frames", "n_latents": 64, "sparsities": [0.5], "seeds": [0]})
    frames = needs(own, CLIPS, out=tmp_path / "run").disk["latents"]
    steps = SOUND_S / 10 * 50 * (26 * 64 + 32 * 10)  # of frames, each latent fires in each clip
    assert frames == pytest.approx(2 * (1300 * 64 + 14 * 10 * 64 + 0.4 * steps), abs=2)


@pytest.mark.parametrize(
    ("n_latents", "k", "n_clips", "frames", "n_bytes"),
    [
        (512, 25, 1000, 0.0, 899_449),
        (1024, 30, 1200, 0.0, 1_768_137),
        (512, 25, 1000, 99.4, 4_370_861),
        (1024, 30, 351, 557.0, 7_295_435),
    ],
)
def test_described_latents_as_measured(n_latents, k, n_clips, frames, n_bytes):
    """Folders that were made of the built-in singing, FSDD and LibriSpeech: never less, at most 2.5 times as much."""
    assert 0.95 * n_bytes <= tables_bytes(n_latents, k, n_clips, frames) <= 2.5 * n_bytes


def test_three_ways_of_cutting_by_the_paper(tiny_encoder, tmp_path):
    own = spec(
        tiny_encoder,
        protocol="paper",
        extraction={"train_crop": "random:4x1,pad", "evaluate_crop": "first:1,pad", "dtype": "float16"},
    )
    stores = store_sizes(own, own.encoders[0], CLIPS).set_index("roles")
    assert list(stores.crops) == [17, 5, 3]  # 4 of each training clip but the short one; first seconds; whole
    found = needs(own, CLIPS, out=tmp_path / "run")
    with_final, without = (17 + 5) * 4, 3 * 3  # "final" is trained beside, and not measured
    assert found.disk["activations"] == (with_final + without) * 16 * 2
    assert found.disk["autoencoders"] == 2 * LAYER_BYTES
    assert found.memory["training autoencoders"] == 6 * 3 * LAYER_BYTES
    assert found.memory["probing all layers"] == (17 + 5) * 3 * 16 * 4


def test_an_encoders_own_measure_crop_and_all_rows(tiny_encoder):
    own = spec(tiny_encoder, encoders=[{"name": str(tiny_encoder), "measure_crop": "first:2"}])
    stores = store_sizes(own, own.encoders[0], CLIPS)
    assert stores.to_dict("list") == {
        "crop": ["full", "first:2"],
        "roles": ["train evaluate", "measure"],
        "crops": [10, 10],
        "sound_s": [9 * 3 + 0.5, 9 * 2 + 0.5],
    }


def test_frames_of_the_studied_layers(tiny_encoder, tmp_path, monkeypatch):
    """The tiny HuBERT strides over 320 samples of 16 kHz: 50 frames a second, of two layers."""
    monkeypatch.setattr(module, "cpu_count", lambda: 3)
    own = spec(tiny_encoder, saes={"rows": "frames", "n_latents": 64, "sparsities": [0.5], "seeds": [0]})
    assert (own.saes[0].epochs, own.saes[0].batch_size) == (10, 256)  # of frames there are more
    found, pooled = needs(own, CLIPS, out=tmp_path / "run"), needs(spec(tiny_encoder), CLIPS, out=tmp_path)
    n_numbers = int(27.5 * 50) * 2 * 16
    assert found.disk["frames"] == 4 * n_numbers
    assert found.disk["activations"] == pooled.disk["activations"]  # probes read the same
    assert found.disk["a checkpoint"] == 4 * LAYER_BYTES // 6
    a_layer = 4 * n_numbers // 2  # all 1,375 rows of it, less than a block
    assert found.memory["training autoencoders"] == 6 * LAYER_BYTES // 6 + (1 + 4) * a_layer
    assert found.memory["measuring frames"] == 3 * 3 * 8 * 1375 * (16 + 64)  # three threads
    half = needs(
        own.model_copy(update={"extraction": own.extraction.model_copy(update={"dtype": "float16"})}),
        CLIPS,
        out=tmp_path,
    )
    assert half.disk["frames"] == 2 * n_numbers


def test_frames_that_are_streamed_are_held_in_blocks(tiny_encoder, tmp_path, monkeypatch):
    """Beyond what is read whole, the sound's length is no matter."""
    assert (BLOCK_ROWS, 1e9 * memory_gb()) == (module.TRAIN_BLOCK_ROWS, module.READ_WHOLE_BYTES)
    monkeypatch.setattr(module, "TRAIN_BLOCK_ROWS", 1000)
    monkeypatch.setattr(module, "READ_WHOLE_BYTES", 4 * 1374 * 16)
    own = spec(tiny_encoder, saes={"rows": "frames", "n_latents": 64, "sparsities": [0.5], "seeds": [0]})
    found = needs(own, CLIPS, out=tmp_path / "run")
    assert found.memory["training autoencoders"] == 6 * LAYER_BYTES // 6 + 5 * 4 * 1000 * 16


def memory_gb() -> float:
    return inspect.signature(train_saes).parameters["memory_gb"].default


def test_models_that_must_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    own = spec("x", encoders=[{"name": "hubert-base", "layers": [3]}, {"name": "some/model", "layers": [3]}])
    found = needs(own, CLIPS, out=tmp_path / "run")
    assert found.downloads == {"facebook/hubert-base-ls960": 378_000_000, "some/model": None}
    assert found.unknown == ["some/model"]
    assert found.disk["activations"] == 10 * 13 * 768 * 4
    said = "\n".join(found.lines())
    assert (
        "downloads: facebook/hubert-base-ls960 (about 378 MB), some/model, to the Hugging Face cache" in said
    )
    assert "not counted, as not known before it is loaded: some/model" in said


def test_a_model_in_the_cache_is_not_fetched(tiny_encoder, tmp_path, monkeypatch):
    repo = tmp_path / "cache" / "models--some--model"
    shutil.copytree(tiny_encoder, repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    found = needs(spec("some/model"), CLIPS, out=tmp_path / "run")
    assert found.downloads == {}
    assert found.disk["activations"] == 10 * 3 * 16 * 4
    (repo / "snapshots" / "abc" / "model.safetensors").unlink()  # a fetch that was broken off
    assert needs(spec("some/model"), CLIPS, out=tmp_path).downloads == {"some/model": None}


def test_frames_are_left_out_since_only_the_model_knows_them(tiny_encoder, tmp_path):
    own = spec(tiny_encoder, extraction={"pool": "frames"}, factors={"whole_clip": True})
    found = needs(own, CLIPS, out=tmp_path)
    assert (found.disk, found.memory) == ({}, {})
    assert found.lines() == [f"not counted, as not known before it is loaded: {tiny_encoder}"]


class Usage(NamedTuple):
    free: int


def test_a_disk_that_is_too_small(tiny_encoder, tmp_path, monkeypatch):
    own, out = spec(tiny_encoder, latents={"describe": "none"}), tmp_path / "run"
    certain = 10 * 3 * 16 * 4 + 2 * LAYER_BYTES
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(certain - 1))
    with pytest.raises(InputError, match=r"needs about 306 kB of disk .*room for 103 kB at .*--out.*float16"):
        needs(own, CLIPS, out=out)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(certain))
    assert "warning: the disk will be almost full" in needs(own, CLIPS, out=out).lines()[-1]
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(0))
    out.mkdir()
    (out / "half.bin").write_bytes(bytes(certain))  # half of an earlier attempt counts as room
    needs(own, CLIPS, out=out)


def test_little_memory_is_a_warning(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda: 1000)
    said = needs(spec(tiny_encoder), CLIPS, out=tmp_path).lines()
    assert said[-1].startswith("warning: this is more memory than is available")
    assert "memory: at least 500 MB, for the libraries and training autoencoders; 1 kB available" in said


def test_weights_in_half_are_doubled_where_they_are_computed_in_float32(tiny_encoder, tmp_path):
    half = shutil.copytree(tiny_encoder, tmp_path / "half")
    config = json.loads((half / "config.json").read_text()) | {"dtype": "float16"}
    (half / "config.json").write_text(json.dumps(config))
    size = (half / "model.safetensors").stat().st_size
    found = needs(spec(half), CLIPS, out=tmp_path / "run")
    assert found.memory["the encoder"] == 4 * size


@pytest.mark.parametrize(
    ("config", "n_blocks", "frame_rate_hz"),
    [
        ({"model_type": "eat", "embed_dim": 24, "depth": 5, "num_heads": 2}, 5, 6.25),
        ({"model_type": "dasheng", "embed_dim": 24, "depth": 4, "num_heads": 2}, 4, 25),
        (
            {"model_type": "mert2", "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 3,
             "subsampling_channels": [128, 16, 24]},
            3, 25,
        ),
    ],
)  # fmt: skip
def test_a_folder_of_a_model_that_transformers_lacks(config, n_blocks, frame_rate_hz, tmp_path):
    """Its own family tells how it is built; what the weights take is the size of their file."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(config))
    (model / "model.safetensors").write_bytes(bytes(1000))
    own = spec(model, saes={"rows": "frames", "n_latents": 64, "sparsities": [0.5], "seeds": [0]})
    found = needs(own, CLIPS, out=tmp_path / "run")
    assert found.unknown == []
    assert found.disk["activations"] == 10 * (n_blocks + 1) * 24 * 4
    assert found.disk["frames"] == int(27.5 * frame_rate_hz) * 2 * 24 * 4
    assert found.memory["the encoder"] == 2 * 1000
    (model / "config.json").write_text(
        json.dumps(config | dict.fromkeys(("embed_dim", "hidden_size"), "wide"))
    )
    assert needs(own, CLIPS, out=tmp_path / "run").unknown == [str(model)]  # loading it says why


RUN = """
import resource, sys
from otoscope.experiment import run
settings = [f"encoders.0.name={sys.argv[1]}", f"dataset.root={sys.argv[2]}"]
run(sys.argv[3], out=sys.argv[4], settings=settings, say=lambda line: print(line, flush=True))
print("peak", 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
WHISPER = """
dataset: {name: folder, label: word}
encoders: [{name: x, layers: [4]}]
saes: {n_latents: 64, sparsities: [0.75], seeds: [0], epochs: 1}
factors: {name: factors.csv}
disentanglement: {nulls: [], folds: 2}
"""


@pytest.mark.slow  # Whisper hears 30 s of each clip
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is Linux's")
def test_a_run_of_whisper_takes_no_less_than_is_said_and_no_more_than_twice(
    whisper_tiny, tmp_path, monkeypatch
):
    rng, clips = np.random.default_rng(0), CLIPS.assign(stop_s=1.0).rename(columns={"path": "file_name"})
    for name in clips.file_name:
        soundfile.write(tmp_path / name, rng.normal(size=16_000) * 0.1, 16_000)
    clips.drop(columns=["start_s", "stop_s"]).to_csv(tmp_path / "metadata.csv", index=False)
    clips[["clip_id", "start_s", "stop_s"]].assign(loudness=range(10)).to_csv(tmp_path / "factors.csv")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(WHISPER)
    asked = [whisper_tiny, tmp_path, tmp_path / "spec.yaml", tmp_path / "run"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, asked)], capture_output=True, text=True, check=True
    )
    (said,) = re.findall(r"memory: at least (\d+) MB, for the libraries and the encoder", done.stdout)
    peak = int(done.stdout.split()[-1])
    assert 1e6 * int(said) <= peak <= 2e6 * int(said)

"""What a run will take, against numbers worked out by hand for a random HuBERT of two blocks, 16 wide."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from otoscope.encoders import load_encoder
from otoscope.errors import InputError
from otoscope.experiment import needs as module
from otoscope.experiment import timing
from otoscope.experiment.needs import needs, store_sizes
from otoscope.experiment.spec import Spec, resolve

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
    found = needs(spec(tiny_encoder), CLIPS, out=tmp_path / "run", measure_time=False)
    assert found.disk == {
        "activations": 10 * 3 * 16 * 4,
        "autoencoders": 2 * LAYER_BYTES,
        "a checkpoint": 4 * 2 * LAYER_BYTES,
    }
    weights = (tiny_encoder / "model.safetensors").stat().st_size
    assert found.memory == {
        "the encoder": weights,
        "probing all layers": 10 * 3 * 16 * 4,
        "training autoencoders": 6 * 2 * LAYER_BYTES,
    }
    assert (found.downloads, found.unknown, found.time_s) == ({}, [], {})


def test_three_ways_of_cutting_by_the_paper(tiny_encoder, tmp_path):
    own = spec(
        tiny_encoder,
        protocol="paper",
        extraction={"train_crop": "random:4x1,pad", "evaluate_crop": "first:1,pad", "dtype": "float16"},
    )
    stores = store_sizes(own, own.encoders[0], CLIPS).set_index("roles")
    assert list(stores.crops) == [17, 5, 3]  # 4 of each training clip but the short one; first seconds; whole
    assert list(stores.learnt) == [17, 0, 0]
    assert list(stores.sound_s) == [17.0, 5.0, 9.0]  # the short one is padded to 1 s
    found = needs(own, CLIPS, out=tmp_path / "run", measure_time=False)
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
        "learnt": [5, 0],
        "sound_s": [27.5, 18.5],
    }


def test_models_that_must_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    own = spec("x", encoders=[{"name": "hubert-base", "layers": [3]}, {"name": "some/model", "layers": [3]}])
    found = needs(own, CLIPS, out=tmp_path / "run", measure_time=False)
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
    found = needs(spec("some/model"), CLIPS, out=tmp_path / "run", measure_time=False)
    assert found.downloads == {}
    assert found.disk["activations"] == 10 * 3 * 16 * 4
    (repo / "snapshots" / "abc" / "model.safetensors").unlink()  # a fetch that was broken off
    assert needs(spec("some/model"), CLIPS, out=tmp_path, measure_time=False).downloads == {
        "some/model": None
    }


def test_frames_are_left_out_since_only_the_model_knows_them(tiny_encoder, tmp_path):
    found = needs(spec(tiny_encoder, extraction={"pool": "frames"}), CLIPS, out=tmp_path)
    assert (found.disk, found.memory, found.time_s) == ({}, {}, {})
    assert found.lines() == [f"not counted, as not known before it is loaded: {tiny_encoder}"]


class Usage(NamedTuple):
    free: int


def test_a_disk_that_is_too_small(tiny_encoder, tmp_path, monkeypatch):
    own, out = spec(tiny_encoder), tmp_path / "run"
    certain = 10 * 3 * 16 * 4 + 2 * LAYER_BYTES
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(certain - 1))
    with pytest.raises(InputError, match=r"needs about 509 kB of disk .*room for 103 kB at .*--out.*float16"):
        needs(own, CLIPS, out=out, measure_time=False)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(certain))
    assert (
        "warning: the disk will be almost full" in needs(own, CLIPS, out=out, measure_time=False).lines()[-1]
    )
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: Usage(0))
    out.mkdir()
    (out / "half.bin").write_bytes(bytes(certain))  # half of an earlier attempt counts as room
    needs(own, CLIPS, out=out, measure_time=False)


def test_little_memory_is_a_warning(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_free_memory", lambda: 1000)
    said = needs(spec(tiny_encoder), CLIPS, out=tmp_path, measure_time=False).lines()
    assert said[-1].startswith("warning: this is more memory than is available")
    assert "memory: about 608 kB, for training autoencoders; 1 kB available" in said


def test_times_are_a_trial_multiplied(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "extraction_time", lambda encoder, n_crops, crop_s: n_crops * crop_s)
    monkeypatch.setattr(timing, "training_step_time", lambda spec, width: 10.0)
    monkeypatch.setattr(timing, "_timed", lambda function: 32.0)  # 32 steps: one a second
    monkeypatch.setattr(timing, "cpu_count", lambda: 2)
    own = spec(tiny_encoder, probing={"probe": "linear", "epochs": 3, "batch_size": 2})
    found = needs(own, CLIPS, out=tmp_path)
    assert found.time_s == {
        "hearing clips": 27.5,  # seconds of sound
        "autoencoders": 10 * 2 * 2 * 2,  # two steps (4 of 5 clips, then 1), two epochs, two layers
        "probes": (3 + 12) * 3 * 3 / 2,  # layers and codes, three steps, three epochs, two cores
    }
    assert (
        "time: about 3 min (hearing clips 28 s, autoencoders 80 s, probes 68 s); other stages"
        in found.lines()[2]
    )
    monkeypatch.setattr(timing, "training_step_time", lambda spec, width: None)
    assert "autoencoders" not in needs(own, CLIPS, out=tmp_path).time_s


def test_trials_run(tiny_encoder):
    encoder = load_encoder(tiny_encoder, device="cpu")
    assert timing.extraction_time(encoder, 0, 0.5) == 0
    assert timing.extraction_time(encoder, 10, 0.001) > 0  # taken as the shortest input
    own = spec(tiny_encoder)
    assert timing.probing_time(own, 10, [16, 16, 64], 2) > 0
    step_s = timing.training_step_time(own.saes[0], 16)
    assert step_s is not None
    assert 0 <= step_s < 10
    assert timing.training_step_time(spec(tiny_encoder, saes={"n_latents": 2_000_000}).saes[0], 16) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (40, "40 s"), (700, "12 min"), (12_600, "3.5 h")]
)
def test_durations(seconds, text):
    assert timing.duration(seconds) == text

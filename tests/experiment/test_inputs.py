"""A run sees what its inputs hold: recordings and weights changed in place, whatever their sizes and times say."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from otoscope import contents
from otoscope.activations import Activations
from otoscope.activations.store import Store
from otoscope.errors import InputError, ProvenanceError
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import resolve
from otoscope.experiment.stages import data
from otoscope.experiment.units import Share


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twelve recordings of noise, two classes, a speaker each."""
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for i in range(12):
        soundfile.write(tmp_path / "data" / f"{i}.wav", 0.1 * rng.standard_normal(4000), 16_000)
    names = [f"{i}.wav" for i in range(12)]
    table = pd.DataFrame({"file_name": names, "word": ["yes", "no"] * 6, "group": names})
    table.to_csv(tmp_path / "data" / "metadata.csv", index=False)
    return tmp_path / "data"


@pytest.fixture
def model(tiny_encoder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_encoder, tmp_path / "tiny"))


def status(out: Path, folder: Path, model: Path, **options) -> dict[str, str]:
    """Extract the activations of a run; return what became of each stage."""
    spec = {
        "dataset": {"root": str(folder), "label": "word"},
        "encoders": [{"name": str(model)}],
        "extraction": {"device": "cpu"},
    }
    run = RunDirectory(out, resolve(spec), **options)
    run.open()
    data.activations(run, data.clips(run))
    return {stage["stage"]: stage["status"] for stage in run.stages}


def in_place(path: Path, content: bytes) -> None:
    """Write a file as ``rsync --inplace -t`` does: same size, same time of change."""
    before = path.stat()
    assert len(content) == before.st_size
    with path.open("r+b") as stream:
        stream.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_nothing_changed(folder, model, tmp_path):
    assert status(tmp_path / "run", folder, model) == {"activations-tiny": "made"}
    assert status(tmp_path / "run", folder, model) == {"activations-tiny": "kept"}


def test_a_recording_changed_in_place(folder, model, tmp_path):
    status(tmp_path / "run", folder, model)
    recording = folder / "3.wav"
    in_place(recording, recording.read_bytes()[:-4] + b"abcd")
    assert status(tmp_path / "run", folder, model) == {"activations-tiny": "made"}


def test_weights_changed_in_place(folder, model, tmp_path):
    status(tmp_path / "run", folder, model)
    weights = model / "model.safetensors"
    in_place(weights, weights.read_bytes()[:-4] + np.float32(0.5).tobytes())
    assert status(tmp_path / "run", folder, model) == {"activations-tiny": "made"}


def test_another_folder_of_equal_names_and_the_same_one_moved(folder, model, tmp_path):
    status(tmp_path / "run", folder, model)
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    assert status(tmp_path / "run", moved, model) == {"activations-tiny": "kept"}
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    soundfile.write(other / "0.wav", np.zeros(4000), 16_000)
    with pytest.raises(ProvenanceError, match=r"holds another experiment: its dataset.root is .*moved"):
        status(tmp_path / "run", other, model)
    soundfile.write(moved / "0.wav", np.zeros(4000), 16_000)
    assert status(tmp_path / "run", moved, model) == {"activations-tiny": "made"}


def test_a_lost_chunk_of_a_kept_stage_is_made_anew(folder, model, tmp_path):
    status(tmp_path / "run", folder, model)
    (store,) = (tmp_path / "run" / "activations").iterdir()
    chunk = store / "layer_01" / "c" / "0" / "0"
    content = chunk.read_bytes()
    chunk.unlink()
    assert status(tmp_path / "run", folder, model) == {"activations-tiny": "kept"}
    assert chunk.read_bytes() == content


def test_fresh_makes_all_anew(folder, model, tmp_path):
    status(tmp_path / "run", folder, model)
    (store,) = (tmp_path / "run" / "activations").iterdir()
    before = (store / "layer_01" / "c" / "0" / "0").stat().st_mtime_ns
    assert status(tmp_path / "run", folder, model, fresh=True) == {"activations-tiny": "made"}
    assert (store / "layer_01" / "c" / "0" / "0").stat().st_mtime_ns > before


@pytest.mark.parametrize("put_back", ["once it was heard", "before the next run", "never"])
def test_a_recording_that_changes_while_the_run_is_at_work(folder, model, tmp_path, monkeypatch, put_back):
    """After it was hashed, before it is decoded: nothing that was made of it is kept, whatever it holds afterwards."""
    recording, clips, write_shard = folder / "3.wav", data.clips, Store.write_shard
    before = recording.read_bytes()
    other = before[:-400] + bytes(400)

    def then_changed(run: RunDirectory) -> pd.DataFrame:
        found = clips(run)
        recording.write_bytes(other)
        return found

    def then_put_back(self, *arguments, **options) -> None:
        write_shard(self, *arguments, **options)
        recording.write_bytes(before)

    with monkeypatch.context() as patch:
        patch.setattr(data, "clips", then_changed)
        if put_back == "once it was heard":
            patch.setattr(Store, "write_shard", then_put_back)
        with pytest.raises(InputError, match="changed while the run was at work; run the same command again"):
            status(tmp_path / "run", folder, model)
    if put_back == "before the next run":
        recording.write_bytes(before)
    assert recording.read_bytes() == (other if put_back == "never" else before)
    assert status(tmp_path / "run", folder, model) == {"activations-tiny": "made"}
    status(tmp_path / "whole", folder, model)
    (expected,) = (tmp_path / "whole" / "activations").glob("*")
    made = tmp_path / "run" / "activations" / expected.name
    np.testing.assert_array_equal(Activations.open(made).layer(1), Activations.open(expected).layer(1))


def test_of_shards_that_begin_together_one_reads_the_recordings(folder, model, tmp_path, monkeypatch):
    """The others take what it noted, but of a file that was changed since."""
    spec = resolve({"dataset": {"root": str(folder), "label": "word"}, "encoders": [{"name": str(model)}]})
    shards = [RunDirectory(tmp_path / "run", spec, share=Share(i, 2)) for i in (1, 2)]
    for shard in shards:
        shard.open()
    read: list[str] = []
    digest = hashlib.file_digest

    def noting(stream, algorithm):
        read.append(Path(stream.name).name)
        return digest(stream, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", noting)
    monkeypatch.setattr(contents, "SETTLED_NS", -(10**12))  # the files are new
    for shard in shards:
        monkeypatch.setattr(contents, "_known", {})  # as in another process
        data.clips(shard)
        in_place(folder / "3.wav", (folder / "4.wav").read_bytes())
    wavs = [name for name in read if name.endswith(".wav")]
    assert sorted(wavs) == sorted([*(f"{i}.wav" for i in range(12)), "3.wav"])
    first, second = (shard.recordings for shard in shards)
    changed = [Path(path).name for path, held in first.items() if second[path] != held]
    assert changed == ["3.wav"]

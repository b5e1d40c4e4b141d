"""Inputs that once gave a traceback, a hang or a number that means nothing: now an error in a sentence."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import otoscope
from otoscope import files
from otoscope.audio import audio_info, read_audio
from otoscope.errors import AudioError, FileError, InputError, ModelError, SpecError
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import load_spec
from otoscope.factors import compute_factors
from otoscope.saes import SparseAutoencoder, TopKConfig, train_saes

BROKEN_YAML = (
    "[1", "{a", "a: b: c", "'x", "@x", "- [", "%y", "&a [*a]", "2001-99-99", "!!python/object:os.system x", "? [a]",
    "\0", "\ud800", "[" * 5000,
)  # fmt: skip


class TestSpecs:
    @pytest.mark.parametrize("text", BROKEN_YAML)
    def test_broken_yaml_in_set(self, text):
        with pytest.raises(SpecError, match=r"--set dataset\.label"):
            load_spec("demo", settings=[f"dataset.label={text}"])

    def test_a_bomb_of_aliases(self, tmp_path):
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
        (tmp_path / "bomb.yaml").write_text("\n".join(lines))
        started = time.perf_counter()
        with pytest.raises(SpecError, match=r"stands for .* values, by aliases of aliases"):
            load_spec(tmp_path / "bomb.yaml")
        assert time.perf_counter() - started < 5

    def test_aliases_of_a_usual_kind_are_welcome(self, tmp_path):
        text = "dataset: {label: technique, name: synthsing}\nprobing: {folds: &n 3}\ndisentanglement: {folds: *n}"
        (tmp_path / "spec.yaml").write_text(text)
        assert load_spec(tmp_path / "spec.yaml").disentanglement.folds == 3

    @pytest.mark.parametrize(
        "setting",
        [
            "seed=-1", "seed=4294967296", "protocol=[]", "protocol={a: 1}", "protocol=null", "saes.seeds=[-1]",
            "probing.regularisation=[.nan]", "probing.regularisation=[0]", "probing.lr=.inf", "saes.lr=.inf",
            "disentanglement.min_r2=.nan", "disentanglement.null_sparsity=3", "disentanglement.alpha=.inf",
            "disentanglement.empty_completeness=.inf", "disentanglement.empty_completeness=2", "name=a/b",
            f"name={'x' * 300}", 'name="a\\0b"', "saes.sparsities=[.nan]", "probing.few_latents=[0]",
            "saes.options={k: abc}", "saes.options={k: .nan}", "encoders.²=x", "dataset.options=3",
        ],
    )  # fmt: skip
    def test_values_that_cannot_be(self, setting):
        with pytest.raises(SpecError):
            load_spec("demo", settings=[setting])

    def test_a_table_of_factors_counts_from_the_specs_folder(self, tmp_path):
        (tmp_path / "spec.yaml").write_text("dataset: {label: a, root: data}\nfactors: {name: mine.csv}")
        spec = load_spec(tmp_path / "spec.yaml")
        assert spec.factors.name == str(tmp_path / "mine.csv")
        assert spec.dataset.root == str(tmp_path / "data")
        given = load_spec(tmp_path / "spec.yaml", settings=["factors.name=mine.csv"])
        assert given.factors.name == "mine.csv"


class TestAudio:
    @pytest.mark.parametrize("n_samples", [2**36 - 1, 2**32, 10**9])
    def test_a_flac_header_that_promises_what_no_file_holds(self, tmp_path, n_samples):
        path = tmp_path / "a.flac"
        soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
        content = bytearray(path.read_bytes())
        content[21] = content[21] & 0xF0 | n_samples >> 32  # STREAMINFO: 36 bits of samples
        content[22:26] = (n_samples & 0xFFFFFFFF).to_bytes(4, "big")
        path.write_bytes(content)
        with pytest.raises(AudioError, match="bytes cannot hold them"):
            audio_info(path)
        with pytest.raises(AudioError):
            read_audio(path)

    def test_one_that_promises_more_than_there_is(self, tmp_path):
        path = tmp_path / "a.flac"
        soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
        content = bytearray(path.read_bytes())
        content[22:26] = (50_000_000).to_bytes(4, "big")
        path.write_bytes(content)
        with pytest.raises(AudioError, match=r"truncated|damaged|cannot be decoded"):
            read_audio(path)

    def test_long_silence_is_no_fault(self, tmp_path):
        soundfile.write(tmp_path / "a.flac", np.zeros(16_000 * 600), 16_000)
        assert len(read_audio(tmp_path / "a.flac")[0]) == 16_000 * 600

    @pytest.mark.parametrize("name", ["x" * 300 + ".wav", "a\0b.wav", ""])
    def test_names_that_cannot_be(self, name):
        with pytest.raises(AudioError, match=r"no such file|is a folder"):
            read_audio(name)


class TestTables:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        for i in range(4):
            soundfile.write(tmp_path / f"{i}.wav", 0.1 * np.ones(1600), 16_000)
        return tmp_path

    def clips(self, folder: Path, **columns) -> Path:
        table = pd.DataFrame({"clip_id": list("abcd"), "path": [f"{i}.wav" for i in range(4)]})
        table = table.assign(start_s="0", stop_s="0.1", split="train", group=list("abcd"), **columns)
        table.to_csv(folder / "clips.csv", index=False)
        return folder / "clips.csv"

    def edited(self, folder: Path, column: str, cell: str) -> Path:
        path = self.clips(folder)
        table = pd.read_csv(path, dtype=str)
        table.loc[1, column] = cell
        table.to_csv(path, index=False)
        return path

    @pytest.mark.parametrize("column", ["start_s", "stop_s"])
    @pytest.mark.parametrize("cell", ["soon", "1e999", "-", "1,000"])
    def test_text_for_times(self, folder, column, cell):
        with pytest.raises(InputError):
            otoscope.load_clips(self.edited(folder, column, cell))

    @pytest.mark.parametrize("cell", [" ", "x" * 300, "a\0b.wav"])
    def test_paths_that_cannot_be(self, folder, cell, tmp_path):
        clips = otoscope.load_clips(self.clips(folder))
        clips["path"] = [cell, *clips.path[1:]]
        encoder = otoscope.load_encoder("otoscope-mini", device="cpu")
        with pytest.raises(InputError, match=r"path is empty in row 1|no such file"):
            otoscope.extract(clips, encoder, out=tmp_path / "store", layers=[0], progress=False)

    def test_a_column_of_text_that_is_empty(self, folder):
        clips = otoscope.load_clips(self.clips(folder))
        table = pd.DataFrame(
            {"clip_id": list("abcd"), "f0": 1.0, "remark": pd.Series([None] * 4, dtype=object)}
        )
        table.to_parquet(folder / "f.parquet")
        with pytest.raises(InputError, match=r"column 'remark' is not numeric \(it is empty\)"):
            compute_factors("csv", clips, path=folder / "f.parquet")


class TestFullDisk:
    @pytest.fixture
    def full(self, monkeypatch):
        def no_room(path):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files, "flush", no_room)

    def test_a_frame_of_a_run(self, tmp_path, full):
        run = RunDirectory(tmp_path, load_spec("demo"))
        with pytest.raises(FileError, match=r"clips.parquet': the disk is full; free some space"):
            run.write_frame("clips", pd.DataFrame({"a": [1]}))
        assert list(tmp_path.iterdir()) == []

    def test_a_checkpoint(self, tmp_path, full):
        rows = {0: np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)}
        with pytest.raises(FileError, match=r"checkpoint.safetensors': the disk is full"):
            train_saes(rows, TopKConfig(n_latents=8, k=2), epochs=1, device="cpu", checkpoint=tmp_path / "c")

    def test_where_safetensors_says_it_in_its_own_words(self, tmp_path, monkeypatch):
        from safetensors import SafetensorError

        def no_room(*arguments, **options):
            raise SafetensorError("I/O error: No space left on device (os error 28)")

        monkeypatch.setattr("safetensors.torch.save_file", no_room)
        sae = SparseAutoencoder.from_pretrained(saved(tmp_path / "whole", patch=monkeypatch))
        monkeypatch.setattr("safetensors.torch.save_file", no_room)
        with pytest.raises(FileError, match="the disk is full"):
            sae.save_pretrained(tmp_path / "sae")

    def test_a_place_that_is_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        rows = {0: np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)}
        with pytest.raises(FileError, match="cannot write to"):
            train_saes(
                rows, TopKConfig(n_latents=8, k=2), epochs=1, device="cpu", log=tmp_path / "file" / "log"
            )


def saved(folder: Path, patch: pytest.MonkeyPatch | None = None) -> Path:
    if patch is not None:
        patch.undo()
    rows = {0: np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)}
    (sae,) = train_saes(rows, TopKConfig(n_latents=16, k=2), epochs=1, device="cpu", progress=False)
    return sae.save_pretrained(folder)


class TestAutoencoders:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        return saved(tmp_path / "sae")

    def unsummed(self, folder: Path, **changes) -> None:
        """Write the configuration as a person would, without checksums."""
        import json

        told = json.loads((folder / "config.json").read_text())
        told = {key: value for key, value in told.items() if "crc32" not in key}
        (folder / "config.json").write_text(json.dumps(told | changes))

    def test_weights_that_are_not_finite(self, folder):
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        tensors["encoder_weight"][3, 2] = torch.nan
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(ModelError, match="is not what was written"):
            SparseAutoencoder.from_pretrained(folder)
        self.unsummed(folder)
        with pytest.raises(ModelError, match="1 weights of 'encoder_weight' are NaN or infinite"):
            SparseAutoencoder.from_pretrained(folder)

    @pytest.mark.parametrize(
        "changes",
        [
            {"n_inputs": "x"}, {"n_inputs": -1}, {"seed": "x"}, {"layer": [1]}, {"dtype": "int8"}, {"dtype": "load"},
            {"about": 3}, {"config": []}, {"config": {"n_latents": "x"}}, {"config": {"n_latents": 10**9, "k": 2}},
            {"config": {}}, {"kind": 3}, {"format": "new"},
        ],
    )  # fmt: skip
    def test_configurations_that_cannot_be(self, folder, changes):
        self.unsummed(folder, **changes)
        with pytest.raises(ModelError):
            SparseAutoencoder.from_pretrained(folder)

    def test_another_k_is_seen(self, folder):
        path = folder / "config.json"
        path.write_text(path.read_text().replace('"k": 2', '"k": 3'))
        with pytest.raises(ModelError, match=r"config.json is not what was written \(checksum\)"):
            SparseAutoencoder.from_pretrained(folder)

    @pytest.mark.parametrize("text", ["", "\0", "epoch,x\n1,a\n", "a,b\n1,2\n"])
    def test_a_history_that_is_none(self, folder, text):
        (folder / "history.csv").write_text(text)
        with pytest.raises(ModelError, match=r"history.csv"):
            SparseAutoencoder.from_pretrained(folder)

    def test_a_checkpoint_with_another_bit(self, tmp_path, monkeypatch):
        rows = {0: np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)}
        options = {"epochs": 2, "device": "cpu", "checkpoint": tmp_path, "progress": False}
        train_saes(rows, TopKConfig(n_latents=8, k=2), **options)
        path = tmp_path / "checkpoint.safetensors"
        content = bytearray(path.read_bytes())
        content[-5] ^= 4
        path.write_bytes(content)
        with pytest.raises(ModelError, match="is not a readable checkpoint; move it away to start anew"):
            train_saes(rows, TopKConfig(n_latents=8, k=2), **options)

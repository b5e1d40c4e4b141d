"""How the command line behaves: signals, empty arguments, what is refused before the work."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import soundfile

import otoscope
from otoscope.activations import Activations, extract
from otoscope.cli import main


def run(capsys, *arguments) -> tuple[int, str]:
    """Run a command; return its exit code and everything it printed."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    said = re.sub(r"\x1b\[[\d;]*m", "", printed.out + printed.err)  # on GitHub's machines help is coloured
    return stopped.value.code or 0, said


@pytest.fixture
def clips(tmp_path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for i in range(6):
        soundfile.write(tmp_path / "data" / f"{i}.wav", 0.1 * rng.standard_normal(4000), 16_000)
    return otoscope.load_clips(tmp_path / "data")


@pytest.fixture
def store(clips, tiny_encoder, tmp_path):
    extract(clips, otoscope.load_encoder(tiny_encoder, device="cpu"), out=tmp_path / "store", progress=False)
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_stops_a_run_and_nothing_is_lost(tiny_encoder, clips, tmp_path, number, code):
    """The killed extraction keeps its complete shards, and the same command ends as if it had not been stopped."""
    command = f"""
import signal, sys, time, torch
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
from otoscope.activations import plan
from otoscope.cli import main
from otoscope.encoders.encoder import Encoder
plan.SHARD_CROPS = 1
reader = Encoder.reader
def slow(self, layers):
    time.sleep(0.2)
    return reader(self, layers)
import otoscope.activations.pipeline as pipeline
read = pipeline.read_audio
def later(*a, **b):
    time.sleep(0.3)
    return read(*a, **b)
pipeline.read_audio = later
main(["extract", {str(tmp_path / "data")!r}, "--encoder", {str(tiny_encoder)!r}, "--out", {str(tmp_path / "s")!r},
      "--device", "cpu"])
"""
    process = subprocess.Popen([sys.executable, "-c", command], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (tmp_path / "s" / "rows" / "00000.parquet").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert "the same command goes on where it was" in said
    assert "Traceback" not in said
    assert len(Activations.open(tmp_path / "s", partial=True)) >= 1


def test_the_handler_is_gone_afterwards(capsys):
    before = signal.getsignal(signal.SIGTERM)
    run(capsys, "list", "saes")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "arguments",
    [
        ["extract", ""],
        ["extract", "data", "--encoder", "otoscope-mini", "--out", ""],
        ["run", "demo", "--out="],
    ],
)
def test_an_empty_argument_is_refused(capsys, arguments):
    code, said = run(capsys, *arguments)
    assert code == 2
    assert "an argument is empty" in said


def test_help_and_version(capsys):
    code, said = run(capsys, "-h")
    assert code == 0
    assert "extract" in said
    code, said = run(capsys, "train", "-h")
    assert code == 0
    assert "--latents" in said
    assert run(capsys, "--version") == (0, f"otoscope {otoscope.__version__}\n")


def test_validate_reads_a_store(capsys, store):
    code, said = run(capsys, "validate", store)
    assert code == 0
    assert "6 rows in 1 shards are as they were written" in said
    chunk = store / "layer_01" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    code, said = run(capsys, "validate", store)
    assert code == 1
    assert "problem: shard 00000: its file layer_01/c/0/0 is not what was written" in said
    code, said = run(capsys, "validate", store / "nothing")
    assert code == 1
    assert "no activation store" in said
    code, said = run(capsys, "validate", "vocalset")
    assert code == 2
    assert "say where 'vocalset' lies" in said


def test_validate_writes_nothing(capsys, tmp_path):
    code, said = run(capsys, "validate", "synthsing", tmp_path)
    assert code == 1
    assert "no clip of synthsing lies under" in said
    assert list(tmp_path.iterdir()) == []


def test_out_is_looked_at_before_the_work(capsys, store, clips, tmp_path, monkeypatch):
    """The suffix, and whether it can be written: nothing is decoded or loaded first."""
    monkeypatch.setattr("otoscope.cli.listen.read_clips", lambda *a, **k: pytest.fail("it went to work"))
    monkeypatch.setattr("otoscope.cli.study.read_clips", lambda *a, **k: pytest.fail("it went to work"))
    monkeypatch.setattr(
        "otoscope.activations.Activations.open", lambda *a, **k: pytest.fail("it went to work")
    )
    commands = {
        "factors": ["factors", tmp_path / "data", "--out"],
        "encode": ["encode", tmp_path, tmp_path / "data", "--out"],
        "disentangle": ["disentangle", store, tmp_path / "f.csv", "--clips", tmp_path, "--layer", 1, "--out"],
        "probe": ["probe", store, "--clips", tmp_path, "--label", "x", "--out"],
    }
    long = "x" * 300
    for command in commands.values():
        for out, message in (
            ("t.xlsx", "must end in .csv or .parquet"),
            (tmp_path / "no" / "t.csv", "there is no such folder"),
            (tmp_path / f"{long}.csv", "the name is too long"),
        ):
            code, said = run(capsys, *command, out)
            assert code == 2
            assert message in said
    for out, message in ((tmp_path / long, "the name is too long"), ("/proc/x", "no such folder")):
        code, said = run(capsys, "train", store, "--out", out)
        assert code == 2
        assert message in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--latents", 1_000_000_000], "of memory, and"),
        (["--layers", "²"], "a layer is a number or 'final'; got '²'"),
        (["--lr", "inf"], "lr must be positive and finite"),
        (["--lr", "nan"], "lr must be positive and finite"),
        (["--set", "k=[1"], "--set k is not valid YAML"),
        (["--set", "k=abc"], "option 'k' must be a whole number"),
        (["--sparsity", "nan"], "sparsity"),
        (["--seeds", "-1"], "seed"),
        (["--epochs", 0], "epochs must be positive"),
    ],
)
def test_train_refuses_in_a_sentence(capsys, store, tmp_path, arguments, message):
    code, said = run(capsys, "train", store, "--out", tmp_path / "saes", "--device", "cpu", *arguments)
    assert code == 2
    assert message in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "²/3"], "shard must be i/n"),
        (["--layers", "²"], "layer"),
        (["--crop", "windows:0.1/1e-9"], "crops of these clips"),
        (["--crop", "random:99999999999x0.1"], "crops of these clips"),
        (["--out", "x" * 300], "name is too long"),
        (["--encoder", "x" * 300], "unknown encoder"),
        (["--batch-size", "0"], "batch_size must be at least 1"),
        (["--dtype", "int8"], "float32 or float16"),
    ],
)
def test_extract_refuses_in_a_sentence(
    capsys, clips, tiny_encoder, tmp_path, arguments, message, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = {"--encoder": str(tiny_encoder), "--out": "new", "--device": "cpu"}
    given |= dict([arguments])
    code, said = run(capsys, "extract", tmp_path / "data", *(part for pair in given.items() for part in pair))
    assert code == 2
    assert message in said


def test_a_train_that_streams_measures_what_it_made(capsys, store, tmp_path, monkeypatch):
    """What does not fit into memory is never read whole, not at the end either."""
    code, said = run(
        capsys,
        "train",
        store,
        "--out",
        tmp_path / "a",
        "--latents",
        8,
        "--sparsity",
        0.5,
        "--epochs",
        2,
        "--device",
        "cpu",
    )
    assert code == 0, said
    monkeypatch.setattr("otoscope.saes.training.train._Place._too_large", lambda *a: True)
    monkeypatch.setattr(Activations, "layer", lambda *a, **k: pytest.fail("it was read whole"))
    code, streamed = run(
        capsys,
        "train",
        store,
        "--out",
        tmp_path / "b",
        "--latents",
        8,
        "--sparsity",
        0.5,
        "--epochs",
        2,
        "--device",
        "cpu",
    )
    assert code == 0, said
    assert streamed.count("FVU") == said.count("FVU") == 3
    assert "nan" not in streamed


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_closed_folder(capsys, store, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    code, said = run(capsys, "train", store, "--out", tmp_path / "closed" / "saes")
    assert code == 2
    assert "may not be written" in said

"""One run by one process, and the same by several that share it: the same bytes, whatever is killed on the way."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otoscope.cli.app import app
from otoscope.errors import InputError, OtoscopeError
from otoscope.experiment import run, run_status

SMALL = [
    "dataset.options={n_singers: 3}",
    "encoders.0.layers=[1, 2]",
    "probing.regularisation=[0.01]",
    "probing.guide=false",
    "probing.few_latents=[1]",
    "saes.n_latents=16",
    "saes.sparsities=[0.75]",
    "saes.seeds=[0]",
    "saes.epochs=2",
    "disentanglement.alphas=[0.1]",
    "disentanglement.folds=3",
    "disentanglement.nulls=[label, untrained, frozen_encoder, permuted]",
    "latents.permutations=20",
]
ROUNDS = 6
"""Of all shards, after which all is made: no more than there are stages that wait for one another."""


@pytest.fixture(scope="module")
def settings(tiny_encoder, tmp_path_factory) -> list[str]:
    return [
        *SMALL,
        f"encoders.0.name={tiny_encoder}",
        f"dataset.root={tmp_path_factory.mktemp('synthsing')}",
    ]


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory) -> Path:
    """The run of one process."""
    return run("demo", out=tmp_path_factory.mktemp("runs") / "alone", settings=settings).root


def sums(root: Path) -> dict[str, str]:
    """Return the SHA-256 of all stores' arrays, autoencoders' weights, descriptions and tables."""
    patterns = (
        "results/*.csv",
        "activations/*/*/c/*/*",
        "saes/**/*.safetensors",
        "latents/**/*.parquet",
        "*.parquet",
    )
    files = [file for pattern in patterns for file in root.glob(pattern)]
    return {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


def test_four_shards_in_any_order_make_the_same_bytes(alone, settings, tmp_path):
    order = random.Random(0)
    for number in range(ROUNDS):
        shards = order.sample([1, 2, 3, 4], 4)
        runs = [run("demo", out=tmp_path, settings=settings, shard=f"{i}/4") for i in shards]
        if not runs[-1].waits:
            break
        assert number < ROUNDS - 1, [str(waits) for waits in runs[-1].waits]
    assert sums(tmp_path) == sums(alone)
    assert (tmp_path / "run.json").is_file()
    assert all(stage.made for stage in run_status(tmp_path))
    assert not (tmp_path / "work").exists()
    again = run("demo", out=tmp_path, settings=settings)
    assert {step["status"] for step in again.stages} == {"kept"}


def test_a_shard_says_what_it_waits_for_and_one_process_does_the_rest(alone, settings, tmp_path):
    asked = [part for setting in settings for part in ("--set", setting)]
    told = CliRunner().invoke(app, ["run", "demo", "--out", str(tmp_path), *asked, "--shard", "2/3"])
    assert told.exit_code == 0, told.output
    assert "waits for: activations-tiny, 2 of 3 units, of other shards" in told.output
    stages = {stage.stage: stage for stage in run_status(tmp_path)}
    assert stages["factors"].made
    assert (stages["activations-tiny"].done, stages["activations-tiny"].lacking(3)) == ([1], [1, 3])
    run("demo", out=tmp_path, settings=settings)
    assert sums(tmp_path) == sums(alone)


def test_what_shards_cannot_be_given(settings, tmp_path):
    with pytest.raises(InputError, match="cannot make it anew"):
        run("demo", out=tmp_path, settings=settings, shard="1/2", fresh=True)
    with pytest.raises(InputError, match="chosen for a shard only"):
        run("demo", out=tmp_path, settings=settings, stages=["saes"])
    with pytest.raises(InputError, match="did you mean 'saes'"):
        run("demo", out=tmp_path, settings=settings, shard="1/2", stages=["sae"])


def start(shard: str | None, out: Path, settings: list[str]) -> subprocess.Popen:
    asked = [part for setting in settings for part in ("--set", setting)]
    asked += [] if shard is None else ["--shard", shard]
    return subprocess.Popen(
        [sys.executable, "-m", "otoscope", "run", "demo", "--out", str(out), *asked],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_is_refused_to_one_process_while_shards_have_it(settings, tmp_path):
    process = start("1/2", tmp_path, settings)
    while not (tmp_path / ".lock").exists():
        time.sleep(0.05)
    with pytest.raises(OtoscopeError, match="being worked on by another process"):
        run("demo", out=tmp_path, settings=settings)
    process.kill()
    process.wait()


@pytest.mark.slow
def test_killed_at_twenty_random_moments_and_retried_the_bytes_are_the_same(settings, tmp_path):
    """Four processes at a time; each moment, one of them is killed where it happens to be."""
    one = start(None, tmp_path / "alone", settings)
    told, _ = one.communicate()
    assert one.returncode == 0, told
    dice, out, kills, rounds = random.Random(1), tmp_path / "shared", 0, 0
    while True:
        processes = [start(f"{i}/4", out, settings) for i in (1, 2, 3, 4)]
        if kills < 20:
            time.sleep(dice.uniform(2, 12))
            victim = dice.choice(processes)
            kills += victim.poll() is None
            victim.send_signal(signal.SIGKILL)
        told = [process.communicate()[0] for process in processes]
        codes = [process.returncode for process in processes]
        assert set(codes) <= {0, -signal.SIGKILL}, "\n".join(told)
        rounds += 1
        assert rounds < 60
        if "All units are done" in "".join(told):
            if kills >= 20:
                break
            for record in dice.sample(
                sorted((out / "stages").glob("*.json")), 3
            ):  # so that there is more to do
                record.unlink()
    last = start(None, out, settings)
    told_last, _ = last.communicate()
    assert last.returncode == 0, told_last
    assert sums(out) == sums(tmp_path / "alone")
    assert not (out / "work").exists()

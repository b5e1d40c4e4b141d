"""One run by one process, and the same by several that share it: the same bytes, whatever is killed on the way."""

from __future__ import annotations

import hashlib
import os
import random
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
    "probing.few_latents=[]",
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


HELPER = str(Path(__file__).parents[1] / "helpers" / "killed_shards.py")


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


def test_a_shard_says_what_it_waits_for(settings, tmp_path):
    asked = [part for setting in settings for part in ("--set", setting)]
    told = CliRunner().invoke(app, ["run", "demo", "--out", str(tmp_path), *asked, "--shard", "2/3"])
    assert told.exit_code == 0, told.output
    assert "waits for: activations-tiny, 2 of 3 units, of other shards" in told.output
    stages = {stage.stage: stage for stage in run_status(tmp_path)}
    assert stages["factors"].lacking(3) == [1]
    assert (stages["activations-tiny"].done, stages["activations-tiny"].lacking(3)) == ([1], [1, 3])


@pytest.mark.slow
def test_one_process_does_what_a_shard_left(alone, settings, tmp_path):
    run("demo", out=tmp_path, settings=settings, shard="2/3")
    run("demo", out=tmp_path, settings=settings)
    assert sums(tmp_path) == sums(alone)


def test_what_shards_cannot_be_given(settings, tmp_path):
    with pytest.raises(InputError, match="cannot make it anew"):
        run("demo", out=tmp_path, settings=settings, shard="1/2", fresh=True)
    with pytest.raises(InputError, match="chosen for a shard only"):
        run("demo", out=tmp_path, settings=settings, stages=["saes"])
    with pytest.raises(InputError, match="did you mean 'saes'"):
        run("demo", out=tmp_path, settings=settings, shard="1/2", stages=["sae"])


def killed(out: Path, kills: int, settings: list[str]) -> str:
    """Have processes of four shards killed so often, each run going on until all is made."""
    found = subprocess.run(
        [sys.executable, HELPER, str(out), str(kills), "1", *settings],
        capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.slow  # test_units.py stops a run in a stage too
@pytest.mark.parametrize("kills", [3, 20])
def test_shards_killed_at_random_moments_and_retried_make_the_same_bytes(alone, settings, tmp_path, kills):
    told = killed(tmp_path, kills, settings)
    assert int(told.split()[1]) >= kills, told
    for root in tmp_path.iterdir():
        assert sums(root) == sums(alone)
        assert not list(root.rglob("work/*/*"))


@pytest.mark.slow
def test_a_run_is_refused_to_one_process_while_shards_have_it(settings, tmp_path):
    asked = [part for setting in settings for part in ("--set", setting)]
    command = [
        sys.executable,
        "-m",
        "otoscope",
        "run",
        "demo",
        "--out",
        str(tmp_path),
        *asked,
        "--shard",
        "1/2",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (tmp_path / ".lock").exists():
        time.sleep(0.05)
    with pytest.raises(OtoscopeError, match="being worked on by another process"):
        run("demo", out=tmp_path, settings=settings)
    process.kill()
    process.wait()

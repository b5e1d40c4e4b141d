"""A whole run on a real Slurm of one node: the bytes of one process, also where tasks were killed on the way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slurm_cluster

from otoscope.experiment.slurm.queue import submitted

pytestmark = pytest.mark.slow
SETTINGS = [
    "dataset.options={n_singers: 5}",
    "encoders=[{name: otoscope-mini, layers: [1, last]}]",
    "saes.n_latents=32",
    "saes.sparsities=[0.75, 0.9]",
    "saes.epochs=3",
    "disentanglement.alphas=[0.1, 0.02]",
    "probing.regularisation=[0.01]",
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The environment in which sbatch speaks to a Slurm of two cores."""
    reason = slurm_cluster.missing()
    if reason:
        pytest.skip(reason)
    with slurm_cluster.slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield {**environment, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> list[str]:
    root = tmp_path_factory.mktemp("data") / "synth sing's $HOME"
    return [word for each in [*SETTINGS, f"dataset.root={root}"] for word in ("--set", each)]


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory) -> dict[str, str]:
    """What one process makes."""
    out = tmp_path_factory.mktemp("alone") / "run"
    otoscope({**os.environ, "OMP_NUM_THREADS": "1"}, "run", "demo", "--out", out, *settings)
    return sums(out)


def otoscope(environment: dict[str, str], *words: object) -> str:
    command = [sys.executable, "-m", "otoscope", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def submit(cluster, settings, out: Path, *words: object) -> str:
    asked = ["--tasks", 2, "--cpus-per-task", 1, "--mem", "1500M", *words]
    return otoscope(cluster, "slurm", "demo", "--out", out, *settings, *asked)


def wait(cluster, out: Path, *, timeout_s: float = 900) -> None:
    """Wait until no job of the run is left in the queue."""
    end = time.monotonic() + timeout_s
    while (left := live(cluster, out)) and time.monotonic() < end:
        time.sleep(1)
    assert not left, f"still in the queue after {timeout_s} s: {left}"


def live(cluster, out: Path) -> str:
    jobs = ",".join(each["job"] for each in submitted(out))
    asked = ["squeue", "--noheader", "--array", "--format=%i %T", f"--jobs={jobs}"]
    return subprocess.run(asked, env=cluster, capture_output=True, text=True, check=True).stdout


def sums(root: Path) -> dict[str, str]:
    """What a run's tables, stores and dictionaries hold."""
    kept = [path for folder in ("results", "activations", "saes") for path in (root / folder).rglob("*")]
    kept = [*kept, *root.glob("*.parquet")]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(kept)
        if path.is_file()
    }


def test_a_whole_run_has_the_bytes_of_one_process(cluster, settings, alone, tmp_path):
    out = tmp_path / "a run's $HOME 100%"
    submit(cluster, settings, out)
    wait(cluster, out)
    assert sums(out) == alone
    assert (out / "report.html").exists()

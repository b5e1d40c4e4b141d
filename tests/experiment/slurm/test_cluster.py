"""A whole run on a real Slurm of one node: the bytes of one process, also where tasks were killed on the way."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
from slurm_cluster import Cluster

from otoscope.experiment.runner import UNIT_STAGES
from otoscope.experiment.slurm import Job, Resources, script
from otoscope.experiment.slurm.plan import is_of
from otoscope.experiment.slurm.queue import submitted

pytestmark = pytest.mark.slow
SETTINGS = [
    "dataset.options={n_singers: 5}",
    "encoders=[{name: otoscope-mini, layers: [1, last]}]",
    "saes.n_latents=32",
    "saes.sparsities=[0.75, 0.9]",
    "saes.epochs=3",
    "disentanglement.alphas=[0.1, 0.02]",
    "disentanglement.folds=2",
    "disentanglement.nulls=[untrained, permuted]",
    "probing.regularisation=[0.01]",
    "probing.few_latents=[]",
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A Slurm of one machine with two cores."""
    reason = slurm_cluster.missing()
    if reason:
        pytest.skip(reason)
    with slurm_cluster.slurm(tmp_path_factory.mktemp("slurm")) as found:
        yield found


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


def submit(cluster: Cluster, settings: list[str], out: Path, *words: object) -> dict[str, str]:
    """Submit a run; return its jobs' numbers by their names."""
    asked = ["--tasks", 2, "--cpus-per-task", 1, "--mem", "1500M", *words]
    otoscope(cluster.environment, "slurm", "demo", "--out", out, *settings, *asked)
    return {each["name"]: each["job"] for each in submitted(out)}


def wait(cluster: Cluster, out: Path) -> None:
    """Wait until no job of the run is left in the queue."""
    jobs = ",".join(each["job"] for each in submitted(out))
    until(lambda: not cluster.ask("squeue", "--noheader", "--format=%i", f"--jobs={jobs}"), 3000)


def until(holds: Callable[[], object], timeout_s: float = 600) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"waited {timeout_s} s"
        time.sleep(0.5)


def log(out: Path, name: str, job: str, index: int) -> str:
    path = out / "slurm" / "logs" / f"{name}-{job}_{index}.log"
    return path.read_text() if path.exists() else ""


def pids(out: Path, stage: str, shard: str) -> list[int]:
    """Return the processes that make a shard of a run."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if str(out) in words and stage in words and shard in words:
                found.append(int(place.name))
    return found


def sums(root: Path) -> dict[str, str]:
    """What a run's tables, stores and dictionaries hold."""
    kept = [path for folder in ("results", "activations", "saes") for path in (root / folder).rglob("*")]
    kept = [*kept, *root.glob("*.parquet")]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(kept)
        if path.is_file() and not path.name.endswith(".seen.json")  # times of change of what was read
    }


def test_a_whole_run_has_the_bytes_of_one_process(cluster, settings, alone, tmp_path):
    out = tmp_path / "a run's $HOME 100%"
    submit(cluster, settings, out)
    wait(cluster, out)
    assert sums(out) == alone
    assert (out / "report.html").exists()
    (gathered,) = (out / "slurm" / "logs").glob("gather-*.log")
    begun = [line.removesuffix(" ...") for line in gathered.read_text().splitlines() if line.endswith(" ...")]
    assert "report" in begun
    assert not [name for name in begun if any(is_of(name, stage) for stage in UNIT_STAGES)], (
        "left to one task"
    )
    told = otoscope(cluster.environment, "status", out)
    assert "gather" in told
    assert "failed (" not in told


def test_tasks_that_are_killed_are_made_up_for(cluster, settings, alone, tmp_path):
    """One fails at first, one is cancelled, one killed, one runs out of time: in the end the same bytes."""
    out = tmp_path / "run"
    fails = '[ -n "$SLURM_RESTART_COUNT" ] || [ "$SLURM_JOB_NAME" != otoscope-factors ] || ulimit -v 60000'
    jobs = submit(cluster, settings, out, "--setup", fails)
    until(lambda: "\nactivations" in log(out, "activations", jobs["activations"], 1))
    cluster.ask("scancel", f"{jobs['activations']}_1")
    until(lambda: "\nactivations" in log(out, "activations", jobs["activations"], 2))
    for pid in pids(out, "activations", "2/2"):
        os.kill(pid, signal.SIGKILL)
    wait(cluster, out)
    assert log(out, "factors", jobs["factors"], 1).count("otoscope slurm: begins on") == 2
    assert "ended with 137" in log(out, "activations", jobs["activations"], 2)  # and went back to the queue
    assert not (out / "report.html").exists()
    told = otoscope(cluster.environment, "status", out)
    assert f"activations ({jobs['activations']}): 1 cancelled: 1; 1 ended well: 2" in told
    assert f"saes ({jobs['saes']}): 2 never ran" in told

    again = submit(cluster, settings, out, "--retry-missing")
    retried = {each["name"]: each["indices"] for each in submitted(out)[len(jobs) :]}
    assert "factors" not in retried
    assert retried["activations"] == [1]
    until(lambda: "begins on" in log(out, "layer_probing", again["layer_probing"], 1))
    until(lambda: pids(out, "layer_probing", "1/1"))
    time.sleep(2)  # until it listens to signals
    cluster.ask(
        "scancel", "--signal=USR1", "--batch", f"{again['layer_probing']}_1"
    )  # as where time is nearly up
    wait(cluster, out)
    assert "ended with 143" in log(out, "layer_probing", again["layer_probing"], 1)
    assert sums(out) == alone
    assert (out / "report.html").exists()


def test_a_task_whose_machine_is_lost_runs_on_another(cluster, tmp_path):
    """Slurm finds out by itself; only this task goes back to the queue, and goes on when there is a machine again."""
    (tmp_path / "logs").mkdir()
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\nif [ -z "$SLURM_RESTART_COUNT" ]; then sleep 1000; fi\n')
    python.chmod(0o755)
    job = Job("saes", ("run",), n=2, indices=(1,))
    text = script(job, Resources(cpus_per_task=1), folder=tmp_path, here=tmp_path, python=str(python))
    (tmp_path / "saes.sbatch").write_text(text)
    number = cluster.ask("sbatch", "--parsable", tmp_path / "saes.sbatch")
    last = cluster.ask(
        "sbatch", "--parsable", f"--dependency=afterok:{number}", "--wrap=true", "--output=/dev/null"
    )
    until(lambda: (tmp_path / "logs" / f"saes-{number}_1.log").exists())
    cluster.lose_node()
    until(lambda: "PENDING" in cluster.ask("squeue", "--noheader", "--format=%T", f"--jobs={number}"))
    cluster.start_node()
    until(lambda: not cluster.ask("squeue", "--noheader", "--format=%i", f"--jobs={number},{last}"))
    told = (tmp_path / "logs" / f"saes-{number}_1.log").read_text()
    assert told.count("otoscope slurm: begins on") == 2
    assert told.splitlines()[-1] == "otoscope slurm: ended with 0"
    states = cluster.ask("squeue", "--noheader", "--states=all", "--format=%i %T", f"--jobs={number},{last}")
    assert f"{last} COMPLETED" in states

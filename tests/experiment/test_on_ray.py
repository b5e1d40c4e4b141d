"""A run on a real Ray cluster of several processes on loopback: the same bytes, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_cluster import ray_cluster

from otoscope.errors import InputError, OtoscopeError
from otoscope.experiment import on_ray, run, run_on_ray, run_status

from .test_shards import SMALL, sums

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'otoscope[ray]')")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with ray_cluster() as address:
        yield address


@pytest.fixture(scope="module")
def settings(tiny_encoder, tmp_path_factory) -> list[str]:
    return [
        *SMALL,
        f"encoders.0.name={tiny_encoder}",
        f"dataset.root={tmp_path_factory.mktemp('synthsing')}",
    ]


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory) -> Path:
    """The run of one process, of as many threads as a task has."""
    out = tmp_path_factory.mktemp("runs") / "alone"
    code = f"from otoscope.experiment import run; run('demo', out={str(out)!r}, settings={settings!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return out


def test_the_same_bytes_as_by_one_process(cluster, alone, settings, tmp_path):
    said: list[str] = []
    root = run_on_ray("demo", address=cluster, out=tmp_path, settings=settings, say=said.append)
    assert said == ["2 shares on Ray, one for each CPU"]
    assert sums(root) == sums(alone)
    assert all(stage.made for stage in run_status(root))
    again = run("demo", out=tmp_path, settings=settings)
    assert {step["status"] for step in again.stages} == {"kept"}


def test_a_worker_that_is_killed_is_started_again(cluster, alone, settings, tmp_path):
    killed: list[int] = []

    def kill() -> None:
        """Kill the process that makes a unit, as soon as there is one, five times."""
        while len(killed) < 5 and not (tmp_path / "run.json").exists():
            for stage in run_status(tmp_path) if (tmp_path / "work").is_dir() else []:
                for owner in list(stage.running.values())[:1]:
                    number = int(owner.split()[1])
                    if number not in killed:
                        os.kill(number, signal.SIGKILL)
                        killed.append(number)
            time.sleep(0.3)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    root = run_on_ray("demo", address=cluster, out=tmp_path, settings=settings)
    killer.join(5)
    assert killed
    assert sums(root) == sums(alone)


def test_an_error_of_a_unit_is_told(cluster, settings, tmp_path):
    with pytest.raises(OtoscopeError, match="nowhere"):
        run_on_ray("demo", address=cluster, out=tmp_path, settings=[*settings, "encoders.0.name=nowhere"])


def test_no_cluster():
    with pytest.raises(InputError, match=r"no Ray cluster answers at ray://127\.0\.0\.1:1"):
        run_on_ray("demo", address="ray://127.0.0.1:1")


def test_what_a_share_waits_for_is_looked_up(tmp_path):
    (tmp_path / "spec.yaml").write_text("{}")
    assert not on_ray._is_there(tmp_path, ["saes"])

"""Processes of a Slurm and of a Ray cluster that are killed at 20 random moments of runs through every long stage.

OTOSCOPE_WRITE_DOCS=1 python -m pytest tests/fuzz/test_clusters.py     writes its table of docs/reliability.md anew;
OTOSCOPE_KILLS and OTOSCOPE_SEED are how often, and which moments. It takes a Slurm (docs/scale.md) and Ray.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
from tally import Tally, check_page, note

from otoscope.experiment import run_on_ray, run_status
from otoscope.experiment.runner import UNIT_STAGES
from otoscope.experiment.slurm.queue import submitted

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own

WRITTEN: dict[str, str] = {}
KILLS = int(os.environ.get("OTOSCOPE_KILLS", "20"))
SEED = int(os.environ.get("OTOSCOPE_SEED", "0"))
CHANCE, LATEST_S = 0.7, 0.5
"""How likely a process is to be killed, and how long after it was seen with its first unit at most."""
LOCKS = ("work/*/*.lock", "activations/*/rows/*.lock")
"""Of units in the making, their owners' numbers in them."""
SETTINGS = [
    "dataset.options={n_singers: 4}",
    "saes={rows: frames, n_latents: 16, sparsities: [0.75], seeds: [0], epochs: 3}",
    "probing.regularisation=[0.01]",
    "probing.guide=false",
    "probing.few_latents=[]",
    "disentanglement.alphas=[0.1]",
    "disentanglement.folds=2",
    "disentanglement.infomec=none",
    "disentanglement.nulls=[untrained, frozen_encoder, permuted]",
    "latents.permutations=20",
    "interventions.splice=true",
    "interventions.clips=6",
    "interventions.erase=technique",
    "interventions.shares=[1.0]",
    "interventions.steer=technique=vibrato",
    "interventions.n_latents=3",
    "interventions.doses=[0, 1]",
]


@pytest.fixture(scope="module")
def settings(tiny_encoder, tmp_path_factory) -> list[str]:
    encoder = f"encoders=[{{name: {tiny_encoder}, layers: [1, 2]}}]"
    return [*SETTINGS, encoder, f"dataset.root={tmp_path_factory.mktemp('data') / 'synthsing'}"]


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory) -> dict[str, str]:
    """What one process makes that nobody disturbs."""
    out = tmp_path_factory.mktemp("alone") / "run"
    otoscope(os.environ | {"OMP_NUM_THREADS": "1"}, "run", "demo", "--out", out, *words(settings))
    made = {stage.stage for stage in run_status(out) if stage.made}
    missed = [stage for stage in UNIT_STAGES if not any(name.startswith(stage) for name in made)]
    assert not missed, "a long stage that this run leaves out"
    return sums(out)


def test_tasks_of_slurm(settings, alone, tmp_path, capsys):
    reason = slurm_cluster.missing()
    if reason:
        pytest.skip(reason)
    asked = ["--tasks", 2, "--cpus-per-task", 1, "--mem", "1500M", "--retries", KILLS]
    with slurm_cluster.slurm(tmp_path / "cluster") as cluster:

        def make(out: Path) -> None:
            otoscope(cluster.environment, "slurm", "demo", "--out", out, *words(settings), *asked)
            jobs = ",".join(each["job"] for each in submitted(out))
            while cluster.ask("squeue", "--noheader", "--format=%i", f"--jobs={jobs}"):
                time.sleep(1)

        killed_and_compared("a unit's process on Slurm", make, alone, tmp_path, capsys)


def test_workers_of_ray(settings, alone, tmp_path, capsys):
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'otoscope[ray]')")
    with ray_cluster() as address:

        def make(out: Path) -> None:
            root = run_on_ray("demo", address=address, out=out, settings=settings)
            otoscope(dict(os.environ), "run", "demo", "--out", root, *words(settings))

        killed_and_compared("a unit's process on Ray", make, alone, tmp_path, capsys)


def test_the_page_says_what_the_tests_found():
    """It stands last: the tests above count."""
    if KILLS != 20:
        pytest.skip("the page is of 20 kills")
    check_page(__file__, WRITTEN, 2)


def killed_and_compared(
    what: str, make: Callable[[Path], None], alone: dict[str, str], folder: Path, capsys
) -> None:
    """Make run after run, until so many processes were killed; each must end with the bytes of one process."""
    tally = Tally(f"{what} is ended by SIGKILL at a random moment, in runs through every long stage")
    dice, n_runs, moments = random.Random(SEED), 0, []
    while tally.injected < KILLS:
        out, killed = folder / f"run {n_runs}", []
        over = threading.Event()
        killer = threading.Thread(
            target=kill_units, args=(out, KILLS - tally.injected, dice, over, killed), daemon=True
        )
        killer.start()
        try:
            make(out)
        finally:
            over.set()
            killer.join()
        assert killed, "nothing was there to be killed"
        found = sums(out)
        tally.rows_lost += len(alone.keys() - found.keys())
        for moment in killed:
            tally.injected += 1
            tally.told += all(stage.made for stage in run_status(out))
            tally.count(found == alone)
            moments.append(moment)
        n_runs += 1
    with capsys.disabled():
        print(f"\n{what}, seed {SEED}: {len(moments)} killed in {n_runs} runs: {', '.join(moments)}")
    if KILLS == 20:
        note(WRITTEN, tally)
    assert tally.recovered == tally.injected, tally


def kill_units(root: Path, most: int, dice: random.Random, over: threading.Event, killed: list[str]) -> None:
    """Kill processes that make units of the run at `root`, each at a random moment after it was first seen."""
    seen: dict[int, str] = {}
    due: dict[int, float] = {}
    while not over.wait(0.005):
        held = owners(root)
        for pid in held.keys() - seen.keys():
            seen[pid] = held[pid]
            if dice.random() < CHANCE:
                due[pid] = time.monotonic() + dice.uniform(0, LATEST_S)
        for pid, moment in list(due.items()):
            if len(killed) < most and time.monotonic() >= moment:
                del due[pid]
                with contextlib.suppress(OSError):  # it was faster
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if str(root).encode() in command or command.startswith(b"ray::"):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(held.get(pid, f"after {seen[pid]}"))


def owners(root: Path) -> dict[int, str]:
    """Return the processes that hold a lock of a run, and what each makes."""
    found = {}
    for pattern in LOCKS:
        for path in root.glob(pattern):
            with contextlib.suppress(
                OSError, ValueError, IndexError
            ):  # given back just now, or not yet written
                found[int(path.read_text().split()[1])] = path.relative_to(root).with_suffix("").as_posix()
    return found


@contextlib.contextmanager
def ray_cluster() -> Iterator[str]:
    """Two nodes of one core each, with processes of their own."""
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # for the workers
    options = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=options)
    found.add_node(**options)
    try:
        yield found.address
    finally:
        found.shutdown()


def words(settings: list[str]) -> list[str]:
    return [word for each in settings for word in ("--set", each)]


def otoscope(environment: dict[str, str], *asked: object) -> None:
    command = [sys.executable, "-m", "otoscope", *map(str, asked)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def sums(root: Path) -> dict[str, str]:
    """What a run's tables, stores, dictionaries and latents hold."""
    folders = ("results", "activations", "saes", "latents")
    kept = [path for folder in folders for path in (root / folder).rglob("*")]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted([*kept, *root.glob("*.parquet")])
        if path.is_file() and not path.name.endswith(".seen.json")  # times of change of what was read
    }

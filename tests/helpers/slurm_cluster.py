"""A real Slurm of one node on this machine: its own daemons, keys, ports and files, and nothing of a system's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CONF = """\
ClusterName=otoscope-test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
KillWait=5
SlurmdTimeout=30
MinJobAge=300
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PriorityType=priority/basic
NodeName={host} NodeAddr=127.0.0.1 CPUs={n_cpus} RealMemory={memory_mb}
PartitionName=test Nodes=ALL Default=YES State=UP DefMemPerNode=1000
"""


def missing() -> str | None:
    """Return why no Slurm can be started here; None where one can."""
    gone = [name for name in NEEDED if shutil.which(name, path=_path()) is None]
    if gone:
        return f"no Slurm here ({', '.join(gone)} not found): docs/scale.md says what to install"
    return None if os.geteuid() == 0 else "Slurm's daemons are started as root, and this is another user"


@dataclass
class Cluster:
    """Daemons that run."""

    folder: Path
    environment: dict[str, str]
    """In which sbatch and squeue speak to it."""
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> None:
        """Start a daemon."""
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(words, env=self.environment, stdout=out, stderr=out)

    def start_node(self) -> None:
        """Start the only machine, whose jobs give way to all else that runs here."""
        conf = str(self.folder / "slurm.conf")
        self.start("slurmd", "nice", "-n", "5", "slurmd", "-D", "-f", conf)
        _wait(
            lambda: self.ask("sinfo", "--noheader", "--format=%T") == "idle",
            "a node that is idle",
            self.folder,
        )

    def lose_node(self) -> None:
        """End the only machine, and all that runs on it, as a cut cable would."""
        self.daemons["slurmd"].kill()
        self.daemons["slurmd"].wait()
        self.kill_jobs()

    def ask(self, *words: object) -> str:
        """Return what a command of Slurm prints."""
        done = subprocess.run(
            [str(word) for word in words], env=self.environment, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    def kill_jobs(self) -> None:
        """Kill the processes of this cluster's jobs, and those that watch them."""
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command, about = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
                ours = f"SLURM_CONF={self.folder}/".encode() in about
                group = os.getpgid(int(place.name))
                of_job = f"{self.folder}/spool/".encode() in command or (ours and b"slurmstepd" in command)
                if of_job and group != os.getpgrp():
                    os.killpg(group, signal.SIGKILL)

    def stop(self) -> None:
        """End all jobs, then the daemons."""
        with contextlib.suppress(TimeoutError):
            self.ask("scancel", "--user=root")
            _wait(lambda: not self.ask("squeue", "--noheader"), "jobs that end", self.folder, timeout_s=20)
        self.kill_jobs()
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
        for daemon in self.daemons.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(15)
            daemon.kill()
            daemon.wait()


@contextlib.contextmanager
def slurm(folder: Path, *, n_cpus: int = 2, memory_mb: int = 4000) -> Iterator[Cluster]:
    """Start a cluster whose files lie in `folder`, and end it with all of its jobs when the block ends."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)  # munge wants folders that others cannot write to
    ctld_port, slurmd_port = _free_ports(2)
    places = {"folder": folder, "host": socket.gethostname().split(".")[0]}
    ports = {"ctld_port": ctld_port, "slurmd_port": slurmd_port}
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(**places, **ports, n_cpus=n_cpus, memory_mb=memory_mb))
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    cluster = Cluster(folder, {**os.environ, "PATH": _path(), "SLURM_CONF": str(conf)})
    own = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    try:
        cluster.start("munged", "munged", "--force", "--foreground", f"--socket={folder}/munge.socket", *own)
        _wait(lambda: (folder / "munge.socket").exists(), "munged", folder)
        cluster.start("slurmctld", "slurmctld", "-D", "-c", "-f", str(conf))
        cluster.start_node()
        yield cluster
    finally:
        cluster.stop()


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait(holds, what: str, folder: Path, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            logs = [f"{log.name}: {log.read_text(errors='replace')[-500:]}" for log in sorted(folder.glob("*.*"))
                    if log.suffix in (".log", ".out")]  # fmt: skip
            raise TimeoutError(f"waited {timeout_s:g} s for {what}\n" + "\n".join(logs))
        time.sleep(0.2)
